/** Brings the view up to date in a directory that no server holds: a search there would otherwise find what a server last saw. */

import type { Storage } from './compose.ts';
import { registryOf } from './mapping-files.ts';
import { hotProjection } from './project/projection.ts';
import { READER_BOUNDS, ViewReader } from './project/reader.ts';
import { PostgresRecordSource } from './stores/postgres/record-source.ts';
import { PostgresViewStore } from './stores/postgres/view-store.ts';

/** @throws BreakerTripped when too many records in a row can't be taken, log-unavailable */
export async function projectPending({ pool, objects, dataDir }: Storage): Promise<void> {
  const store = new PostgresViewStore(pool);
  const projection = hotProjection(registryOf(dataDir));
  const { ref } = await store.open(projection.name, projection.definition);
  await store.continueWith(ref, projection.definition);
  const nothing = () => undefined;
  const reader = new ViewReader(
    {
      source: new PostgresRecordSource(pool),
      store,
      bodies: objects,
      bounds: READER_BOUNDS,
      touch: nothing,
      untouch: nothing,
      onBatch: nothing,
    },
    projection,
    ref,
  );
  await reader.begin();
  while ((await reader.round()).kind === 'stored');
  await reader.end();
}
