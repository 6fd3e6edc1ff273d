/**
 * Messages of pgoutput (PostgreSQL documentation, "Logical Replication Message Formats"), protocol version 1, as far
 * as an outbox that is published for INSERT needs them.
 *
 *   B begin     int64 LSN of the commit, int64 time, int32 xid
 *   C commit    int8 flags, int64 LSN of the commit, int64 LSN behind it, int64 time
 *   R relation  int32 oid, schema\0, name\0, int8 identity, int16 columns: int8 flags, name\0, int32 type, int32 modifier
 *   I insert    int32 oid, 'N', int16 columns: 'n' | 'u' | 't' int32 length, bytes
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { StreamedRow } from '../../../relay/ports.ts';

const COLUMNS = ['slot', 'xid', 'id', 'event_id', 'tenant', 'type', 'key', 'schema', 'meta', 'body'] as const;
type Column = (typeof COLUMNS)[number];

const utf8 = new TextDecoder();

export type PgoutputMessage =
  | { readonly tag: 'row'; readonly row: StreamedRow }
  | { readonly tag: 'commit'; readonly endLsn: bigint }
  | null;

const broken = (what: string): EvidentError =>
  new EvidentError('source-unavailable', `the write-ahead log stream has ${what}`);

export class PgoutputReader {
  /** Per relation, which of our columns stands at which place; null for a relation that is not the outbox. */
  readonly #relations = new Map<number, readonly (Column | null)[] | null>();
  #commitLsn = 0n;
  #index = 0;

  read(bytes: Buffer): PgoutputMessage {
    switch (bytes[0]) {
      case 0x42:
        this.#commitLsn = bytes.readBigUInt64BE(1);
        this.#index = 0;
        return null;
      case 0x43:
        return { tag: 'commit', endLsn: bytes.readBigUInt64BE(10) };
      case 0x52:
        this.#relation(bytes);
        return null;
      case 0x49:
        return this.#insert(bytes);
      default:
        return null;
    }
  }

  #relation(bytes: Buffer): void {
    let at = 5;
    const text = (): string => {
      const end = bytes.indexOf(0, at);
      const found = bytes.toString('utf8', at, end);
      at = end + 1;
      return found;
    };
    const isOutbox = text() === 'evident_outbox' && text() === 'events';
    if (!isOutbox) {
      this.#relations.set(bytes.readInt32BE(1), null);
      return;
    }
    at += 1;
    const count = bytes.readInt16BE(at);
    at += 2;
    const columns: (Column | null)[] = [];
    for (let column = 0; column < count; column++) {
      at += 1;
      const name = text() as Column;
      columns.push(COLUMNS.includes(name) ? name : null);
      at += 8;
    }
    const missing = COLUMNS.filter((name) => !columns.includes(name));
    if (missing.length > 0) throw broken(`no column ${missing.join(', ')} of evident_outbox.events`);
    this.#relations.set(bytes.readInt32BE(1), columns);
  }

  #insert(bytes: Buffer): PgoutputMessage {
    const columns = this.#relations.get(bytes.readInt32BE(1));
    if (columns === undefined) throw broken('a row of a table that it has not described');
    if (columns === null) return null;
    const texts: Partial<Record<Column, Buffer | null>> = {};
    let at = 8;
    for (const column of columns) {
      const kind = bytes[at++];
      let value: Buffer | null = null;
      if (kind === 0x74) {
        const length = bytes.readInt32BE(at);
        value = bytes.subarray(at + 4, at + 4 + length);
        at += 4 + length;
      } else if (kind !== 0x6e) {
        throw broken(`a value of the kind ${kind}`);
      }
      if (column !== null) texts[column] = value;
    }
    const text = (column: Column): string => utf8.decode(texts[column] ?? undefined);
    const row: StreamedRow = {
      slot: Number(text('slot')),
      xid: BigInt(text('xid')),
      id: BigInt(text('id')),
      eventId: text('event_id'),
      tenant: text('tenant'),
      type: text('type'),
      key: text('key'),
      schema: Number(text('schema')),
      meta: texts.meta == null ? null : text('meta'),
      // The driver reuses the memory of its chunks: copy.
      body: new Uint8Array(texts.body ?? []),
      commitLsn: this.#commitLsn,
      index: this.#index++,
    };
    return { tag: 'row', row };
  }
}
