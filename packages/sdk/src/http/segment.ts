/**
 * The file format of the disk buffer: a mark, then frames.
 *
 *   file    "EVIDENT BUFFER 1\n", then frames to its end
 *   frame   length of the envelope, uint32 little-endian · first 8 bytes of SHA-256(length ‖ envelope) · envelope
 *
 * The checksum covers the length, so that bytes which were never written whole are not taken for a frame.
 */

import { createHash } from 'node:crypto';
import { BODY_BYTES_MAX } from '@evident/core/record.ts';

export const MARK: Uint8Array = new TextEncoder().encode('EVIDENT BUFFER 1\n');
const LENGTH_BYTES = 4;
const CHECK_BYTES = 8;
export const FRAME_HEAD_BYTES: number = LENGTH_BYTES + CHECK_BYTES;
/** Largest envelope: id, type, key and meta are far below the room that is left for them. */
const ENVELOPE_BYTES_MAX = BODY_BYTES_MAX + 64 * 1024;

export function frameHead(envelope: Uint8Array): Uint8Array {
  const head = new Uint8Array(FRAME_HEAD_BYTES);
  new DataView(head.buffer).setUint32(0, envelope.length, true);
  head.set(checkOf(head.subarray(0, LENGTH_BYTES), envelope), LENGTH_BYTES);
  return head;
}

function checkOf(length: Uint8Array, envelope: Uint8Array): Uint8Array {
  return createHash('sha256').update(length).update(envelope).digest().subarray(0, CHECK_BYTES);
}

export type Frame =
  | { readonly kind: 'frame'; readonly envelope: Uint8Array; readonly end: number }
  /** More bytes are needed, up to `end`. */
  | { readonly kind: 'short'; readonly end: number }
  | { readonly kind: 'broken' };

/** The frame at an offset of `bytes`; its envelope is a view of them. */
export function readFrame(bytes: Uint8Array, at: number): Frame {
  const body = at + FRAME_HEAD_BYTES;
  if (body > bytes.length) return { kind: 'short', end: body };
  const length = new DataView(bytes.buffer, bytes.byteOffset + at, LENGTH_BYTES).getUint32(0, true);
  if (length === 0 || length > ENVELOPE_BYTES_MAX) return { kind: 'broken' };
  const end = body + length;
  if (end > bytes.length) return { kind: 'short', end };
  const envelope = bytes.subarray(body, end);
  const check = checkOf(bytes.subarray(at, at + LENGTH_BYTES), envelope);
  const isWhole = check.every((byte, index) => byte === bytes[at + LENGTH_BYTES + index]);
  return isWhole ? { kind: 'frame', envelope, end } : { kind: 'broken' };
}

/** How far a whole file can be read, and how many frames that is. `end` is 0 for a file without its mark. */
export function scanSegment(bytes: Uint8Array): { readonly end: number; readonly events: number } {
  if (!MARK.every((byte, index) => byte === bytes[index])) return { end: 0, events: 0 };
  let end = MARK.length;
  let events = 0;
  for (let frame = readFrame(bytes, end); frame.kind === 'frame'; frame = readFrame(bytes, end)) {
    end = frame.end;
    events++;
  }
  return { end, events };
}
