/** Makes whole bundles of a fixture installation, as a map from path to bytes; and sources over such maps. */

import { concatBytes, decodeUtf8, encodeUtf8, toHex } from '../bytes.ts';
import { formatVkey } from '../note.ts';
import type { LogRecord } from '../record.ts';
import { sha256 } from '../sha256.ts';
import { formatKeysFile, formatWindowsFile } from './bundle-files.ts';
import {
  FIXTURE_NAME,
  type FixtureInstallation,
  type FixtureTree,
  fixtureToken,
  fixtureWitness,
  verifierKeyOf,
} from './bundle-fixture.ts';
import {
  bodyPath,
  headPaths,
  recordProofPath,
  rotationPaths,
  timestampPath,
  treeFolder,
  windowProofPath,
} from './bundle-layout.ts';
import type { BundleSource } from './bundle-source.ts';
import {
  type BundleManifest,
  type BundleScope,
  type BundleTree,
  compareText,
  formatManifest,
} from './manifest.ts';

export type BundleFiles = Map<string, Uint8Array>;

export interface MakeBundleOptions {
  readonly scope: BundleScope;
  readonly proofs: 'each' | 'tiles';
  /** Which of the signed heads of heads/0, counted from the newest; default 0. */
  readonly age?: number;
  /** Seeds of witnesses that cosigned. */
  readonly witnesses?: readonly number[];
  /** Whether there is a token. */
  readonly token?: boolean;
}

export type ManifestBase = Omit<BundleManifest, 'files'>;

/** Adds manifest.json over the other files, as an attacker would do it too. */
export function withManifest(files: BundleFiles, base: ManifestBase): BundleFiles {
  const rest = [...files].filter(([path]) => path !== 'manifest.json');
  rest.sort(([a], [b]) => compareText(a, b));
  const manifest = formatManifest({
    ...base,
    files: rest.map(([path, bytes]) => ({ path, size: BigInt(bytes.length), sha256: toHex(sha256(bytes)) })),
  });
  return new Map([...rest, ['manifest.json', manifest]]);
}

/** The whole files of a bundle, as an exporter must write them. */
export async function makeBundle(
  installation: FixtureInstallation,
  options: MakeBundleOptions,
): Promise<{ files: BundleFiles; base: ManifestBase }> {
  const files: BundleFiles = new Map();
  const { scope, proofs, age = 0 } = options;
  const headSize = installation.headSizes.at(-1 - age)!;
  const trees: BundleTree[] = [];
  const lines: Uint8Array[] = [];
  const ids = new Map<string, number>();
  for (const tree of installation.audit) {
    const size = installation.listedSize(tree, headSize);
    const chosen = tree.records.slice(0, size).filter((record) => isOfScope(installation, record, scope));
    if (chosen.length === 0) continue;
    trees.push({
      origin: tree.origin,
      log: 'audit',
      partition: tree.partition,
      epoch: 0,
      size: BigInt(size),
    });
    for (const record of chosen) {
      const position = Number(record.position);
      lines.push(tree.leaves[position]!, Uint8Array.of(0x0a));
      if (record.body.form === 'object') {
        const digest = toHex(record.body.sha256);
        files.set(bodyPath(digest), installation.bodies.get(digest)!);
      }
      const nth = (ids.get(record.id) ?? 0) + 1;
      ids.set(record.id, nth);
      if (proofs === 'each') files.set(recordProofPath(record.id, nth), await tree.proof(position, size));
    }
    if (proofs === 'tiles') addTiles(files, tree, chosen, size);
  }
  if (scope.kind === 'tenant-hours') trees.push(await addWindows(files, installation, scope, headSize));
  files.set('records.ndjson', concatBytes(lines));
  for (const { origin, size } of trees) await addHead(files, installation, origin, Number(size), headSize);
  addHeadsHead(files, installation, headSize, options);
  await addKeys(files, installation, trees, headSize);
  files.set('README.txt', encodeUtf8('An evidence bundle.\n'));
  const head = { origin: installation.heads.origin, size: BigInt(headSize) };
  const records = BigInt(lines.length / 2);
  const base: ManifestBase = { name: FIXTURE_NAME, head, scope, records, proofs, trees };
  return { files: withManifest(files, base), base };
}

function isOfScope(
  { windowsOf, windows }: FixtureInstallation,
  record: LogRecord,
  scope: BundleScope,
): boolean {
  if (scope.kind === 'record') return record.id === scope.id;
  if (scope.kind === 'selection') {
    const { tenant, type } = scope.filter;
    return (tenant === undefined || record.tenant === tenant) && (type === undefined || record.type === type);
  }
  if (record.tenant !== scope.tenant) return false;
  return (windowsOf.get(scope.tenant) ?? []).some(({ hour, position }) => {
    if (hour < scope.from || hour > scope.to) return false;
    const { ranges } = JSON.parse(decodeUtf8(bodyOf(windows, position))!) as { ranges: [string, string][] };
    const [from, to] = ranges[record.partition]!;
    return record.position >= BigInt(from) && record.position < BigInt(to);
  });
}

function bodyOf(tree: FixtureTree, position: number): Uint8Array {
  const { body } = tree.records[position]!;
  if (body.form === 'object') throw new Error('a window has its body in the leaf');
  return body.bytes;
}

function addTiles(files: BundleFiles, tree: FixtureTree, chosen: readonly LogRecord[], size: number): void {
  const folder = treeFolder(tree.log, tree.partition, 0);
  files.set(`${folder}checkpoint`, tree.head(size));
  const positions = chosen.map(({ position }) => Number(position));
  for (const [path, bytes] of tree.neededTiles(positions, size)) files.set(folder + path, bytes);
}

async function addWindows(
  files: BundleFiles,
  installation: FixtureInstallation,
  scope: Extract<BundleScope, { kind: 'tenant-hours' }>,
  headSize: number,
): Promise<BundleTree> {
  const { windows, windowsOf } = installation;
  const size = installation.listedSize(windows, headSize);
  const own = (windowsOf.get(scope.tenant) ?? []).filter(({ position }) => position < size);
  const entry = async (position: number) => {
    const proof = windowProofPath(BigInt(position));
    files.set(proof, await windows.proof(position, size));
    return { leaf: decodeUtf8(windows.leaves[position]!)!, proof };
  };
  const before = own.findLast(({ hour }) => hour < scope.from);
  const behind = own.find(({ hour }) => hour > scope.to);
  const span = own.filter(({ hour }) => hour >= scope.from && hour <= scope.to);
  const file = {
    previous: before === undefined ? null : await entry(before.position),
    windows: [] as Awaited<ReturnType<typeof entry>>[],
    next: behind === undefined ? null : await entry(behind.position),
  };
  for (const { position } of span) file.windows.push(await entry(position));
  files.set('windows.json', formatWindowsFile(file));
  return { origin: windows.origin, log: 'windows', partition: 0, epoch: 0, size: BigInt(size) };
}

async function addHead(
  files: BundleFiles,
  { audit, windows, heads, listings }: FixtureInstallation,
  origin: string,
  size: number,
  headSize: number,
): Promise<void> {
  const tree = [...audit, windows].find((one) => one.origin === origin)!;
  const paths = headPaths(origin, BigInt(size));
  const position = listings.get(`${origin} ${size}`)!;
  files.set(paths.checkpoint, tree.head(size));
  files.set(paths.leaf, heads.leaves[position]!);
  files.set(paths.proof, await heads.proof(position, headSize));
}

function addHeadsHead(
  files: BundleFiles,
  { heads }: FixtureInstallation,
  headSize: number,
  { witnesses = [], token = false }: MakeBundleOptions,
): void {
  const note = heads.head(headSize);
  const paths = headPaths(heads.origin, BigInt(headSize));
  files.set(paths.checkpoint, note);
  const text = decodeUtf8(note)!.split('\n\n')[0]!;
  const cosignatures = witnesses.map((seed) => fixtureWitness(seed).line(`${text}\n`));
  cosignatures.sort(compareText);
  if (cosignatures.length > 0) files.set(paths.cosignatures, encodeUtf8(cosignatures.join('')));
  if (token) files.set(timestampPath('Fixture Authority', BigInt(headSize)), fixtureToken(note));
}

async function addKeys(
  files: BundleFiles,
  { audit, windows, heads, rotations }: FixtureInstallation,
  trees: readonly BundleTree[],
  headSize: number,
): Promise<void> {
  const told = rotations.filter((rotation) => rotation.headSize < headSize);
  for (const [i, { position, headSize: size }] of told.entries()) {
    const paths = rotationPaths(i + 1);
    files.set(paths.leaf, heads.leaves[position]!);
    files.set(paths.proof, await heads.proof(position, size));
  }
  const origins = [heads.origin, ...trees.map(({ origin }) => origin)].sort(compareText);
  const keys = origins.flatMap((origin) => {
    const tree = [heads, windows, ...audit].find((one) => one.origin === origin)!;
    const own = tree.keys.slice(0, told.length + 1);
    return own.flatMap(({ key, upTo }, i) => {
      const from = i === 0 ? 0 : own[i - 1]!.upTo + 1;
      const to = i === own.length - 1 ? null : upTo;
      if (to !== null && to < from) return [];
      const vkey = formatVkey(verifierKeyOf(origin, key));
      return [{ origin, vkey, from: BigInt(from), to: to === null ? null : BigInt(to) }];
    });
  });
  files.set('keys.json', formatKeysFile({ keys, rotations: told.length }));
}

/** K of an installation. */
export function vkeyOf({ key, heads }: FixtureInstallation): string {
  return formatVkey(verifierKeyOf(heads.origin, key));
}

/** A source over files in memory; `pieceBytes` cuts what it gives. */
export function sourceOf(files: ReadonlyMap<string, Uint8Array>, pieceBytes = 1 << 20): BundleSource {
  return {
    list: async () => [...files].map(([path, bytes]) => ({ path, size: BigInt(bytes.length) })),
    read: async function* (path) {
      const bytes = files.get(path);
      if (bytes === undefined) throw new Error(`${path} is not there`);
      for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
    },
  };
}
