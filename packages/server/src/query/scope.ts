/** Whose events a read may touch. */

import { EvidentError } from '@evident/core/errors.ts';
import type { EventFilter } from './filter.ts';
import type { Completeness, QueryDeps, Reader } from './ports.ts';

/**
 * The one tenant that is read; null: all.
 * @throws tenant-forbidden when a reader of one tenant names another; whether that one exists is not told
 */
export function tenantOfRead(reader: Reader, named: string | undefined): string | null {
  if (reader.tenant === null) return named ?? null;
  if (named !== undefined && named !== reader.tenant) {
    throw new EvidentError(
      'tenant-forbidden',
      `tenant: the reader sees events of ${reader.tenant}, and not of ${named}`,
      { context: { field: 'tenant' } },
    );
  }
  return reader.tenant;
}

/**
 * How much of the log an answer will cover.
 * @throws log-unknown when the filter names a log that the view does not read: no events of it would look like an answer
 */
export async function completenessOf(
  { view }: QueryDeps,
  tenant: string | null,
  { log }: EventFilter,
): Promise<Completeness> {
  const complete = await view.complete(tenant, log ?? null);
  if (log !== undefined && complete.partitions.length === 0)
    throw new EvidentError('log-unknown', `log: there is no log ${log} that can be searched`, {
      context: { field: 'log', log },
    });
  return complete;
}

/** @throws field-invalid when a bound of an answer is not an integer from 1 to `most` */
export function checkLimit(limit: number, most: number): number {
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > most)
    throw new EvidentError('field-invalid', `limit: it is an integer from 1 to ${most}`, {
      context: { field: 'limit' },
    });
  return limit;
}

/**
 * A search through bodies reads what the rest of the filter leaves, so it has to have ends.
 * @throws field-invalid
 */
export function checkTextSpan(filter: EventFilter): void {
  if (filter.text === undefined || (filter.from !== undefined && filter.to !== undefined)) return;
  const field = filter.from === undefined ? 'from' : 'to';
  throw new EvidentError('field-invalid', `${field}: a search for text needs both from and to`, {
    context: { field },
  });
}

/** @throws field-invalid: counts come from columns, and bodies are not read for them */
export function refuseText(filter: EventFilter): void {
  if (filter.text === undefined) return;
  throw new EvidentError('field-invalid', 'text: bodies are searched for events, and not for counts', {
    context: { field: 'text' },
  });
}
