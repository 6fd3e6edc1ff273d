/** What PostgreSQL writes to stderr: a file of bounded size, and its last lines for error messages. */

import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

const LOG_BYTES_MAX = 10 * 1024 * 1024;
const TAIL_LINES_MAX = 40;
const LINE_CHARACTERS_MAX = 4096;

/**
 * Writes `<path>` and, past 10 MB, moves it to `<path>.1`: two files at most. Writes are synchronous: PostgreSQL
 * logs some lines an hour. It never throws: a log that cannot be written, on a full disk say, stops nothing.
 */
export class LogFile {
  readonly #path: string;
  readonly #bytesMax: number;
  #file: number | undefined;
  #bytes = 0;
  #lines: string[] = [];
  #partial = '';

  constructor(path: string, bytesMax = LOG_BYTES_MAX) {
    this.#path = path;
    this.#bytesMax = bytesMax;
  }

  write(chunk: Buffer): void {
    this.#remember(chunk.toString('utf8'));
    try {
      this.#file ??= this.#open();
      writeSync(this.#file, chunk);
      this.#bytes += chunk.length;
      if (this.#bytes < this.#bytesMax) return;
      this.close();
      renameSync(this.#path, `${this.#path}.1`);
    } catch {
      this.close();
    }
  }

  /** The last lines since the last `forget`. */
  tail(): string[] {
    return this.#partial === '' ? [...this.#lines] : [...this.#lines, this.#partial];
  }

  forget(): void {
    this.#lines = [];
    this.#partial = '';
  }

  close(): void {
    const file = this.#file;
    this.#file = undefined;
    try {
      if (file !== undefined) closeSync(file);
    } catch {
      // The descriptor is gone either way.
    }
  }

  #open(): number {
    const file = openSync(this.#path, 'a', 0o600);
    this.#bytes = fstatSync(file).size;
    return file;
  }

  #remember(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop()!.slice(0, LINE_CHARACTERS_MAX);
    for (const line of lines) this.#lines.push(line.slice(0, LINE_CHARACTERS_MAX));
    if (this.#lines.length > TAIL_LINES_MAX) this.#lines = this.#lines.slice(-TAIL_LINES_MAX);
  }
}
