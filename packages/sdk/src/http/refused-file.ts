/**
 * `refused.ndjson` in the folder of a disk buffer: events that were durable on disk and that the log then refused, one
 * a line with the reason. Written before the event leaves the buffer; if we die in between, it is refused again after the
 * next start, and stands here twice. Nothing reads it but people: correct the events, send them again, and remove the file.
 */

import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { EvidentError } from '@evident/core/errors.ts';
import type { EncodedEvent } from './envelope.ts';
import { type Files, syncFolder } from './files.ts';

export interface Refusal {
  readonly event: EncodedEvent;
  readonly error: EvidentError;
}

export class RefusedFile {
  readonly #path: string;
  readonly #files: Files;
  #bytes = 0;

  constructor(folder: string, files: Files) {
    this.#path = join(folder, 'refused.ndjson');
    this.#files = files;
    this.measure();
  }

  get path(): string {
    return this.#path;
  }

  /** Bytes of the file when it was last looked at. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Looks at the file: somebody may have removed it. */
  measure(): number {
    this.#bytes = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    return this.#bytes;
  }

  /** Resolves when the lines are durable. */
  async add(refusals: readonly Refusal[], refusedAt: string): Promise<void> {
    const isNew = this.measure() === 0;
    const text = refusals.map((refusal) => lineOf(refusal, refusedAt)).join('');
    const file = await this.#files.open(this.#path, 'a', 0o600);
    try {
      // A crash in the middle of a line: it stays a line of its own.
      await file.appendFile(isNew || this.#endsInNewline() ? text : `\n${text}`);
      await file.datasync();
    } finally {
      await file.close();
    }
    if (isNew) await syncFolder(this.#files, dirname(this.#path));
    this.measure();
  }

  #endsInNewline(): boolean {
    const file = openSync(this.#path, 'r');
    try {
      const last = new Uint8Array(1);
      readSync(file, last, 0, 1, this.#bytes - 1);
      return last[0] === 0x0a;
    } finally {
      closeSync(file);
    }
  }
}

function lineOf({ event, error }: Refusal, refusedAt: string): string {
  const head = JSON.stringify({
    refused_at: refusedAt,
    id: event.id,
    code: error.code,
    detail: error.message,
    field: error.context.field ?? null,
  });
  const bytes = Buffer.from(event.bytes.buffer, event.bytes.byteOffset, event.bytes.length);
  // Line breaks between the tokens of a body would break the line.
  const isOneLine = bytes.every((byte) => byte >= 0x20);
  const envelope = isOneLine
    ? `"envelope":${bytes.toString()}`
    : `"envelope_base64":"${bytes.toString('base64')}"`;
  return `${head.slice(0, -1)},${envelope}}\n`;
}
