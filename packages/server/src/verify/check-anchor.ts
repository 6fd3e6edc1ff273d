/** One token or cosignature, held against the head that it is stored for, by keys and roots that the operator declared. */

import { type CosignatureFunctions, verifyCosignature } from '@evident/core/cosignature.ts';
import type { TimestampCheck } from '@evident/core/evidence/check-anchors.ts';
import { parseNote } from '@evident/core/note.ts';
import { parseCosignatureLines } from '@evident/core/tlog-witness.ts';
import type { WitnessPolicy } from '../anchor/witness-policy.ts';
import type { HeadAnchor } from '../evidence/ports.ts';

/** By whom anchors are believed. */
export interface AnchorChecks {
  /** By name of the authority. */
  readonly timestamps: ReadonlyMap<string, TimestampCheck>;
  readonly witnesses: Pick<WitnessPolicy, 'quorum' | 'list'> | null;
  readonly signatures: CosignatureFunctions;
}

export type AnchorVerdict =
  | {
      readonly ok: true /** Microseconds since the Unix epoch, by the clock of whoever made it. */;
      readonly at: bigint;
    }
  | { readonly ok: false; readonly verdict: 'tampered' | 'not checked'; readonly reason: string };

/** @param note the signed note of the head, as it was stored */
export async function checkAnchor(
  checks: AnchorChecks,
  { kind, by, bytes }: HeadAnchor,
  note: Uint8Array,
): Promise<AnchorVerdict> {
  if (kind === 'cosignature') return checkCosignature(checks, by, bytes, note);
  const check = checks.timestamps.get(by);
  if (check === undefined)
    return notChecked(`no authority of that name is declared, so that no root is known for it`);
  try {
    return await check(bytes, note);
  } catch (error) {
    return notChecked(`the check failed: ${(error as Error).message}`);
  }
}

async function checkCosignature(
  { witnesses, signatures }: AnchorChecks,
  by: string,
  bytes: Uint8Array,
  note: Uint8Array,
): Promise<AnchorVerdict> {
  const key = witnesses?.list.find((one) => one.key.name === by)?.key;
  if (key === undefined)
    return notChecked('no witness of that name is declared, so that no key is known for it');
  const parsed = parseNote(note);
  if (!parsed.ok) return tampered(`the head that it is over is no signed note: ${parsed.reason}`);
  const { text } = parsed.value;
  const lines = parseCosignatureLines(text, bytes);
  if (!lines.ok) return tampered(lines.reason);
  const own = lines.value.filter(({ name, keyId }) => name === key.name && keyId === key.keyId);
  if (own.length === 0) return tampered('it holds no signature line of the key that is declared');
  if (signatures[key.algorithm] === undefined) return notChecked(`${key.algorithm} cannot be checked here`);
  let newest = 0n;
  for (const { signature } of own) {
    const verified = await verifyCosignature(key, text, signature, signatures);
    if (!verified.ok) return tampered(verified.reason);
    if (verified.value.timestamp > newest) newest = verified.value.timestamp;
  }
  return { ok: true, at: newest * 1_000_000n };
}

function tampered(reason: string): AnchorVerdict {
  return { ok: false, verdict: 'tampered', reason };
}

function notChecked(reason: string): AnchorVerdict {
  return { ok: false, verdict: 'not checked', reason };
}
