import type { ApiKey } from './api-keys.ts';

/** How long a key that was looked up is believed, in milliseconds: how late another process sees a revocation. */
export const VERIFIED_MS_MAX = 5_000;
/** Most keys that are remembered. */
const VERIFIED_KEYS_MAX = 10_000;

/**
 * Keys that were looked up a moment ago. It holds what the store holds, never a secret: each request's secret is
 * hashed and compared again. A class because it has a life: entries grow old and are dropped.
 */
export class VerifiedKeys {
  /** In the order in which they were put: the first is the oldest. */
  readonly #keys = new Map<string, { key: ApiKey; at: number }>();
  readonly #now: () => number;
  readonly #keysMax: number;
  /** Counts revocations; a lookup that began before one is not kept. */
  #drops = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number, keysMax: number = VERIFIED_KEYS_MAX) {
    this.#now = now;
    this.#keysMax = keysMax;
  }

  /** The key of this id, from memory if it is fresh, else from `look`. */
  async find(keyId: string, look: (keyId: string) => Promise<ApiKey | null>): Promise<ApiKey | null> {
    const held = this.#keys.get(keyId);
    if (held !== undefined && this.#now() - held.at <= VERIFIED_MS_MAX) return held.key;
    const at = this.#now();
    const drops = this.#drops;
    const key = await look(keyId);
    this.#keys.delete(keyId);
    // Unknown ids are not kept: anybody can make them up, and they would push out those that are used.
    if (key !== null && drops === this.#drops) this.#put(keyId, { key, at });
    return key;
  }

  drop(keyId: string): void {
    this.#drops++;
    this.#keys.delete(keyId);
  }

  get size(): number {
    return this.#keys.size;
  }

  #put(keyId: string, entry: { key: ApiKey; at: number }): void {
    if (this.#keys.size >= this.#keysMax) this.#keys.delete(this.#keys.keys().next().value as string);
    this.#keys.set(keyId, entry);
  }
}
