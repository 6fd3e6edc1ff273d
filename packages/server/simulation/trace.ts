/** What happened in a run: always as a hash, so that two runs can be compared; as lines when somebody reads them. */

export class Trace {
  readonly #keep: number;
  readonly #lines: string[] = [];
  #low = 0x811c9dc5;
  #high = 0x01000193;
  #count = 0;

  /** @param keep how many of the last lines are kept */
  constructor(keep: number) {
    this.#keep = keep;
  }

  note(line: string): void {
    this.#count++;
    for (let i = 0; i < line.length; i++) {
      this.#low = Math.imul(this.#low ^ line.charCodeAt(i), 0x01000193);
      this.#high = Math.imul(this.#high + line.charCodeAt(i), 0x85ebca6b) ^ (this.#low >>> 13);
    }
    this.#lines.push(`${this.#count} ${line}`);
    if (this.#lines.length > 2 * this.#keep) this.#lines.splice(0, this.#lines.length - this.#keep);
  }

  get lines(): readonly string[] {
    return this.#lines.slice(-this.#keep);
  }

  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return `${this.#count}-${hex(this.#high)}${hex(this.#low)}`;
  }
}
