/**
 * The hash tiles of one tree in a bundle, from the signed root down: the partial tiles of the right edge give the root,
 * and each full tile is the one that the tile above it calls for. Asked in the order of positions, each tile is read
 * once; one tile a level is kept.
 */
import { equalBytes } from '../bytes.ts';
import { TILE_WIDTH, tileRoot } from '../merkle/tile.ts';
import { nodeHash, perfectRoot } from '../merkle/tree.ts';
import { NOTE_BYTES_MAX } from '../note.ts';
import { treeTilePath } from './bundle-layout.ts';
import type { CheckContext, CheckedHead } from './check-heads.ts';

const HASH_BYTES = 32;
const TILE_BYTES = TILE_WIDTH * HASH_BYTES;
const LEVELS = 8;

interface KeptTile {
  readonly index: number;
  /** Null: it was asked for and could not be had; there is a finding. */
  readonly hashes: Uint8Array | null;
}

export class TreeTiles {
  readonly #context: CheckContext;
  readonly #folder: string;
  readonly #head: CheckedHead;
  readonly #kept: (KeptTile | undefined)[] = [];
  /** The partial tile of each level, where there is one. */
  readonly #edge: (Uint8Array | null)[] = [];
  #isRooted = false;

  /** @param folder as `treeFolder` gives it */
  constructor(context: CheckContext, folder: string, head: CheckedHead) {
    this.#context = context;
    this.#folder = folder;
    this.#head = head;
  }

  /** Reads the checkpoint and the right edge, and holds them against the head. Findings say what is wrong. */
  async open(): Promise<void> {
    const { files, findings } = this.#context;
    const checkpoint = `${this.#folder}checkpoint`;
    const note = await files.whole(checkpoint, 'head', NOTE_BYTES_MAX);
    if (note !== null && !equalBytes(note, this.#head.note)) {
      findings.tampered(checkpoint, 'head', 'this is not the head that the bundle gives for the tree');
    }
    let isWhole = true;
    for (let level = 0; this.#countAt(level) > 0; level++) {
      const count = this.#countAt(level);
      const width = count % TILE_WIDTH;
      const index = Math.floor(count / TILE_WIDTH);
      this.#edge[level] = width === 0 ? null : await this.#read(level, index, width);
      if (width > 0 && this.#edge[level] === null) isWhole = false;
    }
    if (!isWhole) return;
    this.#isRooted = equalBytes(this.#rootOfEdge(), this.#head.root);
    if (this.#isRooted) return;
    findings.tampered(checkpoint, 'tile', 'the tiles of the right edge do not give the root of the head');
  }

  /** The leaf hashes of level 0, tile `index`; null after a finding: then nothing in it is shown. */
  leaves(index: number): Promise<Uint8Array | null> {
    return this.#verified(0, index);
  }

  async #verified(level: number, index: number): Promise<Uint8Array | null> {
    if (!this.#isRooted) return null;
    if (index === Math.floor(this.#countAt(level) / TILE_WIDTH)) return this.#edge[level] ?? null;
    const kept = this.#kept[level];
    if (kept?.index === index) return kept.hashes;
    const hashes = await this.#full(level, index);
    this.#kept[level] = { index, hashes };
    return hashes;
  }

  async #full(level: number, index: number): Promise<Uint8Array | null> {
    const above = level + 1 < LEVELS ? await this.#verified(level + 1, Math.floor(index / TILE_WIDTH)) : null;
    const hashes = await this.#read(level, index, TILE_WIDTH);
    if (above === null || hashes === null) return null;
    const at = (index % TILE_WIDTH) * HASH_BYTES;
    if (equalBytes(tileRoot(hashes), above.subarray(at, at + HASH_BYTES))) return hashes;
    const detail = 'the tile is not the one that the tile above it calls for';
    this.#context.findings.tampered(this.#path(level, index, TILE_WIDTH), 'tile', detail);
    return null;
  }

  async #read(level: number, index: number, width: number): Promise<Uint8Array | null> {
    const path = this.#path(level, index, width);
    const bytes = await this.#context.files.whole(path, 'tile', TILE_BYTES);
    if (bytes === null || bytes.length === width * HASH_BYTES) return bytes;
    this.#context.findings.tampered(path, 'tile', `the tile does not have ${width * HASH_BYTES} bytes`);
    return null;
  }

  #path(level: number, index: number, width: number): string {
    return treeTilePath(this.#folder, { level, index: BigInt(index), width });
  }

  /** Hashes that the tree has at a tile level. */
  #countAt(level: number): number {
    return Number(this.#head.size >> BigInt(8 * level));
  }

  /** The root from the peaks, which all stand in the partial tiles: the highest level holds the largest of them. */
  #rootOfEdge(): Uint8Array {
    let root: Uint8Array | null = null;
    for (const edge of this.#edge) {
      if (edge === null) continue;
      // Within a tile the larger peaks come first, and the smallest stands nearest to what is right of it.
      let rest = edge.length / HASH_BYTES;
      let end = edge.length;
      for (let width = 1; rest > 0; width *= 2) {
        if (rest % (2 * width) === 0) continue;
        const peak = perfectRoot(edge.subarray(end - width * HASH_BYTES, end));
        root = root === null ? peak : nodeHash(peak, root);
        end -= width * HASH_BYTES;
        rest -= width;
      }
    }
    return root ?? new Uint8Array(0);
  }
}
