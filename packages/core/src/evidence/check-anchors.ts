/** What others say of the head of a bundle: tokens of time stamp authorities, and cosignatures of witnesses. */

import { concatBytes, decodeUtf8, encodeUtf8 } from '../bytes.ts';
import {
  type CosignatureFunctions,
  type CosignerKey,
  parseCosignerVkey,
  verifyCosignature,
} from '../cosignature.ts';
import { NOTE_BYTES_MAX, type Note, parseNote } from '../note.ts';
import { headPaths, parseBundlePath } from './bundle-layout.ts';
import type { CheckContext, CheckedHead } from './check-heads.ts';
import type { CheckedCosignature, CheckedTimestamp } from './check-report.ts';

const TOKEN_BYTES_MAX = 1024 * 1024;

/**
 * Checks an RFC 3161 reply over some data: signature, certificate chain to a pinned root, imprint.
 * @returns the time in microseconds since the Unix epoch, and who says so
 */
export type TimestampCheck = (
  reply: Uint8Array,
  data: Uint8Array,
) => Promise<
  | { readonly ok: true; readonly at: bigint; readonly authority: string }
  | { readonly ok: false; readonly verdict: 'tampered' | 'not checked'; readonly reason: string }
>;

/** Checks every token of the bundle, if there is a check. @returns the good ones, and how many lie there */
export async function checkTimestamps(
  { files, findings, manifest }: CheckContext,
  head: CheckedHead,
  check: TimestampCheck | undefined,
): Promise<{ good: CheckedTimestamp[]; present: number }> {
  const good: CheckedTimestamp[] = [];
  let present = 0;
  for (const { path } of manifest.files) {
    const parsed = parseBundlePath(path);
    // A token over another head is called for by nothing, and reported as such.
    if (parsed?.kind !== 'timestamp' || parsed.size !== head.size) continue;
    present++;
    const reply = await files.whole(path, 'timestamp', TOKEN_BYTES_MAX);
    if (reply === null || check === undefined) continue;
    const result = await check(reply, head.note);
    if (result.ok) good.push({ authority: result.authority, at: result.at });
    else if (result.verdict === 'tampered') findings.tampered(path, 'timestamp', result.reason);
    else findings.notChecked(path, 'timestamp', result.reason);
  }
  if (check !== undefined && present === 0) {
    findings.notChecked('timestamps/', 'timestamp', 'the bundle holds no token over its head');
  }
  return { good, present };
}

export interface WitnessPolicy {
  readonly witnesses: readonly CosignerKey[];
  /** How many of them must have cosigned. */
  readonly quorum: number;
}

/** @throws RangeError for a key that is none, and for a quorum that the witnesses cannot reach */
export function witnessPolicy(vkeys: readonly { vkey: string }[], quorum: number | undefined): WitnessPolicy {
  const witnesses = vkeys.map(({ vkey }) => {
    const key = parseCosignerVkey(vkey);
    if (!key.ok) throw new RangeError(`a witness: ${key.reason}`);
    return key.value;
  });
  // Two names of one key are one witness, and would be counted twice.
  const distinct = new Set(witnesses.map(({ publicKey }) => publicKey.toHex()));
  if (distinct.size !== witnesses.length) throw new RangeError('a witness is named twice');
  const wanted = quorum ?? witnesses.length;
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > witnesses.length) {
    throw new RangeError(`a quorum of ${wanted} cannot be reached with ${witnesses.length} witnesses`);
  }
  return { witnesses, quorum: wanted };
}

/** @returns the good cosignatures of the witnesses that were named, and how many lines lie there */
export async function checkCosignatures(
  { files, findings, signatures }: CheckContext,
  head: CheckedHead,
  { witnesses, quorum }: WitnessPolicy,
): Promise<{ good: CheckedCosignature[]; present: number }> {
  const path = headPaths(head.origin, head.size).cosignatures;
  const good: CheckedCosignature[] = [];
  let note: Note | null = null;
  if (files.lists(path)) {
    const lines = await files.whole(path, 'cosignature', NOTE_BYTES_MAX);
    note = lines === null ? null : parseLines(head.text, lines);
    if (lines !== null && note === null) {
      findings.tampered(path, 'cosignature', 'these are no signature lines in their order, each once');
    }
  }
  for (const key of note === null ? [] : witnesses) {
    const result = await cosignatureOf(key, note!, signatures);
    if (result === 'bad')
      findings.tampered(path, 'cosignature', `the cosignature of ${key.name} is not valid`);
    else if (result !== null) good.push({ witness: key.name, at: result });
  }
  if (good.length < quorum) {
    const detail = `${good.length} of the ${quorum} cosignatures that were asked for are there`;
    findings.notChecked(path, 'cosignature', detail);
  }
  return { good, present: note?.signatures.length ?? 0 };
}

/** One line a signature, sorted by their bytes, none twice. */
function parseLines(text: string, bytes: Uint8Array): Note | null {
  const lines = decodeUtf8(bytes);
  if (lines === null) return null;
  const note = parseNote(concatBytes([encodeUtf8(`${text}\n`), bytes]));
  if (!note.ok || note.value.text !== text) return null;
  const list = lines.split('\n').slice(0, -1).map(encodeUtf8);
  const sorted = list.every((line, i) => i === 0 || compareBytes(list[i - 1]!, line) < 0);
  return sorted ? note.value : null;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

/** The newest time at which a witness cosigned; null: it did not. One bad line of its key spoils all of them. */
async function cosignatureOf(
  key: CosignerKey,
  note: Note,
  signatures: CosignatureFunctions,
): Promise<bigint | 'bad' | null> {
  let at: bigint | null = null;
  for (const line of note.signatures) {
    if (line.name !== key.name || line.keyId !== key.keyId) continue;
    const result = await verifyCosignature(key, note.text, line.signature, signatures);
    if (!result.ok) return 'bad';
    if (at === null || result.value.timestamp > at) at = result.value.timestamp;
  }
  return at;
}
