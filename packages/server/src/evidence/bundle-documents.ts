/** The parts of a bundle beside its records: heads with their proofs and anchors, windows, keys. */

import { type BundleWindow, formatKeysFile, formatWindowsFile } from '@evident/core/evidence/bundle-files.ts';
import {
  headPaths,
  KEYS_PATH,
  rotationPaths,
  timestampPath,
  WINDOWS_PATH,
  windowProofPath,
} from '@evident/core/evidence/bundle-layout.ts';
import { compareText } from '@evident/core/evidence/manifest.ts';
import { proveListed } from './anchoring.ts';
import type { WholeFile } from './bundle.ts';
import type { BundlePlan } from './bundle-plan.ts';
import { tileReader } from './hash-tiles.ts';
import { leafAt, proofAt } from './inclusion.ts';
import { type EvidenceDeps, HEADS_LOG, type HeadAnchor } from './ports.ts';
import { WINDOWS_LOG, type WindowAt } from './tenant-hours.ts';

/** Signed heads, the record that lists each, and who vouches for the head of heads/0. */
export async function* headFiles(deps: EvidenceDeps, plan: BundlePlan): AsyncGenerator<WholeFile> {
  const { top, topOrigin, trees } = plan;
  for (const { origin, head } of trees) {
    const paths = headPaths(origin, head.size);
    const { leaf, proof } = await proveListed(deps, head, top);
    yield { path: paths.checkpoint, bytes: head.note };
    yield { path: paths.leaf, bytes: leaf };
    yield { path: paths.proof, bytes: proof };
  }
  yield { path: headPaths(topOrigin, top.size).checkpoint, bytes: top.note };
  yield* anchorFiles(await deps.anchorsOf(top.epoch, top.size), topOrigin, top.size);
}

function* anchorFiles(anchors: readonly HeadAnchor[], origin: string, size: bigint): Generator<WholeFile> {
  const lines = anchors
    .filter(({ kind }) => kind === 'cosignature')
    .flatMap(({ bytes }) => new TextDecoder().decode(bytes).split('\n').slice(0, -1))
    .map((line) => Buffer.from(`${line}\n`))
    .sort(Buffer.compare);
  if (lines.length > 0) yield { path: headPaths(origin, size).cosignatures, bytes: Buffer.concat(lines) };
  const tokens = anchors.filter(({ kind }) => kind === 'timestamp');
  for (const { by, bytes } of tokens.toSorted((a, b) => compareText(a.by, b.by)))
    yield { path: timestampPath(by, size), bytes };
}

/** `windows.json` and the proofs of what it names; only of whole hours of a tenant. */
export async function* windowFiles(deps: EvidenceDeps, plan: BundlePlan): AsyncGenerator<WholeFile> {
  if (plan.windows === null) return;
  const { previous, windows, next } = plan.windows;
  const tree = plan.trees.find(({ log }) => log === WINDOWS_LOG);
  if (tree === undefined) throw new Error('a bundle of windows was planned without their tree');
  const read = tileReader(deps.tiles, { log: WINDOWS_LOG, partition: 0, epoch: tree.head.epoch });
  const all = [previous, ...windows, next].filter((window) => window !== null);
  for (const { position } of all)
    yield { path: windowProofPath(position), bytes: await proofAt(read, position, tree.head) };
  const named = (window: WindowAt | null): BundleWindow | null =>
    window === null
      ? null
      : { leaf: new TextDecoder().decode(window.leaf), proof: windowProofPath(window.position) };
  const file = {
    previous: named(previous),
    windows: windows.map((one) => named(one) as BundleWindow),
    next: named(next),
  };
  yield { path: WINDOWS_PATH, bytes: formatWindowsFile(file) };
}

/** `keys.json`, and each rotation up to the bundle's head with its proof. */
export async function* keyFiles(deps: EvidenceDeps, plan: BundlePlan): AsyncGenerator<WholeFile> {
  const { top, topOrigin, trees } = plan;
  const origins = [...new Set([topOrigin, ...trees.map(({ origin }) => origin)])].sort(compareText);
  const rotations = await deps.keys.rotations(top.size);
  for (const [at, { position, head }] of rotations.entries()) {
    const paths = rotationPaths(at + 1);
    const read = tileReader(deps.tiles, { log: HEADS_LOG, partition: 0, epoch: head.epoch });
    yield { path: paths.leaf, bytes: await leafAt(deps, HEADS_LOG, 0, position) };
    yield { path: paths.proof, bytes: await proofAt(read, position, head) };
  }
  const keys = await deps.keys.keysOf(origins, top.size);
  yield { path: KEYS_PATH, bytes: formatKeysFile({ keys, rotations: rotations.length }) };
}

/** A key of the installation that signs a tree at a size. */
export async function vkeyAt(
  deps: EvidenceDeps,
  origin: string,
  size: bigint,
  before: bigint,
): Promise<string> {
  const keys = await deps.keys.keysOf([origin], before);
  const found = keys.find(({ from, to }) => size >= from && (to === null || size <= to));
  if (found === undefined) throw new Error(`no key signs the size ${size} of ${origin}`);
  return found.vkey;
}
