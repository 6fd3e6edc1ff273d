/** The proof of one record: in its partition at a signed head, and that head in heads/0. */

import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Reader, SoughtEvent } from '../query/ports.ts';
import { tenantOfRead } from '../query/scope.ts';
import { checkSought } from '../query/show.ts';
import { type Anchoring, anchoringOf } from './anchoring.ts';
import { proveLeaf, recordAt } from './inclusion.ts';
import { type EvidenceDeps, HEADS_LOG, type SignedTreeHead } from './ports.ts';

export interface ProvenRecord {
  readonly record: LogRecord;
  readonly leaf: Uint8Array;
  readonly origin: string;
  /** The head under which the record is proven. */
  readonly head: SignedTreeHead;
  /** C2SP tlog-proof of the leaf at that head. */
  readonly proof: Uint8Array;
  /** Null: no signed head of heads/0 covers the head yet, or the record stands in heads/0 itself. */
  readonly anchoring: (Anchoring & { readonly top: SignedTreeHead }) | null;
}

/**
 * The proof of an event by id, or of a record by its place. It is on record before it is given out. An id that stands
 * in several logs, or of several tenants for a reader of all, gives the first by (tenant, log).
 *
 * The newest head that heads/0 lists is taken, if it holds the record, and else the newest head: then `anchoring` is
 * null, which lasts about 10 s after a record was appended.
 *
 * @throws field-invalid, tenant-forbidden, not-found (another tenant's record is as none), position-lost,
 *   position-trimmed, not-sealed, evidence-broken, read-unrecorded, log-unavailable
 */
export async function proveRecord(
  deps: EvidenceDeps,
  reader: Reader,
  what: SoughtEvent & { readonly tenant?: string },
): Promise<ProvenRecord> {
  const record = await findSought(deps, reader, what);
  const proven = await proveFound(deps, record);
  await deps.query.recorder.record(reader, {
    action: 'audit.read',
    resource: { type: 'event', id: record.id },
    tenant: record.tenant,
    details: {
      question: 'proof',
      place: `${record.log}/${record.partition}/${record.position}`,
      head: proven.head.size.toString(),
    },
  });
  return proven;
}

/** @throws field-invalid, tenant-forbidden, not-found, position-lost, position-trimmed, read-unrecorded */
export async function findSought(
  deps: EvidenceDeps,
  reader: Reader,
  what: SoughtEvent & { readonly tenant?: string },
): Promise<LogRecord> {
  const sought = checkSought(what);
  const tenant = tenantOfRead(reader, what.tenant);
  const record = await findRecord(deps, tenant, sought);
  if (record !== null) return record;
  const name = 'id' in sought ? sought.id : `${sought.log}/${sought.partition}/${sought.position}`;
  // Asking for what is not there is on record, as it is with show.
  await deps.query.recorder.record(reader, {
    action: 'audit.read',
    resource: { type: 'event', id: name },
    tenant,
    details: { question: 'proof', sought: name, events: 0 },
  });
  throw new EvidentError('not-found', `there is no record ${name} that you may see`);
}

async function findRecord(
  deps: EvidenceDeps,
  tenant: string | null,
  sought: SoughtEvent,
): Promise<LogRecord | null> {
  const { view } = deps.query;
  if (!('id' in sought)) {
    // Who sees all tenants learns why there is none; others don't: it would tell them of others' records.
    if (tenant === null) return recordAt(deps, sought.log, sought.partition, sought.position);
    return view.recordOf(tenant, sought);
  }
  const [found] = await view.find(tenant, sought);
  if (found === undefined) return view.recordOf(tenant, sought);
  return (await view.records(tenant, [{ tree: found.tree, position: found.hit.position }]))[0];
}

async function proveFound(deps: EvidenceDeps, record: LogRecord): Promise<ProvenRecord> {
  const { log, partition, position } = record;
  const newest = await deps.heads.newest(log, partition, null);
  if (newest === null || newest.size <= position)
    throw new EvidentError('not-sealed', `${log}/${partition}/${position} is below no signed head yet`, {
      context: { log, partition, position },
    });
  const anchoring = log === HEADS_LOG ? null : await anchoringAbove(deps, record, newest.epoch);
  const head = anchoring?.head ?? newest;
  const leaf = leafOf(record);
  const proof = await proveLeaf(deps, { log, partition, epoch: head.epoch }, head, position, leaf);
  return { record, leaf, origin: epochOrigin(deps.name, log, partition, head.epoch), head, proof, anchoring };
}

/** The newest listed head, if it holds the position and is of the tree that goes on. */
async function anchoringAbove(
  deps: EvidenceDeps,
  { log, partition, position }: LogRecord,
  epoch: number,
): Promise<ProvenRecord['anchoring']> {
  const top = await deps.heads.newest(HEADS_LOG, 0, null);
  if (top === null) return null;
  const found = await anchoringOf(deps, log, partition, top);
  if (found === null || found.head.epoch !== epoch || found.head.size <= position) return null;
  return { ...found, top };
}
