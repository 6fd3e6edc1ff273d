/**
 * A WebAssembly assembler of the size that `sha256-wasm.ts` needs. Code is nested lists of bytes in stack order
 * (operands first), flattened once at the end; each opcode is a function of its operands, so that code reads as
 * expressions. Opcodes: WebAssembly 2.0, 5.4 (instructions), 5.5 (modules).
 */

export type Code = readonly (number | Code)[];
/** A parameter or local variable; `read` is the code that pushes it, shared by all its uses. */
export type Local = { readonly index: number; readonly read: Code };

export const I32 = 0x7f;
export const V128 = 0x7b;

/** Unsigned and signed LEB128. */
function leb(value: number): number[] {
  if (value < 128) return [value];
  const out: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...out, rest];
    out.push((rest & 127) | 128);
  }
}
function signedLeb(value: number): number[] {
  const out: number[] = [];
  for (let rest = value | 0; ; rest >>= 7) {
    if (rest >= -64 && rest < 64) return [...out, rest & 127];
    out.push((rest & 127) | 128);
  }
}

const plain =
  (opcode: number) =>
  (...operands: Code[]): Code => [...operands, opcode];
const simd = (opcode: number) => {
  const bytes = [0xfd, ...leb(opcode)];
  return (...operands: Code[]): Code => [...operands, bytes];
};

const local = (index: number): Local => ({ index, read: [0x20, ...leb(index)] });
export const get = (local: Local): Code => local.read;
export const set = (local: Local, value: Code): Code => [value, 0x21, leb(local.index)];
export const tee = (local: Local, value: Code): Code => [value, 0x22, leb(local.index)];
export const i32 = (value: number): Code => [0x41, signedLeb(value)];

export const i32Add = plain(0x6a);
export const i32NotEqual = plain(0x47);
export const i32And = plain(0x71);
export const i32Or = plain(0x72);
export const i32Xor = plain(0x73);
export const i32Shl = plain(0x74);
export const i32ShrU = plain(0x76);
export const i32Rotr = plain(0x78);
export const i32Load = (address: Code, offset = 0): Code => [address, 0x28, 2, leb(offset)];
export const i32Load8 = (address: Code, offset = 0): Code => [address, 0x2d, 0, leb(offset)];
export const i32Store = (address: Code, offset: number, value: Code): Code => [
  address,
  value,
  0x36,
  0,
  leb(offset),
];
export const i32Store8 = (address: Code, offset: number, value: Code): Code => [
  address,
  value,
  0x3a,
  0,
  leb(offset),
];

export const v128Load = (address: Code, offset = 0): Code => [address, 0xfd, leb(0), 0, leb(offset)];
export const v128Splat = (address: Code, offset = 0): Code => [address, 0xfd, leb(9), 2, leb(offset)];
export const v128Store = (address: Code, offset: number, value: Code): Code => [
  address,
  value,
  0xfd,
  leb(11),
  0,
  leb(offset),
];
export const shuffle = (a: Code, b: Code, lanes: readonly number[]): Code => [a, b, 0xfd, leb(13), lanes];
export const v128Const = (bytes: readonly number[]): Code => [0xfd, leb(12), bytes];
export const swizzle = simd(14);
export const splat = simd(17);
export const extractLane = (value: Code, lane: number): Code => [value, 0xfd, leb(27), lane];
export const replaceLane = (vector: Code, lane: number, value: Code): Code => [
  vector,
  value,
  0xfd,
  leb(28),
  lane,
];
export const vAnd = simd(78);
export const vOr = simd(80);
export const vXor = simd(81);
export const vSelect = simd(82);
export const vAnyTrue = simd(83);
export const vGreater = simd(59);
export const vShl = simd(0xab);
export const vShrU = simd(0xad);
export const vAdd = simd(0xae);

/** `do body while (condition)`, and the same guarded for a count that may be zero. */
export const doWhile = (body: Code, condition: Code): Code => [0x03, 0x40, body, condition, 0x0d, 0, 0x0b];
const when = (condition: Code, body: Code): Code => [condition, 0x04, 0x40, body, 0x0b];
export const repeat = (count: Local, body: Code): Code =>
  when(get(count), doWhile(body, tee(count, i32Add(get(count), i32(-1)))));

/** The locals of one function: parameters first. */
export class Locals {
  readonly params: readonly Local[];
  readonly types: number[] = [];
  constructor(params: number) {
    this.params = Array.from({ length: params }, (_, index) => local(index));
  }
  one(type: number): Local {
    return local(this.params.length + this.types.push(type) - 1);
  }
  many(type: number, count: number): Local[] {
    return Array.from({ length: count }, () => this.one(type));
  }
}

/** One exported function: its parameters are i32, its result (if any) too. */
export interface FunctionSource {
  name: string;
  params: number;
  result?: boolean;
  body: (locals: Locals, ...params: Local[]) => Code;
}

/** The number of bytes in nested code. */
function sizeOf(code: Code): number {
  let size = 0;
  for (const part of code) size += typeof part === 'number' ? 1 : sizeOf(part);
  return size;
}

/** Writes nested code at `at` and returns the offset after it. */
function write(out: Uint8Array, at: number, code: Code): number {
  let end = at;
  for (const part of code) {
    if (typeof part === 'number') out[end++] = part;
    else end = write(out, end, part);
  }
  return end;
}

const sized = (code: Code): Code => [leb(sizeOf(code)), code];
const list = (items: readonly Code[]): Code => [leb(items.length), items];
const section = (id: number, items: readonly Code[]): Code => [id, sized(list(items))];
const text = (value: string): Code => list(Array.from(value, (c) => [c.charCodeAt(0)]));

function functionBody({ params, body }: FunctionSource): Code {
  const locals = new Locals(params);
  const code = body(locals, ...locals.params);
  return sized([list(locals.types.map((type) => [1, type])), code, 0x0b]);
}

const littleEndian = (word: number): number[] => [
  word & 255,
  (word >>> 8) & 255,
  (word >>> 16) & 255,
  word >>> 24,
];

/**
 * The bytes of a module that imports its memory (at least one page) as `m.m`, exports `functions` by name and
 * writes `data` at address 0 when it is instantiated.
 */
export function moduleBytes(
  functions: readonly FunctionSource[],
  data: readonly number[],
): Uint8Array<ArrayBuffer> {
  const types = functions.map((f) => [
    0x60,
    list(Array.from({ length: f.params }, () => [I32])),
    list(f.result ? [[I32]] : []),
  ]);
  const indices = functions.map((_, index) => leb(index));
  const exported = functions.map((f, index) => [text(f.name), 0x00, leb(index)]);
  const code: Code = [
    [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    section(1, types),
    section(2, [[text('m'), text('m'), 0x02, 0x00, 1]]),
    section(3, indices),
    section(7, exported),
    section(10, functions.map(functionBody)),
    section(11, [[0x00, i32(0), 0x0b, sized(data.flatMap(littleEndian))]]),
  ];
  const out = new Uint8Array(sizeOf(code));
  write(out, 0, code);
  return out;
}
