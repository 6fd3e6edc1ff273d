/** A served log with an outbox in its own database, and an application that writes to it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { initOutbox } from '../src/stores/postgres/outbox/init.ts';
import { type Served, startServed } from './installation.ts';

export const SOURCE = 'bench';

export interface OutboxScene extends Served {
  readonly connection: pg.ClientConfig;
  readonly client: pg.Client;
  /** Registers the source, or changes how it is read, and waits until it is. */
  relayBy(mode: 'polling' | 'wal'): Promise<void>;
  close(): Promise<void>;
}

export async function openOutboxScene(): Promise<OutboxScene> {
  const served = await startServed();
  const { postgres } = JSON.parse(readFileSync(join(served.dataDir, 'server.json'), 'utf8')) as {
    postgres: pg.ClientConfig;
  };
  const client = new pg.Client(postgres);
  await client.connect();
  await initOutbox(client, { slots: 16, slotSeconds: 10 });
  writeFileSync(join(served.dataDir, 'outboxes.json'), JSON.stringify({ [SOURCE]: 'embedded' }), {
    mode: 0o600,
  });
  return {
    ...served,
    connection: postgres,
    client,
    relayBy: async (mode) => {
      await client.query("SELECT evident.register_source($1, 'audit', NULL, $2)", [SOURCE, mode]);
      await waitFor(async () => {
        const { rows } = await client.query<{ mode: string | null }>(
          "SELECT state ->> 'mode' AS mode FROM evident.sources WHERE source = $1",
          [SOURCE],
        );
        return rows[0]?.mode === mode;
      });
    },
    close: async () => {
      await client.end();
      await served.stop();
    },
  };
}

const WAIT_MS_MAX = 300_000;

export async function waitFor(condition: () => Promise<boolean>, everyMs = 20): Promise<void> {
  const late = performance.now() + WAIT_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > late) throw new Error('it took too long');
    await wait(everyMs);
  }
}

/** Records of audit events that are sealed. */
export async function sealedEvents(client: pg.Client): Promise<{ appended: number; sealed: number }> {
  const { rows } = await client.query<{ appended: string; sealed: string }>(
    `SELECT sum(p.next_position) AS appended, sum(coalesce(s.size, 0)) AS sealed
       FROM evident.partitions p JOIN evident.logs l USING (log_id) LEFT JOIN evident.seals s USING (tree)
      WHERE l.log = 'audit'`,
  );
  return { appended: Number(rows[0].appended), sealed: Number(rows[0].sealed) };
}
