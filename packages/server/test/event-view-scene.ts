/** A database with two logs, a view and the pool that queries have, for tests. */

import { after } from 'node:test';
import type pg from 'pg';
import type { EventViewScene } from '../contract/view-events.ts';
import { Appender } from '../src/stores/postgres/appender.ts';
import { PostgresEventView } from '../src/stores/postgres/event-view.ts';
import { openLog } from '../src/stores/postgres/log.ts';
import { openPool } from '../src/stores/postgres/pool.ts';
import { PostgresSavedSearches } from '../src/stores/postgres/saved-searches.ts';
import { PostgresViewStore } from '../src/stores/postgres/view-store.ts';
import { openTestDatabase, type TestDatabase } from './database.ts';

export interface PostgresScene extends EventViewScene {
  readonly database: TestDatabase;
  /** Role evident_server, no tenant set. */
  readonly queryPool: pg.Pool;
}

const opened: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of opened) await close();
});

export async function openEventViewScene(): Promise<PostgresScene> {
  const database = await openTestDatabase();
  const role = 'evident_server';
  const pool = openPool(database.connection, { role, max: 2, tenant: '*' });
  const queryPool = openPool(database.connection, { role, max: 2 });
  const appender = new Appender(pool);
  opened.push(async () => {
    await appender.close();
    await Promise.all([pool.end(), queryPool.end()]);
  });
  const list = [
    await openLog({ pool, appender }, 'audit', 3),
    await openLog({ pool, appender }, 'clicks', 3),
  ];
  const logs = new Map(list.map((log) => [log.name, log]));
  const view = new PostgresEventView(queryPool, {
    treesOf: (log) => logs.get(log)?.trees ?? [],
    placeOfTree: (tree) => {
      const log = list.find(({ trees }) => trees.includes(tree));
      return { log: log?.name ?? '?', partition: log?.trees.indexOf(tree) ?? -1 };
    },
  });
  return {
    database,
    queryPool,
    logs,
    view,
    saved: new PostgresSavedSearches(queryPool),
    store: new PostgresViewStore(pool),
  };
}
