/**
 * Generates the WebAssembly module behind `sha256.ts`: SHA-256 on four messages at once, one in each 32-bit lane
 * of the SIMD registers, and on one message in ordinary registers. The same round code is emitted for both.
 *
 * Memory map (the rest belongs to the caller):
 *
 *     0     64 words   K, the round keys
 *     256   64 words   K + W of the second block of a 64-byte message, which is the same for all of them
 *     512   free
 *
 * The functions and their signatures are those of `HashEngine` in `sha256-plain.ts`; all arguments are i32.
 *
 * Rounds 0 to 15 are straight code, 16 to 63 a loop over 16, because the whole is then small enough for the
 * processor's cache of decoded instructions. Best of 1,500 short interleaved runs on one core, leaves of 600
 * bytes / node pairs: loop 1.23 / 5.68 M/s, all 64 rounds unrolled 1.13 / 5.54 M/s. A fifth message in the ordinary
 * registers beside the four lanes: 0.95 M/s, so it was left out. The four lanes take 800 cycles a block, of which
 * 624 are the two shift units alone; more needs wider registers. (2026-11-21, AMD EPYC, 2 cores, Node 26.10.)
 */
import { type HashEngine, INITIAL_STATE, keyedSchedule, ROUND_KEYS } from './sha256-plain.ts';
import {
  type Code,
  doWhile,
  extractLane,
  type FunctionSource,
  get,
  I32,
  i32,
  i32Add,
  i32And,
  i32Load,
  i32Load8,
  i32NotEqual,
  i32Or,
  i32Rotr,
  i32Shl,
  i32ShrU,
  i32Store,
  i32Store8,
  i32Xor,
  type Local,
  type Locals,
  moduleBytes,
  repeat,
  replaceLane,
  set,
  shuffle,
  splat,
  swizzle,
  tee,
  V128,
  v128Const,
  v128Load,
  v128Splat,
  v128Store,
  vAdd,
  vAnd,
  vAnyTrue,
  vGreater,
  vOr,
  vSelect,
  vShl,
  vShrU,
  vXor,
} from './wasm-assembler.ts';

/** First byte of an engine's memory that its caller may use. */
export const engineReservedBytes = 512;

const padKeysAt = 256;
/** The second block of a message of exactly 64 bytes: 0x80, zeros, the length of 512 bits. */
const padOf64: readonly number[] = [0x80000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 512];

type EngineFunction = FunctionSource & { name: Exclude<keyof HashEngine, 'memory'> };

// ---- SHA-256 on words of either width ------------------------------------------------------------------------

/** How a word is computed with: an i32, or four of them side by side. */
interface Arithmetic {
  type: number;
  add(...terms: Code[]): Code;
  xor(...terms: Code[]): Code;
  and(a: Code, b: Code): Code;
  rotr(x: Local, n: number): Code;
  shr(x: Local, n: number): Code;
  /** The word at `offset` from the address in `base`, in every lane. */
  constant(base: Local, offset: number): Code;
}

const left = (op: (...operands: Code[]) => Code, terms: Code[]): Code =>
  terms.reduce((sum, term) => op(sum, term));

const scalar: Arithmetic = {
  type: I32,
  add: (...terms) => left(i32Add, terms),
  xor: (...terms) => left(i32Xor, terms),
  and: i32And,
  rotr: (x, n) => i32Rotr(get(x), i32(n)),
  shr: (x, n) => i32ShrU(get(x), i32(n)),
  constant: (base, offset) => i32Load(get(base), offset),
};

const lanes: Arithmetic = {
  type: V128,
  add: (...terms) => left(vAdd, terms),
  xor: (...terms) => left(vXor, terms),
  and: vAnd,
  rotr: (x, n) => vOr(vShrU(get(x), i32(n)), vShl(get(x), i32(32 - n))),
  shr: (x, n) => vShrU(get(x), i32(n)),
  constant: (base, offset) => v128Splat(get(base), offset),
};

/** Gives K[t] + W[t] of round t; `base` holds the address of 4 × (t - t mod 16) in the table of keys. */
type Keyed = (t: number, base: Local) => Code;

/** K[t] + W[t], computing W[t] into its place in the ring of 16 words. */
const fromBlock =
  (m: Arithmetic, w: Local[]): Keyed =>
  (t, base) => {
    const word = w[t % 16]!;
    const key = m.constant(base, 4 * (t % 16));
    if (t < 16) return m.add(get(word), key);
    const p = w[(t + 1) % 16]!;
    const q = w[(t + 14) % 16]!;
    const sigma0 = m.xor(m.rotr(p, 7), m.rotr(p, 18), m.shr(p, 3));
    const sigma1 = m.xor(m.rotr(q, 17), m.rotr(q, 19), m.shr(q, 10));
    return m.add(tee(word, m.add(get(word), sigma0, get(w[(t + 9) % 16]!), sigma1)), key);
  };

/** K[t] + W[t] of the padding block of a 64-byte message, from its table: no schedule to compute. */
const fromPadOf64 =
  (m: Arithmetic): Keyed =>
  (t, base) =>
    m.constant(base, padKeysAt + 4 * (t % 16));

/** The 64 rounds on `state`, which is added to. Roles rotate instead of values: after 16 rounds all are back. */
function rounds(locals: Locals, m: Arithmetic, state: Local[], keyed: Keyed): Code {
  const v = locals.many(m.type, 8);
  const t1 = locals.one(m.type);
  const base = locals.one(I32);
  // maj(a,b,c) = ((a ^ b) & (b ^ c)) ^ b; this round's a ^ b is the next round's b ^ c.
  const [ab, bc] = locals.many(m.type, 2) as [Local, Local];
  const round = (t: number): Code => {
    const role = (i: number): Local => v[(i - t + 64) % 8]!;
    const [a, b, d, e, f, g, h] = [role(0), role(1), role(3), role(4), role(5), role(6), role(7)];
    const [now, before] = t % 2 === 0 ? [ab, bc] : [bc, ab];
    const choose = m.xor(m.and(m.xor(get(f), get(g)), get(e)), get(g));
    const sum1 = m.xor(m.rotr(e, 6), m.rotr(e, 11), m.rotr(e, 25));
    const sum0 = m.xor(m.rotr(a, 2), m.rotr(a, 13), m.rotr(a, 22));
    const majority = m.xor(m.and(tee(now, m.xor(get(a), get(b))), get(before)), get(b));
    return [
      set(t1, m.add(m.add(get(h), keyed(t, base)), choose, sum1)),
      set(d, m.add(get(d), get(t1))),
      set(h, m.add(m.add(majority, get(t1)), sum0)),
    ];
  };
  const sixteen = (from: number): Code => Array.from({ length: 16 }, (_, i) => round(from + i));
  const nextKeys = set(base, i32Add(get(base), i32(64)));
  return [
    v.map((local, i) => set(local, get(state[i]!))),
    set(bc, m.xor(get(v[1]!), get(v[2]!))),
    set(base, i32(0)),
    sixteen(0),
    doWhile([nextKeys, sixteen(16)], i32NotEqual(get(base), i32(192))),
    state.map((local, i) => set(local, m.add(get(local), get(v[i]!)))),
  ];
}

// ---- bytes to words and back ---------------------------------------------------------------------------------

const byteSwap = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
const bytesOf = (...words: number[]): number[] =>
  words.flatMap((w) => [4 * w, 4 * w + 1, 4 * w + 2, 4 * w + 3]);
/** Swizzling by a constant is one instruction (pshufb); a shuffle of one vector became five: 1 to 2 % slower. */
const swapped = (value: Code): Code => swizzle(value, v128Const(byteSwap));

/** Turns rows of four words (one lane each) into columns (one word of each lane), or back. */
function transpose(locals: Locals, rows: readonly Code[], columns: readonly Local[]): Code {
  const r = locals.many(V128, 4) as [Local, Local, Local, Local];
  const p = locals.many(V128, 4) as [Local, Local, Local, Local];
  const low = bytesOf(0, 4, 1, 5);
  const high = bytesOf(2, 6, 3, 7);
  const lowHalves = bytesOf(0, 1, 4, 5);
  const highHalves = bytesOf(2, 3, 6, 7);
  return [
    r.map((local, i) => set(local, rows[i]!)),
    set(p[0], shuffle(get(r[0]), get(r[1]), low)),
    set(p[1], shuffle(get(r[2]), get(r[3]), low)),
    set(p[2], shuffle(get(r[0]), get(r[1]), high)),
    set(p[3], shuffle(get(r[2]), get(r[3]), high)),
    set(columns[0]!, shuffle(get(p[0]), get(p[1]), lowHalves)),
    set(columns[1]!, shuffle(get(p[0]), get(p[1]), highHalves)),
    set(columns[2]!, shuffle(get(p[2]), get(p[3]), lowHalves)),
    set(columns[3]!, shuffle(get(p[2]), get(p[3]), highHalves)),
  ];
}

/** Big-endian words at the four addresses into `words` (a multiple of 4 of them), lane by lane. */
const loadLanes = (locals: Locals, at: readonly Code[], offset: number, words: Local[]): Code =>
  Array.from({ length: words.length / 4 }, (_, q) =>
    transpose(
      locals,
      at.map((address) => swapped(v128Load(address, offset + 16 * q))),
      words.slice(4 * q, 4 * q + 4),
    ),
  );

/** The eight state words of each lane as 32 big-endian bytes at its address. */
const storeLanes = (locals: Locals, at: readonly Code[], state: Local[]): Code =>
  [0, 1].map((half) => {
    const rows = locals.many(V128, 4);
    return [
      transpose(locals, state.slice(4 * half, 4 * half + 4).map(get), rows),
      rows.map((row, lane) => v128Store(at[lane]!, 16 * half, swapped(get(row)))),
    ];
  });

/** Big-endian words at an address into i32 locals. */
const loadWords = (locals: Locals, at: Code, offset: number, words: Local[]): Code =>
  Array.from({ length: words.length / 4 }, (_, q) => {
    const row = locals.one(V128);
    return [
      set(row, swapped(v128Load(at, offset + 16 * q))),
      [0, 1, 2, 3].map((lane) => set(words[4 * q + lane]!, extractLane(get(row), lane))),
    ];
  });

const initialLanes = (state: Local[]): Code =>
  state.map((word, i) => set(word, splat(i32(INITIAL_STATE[i]!))));
const fromLanes = (lane: (index: number) => Code): Code =>
  [1, 2, 3].reduce((vector, index) => replaceLane(vector, index, lane(index)), splat(lane(0)));

// ---- the functions -------------------------------------------------------------------------------------------

const blocks: EngineFunction = {
  name: 'blocks',
  params: 3,
  body: (locals, stateAt, data, count) => {
    const state = locals.many(I32, 8);
    const w = locals.many(I32, 16);
    return [
      state.map((word, i) => set(word, i32Load(get(stateAt!), 4 * i))),
      repeat(count!, [
        loadWords(locals, get(data!), 0, w),
        rounds(locals, scalar, state, fromBlock(scalar, w)),
        set(data!, i32Add(get(data!), i32(64))),
      ]),
      state.map((word, i) => i32Store(get(stateAt!), 4 * i, get(word))),
    ];
  },
};

const close: EngineFunction = {
  name: 'close',
  params: 3,
  result: true,
  body: (locals, start, length, entry) => {
    const end = locals.one(I32);
    const count = locals.one(I32);
    const bits = locals.one(I32);
    // The length in bits stays below 2^24, so three bytes swap by hand.
    const bigEndian = i32Or(
      i32Or(i32Shl(get(bits), i32(24)), i32Shl(i32And(get(bits), i32(0xff00)), i32(8))),
      i32And(i32ShrU(get(bits), i32(8)), i32(0xff00)),
    );
    return [
      i32Store8(get(start!), 0, i32(0)),
      set(end, i32Add(i32Add(get(start!), get(length!)), i32(1))),
      [0, 16, 32, 48, 64].map((offset) => v128Store(get(end), offset, splat(i32(0)))),
      i32Store8(get(end), 0, i32(0x80)),
      set(count, i32ShrU(i32Add(get(length!), i32(73)), i32(6))),
      set(bits, i32Shl(i32Add(get(length!), i32(1)), i32(3))),
      i32Store(get(entry!), 0, get(start!)),
      i32Store(get(entry!), 4, get(count)),
      set(end, i32Add(get(start!), i32Shl(get(count), i32(6)))),
      i32Store(i32Add(get(end), i32(-4)), 0, bigEndian),
      get(end),
    ];
  },
};

const slots: EngineFunction = {
  name: 'slots',
  params: 4,
  body: (locals, order, groups, entries, digests) => {
    const state = locals.many(V128, 8);
    const before = locals.many(V128, 8);
    const w = locals.many(V128, 16);
    const at = locals.many(I32, 4);
    const entry = locals.one(I32);
    const left = locals.one(V128);
    const counts = locals.many(I32, 4);
    const outputs = at.map((_, lane) =>
      i32Add(get(digests!), i32Shl(i32Load(get(order!), 4 * lane), i32(5))),
    );
    return repeat(groups!, [
      at.map((address, lane) => [
        set(entry, i32Add(get(entries!), i32Shl(i32Load(get(order!), 4 * lane), i32(3)))),
        set(address, i32Load(get(entry))),
        set(counts[lane]!, i32Load(get(entry), 4)),
      ]),
      set(
        left,
        fromLanes((lane) => get(counts[lane]!)),
      ),
      initialLanes(state),
      // A lane whose message has ended runs on over whatever follows it; its state is put back each time.
      doWhile(
        [
          state.map((word, i) => set(before[i]!, get(word))),
          loadLanes(locals, at.map(get), 0, w),
          rounds(locals, lanes, state, fromBlock(lanes, w)),
          state.map((word, i) =>
            set(word, vSelect(get(word), get(before[i]!), vGreater(get(left), splat(i32(0))))),
          ),
          at.map((address) => set(address, i32Add(get(address), i32(64)))),
          set(left, vAdd(get(left), splat(i32(-1)))),
        ],
        vAnyTrue(vGreater(get(left), splat(i32(0)))),
      ),
      storeLanes(locals, outputs, state),
      set(order!, i32Add(get(order!), i32(16))),
    ]);
  },
};

const pairs: EngineFunction = {
  name: 'pairs',
  params: 3,
  body: (locals, children, digests, groups) => {
    const state = locals.many(V128, 8);
    const w = locals.many(V128, 16);
    const first = w[0]!;
    const at = [0, 1, 2, 3].map((lane) => i32Add(get(children!), i32(64 * lane - 1)));
    const outputs = [0, 1, 2, 3].map((lane) => i32Add(get(digests!), i32(32 * lane)));
    const lastByte = fromLanes((lane) => i32Load8(get(children!), 64 * lane + 63));
    return repeat(groups!, [
      initialLanes(state),
      // Read one byte early; that byte becomes the prefix 0x01.
      loadLanes(locals, at, 0, w),
      set(first, vOr(vAnd(get(first), splat(i32(0x00ffffff))), splat(i32(0x01000000)))),
      rounds(locals, lanes, state, fromBlock(lanes, w)),
      // The second block: the last byte, 0x80, zeros, the length of 65 bytes in bits.
      set(first, vOr(vShl(lastByte, i32(24)), splat(i32(0x00800000)))),
      w.slice(1).map((word, i) => set(word, splat(i32(i === 14 ? 65 * 8 : 0)))),
      rounds(locals, lanes, state, fromBlock(lanes, w)),
      storeLanes(locals, outputs, state),
      set(children!, i32Add(get(children!), i32(256))),
      set(digests!, i32Add(get(digests!), i32(128))),
    ]);
  },
};

const chain: EngineFunction = {
  name: 'chain',
  params: 3,
  body: (locals, chainAt, leafHashes, count) => {
    const value = locals.many(I32, 8);
    const state = locals.many(I32, 8);
    const w = locals.many(I32, 16);
    const row = (q: number): Code =>
      [1, 2, 3].reduce((v, i) => replaceLane(v, i, get(value[4 * q + i]!)), splat(get(value[4 * q]!)));
    return [
      loadWords(locals, get(chainAt!), 0, value),
      repeat(count!, [
        value.map((word, i) => set(w[i]!, get(word))),
        loadWords(locals, get(leafHashes!), 0, w.slice(8)),
        state.map((word, i) => set(word, i32(INITIAL_STATE[i]!))),
        rounds(locals, scalar, state, fromBlock(scalar, w)),
        rounds(locals, scalar, state, fromPadOf64(scalar)),
        state.map((word, i) => set(value[i]!, get(word))),
        set(leafHashes!, i32Add(get(leafHashes!), i32(32))),
      ]),
      [0, 1].map((q) => v128Store(get(chainAt!), 16 * q, swapped(row(q)))),
    ];
  },
};

const chainFour: EngineFunction = {
  name: 'chainFour',
  params: 6,
  body: (locals, chains, ...rest) => {
    const leafHashes = rest.slice(0, 4);
    const value = locals.many(V128, 8);
    const state = locals.many(V128, 8);
    const w = locals.many(V128, 16);
    const at = [0, 1, 2, 3].map((lane) => i32Add(get(chains!), i32(32 * lane)));
    return [
      loadLanes(locals, at, 0, value),
      repeat(rest[4]!, [
        value.map((word, i) => set(w[i]!, get(word))),
        loadLanes(locals, leafHashes.map(get), 0, w.slice(8)),
        initialLanes(state),
        rounds(locals, lanes, state, fromBlock(lanes, w)),
        rounds(locals, lanes, state, fromPadOf64(lanes)),
        state.map((word, i) => set(value[i]!, get(word))),
        leafHashes.map((address) => set(address, i32Add(get(address), i32(32)))),
      ]),
      storeLanes(locals, at, value),
    ];
  },
};

/** The bytes of the module: see `moduleBytes` for its memory, `HashEngine` for its functions. */
export function sha256ModuleBytes(): Uint8Array<ArrayBuffer> {
  return moduleBytes(
    [blocks, close, slots, pairs, chain, chainFour],
    [...ROUND_KEYS, ...keyedSchedule(padOf64)],
  );
}
