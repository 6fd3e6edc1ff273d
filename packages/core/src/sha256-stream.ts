/** SHA-256 of a message that comes in pieces, synchronous, over the engine of `sha256.ts`. */

import { defaultEngine } from './sha256-engine.ts';
import { type HashEngine, INITIAL_STATE } from './sha256-plain.ts';
import { engineReservedBytes } from './sha256-wasm.ts';

/** A hash under way. `digest` ends it. */
export interface HashStream {
  update(piece: Uint8Array): void;
  digest(): Uint8Array;
}

const BLOCK_BYTES = 64;
const STATE_BYTES = 32;
const WORK_BYTES = 65_536;
const STATE_AT = engineReservedBytes;
const WORK_AT = 1_024;

interface Shared {
  readonly engine: HashEngine;
  readonly memory: Uint8Array;
  readonly words: Int32Array;
}

// One engine for all streams of a thread: an update is synchronous, and brings its own state along.
let shared: Shared | undefined;

function sharedEngine(): Shared {
  if (shared === undefined) {
    const engine = defaultEngine()(WORK_AT + WORK_BYTES + 128);
    const { buffer } = engine.memory;
    shared = { engine, memory: new Uint8Array(buffer), words: new Int32Array(buffer, STATE_AT, 8) };
  }
  return shared;
}

/** FIPS 180-4. Messages of up to 2^53 − 1 bytes. */
export class Sha256Stream implements HashStream {
  readonly #state = Int32Array.from(INITIAL_STATE, (word) => word | 0);
  readonly #rest = new Uint8Array(BLOCK_BYTES);
  #restLength = 0;
  #length = 0;

  update(piece: Uint8Array): void {
    const { engine, memory, words } = sharedEngine();
    this.#length += piece.length;
    words.set(this.#state);
    let taken = 0;
    while (this.#restLength + piece.length - taken >= BLOCK_BYTES) {
      // Whole blocks only: what is left over waits for the next piece.
      const room = Math.min(WORK_BYTES, this.#restLength + piece.length - taken);
      const filled = room - (room % BLOCK_BYTES);
      memory.set(this.#rest.subarray(0, this.#restLength), WORK_AT);
      const fresh = filled - this.#restLength;
      memory.set(piece.subarray(taken, taken + fresh), WORK_AT + this.#restLength);
      engine.blocks(STATE_AT, WORK_AT, filled / BLOCK_BYTES);
      taken += fresh;
      this.#restLength = 0;
    }
    this.#state.set(words);
    this.#rest.set(piece.subarray(taken), this.#restLength);
    this.#restLength += piece.length - taken;
  }

  digest(): Uint8Array {
    const length = this.#length;
    const padding = new Uint8Array(this.#restLength < 56 ? 64 - this.#restLength : 128 - this.#restLength);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(length / 2 ** 29));
    view.setUint32(padding.length - 4, (length << 3) >>> 0);
    this.update(padding);
    const digest = new Uint8Array(STATE_BYTES);
    const out = new DataView(digest.buffer);
    for (let i = 0; i < 8; i++) out.setInt32(4 * i, this.#state[i]!);
    return digest;
  }
}
