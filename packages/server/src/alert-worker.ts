/** The thread that reads the log for alerts, with connections of its own: mapping must not hold up the doors. */

import { setTimeout as wait } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type pg from 'pg';
import { AlertReader } from './alerts/follow.ts';
import { ProjectionWatch } from './projection-watch.ts';
import { FolderObjectStore } from './stores/folder/object-store.ts';
import { PostgresAlertStore } from './stores/postgres/alert-store.ts';
import { openPool } from './stores/postgres/pool.ts';
import { PostgresRecordSource } from './stores/postgres/record-source.ts';

/** What the thread is given. */
export interface AlertWorkerInput {
  readonly connection: pg.ClientConfig;
  readonly objectsFolder: string;
  /** Mapping files, parsed from JSON. */
  readonly mappings: readonly unknown[];
  /** Of a `ProjectionWatch`. */
  readonly memory: SharedArrayBuffer;
  /** Records that an earlier thread did not come back from, as `<tree>/<position>`. */
  readonly skip: readonly string[];
}

/** What it says. */
export type AlertWorkerMessage =
  | {
      readonly kind: 'step';
      readonly records: number;
      readonly unmapped: number;
      readonly raised: readonly string[];
    }
  | { readonly kind: 'error'; readonly error: Error };

/** One for reading, one for writing. */
const CONNECTIONS = 2;

function say(message: AlertWorkerMessage): void {
  parentPort?.postMessage(message);
}

function runWorker(input: AlertWorkerInput): void {
  const pool = openPool(input.connection, {
    role: 'evident_server',
    max: CONNECTIONS,
    tenant: '*',
    name: 'evident alerts',
  });
  pool.on('connect', (client) => client.on('error', () => undefined));
  const watch = new ProjectionWatch(input.memory);
  const skip = new Set(input.skip);
  const { rowOf } = makeRegistry(input.mappings.map(parseMappingFile));
  const reader = new AlertReader({
    stream: new PostgresAlertStore(pool),
    source: new PostgresRecordSource(pool),
    bodies: new FolderObjectStore(input.objectsFolder),
    rowOf,
    now: () => performance.now(),
    sleep: async (milliseconds, signal) => {
      await wait(milliseconds, undefined, { signal }).catch(() => undefined);
    },
    onRecord: (place) => (place === null ? watch.untouch() : watch.touch(place.tree, place.position, false)),
    isSkipped: (tree, position) => skip.has(`${tree}/${position}`),
    onStep: (step) => say({ kind: 'step', ...step }),
    onError: (error) => say({ kind: 'error', error: error as Error }),
  });
  reader.start();
  parentPort?.once('message', async () => {
    await reader.stop();
    await pool.end();
    parentPort?.close();
  });
}

runWorker(workerData as AlertWorkerInput);
