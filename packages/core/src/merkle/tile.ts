/**
 * Tiles: the static layout of a tree (C2SP tlog-tiles).
 *
 * A tile holds up to 256 consecutive hashes, packed. Tile (0, n) holds the hashes of leaves 256n …; hash i of tile
 * (L, n) is the root of the full tile (L−1, 256n + i). In nodes of the tree, tile level L is node level 8L, and the
 * seven node levels between are computed from the tile. Beside the tiles stand bundles of the entries themselves.
 *
 *   tile/<L>/<N>[.p/<W>]          hashes; N in groups of three digits, all but the last with an x: x001/x234/067
 *   tile/entries/<N>[.p/<W>]      entries, each after its length as an unsigned 16-bit number, big endian
 */
import type { HashReader, TreeNode } from './proof.ts';
import { HASH_BYTES, perfectRoot, TREE_SIZE_MAX } from './tree.ts';

/** Hashes in a full tile. */
export const TILE_WIDTH = 256;
/** Node levels that one tile spans: 2^8 = 256. */
const TILE_HEIGHT = 8;
/** The highest level of a tile in a path; trees of up to 2^63 − 1 leaves use 0 to 7. */
const TILE_LEVEL_MAX = 63;
/** The largest entry that a bundle can carry: its length is a 16-bit number. */
export const ENTRY_BYTES_MAX = 65_535;

/** A tile of hashes; `width` is 256 when full, 1 to 255 when partial. */
export interface TileId {
  level: number;
  index: bigint;
  width: number;
}

/** What a path of the static layout names: a tile, or a bundle of entries. */
export type TilePath = ({ kind: 'hashes' } & TileId) | { kind: 'entries'; index: bigint; width: number };

/** The path of a tile below the log's prefix. @throws RangeError if level, index or width are out of range */
export function tilePath({ level, index, width }: TileId): string {
  if (!Number.isInteger(level) || level < 0 || level > TILE_LEVEL_MAX) {
    throw new RangeError(`tiles have levels 0 to ${TILE_LEVEL_MAX}, not ${level}`);
  }
  return `tile/${level}/${indexPath(index, width)}`;
}

/** The path of a bundle of entries below the log's prefix. @throws RangeError if index or width are out of range */
export function entriesPath(index: bigint, width: number): string {
  return `tile/entries/${indexPath(index, width)}`;
}

function indexPath(index: bigint, width: number): string {
  if (index < 0n || index > TREE_SIZE_MAX) throw new RangeError(`there is no tile with index ${index}`);
  checkWidth(width);
  const digits = index.toString();
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g)!;
  const last = groups.pop()!;
  return groups.map((group) => `x${group}/`).join('') + last + (width === TILE_WIDTH ? '' : `.p/${width}`);
}

const TILE_PATH = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/){0,6}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** Reads a path that `tilePath` or `entriesPath` writes; null for any other spelling. */
export function parseTilePath(path: string): TilePath | null {
  const match = TILE_PATH.exec(path);
  if (match === null) return null;
  const [, level, groups, partial] = match as unknown as [string, string, string, string | undefined];
  const index = BigInt(groups.replace(/[x/]/g, ''));
  const width = partial === undefined ? TILE_WIDTH : Number(partial);
  if (index > TREE_SIZE_MAX || width > TILE_WIDTH || Number(level) > TILE_LEVEL_MAX) return null;
  const parsed: TilePath =
    level === 'entries'
      ? { kind: 'entries', index, width }
      : { kind: 'hashes', level: Number(level), index, width };
  // Writing it again finds what the pattern lets through: needless groups of zeros, and a partial tile of 256.
  const canonical = parsed.kind === 'entries' ? entriesPath(index, width) : tilePath(parsed);
  return canonical === path ? parsed : null;
}

/** Hashes in the partial tile at a level of the tree of this size, 0 when it has none (tlog-tiles, "Partial Tiles"). */
export function partialWidth(level: number, size: bigint): number {
  return Number(hashesAtLevel(level, size) % BigInt(TILE_WIDTH));
}

/** Hashes that a tree of this size has at a tile level: one for each full tile of the level below. */
function hashesAtLevel(level: number, size: bigint): bigint {
  return size >> BigInt(level * TILE_HEIGHT);
}

/**
 * The tiles that a tree gains or widens when it grows from one size to another, lowest level first, left to right;
 * from size 0, all of its tiles. Their number is that of the new leaves divided by 255, so it is a sequence, not a list.
 * @throws RangeError unless 0 ≤ size1 ≤ size2
 */
export function* listTiles(size1: bigint, size2: bigint): Generator<TileId> {
  if (size1 < 0n || size1 > size2 || size2 > TREE_SIZE_MAX) {
    throw new RangeError(`a tree does not grow from size ${size1} to ${size2}`);
  }
  const width = BigInt(TILE_WIDTH);
  for (let level = 0; ; level++) {
    const [before, after] = [hashesAtLevel(level, size1), hashesAtLevel(level, size2)];
    if (before === after) return;
    const full = after / width;
    for (let index = before / width; index < full; index++) yield { level, index, width: TILE_WIDTH };
    const partial = partialWidth(level, size2);
    if (partial > 0) yield { level, index: full, width: partial };
  }
}

/**
 * Reads one tile: exactly `width` × 32 bytes. A store that has only the full tile left cuts it to the width.
 * What it returns is not trusted: a wrong tile gives a proof that fails to verify.
 */
export type TileReader = (tile: TileId) => Promise<Uint8Array>;

/**
 * A hash reader over the tiles of the tree of one size. Every tile is read once per call, all at the same time.
 * @param size a tree whose tiles exist, partial ones included
 * @returns a reader that throws RangeError for a node outside of the tree or a tile of another length
 */
export function readHashesFromTiles(size: bigint, readTile: TileReader): HashReader {
  return async (nodes) => {
    const tiles = new Map<string, Promise<Uint8Array>>();
    const reads = nodes.map((node) => {
      const place = placeInTile(node, size);
      const path = tilePath(place.tile);
      if (!tiles.has(path)) tiles.set(path, readWholeTile(place.tile, readTile));
      return { place, tile: tiles.get(path)! };
    });
    return Promise.all(
      reads.map(async ({ place, tile }) => perfectRoot((await tile).subarray(place.start, place.end))),
    );
  };
}

/** The tile that a node is computed from, and the span of bytes in it. */
function placeInTile({ level, index }: TreeNode, size: bigint): { tile: TileId; start: number; end: number } {
  if (index < 0n || (index + 1n) << BigInt(level) > size) {
    throw new RangeError(`a tree of size ${size} has no complete node ${index} at level ${level}`);
  }
  const tileLevel = Math.floor(level / TILE_HEIGHT);
  const hashes = 1 << (level % TILE_HEIGHT);
  const first = index * BigInt(hashes);
  const tileIndex = first / BigInt(TILE_WIDTH);
  const offset = Number(first % BigInt(TILE_WIDTH));
  const isFull = tileIndex < hashesAtLevel(tileLevel, size) / BigInt(TILE_WIDTH);
  const width = isFull ? TILE_WIDTH : partialWidth(tileLevel, size);
  const tile = { level: tileLevel, index: tileIndex, width };
  return { tile, start: offset * HASH_BYTES, end: (offset + hashes) * HASH_BYTES };
}

async function readWholeTile(tile: TileId, readTile: TileReader): Promise<Uint8Array> {
  const bytes = await readTile(tile);
  if (bytes.length !== tile.width * HASH_BYTES) {
    throw new RangeError(`${tilePath(tile)} has ${bytes.length} bytes instead of ${tile.width * HASH_BYTES}`);
  }
  return bytes;
}

/** The hash of a full tile, which stands in the tile above it. @throws RangeError unless it has 8,192 bytes */
export function tileRoot(hashes: Uint8Array): Uint8Array {
  if (hashes.length !== TILE_WIDTH * HASH_BYTES) {
    throw new RangeError(`a full tile has ${TILE_WIDTH * HASH_BYTES} bytes, not ${hashes.length}`);
  }
  return perfectRoot(hashes);
}

/** Writes a bundle of 1 to 256 entries. @throws RangeError for another number, or an entry over 65,535 bytes */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  checkWidth(entries.length);
  const bundle = new Uint8Array(entries.reduce((length, entry) => length + 2 + entry.length, 0));
  let offset = 0;
  for (const entry of entries) {
    if (entry.length > ENTRY_BYTES_MAX) {
      throw new RangeError(`an entry has at most ${ENTRY_BYTES_MAX} bytes, not ${entry.length}`);
    }
    bundle[offset] = entry.length >> 8;
    bundle[offset + 1] = entry.length & 0xff;
    bundle.set(entry, offset + 2);
    offset += 2 + entry.length;
  }
  return bundle;
}

/**
 * Reads a bundle of exactly `width` entries, as views into its bytes; null if it ends early or goes on.
 * @throws RangeError unless `width` is 1 to 256
 */
export function parseEntryBundle(bundle: Uint8Array, width: number): Uint8Array[] | null {
  checkWidth(width);
  const entries: Uint8Array[] = [];
  let offset = 0;
  while (entries.length < width) {
    if (offset + 2 > bundle.length) return null;
    const end = offset + 2 + (bundle[offset]! << 8) + bundle[offset + 1]!;
    if (end > bundle.length) return null;
    entries.push(bundle.subarray(offset + 2, end));
    offset = end;
  }
  return offset === bundle.length ? entries : null;
}

function checkWidth(width: number): void {
  if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH) {
    throw new RangeError(`a tile is 1 to ${TILE_WIDTH} wide, not ${width}`);
  }
}
