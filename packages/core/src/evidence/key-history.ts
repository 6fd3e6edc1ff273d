/**
 * Which key signs the heads of a tree, from the one key K that a verifier holds: the vkey of `<name>/heads/0`. One
 * Ed25519 key signs every tree, each under its origin; a rotation replaces it from a size of each tree on.
 *
 *   key 0 ── rotation 1 ── key 1 ── rotation 2 ── key 2 …      a tree's sizes never shrink from one rotation to the next
 *
 * A verifier who holds a later key begins at the rotation to it: what was signed before, that key says nothing about.
 */

import { equalBytes } from '../bytes.ts';
import type { TreeHead } from '../checkpoint.ts';
import { formatVkey, type SignatureFunctions, type VerifierKey, verifierKey } from '../note.ts';
import { parseOrigin } from '../origin.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { SYSTEM_SOURCE, SYSTEM_TENANT } from '../record.ts';
import type { BundleKey } from './bundle-files.ts';
import { type KeyRotationText, openKeyRotation, ROTATION_TYPE, rotationId, treeOf } from './key-rotation.ts';
import type { LeafFields } from './leaf-line.ts';

export interface KeyHistory {
  /** Name of the installation. */
  readonly name: string;
  /** The newest key, under the name `<name>/heads/0`. */
  readonly newest: VerifierKey;
  /** Rotations that were followed, oldest first. */
  readonly steps: readonly KeyStep[];
  /** The key that signs the head of this size of this tree; null for a tree that is not of the installation, and below `floorOf`. */
  keyFor(origin: string, size: bigint): VerifierKey | null;
  /** Heads of this tree up to this size were signed before the key that the verifier holds; -1: none. */
  floorOf(origin: string): bigint;
}

/** A rotation that was followed. */
export interface KeyStep {
  readonly key: VerifierKey;
  /** The tree that its record stands in, and the last size of that which the key before signs. */
  readonly heads: { readonly origin: string; readonly size: bigint };
  /** Place of the record in that tree. */
  readonly position: bigint;
  readonly sizes: ReadonlyMap<string, bigint>;
}

/** The history of a key that was never replaced. */
export function singleKeyHistory(k: VerifierKey): Parsed<KeyHistory> {
  const origin = parseOrigin(k.name);
  if (origin === null || origin.log !== 'heads' || origin.partition !== 0) {
    return refuse(`the key is named ${k.name}; the one that a verifier holds is named <name>/heads/0`);
  }
  return accept(historyOf(origin.name, k, []));
}

/** A record `key.rotation` of heads/0, and the head, signed by the key before it, that it was proven under. */
export interface ProvenRotation {
  readonly leaf: LeafFields;
  readonly head: Pick<TreeHead, 'origin' | 'size'>;
}

/** A rotation as it stands in the log, its note not yet opened. */
export interface PlacedRotation {
  readonly position: bigint;
  readonly note: Uint8Array;
  /** The head of heads/0 that the record is proven under: the last one that the key before has signed. */
  readonly head: Pick<TreeHead, 'origin' | 'size'>;
}

/** The note of a leaf, if that is one of a record `key.rotation` as Evident writes it. */
export function rotationOfLeaf({ leaf, head }: ProvenRotation): Parsed<PlacedRotation> {
  const note = leaf.body;
  const isRotation =
    note !== null &&
    leaf.log === 'heads' &&
    leaf.partition === 0 &&
    leaf.type === ROTATION_TYPE &&
    leaf.schema === 0 &&
    leaf.source === SYSTEM_SOURCE &&
    leaf.tenant === SYSTEM_TENANT &&
    leaf.key === SYSTEM_TENANT &&
    leaf.id === rotationId(note);
  if (!isRotation) return refuse('the record is no key.rotation of Evident');
  return accept({ position: leaf.position, note, head });
}

/**
 * The history with one rotation more. That the note stands at that position, below a head that the newest key has
 * signed, is for the caller to know.
 * @returns refused when it does not follow from the newest key
 */
export async function followPlaced(
  history: KeyHistory,
  placed: PlacedRotation,
  signatures: SignatureFunctions,
): Promise<Parsed<KeyHistory>> {
  const opened = await openKeyRotation(placed.note, signatures);
  if (!opened.ok) return opened;
  const wrong = refuteStep(history, opened.value, placed);
  if (wrong !== null) return refuse(wrong);
  const base = history.steps.length === 0 ? history.newest : baseOf(history);
  return accept(historyOf(history.name, base, [...history.steps, stepOf(opened.value, placed)], history));
}

/**
 * The history from a later key on: of a verifier who holds that one, and not the first.
 * @param placed the rotation that hands over to it; the new key has signed it
 */
export async function joinHistory(
  k: VerifierKey,
  placed: PlacedRotation,
  signatures: SignatureFunctions,
): Promise<Parsed<{ history: KeyHistory; old: VerifierKey }>> {
  const opened = await openKeyRotation(placed.note, signatures);
  if (!opened.ok) return opened;
  const { old, next } = opened.value;
  const before = singleKeyHistory(old);
  if (!before.ok) return before;
  if (formatVkey(next) !== formatVkey(k))
    return refuse('the rotation does not hand over to the key that you hold');
  const wrong = refuteStep(before.value, opened.value, placed);
  if (wrong !== null) return refuse(wrong);
  const step = stepOf(opened.value, placed);
  return accept({ history: historyOf(before.value.name, old, [step], null, 1), old });
}

/**
 * The keys of a tree and the sizes that each signs, oldest first; a key that signs no size of it is left out.
 * @param before rotations are told of that were over below this size of heads/0; null: all
 */
export function keysOfTree(history: KeyHistory, origin: string, before: bigint | null): BundleKey[] {
  const keys: BundleKey[] = [];
  let from = 0n;
  let key = namedAs(baseOf(history), origin);
  for (const step of history.steps) {
    const bound = boundOf(history.name, step, origin);
    if (bound === null || (before !== null && step.heads.size >= before)) break;
    if (bound >= from) {
      keys.push({ origin, vkey: formatVkey(key), from, to: bound });
      from = bound + 1n;
    }
    key = namedAs(step.key, origin);
  }
  return [...keys, { origin, vkey: formatVkey(key), from, to: null }];
}

const bases = new WeakMap<KeyHistory, VerifierKey>();

function baseOf(history: KeyHistory): VerifierKey {
  return bases.get(history) as VerifierKey;
}

function namedAs({ algorithm, publicKey }: VerifierKey, origin: string): VerifierKey {
  return verifierKey(origin, algorithm, publicKey);
}

function stepOf({ next, sizes }: KeyRotationText, { head, position }: PlacedRotation): KeyStep {
  return { key: next, sizes, position, heads: { origin: head.origin, size: head.size } };
}

/**
 * The last size of a tree that the key before a rotation signs; -1 if it signs none of it, null if it signs all.
 * A tree of the log heads that is not listed, and older than the one with the record, had ended before.
 */
export function boundOf(
  name: string,
  { heads, sizes }: Pick<KeyStep, 'heads' | 'sizes'>,
  origin: string,
): bigint | null {
  if (origin === heads.origin) return heads.size;
  const listed = sizes.get(origin);
  if (listed !== undefined) return listed;
  const [tree, top] = [treeOf(name, origin), treeOf(name, heads.origin)];
  const isEnded = tree?.log === 'heads' && top !== null && tree.epoch < top.epoch;
  return isEnded ? null : -1n;
}

/** @param hidden steps at the beginning whose key before them the verifier does not hold */
function historyOf(
  name: string,
  base: VerifierKey,
  steps: readonly KeyStep[],
  before: KeyHistory | null = null,
  hidden = 0,
): KeyHistory {
  const floorOf = (origin: string): bigint => {
    if (before !== null) return before.floorOf(origin);
    const step = steps[hidden - 1];
    return step === undefined ? -1n : (boundOf(name, step, origin) ?? 2n ** 63n);
  };
  const history: KeyHistory = {
    name,
    newest: steps.at(-1)?.key ?? base,
    steps,
    floorOf,
    keyFor: (origin, size) => {
      if (treeOf(name, origin) === null || size <= floorOf(origin)) return null;
      let key = base;
      for (const step of steps) {
        const bound = boundOf(name, step, origin);
        if (bound === null || size <= bound) break;
        key = step.key;
      }
      return namedAs(key, origin);
    },
  };
  bases.set(history, base);
  return history;
}

/** Why a rotation does not follow, or null. */
function refuteStep(
  history: KeyHistory,
  { old, next, sizes }: KeyRotationText,
  { head, position }: PlacedRotation,
): string | null {
  const tree = treeOf(history.name, head.origin);
  if (tree?.log !== 'heads' || parseOrigin(head.origin)?.partition !== 0)
    return `the rotation stands in ${head.origin}, which is no log heads of ${history.name}`;
  if (formatVkey(old) !== formatVkey(history.newest))
    return 'the rotation does not follow from the key that was in use';
  const used = [baseOf(history), ...history.steps.map(({ key }) => key)];
  if (used.some(({ publicKey }) => equalBytes(publicKey, next.publicKey)))
    return 'the rotation hands over to a key that was in use before';
  if (position >= head.size) return 'the head does not include the record of the rotation';
  if (sizes.has(head.origin)) return 'the rotation lists the tree that its record stands in';
  const last = history.steps.at(-1);
  return last === undefined ? null : refuteOrder(history.name, last, sizes, head, position);
}

function refuteOrder(
  name: string,
  last: KeyStep,
  sizes: ReadonlyMap<string, bigint>,
  head: Pick<TreeHead, 'origin' | 'size'>,
  position: bigint,
): string | null {
  const { heads } = last;
  if (head.origin === heads.origin ? position < heads.size : !isLaterTree(name, heads.origin, head.origin))
    return 'the rotation stands before the one that it follows';
  for (const [origin, size] of last.sizes)
    if ((sizes.get(origin) ?? -1n) < size)
      return `the rotation goes back behind the one before it in ${origin}`;
  const own = sizes.get(heads.origin);
  if (own !== undefined && own < heads.size)
    return `the rotation goes back behind the one before it in ${heads.origin}`;
  return null;
}

function isLaterTree(name: string, before: string, origin: string): boolean {
  return (treeOf(name, before)?.epoch ?? 0) < (treeOf(name, origin)?.epoch ?? 0);
}
