import { sha256 } from './sha256.ts';

const utf8 = new TextEncoder();

/**
 * The partition of a key: the first 8 bytes of SHA-256(key), big-endian, modulo the number of partitions
 * (design §1). The number is frozen when the log is made; changing it would break the order per key.
 */
export function partitionOf(key: string | Uint8Array, partitions: number): number {
  const digest = sha256(typeof key === 'string' ? utf8.encode(key) : key);
  return digestModulo(digest, 0, partitions);
}

/** First 8 bytes of `digest` at `at`, as an unsigned big-endian number, modulo `n`. */
export function digestModulo(digest: Uint8Array, at: number, n: number): number {
  // Two 32-bit halves: (high · 2³² + low) mod n stays exact in doubles while n < 2²¹.
  const high = ((digest[at] << 24) | (digest[at + 1] << 16) | (digest[at + 2] << 8) | digest[at + 3]) >>> 0;
  const low =
    ((digest[at + 4] << 24) | (digest[at + 5] << 16) | (digest[at + 6] << 8) | digest[at + 7]) >>> 0;
  return ((high % n) * (4294967296 % n) + (low % n)) % n;
}
