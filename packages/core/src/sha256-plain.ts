/**
 * SHA-256 (FIPS 180-4) in plain TypeScript: the constants, one compression function, and an engine with the
 * functions of the WebAssembly module (`sha256-wasm.ts`) for runtimes without SIMD. The two share one memory
 * map, so that everything above them is written once; a test holds their results equal.
 */

/** Round constants K (FIPS 180-4, 4.2.2). */
export const ROUND_KEYS: readonly number[] = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
];

/** Initial state (FIPS 180-4, 5.3.3). */
export const INITIAL_STATE: readonly number[] = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/**
 * What both engines offer. Arguments are byte offsets into `memory`; nothing is checked here: the callers in
 * `sha256.ts` do that. A digest or chain value is 32 bytes, big-endian as FIPS 180-4 prints it.
 */
export interface HashEngine {
  readonly memory: { readonly buffer: ArrayBuffer };
  /** Compresses `count` blocks of 64 bytes at `data` into the 8 native words at `state`. */
  blocks(state: number, data: number, count: number): void;
  /**
   * Closes the slot at `start` that holds a leaf of `length` bytes at `start + 1`: writes the 0x00 in front and
   * the padding behind (up to 80 bytes after the leaf are overwritten), notes {start, blocks} as two native
   * words at `entry`, and returns the offset after the slot.
   */
  close(start: number, length: number, entry: number): number;
  /**
   * Hashes `groups` × 4 closed slots: `order` lists slot numbers (native words), `entries` the {start, blocks}
   * of each slot; the digest of slot i goes to `digests + 32 i`. An entry of 0 blocks gives a meaningless digest.
   */
  slots(order: number, groups: number, entries: number, digests: number): void;
  /** RFC 6962 node hashes of `groups` × 4 pairs of 64 bytes. The byte before `children` is read and ignored. */
  pairs(children: number, digests: number, groups: number): void;
  /** chain = SHA-256(chain ‖ leaf hash), `count` times. */
  chain(chain: number, leafHashes: number, count: number): void;
  /** Four chains at `chains` (4 × 32 bytes), each with its own leaf hashes. */
  chainFour(chains: number, a: number, b: number, c: number, d: number, count: number): void;
}

/** Block count of a closed slot: 0x00, the leaf, 0x80 and 8 bytes of length. */
export const slotBlocks = (leafLength: number): number => (leafLength + 73) >>> 6;

/** The whole 64-word schedule of a block of 16 words, each with its round key added. */
export function keyedSchedule(block: readonly number[]): number[] {
  const w = [...block];
  for (let t = 16; t < 64; t++) {
    const a = w[t - 15]!;
    const b = w[t - 2]!;
    const s0 = rotr(a, 7) ^ rotr(a, 18) ^ (a >>> 3);
    const s1 = rotr(b, 17) ^ rotr(b, 19) ^ (b >>> 10);
    w.push((s1 + w[t - 7]! + s0 + w[t - 16]!) | 0);
  }
  return w.map((word, t) => (word + ROUND_KEYS[t]!) | 0);
}

const rotr = (x: number, n: number): number => (x >>> n) | (x << (32 - n));

const KEYS = Int32Array.from(ROUND_KEYS, (key) => key | 0);
const words = new Int32Array(64);

/** Compresses one block of 64 bytes at `at` into `state` (8 words). */
function compress(state: Int32Array, data: DataView, at: number): void {
  for (let t = 0; t < 16; t++) words[t] = data.getInt32(at + 4 * t);
  for (let t = 16; t < 64; t++) {
    const p = words[t - 15]!;
    const q = words[t - 2]!;
    const s0 = rotr(p, 7) ^ rotr(p, 18) ^ (p >>> 3);
    const s1 = rotr(q, 17) ^ rotr(q, 19) ^ (q >>> 10);
    words[t] = s1 + words[t - 7]! + s0 + words[t - 16]!;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (let t = 0; t < 64; t++) {
    const t1 =
      (h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + (g ^ (e & (f ^ g))) + KEYS[t]! + words[t]!) | 0;
    const t2 = ((rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  for (const [i, word] of [a, b, c, d, e, f, g, h].entries()) state[i] = state[i]! + word;
}

/** The engine without WebAssembly, over `bytes` of ordinary memory: one message at a time. */
export function plainEngine(bytes: number): HashEngine {
  const buffer = new ArrayBuffer(bytes);
  const view = new DataView(buffer);
  const memory = new Uint8Array(buffer);
  const state = new Int32Array(8);
  const scratch = new Uint8Array(128);
  const scratchView = new DataView(scratch.buffer);
  const start = (): void => state.set(INITIAL_STATE);
  const finish = (digest: number): void => {
    for (let i = 0; i < 8; i++) view.setInt32(digest + 4 * i, state[i]!);
  };
  const twoBlocks = (digest: number): void => {
    start();
    compress(state, scratchView, 0);
    compress(state, scratchView, 64);
    finish(digest);
  };
  const words = (at: number, count: number): Uint32Array => new Uint32Array(buffer, at, count);

  const engine: HashEngine = {
    memory: { buffer },
    blocks(stateAt, data, count) {
      const native = new Int32Array(buffer, stateAt, 8);
      for (let i = 0; i < count; i++) compress(native, view, data + 64 * i);
    },
    close(slot, length, entry) {
      const blocks = slotBlocks(length);
      const end = slot + 64 * blocks;
      memory[slot] = 0;
      memory.fill(0, slot + 1 + length, end);
      memory[slot + 1 + length] = 0x80;
      view.setUint32(end - 4, 8 * (length + 1));
      words(entry, 2).set([slot, blocks]);
      return end;
    },
    slots(order, groups, entries, digests) {
      for (const slot of words(order, 4 * groups)) {
        const [at, blocks] = words(entries + 8 * slot, 2) as unknown as [number, number];
        start();
        for (let i = 0; i < blocks; i++) compress(state, view, at + 64 * i);
        finish(digests + 32 * slot);
      }
    },
    pairs(children, digests, groups) {
      scratch.fill(0);
      scratch[0] = 0x01;
      scratch[65] = 0x80;
      scratchView.setUint32(124, 8 * 65);
      for (let i = 0; i < 4 * groups; i++) {
        scratch.set(memory.subarray(children + 64 * i, children + 64 * i + 64), 1);
        twoBlocks(digests + 32 * i);
      }
    },
    chain(chain, leafHashes, count) {
      scratch.fill(0);
      scratch[64] = 0x80;
      scratchView.setUint32(124, 8 * 64);
      for (let i = 0; i < count; i++) {
        scratch.set(memory.subarray(chain, chain + 32), 0);
        scratch.set(memory.subarray(leafHashes + 32 * i, leafHashes + 32 * i + 32), 32);
        twoBlocks(chain);
      }
    },
    chainFour(chains, a, b, c, d, count) {
      for (const [lane, leafHashes] of [a, b, c, d].entries())
        engine.chain(chains + 32 * lane, leafHashes, count);
    },
  };
  return engine;
}
