/**
 * An application that writes its events at a steady rate, in a process of its own: what it takes must not delay who
 * measures. Started by searchable-scene.ts, which sends it one `Order` after the other.
 */

import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { makeEventOf } from './events.ts';

/** Events at a rate, for as long as it says. */
export interface Order {
  readonly connection: pg.ClientConfig;
  readonly perSecond: number;
  readonly seconds: number;
  /** Actor of the events that are looked for. */
  readonly probe: string;
  /** Milliseconds between two of them. */
  readonly probeMs: number;
}

/** What it tells. */
export type Told =
  /** A transaction with an event that is looked for was committed. Times: milliseconds since the Unix epoch. */
  | { readonly kind: 'committed'; readonly id: string; readonly eventMs: number; readonly at: number }
  | { readonly kind: 'done'; readonly written: number; readonly seconds: number };

/** Events of a transaction. */
const ROWS = 100;
const CLIENTS = 2;

const values = Array.from(
  { length: ROWS },
  (_, row) => `($${row * 3 + 1}, 'acme', 'audit.event', $${row * 3 + 2}, 1, NULL, $${row * 3 + 3})`,
);
const INSERT = {
  name: 'insert-many',
  text: `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ${values.join(',')}`,
};

function tell(told: Told): void {
  process.send?.(told);
}

let isStopped = false;

async function produce({ connection, perSecond, seconds, probe, probeMs }: Order): Promise<void> {
  const begun = performance.now();
  const end = begun + seconds * 1_000;
  let written = 0;
  let nextProbe = begun;
  const write = async (): Promise<void> => {
    const client = new pg.Client({ ...connection, application_name: 'bench producer' });
    await client.connect();
    while (!isStopped) {
      const due = begun + (written * 1_000) / perSecond;
      if (due >= end) break;
      written += ROWS;
      const early = due - performance.now();
      if (early > 0) await wait(early);
      const now = performance.now();
      const hasProbe = now >= nextProbe;
      if (hasProbe) nextProbe = Math.max(nextProbe + probeMs, now);
      const eventMs = Date.now();
      const time = new Date(eventMs).toISOString();
      const events = Array.from({ length: ROWS }, (_, row) =>
        makeEventOf(time, hasProbe && row === ROWS - 1 ? probe : undefined),
      );
      await client.query({ ...INSERT, values: events.flatMap(({ id, key, body }) => [id, key, body]) });
      if (hasProbe) tell({ kind: 'committed', id: events[ROWS - 1].id, eventMs, at: Date.now() });
      // What is written later than that tells of a producer that can't keep up.
      if (performance.now() > end + 1_000) break;
    }
    await client.end();
  };
  await Promise.all(Array.from({ length: CLIENTS }, write));
  tell({ kind: 'done', written, seconds: (performance.now() - begun) / 1_000 });
}

process.on('message', (order: Order | 'stop') => {
  if (order === 'stop') {
    isStopped = true;
    return;
  }
  isStopped = false;
  void produce(order);
});
process.on('disconnect', () => process.exit(0));
