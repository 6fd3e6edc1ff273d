/**
 * Tiles in a folder: `<data>/tiles/<log>/<partition>/<pair>-<number>`.
 *
 * One file, a *pack*, holds two levels of tiles, so that a round costs one fsync a partition:
 *
 *   pair 0: 65,536 hashes of level 0 at 0 · 256 of level 1 at 2 MiB · 256 chain values at 2 MiB + 8 KiB
 *   pair 1: 65,536 hashes of level 2 at 0 · 256 of level 3 at 2 MiB          (one for every 2^32 records)
 *
 * A hash is written once, at its place, also that of a tile that is not full yet; files grow sparse. `evident
 * tiles` and the HTTP routes cut C2SP tiles out of them.
 *
 * What a crash leaves: hashes beyond the stored head, or some of them. The next round writes the same bytes.
 */

import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type { TileStore, TileWrite } from '../../seal/ports.ts';
import { errnoOf, storageFault, syncDirectory } from '../durable-file.ts';

const PACK_HASHES = TILE_WIDTH * TILE_WIDTH;
const UPPER_AT = PACK_HASHES * HASH_BYTES;
const CHAIN_AT = UPPER_AT + TILE_WIDTH * HASH_BYTES;
/** Packs kept open for writing: one a partition is the usual number. */
const OPEN_MAX = 128;

/** One run of hashes within one pack. */
interface Piece {
  readonly path: string;
  readonly at: number;
  readonly bytes: Uint8Array;
}

type Row = 'lower' | 'upper' | 'chain';

export class FolderTileStore implements TileStore {
  readonly #folder: string;
  readonly #open = new Map<string, FileHandle>();

  /** @param folder `<data>/tiles`; made when it is first written to */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async write(writes: readonly TileWrite[]): Promise<void> {
    const byPack = new Map<string, Piece[]>();
    for (const piece of writes.flatMap((write) => this.#piecesOf(write))) {
      const pieces = byPack.get(piece.path);
      if (pieces === undefined) byPack.set(piece.path, [piece]);
      else pieces.push(piece);
    }
    try {
      await Promise.all([...byPack].map(([path, pieces]) => this.#writePack(path, pieces)));
    } catch (error) {
      throw storageFault(error, this.#folder, 'write tiles');
    }
    await this.#closeSurplus();
  }

  async read(
    log: string,
    partition: number,
    level: number,
    index: bigint,
    count: number,
  ): Promise<Uint8Array | null> {
    return this.#read(log, partition, level >> 1, level % 2 === 0 ? 'lower' : 'upper', index, count);
  }

  async readChain(log: string, partition: number, from: bigint, count: number): Promise<Uint8Array | null> {
    return this.#read(log, partition, 0, 'chain', from, count);
  }

  async close(): Promise<void> {
    const handles = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(handles.map((handle) => handle.close()));
  }

  #piecesOf({ log, partition, leaves, nodes, chain }: TileWrite): Piece[] {
    const pieces = this.#split(log, partition, 0, 'lower', leaves.from, leaves.hashes);
    for (const { level, index, hashes } of nodes) {
      pieces.push(
        ...this.#split(log, partition, level >> 1, level % 2 === 0 ? 'lower' : 'upper', index, hashes),
      );
    }
    pieces.push(...this.#split(log, partition, 0, 'chain', chain.from, chain.hashes));
    return pieces;
  }

  /** Cuts a run of hashes at the borders of packs. */
  #split(log: string, partition: number, pair: number, row: Row, from: bigint, hashes: Uint8Array): Piece[] {
    const perPack = row === 'lower' ? PACK_HASHES : TILE_WIDTH;
    const pieces: Piece[] = [];
    let index = from;
    for (let at = 0; at < hashes.length; ) {
      const within = Number(index % BigInt(perPack));
      const count = Math.min(perPack - within, (hashes.length - at) / HASH_BYTES);
      pieces.push({
        path: this.#packPath(log, partition, pair, index / BigInt(perPack)),
        at: rowStart(row) + within * HASH_BYTES,
        bytes: hashes.subarray(at, at + count * HASH_BYTES),
      });
      at += count * HASH_BYTES;
      index += BigInt(count);
    }
    return pieces;
  }

  #packPath(log: string, partition: number, pair: number, pack: bigint): string {
    return join(this.#folder, log, String(partition), `${pair}-${pack.toString().padStart(8, '0')}`);
  }

  async #writePack(path: string, pieces: readonly Piece[]): Promise<void> {
    const handle = this.#open.get(path) ?? (await this.#openPack(path));
    for (const { at, bytes } of pieces) {
      for (let done = 0; done < bytes.length; ) {
        done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      }
    }
    await handle.datasync();
  }

  /** Opens a pack for writing; a new one is durable by name before anything relies on it. */
  async #openPack(path: string): Promise<FileHandle> {
    const folder = join(path, '..');
    let handle: FileHandle;
    try {
      handle = await open(path, 'r+');
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      const made = await mkdir(folder, { recursive: true, mode: 0o700 });
      handle = await open(path, 'w+', 0o600);
      syncDirectory(folder);
      if (made !== undefined)
        for (let up = folder; up !== join(made, '..'); up = join(up, '..')) syncDirectory(join(up, '..'));
    }
    this.#open.set(path, handle);
    return handle;
  }

  async #closeSurplus(): Promise<void> {
    for (const [path, handle] of this.#open) {
      if (this.#open.size <= OPEN_MAX) return;
      this.#open.delete(path);
      await handle.close();
    }
  }

  async #read(
    log: string,
    partition: number,
    pair: number,
    row: Row,
    from: bigint,
    count: number,
  ): Promise<Uint8Array | null> {
    const perPack = BigInt(row === 'lower' ? PACK_HASHES : TILE_WIDTH);
    const hashes = new Uint8Array(count * HASH_BYTES);
    for (let done = 0; done < count; ) {
      const index = from + BigInt(done);
      const within = Number(index % perPack);
      const here = Math.min(Number(perPack) - within, count - done);
      const target = hashes.subarray(done * HASH_BYTES, (done + here) * HASH_BYTES);
      const path = this.#packPath(log, partition, pair, index / perPack);
      if (!(await readAt(path, rowStart(row) + within * HASH_BYTES, target))) return null;
      done += here;
    }
    return hashes;
  }
}

function rowStart(row: Row): number {
  return { lower: 0, upper: UPPER_AT, chain: CHAIN_AT }[row];
}

/** Fills `target` from a file; false when the file is not there or too short. Other failures are thrown as they are. */
async function readAt(path: string, at: number, target: Uint8Array): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
  try {
    for (let done = 0; done < target.length; ) {
      const { bytesRead } = await handle.read(target, done, target.length - done, at + done);
      if (bytesRead === 0) return false;
      done += bytesRead;
    }
    return true;
  } finally {
    await handle.close();
  }
}
