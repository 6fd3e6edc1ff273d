/** Wiring of what operators do with views: dead letters, rebuilds, digests, verification. */

import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { formatInstant } from '@evident/core/leaf.ts';
import type { MapperRegistry } from '@evident/core/mapping/registry.ts';
import { makeRecordOwn } from './audit/record-own.ts';
import type { ViewOperation } from './cli/command-deps.ts';
import type { Storage } from './compose.ts';
import { hotProjection } from './project/projection.ts';
import { READER_BOUNDS } from './project/reader.ts';
import { PostgresIdentityReader } from './stores/postgres/identities.ts';
import { PostgresRecordSource } from './stores/postgres/record-source.ts';
import { PostgresDeadLetterStore } from './stores/postgres/view/dead-letter-store.ts';
import { PostgresGenerationStore } from './stores/postgres/view/generation-store.ts';
import { PostgresViewSnapshots } from './stores/postgres/view/snapshots.ts';
import { PostgresViewStore } from './stores/postgres/view-store.ts';

/** @param mayMapPoison whether this process may die of a record: a command may, a server may not */
export function viewOperationOf(
  storage: Storage,
  registry: MapperRegistry,
  mayMapPoison: boolean,
): ViewOperation {
  const { pool, logs, objects, treeOf } = storage;
  const log = logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit, which every start makes');
  const own = { newId: randomUUID, instant: () => formatInstant(BigInt(Date.now()) * 1_000n) };
  const hot = hotProjection(registry);
  const projections = new Map([[hot.name, hot]]);
  const store = new PostgresViewStore(pool);
  const snapshots = new PostgresViewSnapshots(pool);
  const identities = new PostgresIdentityReader(pool, logs, () => () => undefined);
  return {
    projections,
    snapshots,
    letters: {
      ...own,
      letters: new PostgresDeadLetterStore({ pool, logs, treeOf }),
      views: store,
      logs,
      bodies: objects,
      projections,
      mayMapPoison,
    },
    rebuild: {
      ...own,
      generations: new PostgresGenerationStore(pool, logs),
      reader: { source: new PostgresRecordSource(pool), store, bodies: objects, bounds: READER_BOUNDS },
      record: makeRecordOwn({ ...own, log }),
      sleep: async (milliseconds, signal) => {
        await wait(milliseconds, undefined, { signal }).catch(() => undefined);
      },
    },
    verify: {
      logs: [...logs.values()],
      objects,
      registry,
      snapshots,
      findEvent: async (name, tenant, id) => (await identities.find([{ log: name, tenant, id }]))[0],
    },
  };
}
