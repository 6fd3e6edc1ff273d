/**
 * Heads that somebody kept elsewhere, held against the stored trees (`evident verify --head`): what a rollback, a fork or
 * a history written anew cannot change. A kept head is believed for its signature; what is stored is believed for nothing.
 *
 * ```
 *   signed by the key of its tree? ──no──► not checked: it shows nothing
 *     │ yes
 *   larger than the stored tree? ──yes──► tampered: the tree was put back, or cut
 *     │ no
 *   a proof that the newest stored head follows from it? ──yes──► consistent
 *     │ no
 *   do the leaves give the newest stored head? ──yes──► tampered: two histories were signed
 *     └──no──► tampered: the tiles are not those of the stored head
 * ```
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { openTreeHead, parseTreeHead, type TreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { consistencyProof, verifyConsistency } from '@evident/core/merkle/proof.ts';
import { emptyRoot } from '@evident/core/merkle/tree.ts';
import { parseNote, type Verifier } from '@evident/core/note.ts';
import { parseOrigin } from '@evident/core/origin.ts';
import type { Log } from '../log/log.ts';
import type { TileStore } from '../seal/ports.ts';
import type { Findings } from './finding.ts';
import type { HeadReader, HeadRow } from './ports.ts';
import { hashesOf, rootsFromLeaves, type StoredTree } from './tree-roots.ts';

/** Most heads of one call. */
export const KEPT_HEADS_MAX = 1_000;
const HEADS_PAGE = 1_000;

export interface KeptHeadDeps {
  /** Name of the installation. */
  readonly name: string;
  readonly logs: readonly Pick<Log, 'name' | 'heads'>[];
  readonly tiles: Pick<TileStore, 'read'>;
  readonly heads: HeadReader;
  /** The key that signs heads of a tree at a size. */
  readonly verifierOf: (origin: string, size: bigint) => Verifier;
}

/** A head as it was kept. */
export interface KeptHead {
  /** Where it lies, as its keeper calls it. */
  readonly label: string;
  /** The signed note: signatures of others than the log may stand in it. */
  readonly note: Uint8Array;
}

export type KeptHeadAnswer = 'consistent' | 'contradicted' | 'not checked';

export interface KeptHeadReport {
  readonly label: string;
  readonly origin: string;
  readonly size: bigint;
  /** Of the newest stored head of that tree. */
  readonly storedSize: bigint;
  readonly answer: KeptHeadAnswer;
}

/** A kept head whose tree is one of ours. */
interface Target extends StoredTree {
  readonly head: TreeHead;
}

/**
 * Holds one kept head against the stored tree. Reads the store after the head was made, so that a log that grows meanwhile
 * is no shorter than it.
 * @throws usage-invalid for what is no tree head at all; log-unavailable
 */
export async function checkKeptHead(
  deps: KeptHeadDeps,
  { label, note }: KeptHead,
  findings: Findings,
): Promise<KeptHeadReport> {
  const parsed = parseNote(note);
  const head = parsed.ok ? parseTreeHead(parsed.value.text) : parsed;
  if (!head.ok) throw new EvidentError('usage-invalid', `${label} is no signed tree head: ${head.reason}`);
  const { origin, size } = head.value;
  const target = await targetOf(deps, head.value);
  const place = target ?? { log: 'heads', partition: 0, epoch: 0 };
  let storedSize = 0n;
  const say = (
    answer: KeptHeadAnswer,
    detail: string,
    from: bigint | null = null,
    to: bigint | null = null,
  ): KeptHeadReport => {
    const verdict = answer === 'contradicted' ? 'tampered' : 'not checked';
    if (answer !== 'consistent')
      findings.add({
        ...{ verdict, log: place.log, partition: place.partition, from, to, id: null, check: 'kept-head' },
        detail: `${label}, a head of ${origin} of size ${size}: ${detail}`,
      });
    return { label, origin, size, storedSize, answer };
  };
  if (target === null) return say('not checked', `no tree of ${deps.name} has this origin`);
  const opened = openTreeHead(note, [deps.verifierOf(origin, size)], origin);
  if (!opened.ok)
    return say(
      'not checked',
      `it is not signed by the key that this log names: ${opened.reason}. Either it was never a head of this log, or the log was given another key since: hold K as you know it against evident.vkey`,
    );
  const newest = await newestOf(deps, target);
  storedSize = newest?.size ?? 0n;
  if (storedSize < size)
    return say(
      'contradicted',
      `only ${storedSize} are sealed now: an older copy was put back, or the end was cut off`,
      storedSize,
      size,
    );
  if (newest === null) return say('consistent', '');
  const answer = await relate(deps, target, newest);
  switch (answer) {
    case 'consistent':
      return say('consistent', '');
    case 'unreadable':
      return say('not checked', 'tiles that its proof needs are missing or cannot be read', 0n, size);
    case 'unsigned':
      return say('contradicted', `the stored head of size ${storedSize} has no good signature`);
    case 'forked':
      return say(
        'contradicted',
        `the tree of size ${storedSize} that is stored does not begin with it: the log was forked, or history was written anew`,
        0n,
        size,
      );
    case 'torn':
      return say(
        'contradicted',
        `the stored leaves give another root than the stored head of size ${storedSize}`,
        0n,
        storedSize,
      );
  }
}

async function targetOf(deps: KeptHeadDeps, head: TreeHead): Promise<Target | null> {
  const parsed = parseOrigin(head.origin);
  if (parsed === null) return null;
  const { log, partition } = parsed;
  const epoch = epochOf(deps.name, parsed.name);
  const found = deps.logs.find(({ name }) => name === log);
  if (epoch === null || found === undefined) return null;
  return (await found.heads()).some((one) => one.partition === partition)
    ? { head, log, partition, epoch }
    : null;
}

/** Which tree of its partition a name speaks of (`epochOrigin`); null: none of this installation. */
function epochOf(name: string, named: string): number | null {
  if (named === name) return 0;
  if (!named.startsWith(`${name}/r`)) return null;
  const epoch = named.slice(name.length + 2);
  return /^[1-9]\d{0,8}$/.test(epoch) ? Number(epoch) : null;
}

/** The newest stored head of a tree; of one that was given up, the last. */
async function newestOf({ heads }: KeptHeadDeps, { log, partition, epoch }: Target): Promise<HeadRow | null> {
  const seal = await heads.readSeal(log, partition);
  if (seal !== null && seal.epoch === epoch && seal.size > 0n) {
    const [row] = await heads.readHeads(log, partition, epoch, seal.size - 1n, 1);
    if (row !== undefined) return row;
  }
  let newest: HeadRow | null = null;
  for (;;) {
    const page: HeadRow[] = await heads.readHeads(log, partition, epoch, newest?.size ?? 0n, HEADS_PAGE);
    newest = page.at(-1) ?? newest;
    if (page.length < HEADS_PAGE) return newest;
  }
}

async function relate(
  { tiles, verifierOf }: KeptHeadDeps,
  { head, ...tree }: Target,
  row: HeadRow,
): Promise<'consistent' | 'forked' | 'torn' | 'unsigned' | 'unreadable'> {
  const { origin, size, root } = head;
  const opened = openTreeHead(row.note, [verifierOf(origin, row.size)], origin);
  if (!opened.ok || opened.value.head.size !== row.size) return 'unsigned';
  const { size: size2, root: root2 } = opened.value.head;
  if (size === size2) return equalBytes(root, root2) ? 'consistent' : 'forked';
  if (size === 0n) return equalBytes(root, emptyRoot()) ? 'consistent' : 'forked';
  try {
    const proof = await consistencyProof(size, size2, hashesOf(tiles, tree, size2));
    if (verifyConsistency({ size1: size, root1: root, size2, root2, proof }) === 'ok') return 'consistent';
  } catch {
    return 'unreadable';
  }
  // A proof can also fail because a tile was changed: only leaves that give the signed root tell that nothing else did.
  const roots = await rootsFromLeaves(tiles, tree, size, size2);
  if (roots === null) return 'unreadable';
  if (!equalBytes(roots.root2, root2)) return 'torn';
  return equalBytes(roots.root1, root) ? 'consistent' : 'forked';
}
