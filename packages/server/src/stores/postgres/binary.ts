/**
 * PostgreSQL's binary arrays. `pg` sends a Buffer parameter as binary, so arrays encoded here spare both sides
 * the text form, in which bytea doubles its size and every element is quoted and parsed.
 *
 * Array: int32 dimensions (1), int32 has-null, uint32 element type, int32 length, int32 lower bound (1), then per
 * element int32 byte length (-1 for null) and the bytes.
 */

export const OID = { bool: 16, bytea: 17, int8: 20, int2: 21, int4: 23, text: 25, uuid: 2950 } as const;

const HEADER_BYTES = 20;

function startArray(oid: number, count: number, bytes: number, hasNull: boolean): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + bytes);
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(hasNull ? 1 : 0, 4);
  buffer.writeUInt32BE(oid, 8);
  buffer.writeInt32BE(count, 12);
  buffer.writeInt32BE(1, 16);
  return buffer;
}

export function int4Array(values: ArrayLike<number>): Buffer {
  const buffer = startArray(OID.int4, values.length, values.length * 8, false);
  let at = HEADER_BYTES;
  for (let i = 0; i < values.length; i++) {
    buffer.writeInt32BE(4, at);
    buffer.writeInt32BE(values[i], at + 4);
    at += 8;
  }
  return buffer;
}

export function int2Array(values: ArrayLike<number>): Buffer {
  const buffer = startArray(OID.int2, values.length, values.length * 6, false);
  let at = HEADER_BYTES;
  for (let i = 0; i < values.length; i++) {
    buffer.writeInt32BE(2, at);
    buffer.writeInt16BE(values[i], at + 4);
    at += 6;
  }
  return buffer;
}

export function int8Array(values: readonly (bigint | null)[]): Buffer {
  const nulls = values.reduce((count, value) => count + (value === null ? 1 : 0), 0);
  const buffer = startArray(
    OID.int8,
    values.length,
    values.length * 4 + (values.length - nulls) * 8,
    nulls > 0,
  );
  let at = HEADER_BYTES;
  for (const value of values) {
    buffer.writeInt32BE(value === null ? -1 : 8, at);
    at += 4;
    if (value !== null) at = buffer.writeBigInt64BE(value, at);
  }
  return buffer;
}

export function boolArray(values: readonly boolean[]): Buffer {
  const buffer = startArray(OID.bool, values.length, values.length * 5, false);
  let at = HEADER_BYTES;
  for (const value of values) {
    buffer.writeInt32BE(1, at);
    buffer[at + 4] = value ? 1 : 0;
    at += 5;
  }
  return buffer;
}

/** bytea[] or uuid[]. */
export function bytesArray(oid: number, values: readonly (Uint8Array | null)[]): Buffer {
  let bytes = 0;
  let hasNull = false;
  for (const value of values) {
    bytes += 4 + (value === null ? 0 : value.length);
    if (value === null) hasNull = true;
  }
  const buffer = startArray(oid, values.length, bytes, hasNull);
  let at = HEADER_BYTES;
  for (const value of values) {
    at = buffer.writeInt32BE(value === null ? -1 : value.length, at);
    if (value !== null) {
      buffer.set(value, at);
      at += value.length;
    }
  }
  return buffer;
}

export function textArray(values: readonly (string | null)[]): Buffer {
  let bytes = 0;
  let hasNull = false;
  for (const value of values) {
    bytes += 4 + (value === null ? 0 : Buffer.byteLength(value));
    if (value === null) hasNull = true;
  }
  const buffer = startArray(OID.text, values.length, bytes, hasNull);
  let at = HEADER_BYTES;
  for (const value of values) {
    if (value === null) {
      at = buffer.writeInt32BE(-1, at);
    } else {
      const length = buffer.write(value, at + 4);
      buffer.writeInt32BE(length, at);
      at += 4 + length;
    }
  }
  return buffer;
}
