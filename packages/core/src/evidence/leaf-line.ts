/**
 * A strict reader of one leaf line: it takes what `makeLeafWriter` of leaf.ts writes and nothing else, and gives where
 * each field stands. One reader is used for line after line and allocates nothing for most of them; no JSON.parse.
 *
 *   {"v":1,"log":"audit","partition":3,"position":"1234","appended_at":"…","id":"…","tenant":"…","source":"…",
 *    "source_seq":"…"|null,"type":"…","schema":1,"key":"…","meta":{…}|null,"body":… | "body_base64":"…" |
 *    "body_sha256":"…","body_size":"…"}
 *
 * Of the body it knows that it is JSON as `jsonBodyForm` takes it; what the body says is another matter.
 */
import { decodeUtf8, fromBase64 } from '../bytes.ts';
import { jsonBodyForm, valueEnd } from '../json/scan.ts';
import { scanString } from '../json/scan-tokens.ts';
import { BODY_FORMS, type BodyForm } from '../leaf.ts';
import {
  BODY_BYTES_MAX,
  BODY_INLINE_BASE64_BYTES_MAX,
  BODY_INLINE_JSON_BYTES_MAX,
  KEY_BYTES_MAX,
  LEAF_BYTES_MAX,
  META_BYTES_MAX,
  SOURCE_BYTES_MAX,
  SOURCE_SEQ_BYTES_MAX,
} from '../record.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const UNDERSCORE = 0x5f;
const NULL_BYTE = 0x6e;

const ascii = new TextEncoder();
const PART = {
  start: ascii.encode('{"v":1,"log":"'),
  partition: ascii.encode('","partition":'),
  position: ascii.encode(',"position":"'),
  appendedAt: ascii.encode('","appended_at":"'),
  id: ascii.encode('","id":"'),
  tenant: ascii.encode('","tenant":"'),
  source: ascii.encode('","source":"'),
  sourceSeq: ascii.encode('","source_seq":'),
  type: ascii.encode(',"type":"'),
  schema: ascii.encode('","schema":'),
  key: ascii.encode(',"key":"'),
  meta: ascii.encode('","meta":'),
  body: ascii.encode(',"body'),
  json: ascii.encode('":'),
  base64: ascii.encode('_base64":"'),
  sha256: ascii.encode('_sha256":"'),
  bodySize: ascii.encode('","body_size":"'),
  null: ascii.encode('null'),
  end: ascii.encode('"}'),
};

const INSTANT = 'dddd-dd-ddTdd:dd:dd.ddddddZ';
const UUID = 'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx';
const LOG_LENGTH_MAX = 32;
const NAME_LENGTH_MAX = 128;
const SCHEMA_MAX = 32_767;
const PARTITION_MAX = 65_535;

const LOG_BYTES = tableOf(/[a-z0-9-]/);
const NAME_BYTES = tableOf(/[A-Za-z0-9._:-]/);
const NAME_FIRST_BYTES = tableOf(/[A-Za-z0-9]/);
const TENANT_FIRST_BYTES = tableOf(/[A-Za-z0-9_]/);
const HEX_BYTES = tableOf(/[0-9a-f]/);

function tableOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) =>
    byte < 0x80 && pattern.test(String.fromCharCode(byte)) ? 1 : 0,
  );
}

/** A record's place and fields, as a leaf line has them. Offsets are into the bytes given to `read`. */
export class LeafLineReader {
  log = '';
  partition = 0;
  /** Changes whenever a line is of another log or partition than the line before it. */
  tree = 0;
  /** Below 2^53. */
  position = 0;
  /** Where the 27 bytes of the time stand. */
  appendedAtAt = 0;
  /** Where the 36 bytes of the id stand. */
  idAt = 0;
  tenantAt = 0;
  tenantLength = 0;
  sourceAt = 0;
  sourceLength = 0;
  typeAt = 0;
  typeLength = 0;
  schema = 0;
  keyAt = 0;
  keyLength = 0;
  form: BodyForm = BODY_FORMS.json;
  /** The JSON, the base64, or the 64 digits of the hash. */
  bodyAt = 0;
  bodyLength = 0;
  /** Of an object only. */
  bodySize = 0;
  /** Everything before the position, of the line before. */
  #prefix = new Uint8Array(0);
  #bytes = new Uint8Array(0);
  #at = 0;
  #end = 0;

  /** Reads bytes [start, end). @returns null, or what is wrong; then the fields mean nothing */
  read(bytes: Uint8Array, start: number, end: number): string | null {
    if (end - start > LEAF_BYTES_MAX) return `it is longer than ${LEAF_BYTES_MAX} bytes`;
    this.#bytes = bytes as Uint8Array<ArrayBuffer>;
    this.#at = start;
    this.#end = end;
    if (!this.#take(this.#prefix) || this.#prefix.length === 0) {
      if (!this.#readTree(start)) return 'its log or partition is not as a leaf has them';
    }
    const position = this.#decimal(Number.MAX_SAFE_INTEGER);
    if (position < 0) return 'its position is not as a leaf has it';
    this.position = position;
    const wrong = this.#readFields();
    return wrong === null ? this.#readBody() : wrong;
  }

  /** The text of a field: of the bytes that were read, its escapes resolved. */
  text(at: number, length: number): string {
    const text = decodeUtf8(this.#bytes.subarray(at, at + length)) ?? '';
    return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
  }

  #readTree(start: number): boolean {
    this.#at = start;
    if (!this.#take(PART.start)) return false;
    const logAt = this.#at;
    const logLength = this.#run(LOG_BYTES, LOG_BYTES, LOG_LENGTH_MAX);
    if (logLength < 1 || !this.#take(PART.partition)) return false;
    const partition = this.#decimal(PARTITION_MAX);
    if (partition < 0 || !this.#take(PART.position)) return false;
    this.log = this.text(logAt, logLength);
    this.partition = partition;
    this.tree++;
    this.#prefix = this.#bytes.slice(start, this.#at);
    return true;
  }

  #readFields(): string | null {
    if (!this.#take(PART.appendedAt) || !this.#isInstant(this.#at)) return 'its time is not as a leaf has it';
    this.appendedAtAt = this.#at;
    this.#at += INSTANT.length;
    if (!this.#take(PART.id) || !this.#looksLike(this.#at, UUID)) return 'its id is not as a leaf has it';
    this.idAt = this.#at;
    this.#at += UUID.length;
    if (!this.#take(PART.tenant)) return 'its tenant is not as a leaf has it';
    this.tenantAt = this.#at;
    this.tenantLength = this.#run(TENANT_FIRST_BYTES, NAME_BYTES, NAME_LENGTH_MAX);
    if (this.tenantLength < 1 || !this.#take(PART.source)) return 'its tenant is not as a leaf has it';
    this.sourceAt = this.#at;
    this.sourceLength = this.#string(SOURCE_BYTES_MAX);
    if (this.sourceLength < 1 || !this.#take(PART.sourceSeq)) return 'its source is not as a leaf has it';
    if (!this.#takeSourceSeq() || !this.#take(PART.type)) return 'its source_seq is not as a leaf has it';
    this.typeAt = this.#at;
    this.typeLength = this.#run(NAME_FIRST_BYTES, NAME_BYTES, NAME_LENGTH_MAX);
    if (this.typeLength < 1 || !this.#take(PART.schema)) return 'its type is not as a leaf has it';
    this.schema = this.#decimal(SCHEMA_MAX);
    if (this.schema < 0 || !this.#take(PART.key)) return 'its schema is not as a leaf has it';
    this.keyAt = this.#at;
    this.keyLength = this.#string(KEY_BYTES_MAX);
    if (this.keyLength < 1 || !this.#take(PART.meta)) return 'its key is not as a leaf has it';
    return this.#takeMeta() ? null : 'its meta is not as a leaf has it';
  }

  #readBody(): string | null {
    const wrong = 'its body is not as a leaf has it';
    if (!this.#take(PART.body)) return wrong;
    if (this.#bytes[this.#at] !== UNDERSCORE) return this.#take(PART.json) && this.#isJson() ? null : wrong;
    if (this.#take(PART.base64)) return this.#isBase64() ? null : wrong;
    if (!this.#take(PART.sha256)) return wrong;
    this.form = BODY_FORMS.object;
    this.bodyAt = this.#at;
    this.bodyLength = this.#run(HEX_BYTES, HEX_BYTES, 64);
    if (this.bodyLength !== 64 || !this.#take(PART.bodySize)) return wrong;
    this.bodySize = this.#decimal(BODY_BYTES_MAX);
    return this.bodySize >= 0 && this.#take(PART.end) && this.#at === this.#end ? null : wrong;
  }

  #isJson(): boolean {
    this.form = BODY_FORMS.json;
    this.bodyAt = this.#at;
    this.bodyLength = this.#end - 1 - this.#at;
    if (this.bodyLength < 1 || this.bodyLength > BODY_INLINE_JSON_BYTES_MAX) return false;
    if (this.#bytes[this.#end - 1] !== BRACE_CLOSE) return false;
    return jsonBodyForm(this.#bytes.subarray(this.#at, this.#end - 1)) === 'json';
  }

  #isBase64(): boolean {
    this.form = BODY_FORMS.base64;
    this.bodyAt = this.#at;
    this.bodyLength = this.#end - PART.end.length - this.#at;
    if (this.bodyLength < 0) return false;
    this.#at += this.bodyLength;
    if (!this.#take(PART.end)) return false;
    const text = decodeUtf8(this.#bytes.subarray(this.bodyAt, this.bodyAt + this.bodyLength));
    const body = text === null ? null : fromBase64(text);
    return body !== null && body.length <= BODY_INLINE_BASE64_BYTES_MAX;
  }

  #take(part: Uint8Array): boolean {
    const { length } = part;
    const at = this.#at;
    const bytes = this.#bytes;
    if (at + length > this.#end) return false;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== part[i]) return false;
    this.#at = at + length;
    return true;
  }

  /** Takes digits without leading zeros; -1 for none, or more than `max`. */
  #decimal(max: number): number {
    let value = 0;
    const from = this.#at;
    let at = from;
    for (; at < this.#end && at - from < 17; at++) {
      const digit = this.#bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at === from || (at - from > 1 && this.#bytes[from] === 0x30) || value > max) return -1;
    this.#at = at;
    return value;
  }

  /** Takes bytes of a table, as many as follow each other; their number, or -1 for more than `max`. */
  #run(first: Uint8Array, rest: Uint8Array, max: number): number {
    const from = this.#at;
    let at = from;
    if (at < this.#end && first[this.#bytes[at]!] === 1) at++;
    else return -1;
    while (at < this.#end && rest[this.#bytes[at]!] === 1) at++;
    this.#at = at;
    return at - from <= max ? at - from : -1;
  }

  /** Takes a string up to its closing quote: only quote and backslash are ever escaped. Its length in the line. */
  #string(bytesMax: number): number {
    const bytes = this.#bytes;
    const from = this.#at;
    let at = from;
    let escapes = 0;
    let isAscii = true;
    for (; at < this.#end; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) break;
      if (byte < 0x20) return -1;
      if (byte >= 0x80) isAscii = false;
      if (byte !== BACKSLASH) continue;
      const next = bytes[++at];
      if (next !== QUOTE && next !== BACKSLASH) return -1;
      escapes++;
    }
    if (at >= this.#end || at - from - escapes > bytesMax) return -1;
    if (!isAscii && scanString(bytes, from, this.#end, false) !== at + 1) return -1;
    this.#at = at;
    return at - from;
  }

  #takeSourceSeq(): boolean {
    if (this.#bytes[this.#at] !== QUOTE) return this.#take(PART.null);
    this.#at++;
    if (this.#string(SOURCE_SEQ_BYTES_MAX) < 1) return false;
    this.#at++;
    return true;
  }

  #takeMeta(): boolean {
    if (this.#bytes[this.#at] === NULL_BYTE) return this.#take(PART.null);
    if (this.#bytes[this.#at] !== BRACE_OPEN) return false;
    const end = valueEnd(this.#bytes, this.#at, this.#end);
    if (end < 0 || end - this.#at > META_BYTES_MAX) return false;
    for (let at = this.#at; at < end; at++) if (this.#bytes[at]! < 0x20) return false;
    this.#at = end;
    return true;
  }

  #looksLike(at: number, shape: string): boolean {
    if (at + shape.length > this.#end) return false;
    for (let i = 0; i < shape.length; i++) {
      const byte = this.#bytes[at + i]!;
      const wanted = shape.charCodeAt(i);
      if (wanted === 0x78) {
        if (HEX_BYTES[byte] !== 1) return false;
      } else if (wanted === 0x64) {
        if (byte < 0x30 || byte > 0x39) return false;
      } else if (byte !== wanted) return false;
    }
    return true;
  }

  #isInstant(at: number): boolean {
    if (!this.#looksLike(at, INSTANT)) return false;
    const month = this.#two(at + 5);
    const day = this.#two(at + 8);
    return (
      month >= 1 &&
      month <= 12 &&
      day >= 1 &&
      day <= 31 &&
      this.#two(at + 11) <= 23 &&
      this.#two(at + 14) <= 59 &&
      this.#two(at + 17) <= 59
    );
  }

  #two(at: number): number {
    return (this.#bytes[at]! - 0x30) * 10 + this.#bytes[at + 1]! - 0x30;
  }
}

/** The fields of one leaf, copied out: for the few leaves that a check looks at one by one. */
export interface LeafFields {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
  readonly appendedAt: string;
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly type: string;
  readonly schema: number;
  readonly key: string;
  readonly form: BodyForm;
  /** The body's bytes; of an object null. */
  readonly body: Uint8Array | null;
}

/** Reads one leaf; null for bytes that are no leaf. */
export function parseLeaf(leaf: Uint8Array): LeafFields | null {
  const line = new LeafLineReader();
  if (line.read(leaf, 0, leaf.length) !== null) return null;
  const stored = leaf.slice(line.bodyAt, line.bodyAt + line.bodyLength);
  const body =
    line.form === BODY_FORMS.json
      ? stored
      : line.form === BODY_FORMS.base64
        ? fromBase64(decodeUtf8(stored) ?? '')
        : null;
  return {
    log: line.log,
    partition: line.partition,
    position: BigInt(line.position),
    appendedAt: line.text(line.appendedAtAt, INSTANT.length),
    id: line.text(line.idAt, UUID.length),
    tenant: line.text(line.tenantAt, line.tenantLength),
    source: line.text(line.sourceAt, line.sourceLength),
    type: line.text(line.typeAt, line.typeLength),
    schema: line.schema,
    key: line.text(line.keyAt, line.keyLength),
    form: line.form,
    body,
  };
}
