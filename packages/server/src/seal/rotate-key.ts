/**
 * Rotation of the signing key (design §5): one key hands over to the next by a record `key.rotation` in heads/0. No other
 * tree is sealed meanwhile by whoever does this. What exists if the process dies at each step:
 *
 *   1 the signer makes the next key,      an open rotation: the next start goes on with this same one. Until then heads
 *     fixes sizes and signs the note      above its sizes are signed by both keys, those of heads/0 by the old one
 *   2 record appended                     the same; the id follows from the note, so that it is there once
 *   3 heads/0 sealed by the old key       the same
 *   4 the signer is shown the record      closed in the signer: the next start stores it before it seals anything
 *   5 the rotation stored                 done. Only now is anything signed by the new key alone: readers know it by then
 */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { ROTATION_TYPE, rotationId } from '@evident/core/evidence/key-rotation.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { inclusionProof } from '@evident/core/merkle/proof.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { type LogRecord, SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Log, Proposal } from '../log/log.ts';
import type { HeadSigner, KeyRotator, RotationStore, SignerRotation } from './ports.ts';
import { type SealBreak, type SealDeps, type Sealer, sealRound } from './seal.ts';
import { readTree, type TreeState } from './tree-state.ts';

/** Rounds until the record is sealed: one, and those of records that waited before it. */
const ROUNDS_MAX = 1_000;

export interface RotateDeps extends SealDeps {
  readonly signer: HeadSigner & KeyRotator;
  readonly rotations: RotationStore;
  readonly onBreak: (found: SealBreak) => void;
  /** Told of each step, so that a test can end the process there. */
  readonly passed?: (step: 'noted' | 'appended' | 'sealed' | 'closed' | 'stored') => void;
}

/** What has become of the keys. */
export interface Rotated {
  /** How many rotations there have been. */
  readonly number: number;
  readonly note: Uint8Array;
  readonly position: bigint;
}

/**
 * Stores rotations that the signer has ended, before anything is signed by the new key alone. A signer that can't be
 * reached signs nothing either; whoever seals looks again.
 */
export async function storeEnded(signer: KeyRotator, rotations: RotationStore): Promise<void> {
  try {
    for (let number = (await rotations.count()) + 1; ; number++) {
      const rotation = await signer.rotation(number);
      if (rotation === null || rotation.closed === null) return;
      await rotations.put(number, { note: rotation.note, ...rotation.closed });
    }
  } catch (error) {
    if (!isEvidentError(error) || error.code !== 'signer-unreachable') throw error;
  }
}

/**
 * Goes on with what a process that died has left: stores rotations that are over, and ends one that is open.
 * @param heads the sealer of the log heads, opened
 * @returns the rotations that are over now and were not before
 * @throws seal-break when the log heads is stopped: an open rotation waits for its recovery
 */
export async function resumeRotation(deps: RotateDeps, heads: Sealer): Promise<Rotated[]> {
  const ended: Rotated[] = [];
  for (;;) {
    const number = (await deps.rotations.count()) + 1;
    const rotation = await deps.signer.rotation(number);
    if (rotation === null) return ended;
    ended.push(await endRotation(deps, heads, number, rotation));
  }
}

/**
 * Replaces the signing key.
 * @throws signer-refused, signer-unreachable, seal-break, log-unavailable; asked again it goes on where it ended
 */
export async function rotateKey(deps: RotateDeps, heads: Sealer): Promise<Rotated> {
  const open = await resumeRotation(deps, heads);
  const last = open.at(-1);
  // What was asked for before is done now: not twice.
  if (last !== undefined) return last;
  treeOfHeads(heads);
  const number = (await deps.rotations.count()) + 1;
  const answer = await deps.signer.rotate(number);
  if (!answer.ok) throw new EvidentError('signer-refused', answer.reason);
  deps.passed?.('noted');
  return endRotation(deps, heads, number, answer.rotation);
}

async function endRotation(
  deps: RotateDeps,
  heads: Sealer,
  number: number,
  { note, closed }: SignerRotation,
): Promise<Rotated> {
  const end = closed ?? (await closeRotation(deps, heads, number, note));
  deps.passed?.('closed');
  await deps.rotations.put(number, { note, ...end });
  deps.passed?.('stored');
  return { number, note, position: end.position };
}

async function closeRotation(
  deps: RotateDeps,
  heads: Sealer,
  number: number,
  note: Uint8Array,
): Promise<{ position: bigint; head: Uint8Array }> {
  const [{ position }] = await heads.log.appendOnce([proposeRotation(note)]);
  deps.passed?.('appended');
  const tree = await sealBeyond(deps, heads, position);
  deps.passed?.('sealed');
  const leaf = leafOf(await recordAt(heads.log, position));
  const { epoch, size } = tree.head;
  const proof = await inclusionProof(position, size, readTree(deps.tiles, heads.log.name, 0, tree.head));
  const origin = epochOrigin(deps.name, heads.log.name, 0, epoch);
  const answer = await deps.signer.closeRotation({ number, origin, leaf, position, proof });
  if (!answer.ok) throw new EvidentError('signer-refused', answer.reason);
  if (answer.rotation.closed === null)
    throw new EvidentError('signer-refused', `the signer left rotation ${number} open`);
  return answer.rotation.closed;
}

/** Seals the log heads until a position is below its stored head, which is then the last one that was signed. */
async function sealBeyond(deps: RotateDeps, heads: Sealer, position: bigint): Promise<TreeState> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const tree = treeOfHeads(heads);
    const isStored = tree.signed === null || tree.signed.size === tree.head.size;
    if (tree.head.size > position && isStored) return tree;
    for (const found of (await sealRound(deps, heads)).breaks) deps.onBreak(found);
  }
  throw new EvidentError(
    'seal-break',
    `the record of the rotation at ${position} was not sealed in ${ROUNDS_MAX} rounds`,
  );
}

function treeOfHeads({ log, trees }: Sealer): TreeState {
  const [tree] = trees;
  if (tree !== null && tree !== undefined) return tree;
  throw new EvidentError('seal-break', `${log.name}/0 is stopped: a key is rotated by a record in it`);
}

async function recordAt(log: Log, position: bigint): Promise<LogRecord> {
  const [record] = await log.read(0, position, 1);
  if (record?.position === position) return record;
  throw new EvidentError('seal-break', `${log.name}/0/${position}, the record of the rotation, is gone`);
}

function proposeRotation(note: Uint8Array): Proposal {
  return {
    bodyHash: sha256(note),
    reused: 'refuse',
    record: {
      id: rotationId(note),
      tenant: SYSTEM_TENANT,
      source: SYSTEM_SOURCE,
      sourceSeq: null,
      type: ROTATION_TYPE,
      schema: 0,
      key: SYSTEM_TENANT,
      meta: null,
      body: { form: 'base64', bytes: note },
    },
  };
}
