/** manifest.json: what a bundle is of, and the size and SHA-256 of every other file in it. */

import { accept, type Parsed, refuse } from '../parsed.ts';
import { BUNDLE_FILES_MAX, BUNDLE_PATH_LENGTH_MAX, MANIFEST_PATH } from './bundle-layout.ts';
import {
  formatJsonFile,
  readCount,
  readDecimal,
  readJsonFile,
  readList,
  readMembers,
  readOneOf,
  readText,
  unreadable,
} from './json-file.ts';

/** Most trees in a bundle: every partition of some logs. */
const TREES_MAX = 100_000;
const FILTER_MEMBERS_MAX = 64;
const FILTER_VALUE_LENGTH_MAX = 4_096;

const HOUR = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3])$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TENANT = /^[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}$/;
const LOG = /^[a-z0-9-]{1,32}$/;
const NAME = /^[!-*,-~]{1,128}$/;
const ORIGIN = /^[!-*,-~]{1,256}$/;
const PATH = /^[A-Za-z0-9._%/-]+$/;
const SHA256 = /^[0-9a-f]{64}$/;
const FILTER_NAME = /^[a-z][a-z_]{0,31}$/;
const FILTER_VALUE = /^.*$/su;

/** Which records the bundle holds, of those that the log had at the bundle's head. */
export type BundleScope =
  | { readonly kind: 'selection'; readonly filter: Readonly<Record<string, string>> }
  | {
      readonly kind: 'tenant-hours';
      readonly log: string;
      readonly tenant: string;
      /** First and last hour, both inclusive: "2026-11-20T10". */
      readonly from: string;
      readonly to: string;
    }
  | { readonly kind: 'record'; readonly id: string };

/** A tree that records of the bundle stand in, at the head that their proofs lead to. */
export interface BundleTree {
  readonly origin: string;
  readonly log: string;
  readonly partition: number;
  readonly epoch: number;
  readonly size: bigint;
}

export interface BundleFile {
  readonly path: string;
  readonly size: bigint;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

export interface BundleManifest {
  /** Name of the installation. */
  readonly name: string;
  /** The head of the log `heads` that everything leads to. */
  readonly head: { readonly origin: string; readonly size: bigint };
  readonly scope: BundleScope;
  readonly records: bigint;
  readonly proofs: 'each' | 'tiles';
  /** Sorted by log, by code unit, and partition. */
  readonly trees: readonly BundleTree[];
  /** Every file but the manifest, sorted by path, by code unit. */
  readonly files: readonly BundleFile[];
}

/** Whether this names an hour, as `formatHour` writes it. */
export function isHour(text: string): boolean {
  return HOUR.test(text);
}

/** -1, 0 or 1 by UTF-16 code unit: the order of everything that is sorted in a bundle. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @throws RangeError for a manifest that `parseManifest` would refuse */
export function formatManifest(manifest: BundleManifest): Uint8Array {
  const bytes = formatJsonFile(writeManifest(manifest));
  const parsed = parseManifest(bytes);
  if (!parsed.ok) throw new RangeError(`this is no manifest: ${parsed.reason}`);
  return bytes;
}

/** Reads a manifest; refused unless it is spelled as `formatManifest` writes it, in order and without repeats. */
export function parseManifest(bytes: Uint8Array): Parsed<BundleManifest> {
  const manifest = readJsonFile(bytes, MANIFEST_PATH, readManifest, writeManifest);
  if (!manifest.ok) return manifest;
  const { trees, files, scope } = manifest.value;
  const treesInOrder = isAscending(
    trees,
    (a, b) => compareText(a.log, b.log) || Math.sign(a.partition - b.partition),
  );
  if (!treesInOrder) return refuse(`${MANIFEST_PATH}: the trees are not in order, or one stands twice`);
  if (!isAscending(files, (a, b) => compareText(a.path, b.path))) {
    return refuse(`${MANIFEST_PATH}: the files are not in order, or one stands twice`);
  }
  if (files.some(({ path }) => path === MANIFEST_PATH)) {
    return refuse(`${MANIFEST_PATH}: it lists itself`);
  }
  if (scope.kind === 'tenant-hours' && scope.from > scope.to) {
    return refuse(`${MANIFEST_PATH}: the hours of the scope end before they begin`);
  }
  return accept(manifest.value);
}

function isAscending<T>(list: readonly T[], compare: (a: T, b: T) => number): boolean {
  for (let i = 1; i < list.length; i++) if (compare(list[i - 1]!, list[i]!) >= 0) return false;
  return true;
}

function readManifest(json: unknown): BundleManifest {
  const members = readMembers(json, 'the manifest');
  if (members.v !== 1) unreadable(`version ${String(members.v)} is not one that this program reads`);
  readOneOf(members.kind, 'kind', ['evident bundle']);
  const head = readMembers(members.head, 'head');
  return {
    name: readText(members.name, 'name', NAME, 128),
    head: {
      origin: readText(head.origin, 'head.origin', ORIGIN, 256),
      size: readDecimal(head.size, 'head.size'),
    },
    scope: readScope(members.scope),
    records: readDecimal(members.records, 'records'),
    proofs: readOneOf(members.proofs, 'proofs', ['each', 'tiles']),
    trees: readList(members.trees, 'trees', TREES_MAX, readTree),
    files: readList(members.files, 'files', BUNDLE_FILES_MAX, readFile),
  };
}

function readTree(json: unknown): BundleTree {
  const tree = readMembers(json, 'a tree');
  return {
    origin: readText(tree.origin, 'origin', ORIGIN, 256),
    log: readText(tree.log, 'log', LOG, 32),
    partition: readCount(tree.partition, 'partition', 65_535),
    epoch: readCount(tree.epoch, 'epoch', 65_535),
    size: readDecimal(tree.size, 'size'),
  };
}

function readFile(json: unknown): BundleFile {
  const file = readMembers(json, 'a file');
  return {
    path: readText(file.path, 'path', PATH, BUNDLE_PATH_LENGTH_MAX),
    size: readDecimal(file.size, 'size'),
    sha256: readText(file.sha256, 'sha256', SHA256, 64),
  };
}

function readScope(json: unknown): BundleScope {
  const scope = readMembers(json, 'scope');
  const kind = readOneOf(scope.kind, 'scope.kind', ['selection', 'tenant-hours', 'record']);
  if (kind === 'record') return { kind, id: readText(scope.id, 'scope.id', UUID, 36) };
  if (kind === 'selection') return { kind, filter: readFilter(scope.filter) };
  return {
    kind,
    log: readText(scope.log, 'scope.log', LOG, 32),
    tenant: readText(scope.tenant, 'scope.tenant', TENANT, 128),
    from: readText(scope.from, 'scope.from', HOUR, 13),
    to: readText(scope.to, 'scope.to', HOUR, 13),
  };
}

function readFilter(json: unknown): Record<string, string> {
  const entries = Object.entries(readMembers(json, 'scope.filter'));
  if (entries.length > FILTER_MEMBERS_MAX) unreadable(`scope.filter has over ${FILTER_MEMBERS_MAX} members`);
  return Object.fromEntries(
    entries.map(([name, value]) => [
      readText(name, 'a name in scope.filter', FILTER_NAME, 32),
      readText(value, `scope.filter.${name.slice(0, 32)}`, FILTER_VALUE, FILTER_VALUE_LENGTH_MAX),
    ]),
  );
}

function writeManifest(manifest: BundleManifest): unknown {
  const { name, head, scope, records, proofs, trees, files } = manifest;
  return {
    v: 1,
    kind: 'evident bundle',
    name,
    head: { origin: head.origin, size: head.size.toString() },
    scope: writeScope(scope),
    records: records.toString(),
    proofs,
    trees: trees.map(({ origin, log, partition, epoch, size }) => ({
      origin,
      log,
      partition,
      epoch,
      size: size.toString(),
    })),
    files: files.map(({ path, size, sha256 }) => ({ path, size: size.toString(), sha256 })),
  };
}

function writeScope(scope: BundleScope): unknown {
  switch (scope.kind) {
    case 'selection':
      return { kind: scope.kind, filter: scope.filter };
    case 'record':
      return { kind: scope.kind, id: scope.id };
    case 'tenant-hours':
      return { kind: scope.kind, log: scope.log, tenant: scope.tenant, from: scope.from, to: scope.to };
  }
}
