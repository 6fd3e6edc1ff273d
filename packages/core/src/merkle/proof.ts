/**
 * Inclusion and consistency proofs (RFC 9162 §2.1.3 and §2.1.4; RFC 6962 §2.1.1 and §2.1.2).
 *
 * The verifiers take whatever a stranger sends: they never throw, and they fail closed. Every hash must have
 * 32 bytes, a size of zero proves nothing, and no part of a proof may be left over.
 */
import { equalBytes } from '../bytes.ts';
import { checkHash, emptyRoot, HASH_BYTES, nodeHash, TREE_SIZE_MAX } from './tree.ts';

/**
 * The outcome of a verification. Compare it with 'ok': every outcome is a string, so every one is truthy.
 * - `range-invalid`: index and sizes cannot belong to a proof (index beyond the size, sizes falling, size 0)
 * - `hash-invalid`: a leaf hash, a root or a part of the proof does not have 32 bytes
 * - `proof-too-short`, `proof-too-long`: the proof has another number of hashes than the sizes require
 * - `root-mismatch`: the proof leads to another root than the one of the (larger) tree
 * - `old-root-mismatch`: the proof leads to another root than the one of the smaller tree
 */
export type ProofVerdict =
  | 'ok'
  | 'range-invalid'
  | 'hash-invalid'
  | 'proof-too-short'
  | 'proof-too-long'
  | 'root-mismatch'
  | 'old-root-mismatch';

export interface InclusionClaim {
  /** Position of the leaf, below `size`. */
  index: bigint;
  /** Leaves in the tree, 1 to 2^63 − 1. */
  size: bigint;
  leafHash: Uint8Array;
  root: Uint8Array;
  /** From the leaf's sibling up to the child of the root. */
  proof: readonly Uint8Array[];
}

export interface ConsistencyClaim {
  /** Leaves in the smaller tree, at least 1: every tree is consistent with the empty one, so that proves nothing. */
  size1: bigint;
  /** Leaves in the larger tree, `size1` to 2^63 − 1. */
  size2: bigint;
  root1: Uint8Array;
  root2: Uint8Array;
  proof: readonly Uint8Array[];
}

/** A claim that the tree of `size` holds a subtree over leaves [start, end) with root `root1`. */
export interface SubtreeClaim {
  start: bigint;
  end: bigint;
  size: bigint;
  root1: Uint8Array;
  root2: Uint8Array;
  proof: readonly Uint8Array[];
}

/** Whether a leaf stands at an index of the tree with this size and root (RFC 9162 §2.1.3.2). */
export function verifyInclusion(claim: InclusionClaim): ProofVerdict {
  const { index, size, leafHash, root, proof } = claim;
  if (index < 0n || index >= size || size > TREE_SIZE_MAX) return 'range-invalid';
  if (!areHashes([leafHash, root, ...proof])) return 'hash-invalid';

  // `node` is the index of the hash reached so far in its level, `last` the index of that level's last node.
  let node = index;
  let last = size - 1n;
  let hash = leafHash;
  for (const sibling of proof) {
    if (last === 0n) return 'proof-too-long';
    if (isOdd(node) || node === last) {
      hash = nodeHash(sibling, hash);
      // The last node of a level that has no sibling there rises unchanged, to the level where it is a right child.
      while (!isOdd(node)) [node, last] = [node >> 1n, last >> 1n];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last !== 0n) return 'proof-too-short';
  return equalBytes(hash, root) ? 'ok' : 'root-mismatch';
}

/** Whether the larger tree begins with all leaves of the smaller one (RFC 9162 §2.1.4.2). */
export function verifyConsistency(claim: ConsistencyClaim): ProofVerdict {
  const { size1, size2, ...roots } = claim;
  if (size1 <= 0n) return 'range-invalid';
  return verifySubtreeConsistency({ start: 0n, end: size1, size: size2, ...roots });
}

/**
 * Whether a subtree is part of a tree: the consistency proof of RFC 9162 is the case `start` = 0. A subtree begins
 * at a multiple of the smallest power of two that is at least its length
 * (draft-ietf-plants-merkle-tree-certs, "Subtrees"). An empty one has the empty root and an empty proof.
 */
export function verifySubtreeConsistency(claim: SubtreeClaim): ProofVerdict {
  const { start, end, size, root1, root2, proof } = claim;
  if (size > TREE_SIZE_MAX || end > size || !isSubtree(start, end)) return 'range-invalid';
  if (!areHashes([root1, root2, ...proof])) return 'hash-invalid';
  if (start === end) {
    if (proof.length > 0) return 'proof-too-long';
    return equalBytes(root1, emptyRoot()) ? 'ok' : 'old-root-mismatch';
  }
  return climbFromSubtree(claim);
}

function climbFromSubtree({ start, end, size, root1, root2, proof }: SubtreeClaim): ProofVerdict {
  // Indices in the current level: the subtree's first and last node, and the tree's last node. The climb begins at
  // the largest perfect subtree that ends the old one: all smaller ones on its right edge lie inside it.
  let [first, node, last] = [start, end - 1n, size - 1n];
  while (first !== node && (isOdd(node) || node === last)) {
    [first, node, last] = [first >> 1n, node >> 1n, last >> 1n];
  }
  // If that is the whole old subtree its root is known, and the proof does not repeat it.
  const siblings = [...proof];
  const seed = first === node ? root1 : siblings.shift();
  if (seed === undefined) return 'proof-too-short';

  let [hash1, hash2] = [seed, seed];
  for (const sibling of siblings) {
    if (last === 0n) return 'proof-too-long';
    if (isOdd(node) || node === last) {
      // A left sibling belongs to the old subtree too as long as the climb is inside that.
      if (first < node) hash1 = nodeHash(sibling, hash1);
      hash2 = nodeHash(sibling, hash2);
      while (!isOdd(node)) [first, node, last] = [first >> 1n, node >> 1n, last >> 1n];
    } else {
      hash2 = nodeHash(hash2, sibling);
    }
    [first, node, last] = [first >> 1n, node >> 1n, last >> 1n];
  }
  if (last !== 0n) return 'proof-too-short';
  if (!equalBytes(hash1, root1)) return 'old-root-mismatch';
  return equalBytes(hash2, root2) ? 'ok' : 'root-mismatch';
}

/** Whether [start, end) may be a subtree: not reversed, and aligned to the power of two that holds it. */
export function isSubtree(start: bigint, end: bigint): boolean {
  if (start < 0n || end < start) return false;
  let width = 1n;
  while (width < end - start) width *= 2n;
  return start % width === 0n;
}

/** Names a perfect subtree: the one over leaves [index·2^level, (index+1)·2^level); level 0 is the leaf hashes. */
export interface TreeNode {
  level: number;
  index: bigint;
}

/**
 * Reads the hashes of perfect subtrees, in the order asked, 32 bytes each. One proof is one call, so that a reader
 * can fetch them together; it asks for fewer than 128 nodes (63 siblings, of which only one can be ragged).
 */
export type HashReader = (nodes: readonly TreeNode[]) => Promise<readonly Uint8Array[]>;

/**
 * Builds the inclusion proof of a leaf (RFC 6962 §2.1.1).
 * @param read must know every complete subtree of the tree of this size
 * @returns sibling hashes, from the leaf up
 * @throws RangeError unless 0 ≤ index < size; whatever `read` throws
 */
export async function inclusionProof(index: bigint, size: bigint, read: HashReader): Promise<Uint8Array[]> {
  if (index < 0n || index >= size || size > TREE_SIZE_MAX) {
    throw new RangeError(`a tree of size ${size} has no leaf at ${index}`);
  }
  const siblings: LeafSpan[] = [];
  let [start, end] = [0n, size];
  while (end - start > 1n) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      siblings.push([middle, end]);
      end = middle;
    } else {
      siblings.push([start, middle]);
      start = middle;
    }
  }
  return readSpans(siblings.reverse(), read);
}

/**
 * Builds the proof that a tree grew from another (RFC 6962 §2.1.2).
 * @param read must know every complete subtree of the larger tree
 * @throws RangeError unless 1 ≤ size1 ≤ size2; whatever `read` throws
 */
export async function consistencyProof(
  size1: bigint,
  size2: bigint,
  read: HashReader,
): Promise<Uint8Array[]> {
  if (size1 < 1n || size1 > size2 || size2 > TREE_SIZE_MAX) {
    throw new RangeError(`no proof leads from a tree of size ${size1} to one of size ${size2}`);
  }
  const spans: LeafSpan[] = [];
  let [start, end] = [0n, size2];
  while (size1 !== end) {
    const middle = start + splitPoint(end - start);
    if (size1 <= middle) {
      spans.push([middle, end]);
      end = middle;
    } else {
      spans.push([start, middle]);
      start = middle;
    }
  }
  // What is left is the old tree's last perfect subtree. If it is the whole old tree, the verifier has its root.
  if (start > 0n) spans.push([start, end]);
  return readSpans(spans.reverse(), read);
}

/**
 * The root of the tree at a size, from its peaks.
 * @throws RangeError for a size that no tree has; whatever `read` throws
 */
export async function readRoot(size: bigint, read: HashReader): Promise<Uint8Array> {
  if (size < 0n || size > TREE_SIZE_MAX) throw new RangeError(`a tree cannot have size ${size}`);
  if (size === 0n) return emptyRoot();
  const [root] = await readSpans([[0n, size]], read);
  return root!;
}

/**
 * The perfect subtrees that make up leaves [start, end), left to right: the largest first.
 * @throws RangeError unless `isSubtree(start, end)`: other spans have no hash of their own
 */
export function subtreeNodes(start: bigint, end: bigint): TreeNode[] {
  if (!isSubtree(start, end)) throw new RangeError(`leaves ${start} to ${end} are no subtree`);
  const nodes: TreeNode[] = [];
  let [from, length] = [start, end - start];
  while (length > 0n) {
    const level = length.toString(2).length - 1;
    const width = 1n << BigInt(level);
    nodes.push({ level, index: from / width });
    from += width;
    length -= width;
  }
  return nodes;
}

/** Leaves [start, end). */
type LeafSpan = [start: bigint, end: bigint];

async function readSpans(spans: readonly LeafSpan[], read: HashReader): Promise<Uint8Array[]> {
  const nodesBySpan = spans.map(([start, end]) => subtreeNodes(start, end));
  const wanted = nodesBySpan.flat();
  if (wanted.length === 0) return [];
  const hashes = await read(wanted);
  if (hashes.length !== wanted.length) {
    throw new RangeError(`the hash reader gave ${hashes.length} hashes for ${wanted.length} nodes`);
  }
  for (const hash of hashes) checkHash(hash);
  let offset = 0;
  return nodesBySpan.map((nodes) => {
    const peaks = hashes.slice(offset, (offset += nodes.length));
    return peaks.reduceRight((right, left) => nodeHash(left, right));
  });
}

/** The largest power of two below a number of leaves of at least two. */
function splitPoint(leaves: bigint): bigint {
  return 1n << BigInt((leaves - 1n).toString(2).length - 1);
}

function isOdd(value: bigint): boolean {
  return (value & 1n) === 1n;
}

function areHashes(hashes: readonly Uint8Array[]): boolean {
  return hashes.every((hash) => hash.length === HASH_BYTES);
}
