/**
 * Which engine hashes here: the WebAssembly module if the runtime takes it and it computes known answers, else
 * plain TypeScript. Decided once, at the first use: nothing is compiled on import.
 */
import { type HashEngine, INITIAL_STATE, plainEngine, slotBlocks } from './sha256-plain.ts';
import { engineReservedBytes, sha256ModuleBytes } from './sha256-wasm.ts';

/** Makes an engine with `bytes` of memory of its own, which never grows: views of it stay valid. */
export type MakeEngine = (bytes: number) => HashEngine;

const pageBytes = 65_536;

/** Engines of one compiled module, or null where WebAssembly with SIMD is missing or forbidden. */
export function wasmEngines(): MakeEngine | null {
  try {
    const bytes = sha256ModuleBytes();
    if (!WebAssembly.validate(bytes)) return null;
    const module = new WebAssembly.Module(bytes);
    return (size) => {
      const pages = Math.ceil(size / pageBytes);
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      const { exports } = new WebAssembly.Instance(module, { m: { m: memory } });
      return { ...(exports as unknown as Omit<HashEngine, 'memory'>), memory };
    };
  } catch {
    // A content security policy without 'wasm-unsafe-eval' throws here; the plain engine needs no permission.
    return null;
  }
}

let chosen: MakeEngine | undefined;

/** The engine to use. @throws Error if not even the plain one computes the known answers */
export function defaultEngine(): MakeEngine {
  if (chosen !== undefined) return chosen;
  for (const make of [wasmEngines(), plainEngine]) {
    if (make !== null && knownAnswersHold(make)) return (chosen = make);
  }
  throw new Error('SHA-256 gives wrong results on this machine');
}

// 64 bytes 0, 1, 2 … 63 are hashed through every function of an engine; the answers come from OpenSSL.
const knownAnswers = {
  blocks: 'fdeab9acf3710362bd2658cdc9a29e8f9c757fcf9811603a8c447cd1d9151108',
  leaf: 'e4fb1329f08b46df92906ff0be9b7ab12c44eabd3eb8651e69edb27bd8a19e95',
  shortLeaf: '6b0271f8cc97121c9e25e8c731f47c941b487c583f5fe15498a4c6f1994af299',
  pair: '1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57',
  chain: '1cc068b64b2bc8989846964c690661a8b1f52e64b3c697b393b385cc977c203f',
};

/** Whether each function of the engine gives the known answers: a wrong hash must never reach a signature. */
export function knownAnswersHold(make: MakeEngine): boolean {
  const engine = make(8192);
  const memory = new Uint8Array(engine.memory.buffer);
  const words = new Uint32Array(engine.memory.buffer);
  const hex = (at: number): string =>
    Array.from(memory.subarray(at, at + 32), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const input = 1024;
  const output = 2048;
  const count = (at: number, length: number): void => {
    for (let i = 0; i < length; i++) memory[at + i] = i;
  };

  const state = engineReservedBytes;
  count(input, 64);
  memory.set([0x80], input + 64);
  memory.set([2, 0], input + 126);
  words.set(INITIAL_STATE, state / 4);
  engine.blocks(state, input, 2);
  const view = new DataView(engine.memory.buffer);
  for (let i = 0; i < 8; i++) view.setUint32(output + 4 * i, words[state / 4 + i]!);
  if (hex(output) !== knownAnswers.blocks) return false;

  for (let i = 0; i < 4; i++) count(input + 64 * i, 64);
  engine.pairs(input, output, 1);
  for (let i = 0; i < 4; i++) if (hex(output + 32 * i) !== knownAnswers.pair) return false;

  // Each chain starts with the first 32 bytes and takes 32..63, then 0..31.
  for (let i = 0; i < 4; i++) count(output + 32 * i, 32);
  engine.chainFour(output, input + 32, input + 32, input + 32, input + 32, 2);
  for (let i = 0; i < 4; i++) if (hex(output + 32 * i) !== knownAnswers.chain) return false;
  count(output, 32);
  engine.chain(output, input + 32, 2);
  if (hex(output) !== knownAnswers.chain) return false;

  // Slots of one and two blocks side by side, in an order of their own.
  const [entries, order, slots] = [3072, 3200, 4096];
  for (let i = 0, at = slots; i < 4; i++) {
    count(at + 1, 64);
    at = engine.close(at, i % 2 === 0 ? 64 : 3, entries + 8 * i);
    if (at !== slots + 64 * (slotBlocks(64) * Math.ceil((i + 1) / 2) + slotBlocks(3) * ((i + 1) >> 1)))
      return false;
  }
  words.set([2, 0, 3, 1], order / 4);
  engine.slots(order, 1, entries, output);
  for (let i = 0; i < 4; i++) {
    if (hex(output + 32 * i) !== (i % 2 === 0 ? knownAnswers.leaf : knownAnswers.shortLeaf)) return false;
  }
  return true;
}
