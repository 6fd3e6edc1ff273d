/** One event, with its record and what corrects it. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkId, checkLogName, type LogRecord } from '@evident/core/record.ts';
import type { EventHit, FoundEvent, QueryDeps, Reader, SoughtEvent } from './ports.ts';
import { tenantOfRead } from './scope.ts';
import { withCorrections } from './search.ts';

export interface ShownEvent {
  /** Null: the view does not show the record (it has not read it yet, or it is a dead letter, or a repeat). */
  readonly hit: EventHit | null;
  readonly record: LogRecord;
  /** The event that this one corrects, if it is a correction, then those that correct it, oldest first. */
  readonly corrections: readonly EventHit[];
}

const POSITION_END = 2n ** 63n;

/**
 * An event by id or by its place. An id that stands in several logs, or of several tenants for a reader of all, gives
 * the first by (tenant, log): name the tenant, or the place.
 *
 * @returns null where the reader has no such event; another tenant's is as one that doesn't exist
 * @throws field-invalid, tenant-forbidden, read-unrecorded, log-unavailable
 */
export async function showEvent(
  deps: QueryDeps,
  reader: Reader,
  what: SoughtEvent & { readonly tenant?: string },
): Promise<ShownEvent | null> {
  const sought = checkSought(what);
  const tenant = tenantOfRead(reader, what.tenant);
  const shown = await findEvent(deps, tenant, sought);
  const id = 'id' in sought ? sought.id : `${sought.log}/${sought.partition}/${sought.position}`;
  await deps.recorder.record(reader, {
    action: 'audit.read',
    resource: { type: 'event', id: shown?.record.id ?? id },
    // Of a reader of all: whose event it turned out to be, so that the tenant's own auditor finds the read.
    tenant: tenant ?? tenantToTell(shown),
    details: { question: 'event', sought: id, events: shown === null ? 0 : 1 },
  });
  return shown;
}

function tenantToTell(shown: ShownEvent | null): string | null {
  return shown === null ? null : shown.record.tenant;
}

/** A question for one event that is well formed. @throws field-invalid */
export function checkSought(what: SoughtEvent): SoughtEvent {
  if ('id' in what) return { id: checkId(what.id) };
  const log = checkLogName(what.log);
  if (!Number.isInteger(what.partition) || what.partition < 0 || what.partition > 1_023)
    throw new EvidentError('field-invalid', 'partition: it is an integer from 0 to 1023', {
      context: { field: 'partition' },
    });
  if (what.position < 0n || what.position >= POSITION_END)
    throw new EvidentError('field-invalid', 'position: it is a whole number below 2^63', {
      context: { field: 'position' },
    });
  return { log, partition: what.partition, position: what.position };
}

async function findEvent(
  { view }: QueryDeps,
  tenant: string | null,
  what: SoughtEvent,
): Promise<ShownEvent | null> {
  const [found] = await view.find(tenant, what);
  if (found === undefined) {
    const record = await view.recordOf(tenant, what);
    return record === null ? null : { hit: null, record, corrections: [] };
  }
  const [record] = await view.records(tenant, [{ tree: found.tree, position: found.hit.position }]);
  if (record === null) return null;
  const { hit } = found;
  const original = await findOriginal(view, hit);
  const correcting = await view.correctionsOf(tenant, [hit]);
  const [shown, ...corrections] = await withCorrections(view, tenant, [found, ...original, ...correcting]);
  return { hit: shown, record, corrections };
}

async function findOriginal(view: QueryDeps['view'], hit: EventHit): Promise<readonly FoundEvent[]> {
  if (hit.corrects === null) return [];
  const candidates = await view.find(hit.tenant, { id: hit.corrects });
  const inSameLog = candidates.filter(({ hit: { log } }) => log === hit.log);
  return (inSameLog.length > 0 ? inSameLog : candidates).slice(0, 1);
}
