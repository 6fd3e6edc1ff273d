/**
 * After a finding: what stands at a place now, what was sealed there, and where copies of the record may be. It reads,
 * and repairs nothing.
 */

import { hash } from 'node:crypto';
import { equalBytes, toHex } from '@evident/core/bytes.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { inclusionProof } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { formatTlogProof, verifyTlogProof } from '@evident/core/tlog-proof.ts';
import type { Log } from '../log/log.ts';
import { tileLog } from '../seal/ports.ts';
import type { CopyReader, HeadRow } from './ports.ts';
import type { VerifyDeps } from './verify.ts';

export interface InvestigateDeps
  extends Pick<VerifyDeps, 'name' | 'tiles' | 'heads' | 'objects' | 'verifierOf' | 'refreshKeys' | 'lost'> {
  readonly copies: CopyReader;
}

/** Most positions of one investigation: for each of them tables are read that have no index by place. */
export const INVESTIGATE_POSITIONS_MAX = 100;
/** Positions on either side whose leaves are kept as evidence. */
export const NEIGHBOURS = 2n;

export type PlaceState =
  | 'as sealed'
  | 'changed'
  | 'missing'
  /** The record is the one that was sealed; the stored hash of it is not. */
  | 'tile changed'
  /** A loss that an operator recorded as seal.recovery. */
  | 'lost'
  | 'not sealed'
  | 'not checked';

export interface Copy {
  readonly where: 'view' | 'dead letters' | 'identities' | 'outbox' | 'import' | 'object store' | 'archive';
  /** Whether something of the record was found there; null: only somebody else can tell. */
  readonly found: boolean | null;
  readonly what: string;
}

export interface InvestigatedPlace {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
  readonly state: PlaceState;
  readonly why: string;
  readonly record: LogRecord | null;
  /** SHA-256(0x00 ‖ leaf) of the record as it is now; null where there is none. */
  readonly leafHash: Uint8Array | null;
  /** What the tile holds, where the signed head proves it; else null. */
  readonly sealedHash: Uint8Array | null;
  readonly copies: readonly Copy[];
}

/** What places of one tree are held against. */
export interface SealedTree {
  readonly epoch: number;
  readonly head: HeadRow | null;
  readonly lost: readonly { readonly from: bigint; readonly to: bigint; readonly recovery: string }[];
}

export async function sealedTree(deps: InvestigateDeps, log: string, partition: number): Promise<SealedTree> {
  const seal = await deps.heads.readSeal(log, partition);
  const epoch = seal?.epoch ?? 0;
  const [head = null] =
    seal === null || seal.size === 0n
      ? []
      : await deps.heads.readHeads(log, partition, epoch, seal.size - 1n, 1);
  await deps.refreshKeys();
  return { epoch, head, lost: await deps.lost(log, partition) };
}

/** Looks at one place. Nothing that is stored is trusted but what a signed head proves. */
export async function investigatePlace(
  deps: InvestigateDeps,
  log: Log,
  partition: number,
  position: bigint,
  tree: SealedTree,
): Promise<InvestigatedPlace> {
  const [read] = await log.read(partition, position, 1);
  const record = read !== undefined && read.position === position ? read : null;
  const leafHash = record === null ? null : hashLeaf(leafOf(record));
  const judged = await judge(deps, log.name, partition, position, tree, leafHash);
  const place = { log: log.name, partition, position, ...judged, record, leafHash };
  const isFine = judged.state === 'as sealed' || judged.state === 'not sealed';
  return { ...place, copies: isFine ? [] : await findCopies(deps, place) };
}

type Judged = Pick<InvestigatedPlace, 'state' | 'why' | 'sealedHash'>;

async function judge(
  deps: InvestigateDeps,
  log: string,
  partition: number,
  position: bigint,
  tree: SealedTree,
  leafHash: Uint8Array | null,
): Promise<Judged> {
  const { head, epoch, lost } = tree;
  const loss = lost.find(({ from, to }) => position >= from && position < to);
  if (loss !== undefined)
    return { state: 'lost', why: `the loss is recorded by ${loss.recovery}`, sealedHash: null };
  if (head === null) return { state: 'not checked', why: 'there is no signed head', sealedHash: null };
  if (position >= head.size)
    return { state: 'not sealed', why: `the newest signed head ends at ${head.size}`, sealedHash: null };
  const tileHash = await deps.tiles.read(tileLog(log, epoch), partition, 0, position, 1).catch(() => null);
  const proof = await proofOf(deps, log, partition, position, epoch, head);
  const proves = (candidate: Uint8Array | null): candidate is Uint8Array => {
    if (candidate === null || proof === null) return false;
    const origin = epochOrigin(deps.name, log, partition, epoch);
    return verifyTlogProof(proof, candidate, [deps.verifierOf(origin, head.size)], origin).ok;
  };
  if (proves(leafHash)) {
    const isTileRight = tileHash !== null && equalBytes(tileHash, leafHash);
    return isTileRight
      ? { state: 'as sealed', why: `in the tree of size ${head.size}`, sealedHash: leafHash }
      : {
          state: 'tile changed',
          why: 'the record is the one that was sealed; its stored hash is not',
          sealedHash: leafHash,
        };
  }
  if (proves(tileHash)) {
    return leafHash === null
      ? { state: 'missing', why: 'a record was sealed here, and is gone', sealedHash: tileHash }
      : { state: 'changed', why: 'the record is not the one that was sealed here', sealedHash: tileHash };
  }
  const why = `neither the record nor its stored hash is proven by the head of size ${head.size}: other tiles, or the head, are damaged too`;
  return { state: leafHash === null ? 'missing' : 'not checked', why, sealedHash: null };
}

/** A proof of the position by the stored tiles, or null where they don't give one. */
async function proofOf(
  { tiles }: InvestigateDeps,
  log: string,
  partition: number,
  position: bigint,
  epoch: number,
  head: HeadRow,
): Promise<Uint8Array | null> {
  const read = readHashesFromTiles(head.size, async ({ level, index, width }) => {
    const tile = await tiles.read(tileLog(log, epoch), partition, level, index * BigInt(TILE_WIDTH), width);
    if (tile === null) throw new Error(`a tile of level ${level} is missing`);
    return tile;
  });
  try {
    const hashes = await inclusionProof(position, head.size, read);
    return formatTlogProof({ index: position, hashes, treeHead: head.note });
  } catch {
    return null;
  }
}

type Place = Pick<InvestigatedPlace, 'log' | 'partition' | 'position' | 'record'>;

async function findCopies(deps: InvestigateDeps, place: Place): Promise<Copy[]> {
  const { copies } = deps;
  const { record } = place;
  const [row, letter, identities] = await Promise.all([
    copies.viewRow(place),
    copies.deadLetter(place),
    copies.identities(place),
  ]);
  return [
    row === null
      ? { where: 'view', found: false, what: 'no row: it was never read, or is a dead letter or a repeat' }
      : { where: 'view', found: true, what: `the row that was made of it: ${row}` },
    letter === null
      ? { where: 'dead letters', found: false, what: 'none at this place' }
      : { where: 'dead letters', found: true, what: letter },
    identityCopy(identities, record),
    ...sourceCopies(record),
    ...(await objectCopies(deps, record)),
    { where: 'archive', found: false, what: 'this version keeps none' },
  ];
}

/** What the table of identities knows: which id was appended here, and the hash of its body then. */
function identityCopy(
  identities: readonly { readonly tenant: string; readonly id: string; readonly bodyHash: Uint8Array }[],
  record: LogRecord | null,
): Copy {
  if (identities.length === 0)
    return {
      where: 'identities',
      found: false,
      what: 'no identity was noted here, or it was kept long enough',
    };
  const known = identities.map(
    ({ tenant, id, bodyHash }) => `id ${id} of ${tenant}, SHA-256 of its body ${toHex(bodyHash)}`,
  );
  return {
    where: 'identities',
    found: true,
    what: `${known.join('; ')}${comparison(identities[0], record)}`,
  };
}

function comparison(
  identity: { readonly id: string; readonly bodyHash: Uint8Array },
  record: LogRecord | null,
): string {
  if (record === null) return '';
  const { body } = record;
  const now = body.form === 'object' ? body.sha256 : hash('sha256', body.bytes, 'buffer');
  if (record.id !== identity.id) return `. The record has another id now: ${record.id}`;
  return equalBytes(now, identity.bodyHash)
    ? '. The body is still that one: something else of the record was changed'
    : `. The body is another one now: ${toHex(now)}`;
}

function sourceCopies(record: LogRecord | null): Copy[] {
  if (record === null)
    return [
      {
        where: 'outbox',
        found: null,
        what: 'if it came from an outbox: its slots there keep rows for a while',
      },
      { where: 'import', found: null, what: 'if it was imported: the file that it came from' },
    ];
  const { source, sourceSeq, meta } = record;
  if (source.startsWith('outbox:'))
    return [
      {
        where: 'outbox',
        found: null,
        what: `${source}, row ${sourceSeq ?? 'unknown'}: look there before its slot is emptied`,
      },
    ];
  if (source.startsWith('import:'))
    return [{ where: 'import', found: null, what: `the imported file: ${meta ?? 'its name was not noted'}` }];
  return [];
}

async function objectCopies({ objects }: InvestigateDeps, record: LogRecord | null): Promise<Copy[]> {
  if (record === null || record.body.form !== 'object') return [];
  const { sha256, size } = record.body;
  const found = await objects.get(record.tenant, sha256);
  if (found === null)
    return [{ where: 'object store', found: false, what: `the body ${toHex(sha256)} is missing` }];
  const isRight = equalBytes(hash('sha256', found, 'buffer'), sha256);
  const what = `the body ${toHex(sha256)}, ${size} bytes: ${isRight ? 'as it was recorded' : 'other bytes under its name'}`;
  return [{ where: 'object store', found: isRight, what }];
}
