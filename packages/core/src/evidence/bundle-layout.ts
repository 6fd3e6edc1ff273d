/**
 * The paths of an evidence bundle (docs/reference/bundle.md): a folder, or a zip with the same paths.
 *
 *   manifest.json  README.txt  keys.json  windows.json  records.ndjson
 *   bodies/<sha256 hex>
 *   proofs/<id>[.<n>].tlog-proof                    n from 2: the n-th record of that id
 *   proofs/heads/<origin>.<size>.leaf|.tlog-proof
 *   proofs/windows/<position>.tlog-proof
 *   tlog/<log>/<partition>/checkpoint, tile/…       the C2SP static layout
 *   heads/<origin>.<size>.checkpoint|.cosignatures
 *   timestamps/<authority>.<size>.tsr
 *   keys/rotation.<n>.leaf|.tlog-proof              n from 1
 *
 * Every path has one meaning and every meaning one path: `parseBundlePath` takes what the functions here write.
 */
import { decodeUtf8, encodeUtf8 } from '../bytes.ts';
import { parseDecimal } from '../checkpoint.ts';
import { parseTilePath, type TileId, tilePath } from '../merkle/tile.ts';

/** Longest path that is read. */
export const BUNDLE_PATH_LENGTH_MAX = 1_024;
/** Most files that are read: a million records spread thinly need as many tiles. */
export const BUNDLE_FILES_MAX = 2_000_000;

export const MANIFEST_PATH = 'manifest.json';
export const README_PATH = 'README.txt';
export const KEYS_PATH = 'keys.json';
export const WINDOWS_PATH = 'windows.json';
export const RECORDS_PATH = 'records.ndjson';

/** What stands beside a tree head, under the same name. */
export interface HeadPaths {
  readonly checkpoint: string;
  readonly cosignatures: string;
  /** The leaf of the record `head` that lists it, and that leaf's proof. */
  readonly leaf: string;
  readonly proof: string;
}

/** Writes a name into one segment of a path: every byte outside of `[A-Za-z0-9._-]` as %XX. */
export function encodeSegment(name: string): string {
  let encoded = '';
  for (const byte of encodeUtf8(name)) {
    const character = String.fromCharCode(byte);
    const plain = byte < 0x80 && /[A-Za-z0-9._-]/.test(character);
    encoded += plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** Reads what `encodeSegment` writes; null for any other spelling. */
export function decodeSegment(segment: string): string | null {
  if (!/^(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+$/.test(segment)) return null;
  const bytes: number[] = [];
  for (let i = 0; i < segment.length; i++) {
    if (segment[i] !== '%') bytes.push(segment.charCodeAt(i));
    else {
      bytes.push(Number.parseInt(segment.slice(i + 1, i + 3), 16));
      i += 2;
    }
  }
  const name = decodeUtf8(Uint8Array.from(bytes));
  return name !== null && encodeSegment(name) === segment ? name : null;
}

export function headPaths(origin: string, size: bigint): HeadPaths {
  const name = `${encodeSegment(origin)}.${size}`;
  return {
    checkpoint: `heads/${name}.checkpoint`,
    cosignatures: `heads/${name}.cosignatures`,
    leaf: `proofs/heads/${name}.leaf`,
    proof: `proofs/heads/${name}.tlog-proof`,
  };
}

export function bodyPath(sha256Hex: string): string {
  return `bodies/${sha256Hex}`;
}

/** @param nth 1 for the first record of this id in the order of the bundle */
export function recordProofPath(id: string, nth: number): string {
  return nth === 1 ? `proofs/${id}.tlog-proof` : `proofs/${id}.${nth}.tlog-proof`;
}

export function windowProofPath(position: bigint): string {
  return `proofs/windows/${position}.tlog-proof`;
}

export function timestampPath(authority: string, size: bigint): string {
  return `timestamps/${encodeSegment(authority)}.${size}.tsr`;
}

/** @param nth from 1, oldest first */
export function rotationPaths(nth: number): { leaf: string; proof: string } {
  return { leaf: `keys/rotation.${nth}.leaf`, proof: `keys/rotation.${nth}.tlog-proof` };
}

/** The folder of one tree in the static layout, with its slash; `<log>.r<epoch>` for a tree that began anew. */
export function treeFolder(log: string, partition: number, epoch: number): string {
  return `tlog/${epoch === 0 ? log : `${log}.r${epoch}`}/${partition}/`;
}

export function treeTilePath(folder: string, tile: TileId): string {
  return folder + tilePath(tile);
}

/** What a file of a bundle is. Names in it are decoded. */
export type BundlePath =
  | { readonly kind: 'manifest' | 'readme' | 'keys' | 'windows' | 'records' }
  | { readonly kind: 'body'; readonly sha256: string }
  | { readonly kind: 'record-proof'; readonly id: string; readonly nth: number }
  | { readonly kind: 'window-proof'; readonly position: bigint }
  | {
      readonly kind: 'checkpoint' | 'cosignatures' | 'head-leaf' | 'head-proof';
      readonly origin: string;
      readonly size: bigint;
    }
  | { readonly kind: 'timestamp'; readonly authority: string; readonly size: bigint }
  | { readonly kind: 'rotation-leaf' | 'rotation-proof'; readonly nth: number }
  | { readonly kind: 'tree-checkpoint'; readonly folder: string }
  | { readonly kind: 'tile'; readonly folder: string; readonly tile: TileId };

const FIXED: Readonly<Record<string, 'manifest' | 'readme' | 'keys' | 'windows' | 'records'>> = {
  [MANIFEST_PATH]: 'manifest',
  [README_PATH]: 'readme',
  [KEYS_PATH]: 'keys',
  [WINDOWS_PATH]: 'windows',
  [RECORDS_PATH]: 'records',
};

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const BODY = /^bodies\/([0-9a-f]{64})$/;
const RECORD_PROOF = new RegExp(`^proofs/(${UUID})(?:\\.([1-9][0-9]{0,8}))?\\.tlog-proof$`);
const WINDOW_PROOF = /^proofs\/windows\/([0-9]{1,19})\.tlog-proof$/;
const OF_HEAD = /^(heads|proofs\/heads|timestamps)\/([^/]+)\.([0-9]{1,19})\.([a-z-]+)$/;
const ROTATION = /^keys\/rotation\.([1-9][0-9]{0,3})\.(leaf|tlog-proof)$/;
const TREE = /^(tlog\/[a-z0-9-]{1,32}(?:\.r[1-9][0-9]{0,4})?\/(?:0|[1-9][0-9]{0,4})\/)(checkpoint|tile\/.+)$/;

/** Reads a path of a bundle; null for anything that no bundle has. */
export function parseBundlePath(path: string): BundlePath | null {
  if (path.length > BUNDLE_PATH_LENGTH_MAX) return null;
  if (Object.hasOwn(FIXED, path)) return { kind: FIXED[path]! };
  let match = BODY.exec(path);
  if (match !== null) return { kind: 'body', sha256: match[1]! };
  match = RECORD_PROOF.exec(path);
  if (match !== null) {
    const nth = match[2] === undefined ? 1 : Number(match[2]);
    return match[2] === '1' ? null : { kind: 'record-proof', id: match[1]!, nth };
  }
  match = WINDOW_PROOF.exec(path);
  if (match !== null) {
    const position = parseDecimal(match[1]!);
    return position === null ? null : { kind: 'window-proof', position };
  }
  match = ROTATION.exec(path);
  if (match !== null) {
    return { kind: match[2] === 'leaf' ? 'rotation-leaf' : 'rotation-proof', nth: Number(match[1]) };
  }
  match = TREE.exec(path);
  if (match !== null) return parseTreePath(match[1]!, match[2]!);
  match = OF_HEAD.exec(path);
  return match === null ? null : parseHeadPath(match[1]!, match[2]!, match[3]!, match[4]!);
}

function parseTreePath(folder: string, rest: string): BundlePath | null {
  if (rest === 'checkpoint') return { kind: 'tree-checkpoint', folder };
  const tile = parseTilePath(rest);
  if (tile === null || tile.kind !== 'hashes') return null;
  const { level, index, width } = tile;
  return { kind: 'tile', folder, tile: { level, index, width } };
}

const HEAD_KINDS: Readonly<
  Record<string, 'checkpoint' | 'cosignatures' | 'head-leaf' | 'head-proof' | 'timestamp'>
> = {
  'heads.checkpoint': 'checkpoint',
  'heads.cosignatures': 'cosignatures',
  'proofs/heads.leaf': 'head-leaf',
  'proofs/heads.tlog-proof': 'head-proof',
  'timestamps.tsr': 'timestamp',
};

function parseHeadPath(folder: string, segment: string, digits: string, ending: string): BundlePath | null {
  const name = decodeSegment(segment);
  const size = parseDecimal(digits);
  const key = `${folder}.${ending}`;
  if (name === null || size === null || !Object.hasOwn(HEAD_KINDS, key)) return null;
  const kind = HEAD_KINDS[key]!;
  return kind === 'timestamp' ? { kind, authority: name, size } : { kind, origin: name, size };
}
