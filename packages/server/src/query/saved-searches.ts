/** Searches that are kept by name, of one tenant, or of those who read all. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkFilter, describeFilter } from './check-filter.ts';
import type { EventFilter } from './filter.ts';
import { type QueryDeps, type Reader, SAVED_SEARCHES_MAX, type SavedSearch } from './ports.ts';
import { noteFilter } from './record-read.ts';
import { tenantOfRead } from './scope.ts';

const NAME = /^[\p{L}\p{N}](?:[\p{L}\p{N} ._-]{0,62}[\p{L}\p{N}._-])?$/u;

function checkName(name: unknown): string {
  if (typeof name === 'string' && NAME.test(name)) return name;
  throw new EvidentError(
    'field-invalid',
    'name: it is 1 to 64 letters, digits, spaces and . _ -, and begins with a letter or digit',
    { context: { field: 'name' } },
  );
}

/**
 * Keeps a search, or replaces the one of this name. Who did is recorded first; a crash in between leaves the record
 * alone.
 * @param tenant of a reader of all: whose search it is; without one it is that of the readers of all
 * @throws field-invalid (too many, too), tenant-forbidden, read-unrecorded, log-unavailable
 */
export async function saveSearch(
  deps: QueryDeps,
  reader: Reader,
  { name: given, filter, tenant: named }: { name: string; filter: EventFilter; tenant?: string },
): Promise<void> {
  const name = checkName(given);
  const tenant = tenantOfRead(reader, named);
  tenantOfRead(reader, filter.tenant);
  const described = describeFilter(filter);
  await note(deps, reader, 'saved_search.save', tenant, name, { filter: noteFilter(filter) });
  const search = { name, filter: JSON.stringify(described), madeBy: reader.actor.id };
  if ((await deps.savedSearches.save(tenant, search)) === 'saved') return;
  throw new EvidentError(
    'field-invalid',
    `name: ${SAVED_SEARCHES_MAX} searches are kept already; drop one first`,
    { context: { field: 'name' } },
  );
}

/** The searches of a tenant by name. Not recorded: no event is read. @throws tenant-forbidden, log-unavailable */
export async function listSearches(
  { savedSearches }: Pick<QueryDeps, 'savedSearches'>,
  reader: Reader,
  named?: string,
): Promise<readonly SavedSearch[]> {
  const kept = await savedSearches.list(tenantOfRead(reader, named));
  return kept.map(({ name, filter, madeBy, madeAt }) => ({
    name,
    filter: checkFilter(JSON.parse(filter) as Record<string, unknown>),
    madeBy,
    madeAt,
  }));
}

/** @returns whether there was one. @throws field-invalid, tenant-forbidden, read-unrecorded, log-unavailable */
export async function dropSearch(
  deps: QueryDeps,
  reader: Reader,
  given: string,
  named?: string,
): Promise<boolean> {
  const name = checkName(given);
  const tenant = tenantOfRead(reader, named);
  await note(deps, reader, 'saved_search.drop', tenant, name, {});
  return deps.savedSearches.drop(tenant, name);
}

function note(
  { recorder }: QueryDeps,
  reader: Reader,
  action: string,
  tenant: string | null,
  name: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  return recorder.record(reader, { action, resource: { type: 'saved_search', id: name }, tenant, details });
}
