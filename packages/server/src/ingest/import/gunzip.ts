/**
 * Unpacks a gzip file as a stream, and passes any other file through. Gzip is recognised by its first two bytes
 * (RFC 1952), not by the name of the file; several members one after another are one content.
 */

import { createGunzip, type Gunzip } from 'node:zlib';
import { EvidentError } from '@evident/core/errors.ts';
import { GrowingBytes } from './growing-bytes.ts';

/**
 * Packed bytes that are inflated at once; smaller chunks are gathered, since each slice costs a trip to the thread
 * pool. Deflate unpacks a byte to 1,032 at most, so what waits to be read stays under 8.5 MB.
 */
const SLICE_BYTES = 8 * 1024;

/**
 * @param fileName named in the error; not opened
 * @throws EvidentError `field-invalid` (field `file`) when the gzip data are truncated or corrupt, after everything
 *   that was unpacked before has been given. Of the output before a fault in the data zlib keeps back up to 16 KiB
 */
export async function* gunzipIfPacked(
  source: AsyncIterable<Uint8Array>,
  fileName: string,
): AsyncGenerator<Uint8Array> {
  let inflation: Inflation | null = null;
  let head: Uint8Array = new Uint8Array();
  let known = false;
  try {
    for await (const chunk of source) {
      let part: Uint8Array = chunk;
      if (!known) {
        part = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
        if (part.length < 2) {
          head = part;
          continue;
        }
        known = true;
        if (part[0] === 0x1f && part[1] === 0x8b) inflation = new Inflation(fileName);
      }
      if (inflation === null) yield part;
      else yield* inflation.write(part);
    }
    if (!known && head.length > 0) yield head;
    if (inflation !== null) yield* inflation.end();
  } finally {
    inflation?.destroy();
  }
}

/** One inflating stream. Its life cycle is why this is a class: it must be destroyed, and it can end by itself. */
class Inflation {
  readonly #fileName: string;
  readonly #gunzip: Gunzip = createGunzip();
  /** Resolves when zlib will take no more: it failed, or it found the end of the last member. */
  readonly #over: Promise<void>;
  readonly #gathered = new GrowingBytes();
  #unpacked: Uint8Array[] = [];
  #error: Error | null = null;
  #isOver = false;
  /** Packed bytes that were handed over; zlib counts in `bytesWritten` which of them it used. */
  #given = 0;

  constructor(fileName: string) {
    this.#fileName = fileName;
    this.#gunzip.on('data', (part: Buffer) => this.#unpacked.push(part));
    this.#gunzip.on('error', (error) => {
      this.#error = error;
    });
    this.#over = new Promise((resolve) => {
      for (const event of ['end', 'error', 'close']) {
        this.#gunzip.once(event, () => {
          this.#isOver = true;
          resolve();
        });
      }
    });
  }

  async *write(packed: Uint8Array): AsyncGenerator<Uint8Array> {
    this.#gathered.append(packed);
    if (this.#gathered.length >= SLICE_BYTES) yield* this.#inflate(this.#gathered.take());
  }

  async *#inflate(packed: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let from = 0; from < packed.length; from += SLICE_BYTES) {
      const slice = packed.subarray(from, from + SLICE_BYTES);
      const before = this.#given;
      this.#given += slice.length;
      if (!this.#isOver) {
        // zlib never answers a write of which it needs nothing.
        await Promise.race([new Promise((done) => this.#gunzip.write(slice, done)), this.#over]);
        if (this.#gunzip.bytesWritten < this.#given) await this.#over;
      }
      yield* this.#take();
      // Zero bytes after the last member are padding, and end the stream; anything else there would be lost.
      if (this.#isOver)
        this.#refuseUnlessPadding(slice.subarray(Math.max(0, this.#gunzip.bytesWritten - before)));
    }
  }

  async *end(): AsyncGenerator<Uint8Array> {
    yield* this.#inflate(this.#gathered.take());
    if (!this.#isOver) {
      this.#gunzip.end();
      await this.#over;
    }
    yield* this.#take();
  }

  destroy(): void {
    this.#gunzip.destroy();
  }

  *#take(): Generator<Uint8Array> {
    const unpacked = this.#unpacked;
    this.#unpacked = [];
    yield* unpacked;
    if (this.#error !== null) throw this.#refusal(this.#error.message, this.#error);
  }

  #refuseUnlessPadding(rest: Uint8Array): void {
    if (rest.some((byte) => byte !== 0)) throw this.#refusal('other bytes follow after the gzip data');
  }

  #refusal(what: string, cause?: Error): EvidentError {
    const detail = `The gzip data of ${this.#fileName} break off or are corrupt within the first ${this.#given} packed bytes (${what}); what was unpacked before was read.`;
    return new EvidentError('field-invalid', detail, {
      cause,
      context: { field: 'file', file: this.#fileName },
    });
  }
}
