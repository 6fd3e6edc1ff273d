/**
 * A process that feeds the hot view of an installation which another process holds, until nothing is left to read: for
 * tests in which it dies. Arguments: data directory, connection as JSON.
 */

import pino from 'pino';
import { Registry } from 'prom-client';
import { attachStorage } from '../src/compose.ts';
import { makeConfig } from '../src/config.ts';
import { Projections } from '../src/projections.ts';
import { readViewLag } from '../src/stores/postgres/view-lag.ts';
import { until } from './server-process.ts';

const WAIT_MS_MAX = 600_000;

const [data, connection] = process.argv.slice(2);
const storage = await attachStorage(makeConfig({ data }), JSON.parse(connection) as object);
const projections = new Projections(storage, new Registry(), pino({ level: 'warn' }, pino.destination(2)), {
  worker: new URL('./poison-worker.ts', import.meta.url),
  stallMs: 1_000,
  heapMib: 96,
});
projections.start();
let quiet = 0;
await until(
  'everything is read',
  async () => {
    const lags = await readViewLag(storage.pool).catch(() => []);
    // A head may move once more, when an hour is closed.
    quiet = lags.length > 0 && lags.every(({ records }) => records === 0n) ? quiet + 1 : 0;
    return quiet > 3;
  },
  WAIT_MS_MAX,
);
await projections.stop();
await storage.close();
process.exit(0);
