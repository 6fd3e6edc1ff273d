/**
 * Which heads are signed (RFC 9162 §2.1.4). The signer trusts nobody who asks: it takes its memory, and a proof.
 *
 *   a tree that is not remembered    its first head, of any size; a later epoch from size 0 on only, and with consent
 *   a tree that is remembered        the same head again, or a larger one that is proven to begin with all leaves of it
 *   a tree that has begun anew       nothing more, once the later epoch has grown: of two trees one lives
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { type ConsistencyClaim, verifyConsistency } from '@evident/core/merkle/proof.ts';
import { emptyRoot, HASH_BYTES, TREE_SIZE_MAX } from '@evident/core/merkle/tree.ts';
import { parseOrigin } from '@evident/core/origin.ts';
import type { SignedHead, SignRequest } from '../seal/ports.ts';

/** Trees that one signer remembers: its memory is written whole before each signature. */
export const ORIGINS_MAX = 16_384;
/** A tree that begins anew more often than this is no accident. */
const EPOCH_MAX = 1_000;

/** What a signer decides by. */
export interface SignerView {
  /** The installation whose trees are signed; null before inception: nothing is signed. */
  readonly name: string | null;
  readonly last: ReadonlyMap<string, SignedHead>;
  /** Whether the operator lets this tree begin: asked for epochs above 0 alone. */
  readonly mayBegin: (origin: string) => boolean;
}

interface Tree {
  readonly log: string;
  readonly partition: number;
  readonly epoch: number;
}

/** The tree of an installation that an origin names, or null: `<name>/<log>/<partition>`, `<name>/r<epoch>/<log>/<partition>`. */
export function treeOfOrigin(name: string, origin: string): Tree | null {
  const parsed = parseOrigin(origin);
  if (parsed === null) return null;
  const { log, partition } = parsed;
  if (parsed.name === name) return { log, partition, epoch: 0 };
  const text = parsed.name.startsWith(`${name}/r`) ? parsed.name.slice(name.length + 2) : '';
  if (!/^[1-9][0-9]{0,3}$/.test(text) || Number(text) > EPOCH_MAX) return null;
  return { log, partition, epoch: Number(text) };
}

/** Why a head is not signed, or null. Pure: what is remembered changes elsewhere. */
export function refusalOf(view: SignerView, request: SignRequest): string | null {
  const { origin, size, root } = request;
  if (view.name === null) return 'the signer has not been begun: no log has told it its name';
  const tree = treeOfOrigin(view.name, origin);
  if (tree === null) return `the signer signs for ${view.name} alone, not for ${origin}`;
  if (size < 0n || size > TREE_SIZE_MAX) return `no tree has size ${size}`;
  if (root.length !== HASH_BYTES || (size === 0n && !equalBytes(root, emptyRoot())))
    return `no tree of size ${size} has this root`;
  const last = view.last.get(origin);
  if (last === undefined) return firstRefusal(view, request, tree);
  if (request.after?.size !== last.size || !equalBytes(request.after.root, last.root))
    return `the signer remembers size ${last.size} of ${origin}, which the sealer does not know`;
  if (size < last.size)
    return `the signer refused size ${size} of ${origin}: it has signed size ${last.size}`;
  if (size === last.size && !equalBytes(root, last.root))
    return `the signer refused another root of ${origin} at size ${size}`;
  return hasGrown(view, tree) ?? proofRefusal(request, last);
}

function firstRefusal(
  view: SignerView,
  { origin, size, after, proof }: SignRequest,
  tree: Tree,
): string | null {
  if (after !== null)
    return `the signer remembers no head of ${origin}, but the sealer knows one of size ${after.size}`;
  if (proof.length > 0) return `the first head of ${origin} follows none, so it has no proof`;
  if (view.last.size >= ORIGINS_MAX) return `the signer remembers ${ORIGINS_MAX} trees and takes no more`;
  if (tree.epoch === 0) return hasGrown(view, tree);
  if (size !== 0n)
    return `the signer refused size ${size} of ${origin}: a tree that begins anew begins at size 0`;
  if (!view.mayBegin(origin))
    return `the signer has no consent to begin ${origin}: a tree begins anew on the word of the signer's operator only`;
  return hasGrown(view, tree);
}

/** Looks for later trees of the same partition, whether or not those between are known: a consent may skip one. */
function hasGrown({ name, last }: SignerView, { log, partition, epoch }: Tree): string | null {
  const ending = `/${log}/${partition}`;
  for (const [origin, { size }] of last) {
    if (size === 0n || !origin.endsWith(ending)) continue;
    const tree = treeOfOrigin(name as string, origin);
    if (tree?.log === log && tree.partition === partition && tree.epoch > epoch)
      return `the signer signs ${origin}, which took the place of this tree`;
  }
  return null;
}

function proofRefusal({ origin, size, root, proof }: SignRequest, last: SignedHead): string | null {
  const claim: ConsistencyClaim = { size1: last.size, size2: size, root1: last.root, root2: root, proof };
  // The empty tree is the beginning of every tree, and there is no proof of that.
  const verdict =
    last.size === 0n ? (proof.length === 0 ? 'ok' : 'proof-too-long') : verifyConsistency(claim);
  if (verdict === 'ok') return null;
  return `the signer refused size ${size} of ${origin}: it is not proven to follow size ${last.size} (${verdict})`;
}
