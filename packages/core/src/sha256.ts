/**
 * SHA-256 for the log: single messages, RFC 6962 leaves and nodes, and the chain beside a tree, synchronous, with
 * nothing but the language. Many hashes at once go through four SIMD lanes of a WebAssembly module.
 *
 * The first use in a process generates, compiles and checks the module: 40 to 90 ms. Then, on one core, thousand
 * hashes a second (median / best of 5; 2026-11-21, AMD EPYC, 2 cores, Node 26.10, other work on the machine;
 * `node packages/core/bench/sha256.ts`):
 *
 *                          node:crypto `hash`   one at a time here   batched here
 *     65 bytes, node pair       722 / 743             612 / 694       5,167 / 5,290   hashPairs
 *     600 bytes, leaf           475 / 557             273 / 285         961 / 1,128   LeafBatch
 *     leaf of 500 to 900                                                818 / 937     LeafBatch
 *     chain, one                                                      2,287 / 2,605   chainMany
 *     chains, four at once                                            5,678 / 6,584   chainEach
 *
 * So a batch is 2 times (leaves) to 7 times (nodes) as fast as node:crypto, and a single long message half as fast.
 */
import { defaultEngine, type MakeEngine } from './sha256-engine.ts';
import { type HashEngine, INITIAL_STATE } from './sha256-plain.ts';
import { engineReservedBytes } from './sha256-wasm.ts';

const digestBytes = 32;
const initialState = Int32Array.from(INITIAL_STATE, (word) => word | 0);
/** A chain is written out after every so many records (design §4, seal). */
export const CHAIN_MARK_EVERY = 256;

// The memory of one Hasher: state, four chain values, and a work area that is filled, hashed and read in pieces.
const stateAt = engineReservedBytes;
const chainsAt = stateAt + digestBytes;
const workAt = 1024;
const workBytes = 65_536;
const pairsMax = workBytes / 64;
const outputAt = workAt + workBytes + 128;
const laneHashesMax = 256;
const hasherBytes = outputAt + pairsMax * digestBytes;

/** One chain to advance: all four fields as in `chainMany`. */
export interface ChainRun {
  chain: Uint8Array;
  leafHashes: Uint8Array;
  start: number | bigint;
  marks: Uint8Array;
}

/** How many marks a chain passes that holds `start` records and takes `count` more. */
export function chainMarks(start: number | bigint, count: number, every = CHAIN_MARK_EVERY): number {
  return Math.floor((phaseOf(start, every) + count) / every);
}

function phaseOf(start: number | bigint, every: number): number {
  const from = BigInt(start);
  check(from >= 0n, `a chain starts at 0 or later, not ${start}`);
  check(Number.isInteger(every) && every > 0, `marks are at least 1 apart, not ${every}`);
  return Number(from % BigInt(every));
}

function check(claim: boolean, message: string): void {
  if (!claim) throw new RangeError(message);
}

/** A run on its way through an engine: what is in its lane, and what comes next. */
interface Lane {
  run: ChainRun;
  done: number;
  toMark: number;
  marks: number;
  loaded: number;
  used: number;
}

/** All functions of this module over one engine; the exported functions share one. */
export class Hasher {
  readonly #engine: HashEngine;
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #state: Int32Array;

  constructor(make: MakeEngine = defaultEngine()) {
    this.#engine = make(hasherBytes);
    const { buffer } = this.#engine.memory;
    this.#memory = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#state = new Int32Array(buffer, stateAt, 8);
  }

  sha256(data: Uint8Array): Uint8Array {
    return this.#digest(data, 0, 0);
  }

  hashLeaf(leaf: Uint8Array): Uint8Array {
    this.#memory[workAt] = 0x00;
    return this.#digest(leaf, 1, 1);
  }

  /** Hashes what lies in the work area already (`prefixed` bytes) and then `data`. */
  #digest(data: Uint8Array, prefixed: number, prefixBytes: number): Uint8Array {
    const memory = this.#memory;
    let filled = prefixed;
    let taken = 0;
    this.#state.set(initialState);
    while (filled + data.length - taken > workBytes) {
      const piece = workBytes - filled;
      memory.set(data.subarray(taken, taken + piece), workAt + filled);
      this.#engine.blocks(stateAt, workAt, workBytes / 64);
      taken += piece;
      filled = 0;
    }
    memory.set(taken === 0 ? data : data.subarray(taken), workAt + filled);
    filled += data.length - taken;
    const blocks = (filled + 72) >>> 6;
    const end = workAt + 64 * blocks;
    memory.fill(0, workAt + filled, end);
    memory[workAt + filled] = 0x80;
    const length = data.length + prefixBytes;
    this.#view.setUint32(end - 8, Math.floor(length / 2 ** 29));
    this.#view.setUint32(end - 4, (length << 3) >>> 0);
    this.#engine.blocks(stateAt, workAt, blocks);
    const digest = new Uint8Array(digestBytes);
    const view = new DataView(digest.buffer);
    for (let i = 0; i < 8; i++) view.setInt32(4 * i, this.#state[i]!);
    return digest;
  }

  hashPairs(children: Uint8Array, out: Uint8Array, count: number = children.length / 64): void {
    check(Number.isInteger(count) && count >= 0, `pairs are counted in whole numbers, not ${count}`);
    check(children.length >= 64 * count, `${count} pairs take ${64 * count} bytes, not ${children.length}`);
    check(out.length >= digestBytes * count, `${count} hashes take ${32 * count} bytes, not ${out.length}`);
    for (let from = 0; from < count; from += pairsMax) {
      const pairs = Math.min(pairsMax, count - from);
      this.#memory.set(children.subarray(64 * from, 64 * (from + pairs)), workAt);
      this.#engine.pairs(workAt, outputAt, Math.ceil(pairs / 4));
      out.set(this.#memory.subarray(outputAt, outputAt + digestBytes * pairs), digestBytes * from);
    }
  }

  chainMany(
    chain: Uint8Array,
    leafHashes: Uint8Array,
    start: number | bigint,
    marks: Uint8Array,
    every: number = CHAIN_MARK_EVERY,
  ): number {
    this.chainEach([{ chain, leafHashes, start, marks }], every);
    return chainMarks(start, leafHashes.length / digestBytes, every);
  }

  chainEach(runs: readonly ChainRun[], every: number = CHAIN_MARK_EVERY): void {
    const waiting = runs.map((run) => laneOf(run, every)).filter((lane) => lane.run.leafHashes.length > 0);
    // Longest first, so that the last lanes to run end together.
    waiting.sort((a, b) => a.run.leafHashes.length - b.run.leafHashes.length);
    const lanes: (Lane | undefined)[] = [undefined, undefined, undefined, undefined];
    for (;;) {
      for (let i = 0; i < 4; i++) {
        if (lanes[i] !== undefined) continue;
        lanes[i] = waiting.pop();
        if (lanes[i] !== undefined) this.#memory.set(lanes[i]!.run.chain, chainsAt + digestBytes * i);
      }
      if (lanes.every((lane) => lane === undefined)) return;
      this.#advance(lanes, every);
    }
  }

  /** One step of all lanes: up to the nearest mark, end of a run, or end of what is loaded. */
  #advance(lanes: (Lane | undefined)[], every: number): void {
    let step = laneHashesMax;
    let active = 0;
    let last = 0;
    for (const [i, lane] of lanes.entries()) {
      if (lane === undefined) continue;
      active += 1;
      last = i;
      if (lane.used === lane.loaded) this.#load(lane, i);
      step = Math.min(step, lane.toMark, lane.loaded - lane.used);
    }
    const at = (i: number): number => workAt + digestBytes * (laneHashesMax * i + (lanes[i]?.used ?? 0));
    if (active === 1) this.#engine.chain(chainsAt + digestBytes * last, at(last), step);
    else this.#engine.chainFour(chainsAt, at(0), at(1), at(2), at(3), step);
    for (const [i, lane] of lanes.entries()) {
      if (lane !== undefined && this.#moved(lane, i, step, every)) lanes[i] = undefined;
    }
  }

  #load(lane: Lane, index: number): void {
    const { leafHashes } = lane.run;
    lane.loaded = Math.min(laneHashesMax, leafHashes.length / digestBytes - lane.done);
    lane.used = 0;
    const from = digestBytes * lane.done;
    const part = leafHashes.subarray(from, from + digestBytes * lane.loaded);
    this.#memory.set(part, workAt + digestBytes * laneHashesMax * index);
  }

  /** Notes a step of one lane; true if its run has ended. */
  #moved(lane: Lane, index: number, step: number, every: number): boolean {
    const { chain, leafHashes, marks } = lane.run;
    const at = chainsAt + digestBytes * index;
    lane.done += step;
    lane.used += step;
    lane.toMark -= step;
    const ended = digestBytes * lane.done === leafHashes.length;
    if (lane.toMark > 0 && !ended) return false;
    const value = this.#memory.subarray(at, at + digestBytes);
    if (lane.toMark === 0) {
      marks.set(value, digestBytes * lane.marks);
      lane.marks += 1;
      lane.toMark = every;
    }
    if (ended) chain.set(value);
    return ended;
  }
}

function laneOf(run: ChainRun, every: number): Lane {
  const { chain, leafHashes, start, marks } = run;
  const count = leafHashes.length / digestBytes;
  check(chain.length === digestBytes, `a chain value has 32 bytes, not ${chain.length}`);
  check(Number.isInteger(count), `leaf hashes take 32 bytes each, so not ${leafHashes.length} together`);
  const room = digestBytes * chainMarks(start, count, every);
  check(marks.length >= room, `the marks of this run take ${room} bytes, not ${marks.length}`);
  return { run, done: 0, toMark: every - phaseOf(start, every), marks: 0, loaded: 0, used: 0 };
}

let hasher: Hasher | undefined;
const shared = (): Hasher => (hasher ??= new Hasher());

/** SHA-256 of one message of any length. */
export function sha256(data: Uint8Array): Uint8Array {
  return shared().sha256(data);
}

/** The hash of one leaf, SHA-256(0x00 ‖ leaf) (RFC 6962 §2.1). Many at once: `LeafBatch`. */
export function hashLeaf(leaf: Uint8Array): Uint8Array {
  return shared().hashLeaf(leaf);
}

/**
 * Node hashes SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1) of `count` pairs (default: all): `children` is packed
 * left ‖ right, 64 bytes a pair, `out` takes 32 bytes each. `out` may be the start of `children` itself.
 * @throws RangeError if either array is too short, or without `count` `children` not a multiple of 64 bytes
 */
export function hashPairs(children: Uint8Array, out: Uint8Array, count?: number): void {
  shared().hashPairs(children, out, count);
}

/**
 * Advances a chain, chain_n = SHA-256(chain_{n−1} ‖ leaf hash n): `chain` (32 bytes) holds chain_start and is
 * replaced by the value after all of `leafHashes` (n × 32 bytes); `start` is the number of records chained before.
 * For each k ≥ 1 with start < k · every ≤ start + n, the value after k · every records is written to `marks`, 32
 * bytes each, in order. Returns how many were written.
 * @throws RangeError for other lengths, or if `marks` is too small (`chainMarks` tells)
 */
export function chainMany(
  chain: Uint8Array,
  leafHashes: Uint8Array,
  start: number | bigint,
  marks: Uint8Array,
  every?: number,
): number {
  return shared().chainMany(chain, leafHashes, start, marks, every);
}

/** `chainMany` for independent chains, four at a time: from two on faster than one after the other. */
export function chainEach(runs: readonly ChainRun[], every?: number): void {
  shared().chainEach(runs, every);
}
