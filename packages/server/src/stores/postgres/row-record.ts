/** Records as projections read them: one copy of the row's bytes, and strings only for what is asked for. */

import { formatUuid } from '@evident/core/derived-id.ts';
import { BODY_FORMS, type LeafSource } from '@evident/core/leaf.ts';
import type { Body, LogRecord } from '@evident/core/record.ts';

/** Rows share memory of this size, so that a batch is a few allocations and not one for each row. */
const SLAB_BYTES = 256 * 1024;

/** A record over the bytes of its row. Key, meta and ids are decoded when they are asked for: few mappers do. */
export class RowRecord implements LogRecord {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
  readonly appendedAt: bigint;
  readonly tenant: string;
  readonly source: string;
  readonly type: string;
  readonly schema: number;
  readonly body: Body;
  /** Memory of the row, a whole buffer; the id's 16 bytes lie at `idAt`. */
  readonly bytes: Buffer;
  readonly idAt: number;
  readonly #keyAt: number;
  readonly #keyLength: number;
  readonly #metaAt: number;
  readonly #metaLength: number;
  readonly #sourceSeqAt: number;
  readonly #sourceSeqLength: number;

  /**
   * @param row as PostgreSQL sent it
   * @param shift what to add to a place in it to get that in `bytes`
   * @param names tenant, source and type
   */
  constructor(
    place: { readonly log: string; readonly partition: number },
    row: LeafSource,
    bytes: Buffer,
    shift: number,
    names: RowNames,
  ) {
    this.log = place.log;
    this.partition = place.partition;
    this.position = BigInt(row.position);
    this.appendedAt = BigInt(row.appendedAt);
    this.tenant = names.tenant.of(row, row.tenantAt, row.tenantLength);
    this.source = names.source.of(row, row.sourceAt, row.sourceLength);
    this.type = names.type.of(row, row.typeAt, row.typeLength);
    this.schema = row.schema;
    this.bytes = bytes;
    this.idAt = row.idAt + shift;
    this.#keyAt = row.keyAt + shift;
    this.#keyLength = row.keyLength;
    this.#metaAt = row.metaAt + shift;
    this.#metaLength = row.metaLength;
    this.#sourceSeqAt = row.sourceSeqAt + shift;
    this.#sourceSeqLength = row.sourceSeqLength;
    const body = new Uint8Array(bytes.buffer, row.bodyAt + shift, row.bodyLength);
    this.body =
      row.form === BODY_FORMS.object
        ? { form: 'object', sha256: body, size: BigInt(row.bodySize) }
        : { form: row.form === BODY_FORMS.json ? 'json' : 'base64', bytes: body };
  }

  get id(): string {
    return formatUuid(this.bytes, this.idAt);
  }

  get key(): string {
    return this.bytes.toString('utf8', this.#keyAt, this.#keyAt + this.#keyLength);
  }

  get meta(): string | null {
    if (this.#metaLength < 0) return null;
    return this.bytes.toString('utf8', this.#metaAt, this.#metaAt + this.#metaLength);
  }

  get sourceSeq(): string | null {
    if (this.#sourceSeqLength < 0) return null;
    return this.bytes.toString('utf8', this.#sourceSeqAt, this.#sourceSeqAt + this.#sourceSeqLength);
  }
}

/** A field that mostly holds what it held in the row before: decoded when it changes. */
class RepeatedText {
  #bytes: Buffer = Buffer.alloc(0);
  #text = '';

  of(row: LeafSource, at: number, length: number): string {
    const known = this.#bytes;
    if (known.length === length) {
      let i = 0;
      while (i < length && known[i] === row.bytes[at + i]) i++;
      if (i === length) return this.#text;
    }
    this.#bytes = Buffer.from(row.bytes.subarray(at, at + length));
    this.#text = this.#bytes.toString();
    return this.#text;
  }
}

interface RowNames {
  readonly tenant: RepeatedText;
  readonly source: RepeatedText;
  readonly type: RepeatedText;
}

/** Makes records of rows whose bytes are valid for a moment only. */
export class RowRecords {
  readonly #names: RowNames = {
    tenant: new RepeatedText(),
    source: new RepeatedText(),
    type: new RepeatedText(),
  };
  #slab = Buffer.allocUnsafeSlow(0);
  #used = 0;

  make(place: { readonly log: string; readonly partition: number }, row: LeafSource): RowRecord {
    // The fields lie in the order of the columns: from the id to the body.
    const start = row.idAt;
    const length = row.bodyAt + row.bodyLength - start;
    if (this.#used + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, length));
      this.#used = 0;
    }
    const at = this.#used;
    this.#slab.set(row.bytes.subarray(start, start + length), at);
    this.#used += length;
    return new RowRecord(place, row, this.#slab, at - start, this.#names);
  }
}
