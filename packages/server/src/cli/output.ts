/** What commands print: text for people, JSON on request, progress on a terminal. */

const BAR_WIDTH = 24;
const REDRAW_MS = 100;
const SHOW_AFTER_MS = 1_000;

export interface Output {
  readonly json: boolean;
  /** One line for a person; nothing with --json. */
  line(text?: string): void;
  /** The result of the command, with --json. */
  result(value: unknown): void;
}

export function makeOutput(json: boolean, stream: NodeJS.WritableStream = process.stdout): Output {
  return {
    json,
    line: (text = '') => {
      if (!json) stream.write(`${text}\n`);
    },
    result: (value) => {
      if (json) stream.write(`${JSON.stringify(value, bigintAsText)}\n`);
    },
  };
}

/** Positions and sizes are decimal strings in JSON: they do not fit a number. */
export function bigintAsText(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

/** A progress bar on a terminal's standard error, for anything over a second. */
export class ProgressBar {
  readonly #label: string;
  readonly #begun: number;
  readonly #enabled: boolean;
  #drawnAt = 0;
  #drawn = false;

  constructor(label: string, enabled = process.stderr.isTTY === true) {
    this.#label = label;
    this.#begun = performance.now();
    this.#enabled = enabled;
  }

  /** @param total null when nobody knows it beforehand */
  update(done: number, total: number | null, unit: string): void {
    const now = performance.now();
    if (!this.#enabled || now - this.#begun < SHOW_AFTER_MS || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#drawn = true;
    const rate = Math.round((done / (now - this.#begun)) * 1_000).toLocaleString('en');
    const share = total === null || total === 0 ? null : Math.min(1, done / total);
    const bar =
      share === null
        ? ''
        : `[${'#'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '.')}] ${Math.floor(share * 100)}% `;
    process.stderr.write(`\r\u001b[K${this.#label} ${bar}${done.toLocaleString('en')} ${unit}, ${rate}/s`);
  }

  end(): void {
    if (this.#drawn) process.stderr.write('\r\u001b[K');
  }
}
