/**
 * An application as a process of its own: over several connections, each transaction writes a row of business and its
 * audit events through the SDK. What COMMIT answered for is printed, one transaction a line. Ends at SIGTERM, between
 * two transactions; loses its connections and makes new ones as a service would.
 *
 *   node outbox-writer.ts URL CONNECTIONS PAUSE_MS SEED
 *
 * Prints `ended <transaction> <nanoseconds of the monotonic clock>`.
 */

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createAudit } from '../../sdk/src/audit.ts';
import { type PgClient, pgDriver } from '../../sdk/src/drivers.ts';
import type { OutboxRow } from '../../sdk/src/outbox/driver.ts';
import { Random } from '../simulation/random.ts';

const RETRY_MS = 20;
const ACTORS = 5;
const EVENTS_MAX = 3;

const [url, connections, pauseMs, seed] = process.argv.slice(2);
let isStopping = false;
process.on('SIGTERM', () => {
  isStopping = true;
});

/** What the SDK has sent last on a client: the business keeps a copy, to hold the log against. */
const sent = new WeakMap<PgClient, OutboxRow[]>();

const pool = new pg.Pool({ connectionString: url, max: 1 });
const driver = pgDriver(pool);
const audit = createAudit<PgClient>({
  service: 'writer',
  tenant: 'acme',
  driver: {
    ...driver,
    query: (tx, statement) => {
      sent.get(tx)?.push(...statement.rows);
      return driver.query(tx, statement);
    },
  },
});

async function transact(client: pg.Client, writer: number, random: Random): Promise<void> {
  const transaction = randomUUID();
  const rows: OutboxRow[] = [];
  sent.set(client, rows);
  const begun = process.hrtime.bigint();
  await client.query('BEGIN');
  for (let left = random.between(1, EVENTS_MAX); left > 0; left--) {
    await audit.log(client, {
      actor: { id: `usr_${random.below(ACTORS)}`, type: 'user' },
      action: 'document.update',
      resource: { type: 'document', id: `doc_${random.below(1_000)}` },
      details: { writer, text: 'ä "\\'.repeat(random.below(40)) },
    });
  }
  for (const { eventId, key, body } of rows) {
    await client.query(
      'INSERT INTO business (id, transaction, begun, key, body) VALUES ($1, $2, $3, $4, $5)',
      [eventId, transaction, begun, key, body],
    );
  }
  // Some of the business comes to nothing, and its events with it.
  if (random.chance(1, 10)) {
    await client.query('ROLLBACK');
    return;
  }
  await client.query('COMMIT');
  process.stdout.write(`ended ${transaction} ${process.hrtime.bigint()}\n`);
}

async function write(writer: number): Promise<void> {
  const random = new Random(Number(seed) * 100 + writer);
  let client: pg.Client | null = null;
  while (!isStopping) {
    try {
      if (client === null) {
        client = new pg.Client({ connectionString: url });
        client.on('error', () => undefined);
        await client.connect();
      }
      await transact(client, writer, random);
      await sleep(random.below(Number(pauseMs)));
    } catch {
      // Whether a COMMIT that broke was done is not known here: the database is asked in the end.
      await client?.end().catch(() => undefined);
      client = null;
      await sleep(RETRY_MS);
    }
  }
  await client?.end().catch(() => undefined);
}

await Promise.all(Array.from({ length: Number(connections) }, (_, writer) => write(writer)));
await audit.close();
await pool.end();
