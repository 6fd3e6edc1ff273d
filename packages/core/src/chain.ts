/**
 * The hash chain beside a tree: chain_0 = SHA-256(origin), chain_n = SHA-256(chain_{n−1} ‖ leaf hash). It commits to
 * the same leaves in the same order as the tree, and it can be checked with nothing but a SHA-256.
 */
import { concatBytes, encodeUtf8 } from './bytes.ts';
import { checkHash } from './merkle/tree.ts';
import { sha256 } from './sha256.ts';

/** The link before the first leaf. It holds the origin, so that chains of two trees never meet. */
export function chainStart(origin: string): Uint8Array {
  return sha256(encodeUtf8(origin));
}

/**
 * The link after one leaf. Batches go through `chainMany` of sha256.ts, which gives the same links.
 * @throws RangeError unless link and leaf hash have 32 bytes
 */
export function chainNext(link: Uint8Array, leafHash: Uint8Array): Uint8Array {
  checkHash(link);
  checkHash(leafHash);
  return sha256(concatBytes([link, leafHash]));
}
