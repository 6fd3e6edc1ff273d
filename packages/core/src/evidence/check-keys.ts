/** keys.json, and the rotations that lead from K, the key that the verifier holds, to the one in use. */

import { decodeUtf8 } from '../bytes.ts';
import { parseTreeHead } from '../checkpoint.ts';
import { formatVkey, parseNote, type SignatureFunctions, signatureCheckOf, verifierKey } from '../note.ts';
import { refuse } from '../parsed.ts';
import { LEAF_BYTES_MAX } from '../record.ts';
import { hashLeaf } from '../sha256.ts';
import { parseTlogProof, TLOG_PROOF_BYTES_MAX, verifyTlogProofWith } from '../tlog-proof.ts';
import { type BundleKey, type KeysFile, parseKeysFile } from './bundle-files.ts';
import { KEYS_PATH, rotationPaths } from './bundle-layout.ts';
import type { BundleReader } from './bundle-reader.ts';
import type { CheckFindings } from './check-report.ts';
import {
  followPlaced,
  joinHistory,
  type KeyHistory,
  type PlacedRotation,
  rotationOfLeaf,
} from './key-history.ts';
import { parseLeaf } from './leaf-line.ts';
import type { BundleManifest } from './manifest.ts';

const KEYS_BYTES_MAX = 64 * 1024 * 1024;

export interface KeyCheckDeps {
  readonly manifest: BundleManifest;
  readonly files: BundleReader;
  readonly findings: CheckFindings;
  readonly signatures: SignatureFunctions;
}

/** @param k the history of K alone. @returns the history through all rotations; null after a finding */
export async function checkKeys(deps: KeyCheckDeps, k: KeyHistory): Promise<KeyHistory | null> {
  const { files, findings } = deps;
  const bytes = await files.whole(KEYS_PATH, 'key', KEYS_BYTES_MAX);
  if (bytes === null) return null;
  const file = parseKeysFile(bytes);
  if (!file.ok) {
    findings.tampered(KEYS_PATH, 'key', file.reason);
    return null;
  }
  const list: ReadRotation[] = [];
  for (let nth = 1; nth <= file.value.rotations; nth++) {
    const rotation = await readRotation(deps, nth);
    if (rotation === null) return null;
    list.push(rotation);
  }
  // Of a verifier who holds a later key: the rotation to it is where his knowledge begins.
  const own = list.findIndex(({ vkeys }) => vkeys[1] === formatVkey(k.newest));
  let history = k;
  for (const rotation of list.slice(Math.max(own, 0))) {
    const next = await checkRotation(deps, history, rotation, own >= 0 && rotation === list[own]);
    if (next === null) return null;
    history = next;
  }
  const wrong = refuteKeys(file.value, history, deps.manifest);
  if (wrong !== null) findings.tampered(KEYS_PATH, 'key', wrong);
  const isKnown = refuteKnown(history, deps.manifest);
  if (isKnown !== null) findings.notChecked(KEYS_PATH, 'key', isKnown);
  return wrong === null && isKnown === null ? history : null;
}

interface ReadRotation {
  readonly paths: ReturnType<typeof rotationPaths>;
  readonly leaf: Uint8Array;
  readonly proof: Uint8Array;
  readonly placed: PlacedRotation;
  /** Of the old key and the new one, as the note names them: nothing of it is verified yet. */
  readonly vkeys: readonly string[];
}

/** The files of one rotation, nothing of which is verified but their form. */
async function readRotation({ files, findings }: KeyCheckDeps, nth: number): Promise<ReadRotation | null> {
  const paths = rotationPaths(nth);
  const leaf = await files.whole(paths.leaf, 'key', LEAF_BYTES_MAX);
  const proof = await files.whole(paths.proof, 'key', TLOG_PROOF_BYTES_MAX);
  if (leaf === null || proof === null) return null;
  const head = headOfProof(proof);
  if (head === null) {
    findings.tampered(paths.proof, 'key', 'it is no proof under a head of the log heads');
    return null;
  }
  const fields = parseLeaf(leaf);
  const placed = fields === null ? refuse('it is no leaf') : rotationOfLeaf({ leaf: fields, head });
  if (!placed.ok) {
    findings.tampered(paths.leaf, 'key', placed.reason);
    return null;
  }
  const vkeys = (decodeUtf8(placed.value.note) ?? '').split('\n').slice(1, 3);
  return { paths, leaf, proof, placed: placed.value, vkeys };
}

/**
 * One rotation: its record is in heads/0, below a head that the key before it has signed.
 * @param isOwn it hands over to the key that the verifier holds, who knows none before: that key has signed it, too
 */
async function checkRotation(
  { findings, signatures }: KeyCheckDeps,
  history: KeyHistory,
  { paths, leaf, proof, placed }: ReadRotation,
  isOwn: boolean,
): Promise<KeyHistory | null> {
  const { origin, size } = placed.head;
  const joined = isOwn ? await joinHistory(history.newest, placed, signatures) : null;
  if (joined !== null && !joined.ok) {
    findings.tampered(paths.leaf, 'key', joined.reason);
    return null;
  }
  const old = joined === null ? history.keyFor(origin, size) : joined.value.old;
  const key = old === null ? null : verifierKey(origin, old.algorithm, old.publicKey);
  const proven =
    key === null
      ? refuse(`${origin} is no log heads of ${history.name}`)
      : await verifyTlogProofWith(proof, hashLeaf(leaf), [signatureCheckOf(key, signatures)], origin);
  if (!proven.ok) {
    findings.tampered(paths.proof, 'key', proven.reason);
    return null;
  }
  if (placed.position !== proven.value.index) {
    findings.tampered(paths.leaf, 'key', 'the leaf of the rotation is not the one at its place');
    return null;
  }
  if (joined !== null) return joined.value.history;
  const next = await followPlaced(history, placed, signatures);
  if (next.ok) return next.value;
  findings.tampered(paths.leaf, 'key', next.reason);
  return null;
}

/** The head that a proof names, before anything of it is verified: which key it needs depends on it. */
function headOfProof(bytes: Uint8Array): { origin: string; size: bigint } | null {
  const proof = parseTlogProof(bytes);
  const note = proof.ok ? parseNote(proof.value.treeHead) : proof;
  const head = note.ok ? parseTreeHead(note.value.text) : note;
  return head.ok ? { origin: head.value.origin, size: head.value.size } : null;
}

/** Whether the key that the verifier holds speaks of the heads of the bundle: if not, why. */
function refuteKnown(history: KeyHistory, { head, trees }: BundleManifest): string | null {
  const before = [head, ...trees].find(({ origin, size }) => size <= history.floorOf(origin));
  if (before === undefined) return null;
  return `the head of ${before.origin} at size ${before.size} was signed before the rotation to the key that you hold: check it with the first key`;
}

/** Why a list of keys is not the one that the history gives for the trees of the bundle; null if it is. */
function refuteKeys({ keys }: KeysFile, history: KeyHistory, { head, trees }: BundleManifest): string | null {
  const sizes = new Map([
    [head.origin, head.size],
    ...trees.map(({ origin, size }) => [origin, size] as const),
  ]);
  const byOrigin = new Map<string, BundleKey[]>();
  for (const key of keys) {
    if (!sizes.has(key.origin)) return `it lists a key of ${key.origin}, which is no tree of the bundle`;
    const own = byOrigin.get(key.origin);
    if (own === undefined) byOrigin.set(key.origin, [key]);
    else own.push(key);
  }
  for (const origin of sizes.keys()) {
    const own = byOrigin.get(origin);
    if (own === undefined) return `it lists no key of ${origin}`;
    for (const [i, key] of own.entries()) {
      const from = i === 0 ? 0n : (own[i - 1]!.to ?? -2n) + 1n;
      const isLast = i === own.length - 1;
      if (key.from !== from || (key.to === null) !== isLast) {
        return `the keys of ${origin} do not follow each other from size 0 on`;
      }
      // What was signed before the key that the verifier holds, that key says nothing about.
      if (key.to !== null && key.to <= history.floorOf(origin)) continue;
      if (!isKeyOf(history, key)) return `a key of ${origin} is not the one that K leads to`;
    }
  }
  return null;
}

function isKeyOf(history: KeyHistory, { origin, vkey, from, to }: BundleKey): boolean {
  const signs = (size: bigint): boolean => {
    const key = history.keyFor(origin, size);
    return key !== null && formatVkey(key) === vkey;
  };
  // Behind its last size another key must sign, or `to` could be any number.
  return signs(from) && (to === null || (signs(to) && !signs(to + 1n)));
}
