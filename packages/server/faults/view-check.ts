/** Whether the hot view is what its definition says: every record mapped again, one by one, and held against the rows. */

import assert from 'node:assert/strict';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Storage } from '../src/compose.ts';
import { PostgresRecordSource } from '../src/stores/postgres/record-source.ts';

const READ = { recordsMax: 5_000, bytesMax: 2 ** 26 };

interface StoredRow {
  log: string;
  partition: number;
  position: string;
  row: EventRow;
}

type Place = string;

async function readView(storage: Storage): Promise<Map<Place, EventRow>> {
  const rows = new Map<Place, EventRow>();
  const { rows: found } = await storage.pool.query<StoredRow & Record<string, unknown>>(
    `SELECT l.log, p.partition, e.position, e.*, (extract(epoch FROM e.event_time) * 1000000)::bigint AS event_us
       FROM evident.events e JOIN evident.views v ON v.view = 'hot' AND v.live = e.generation
       JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)`,
  );
  for (const row of found) {
    const place = `${row.log}/${row.partition}/${row.position}`;
    assert.ok(!rows.has(place), `${place} stands twice in the view`);
    rows.set(place, {
      eventTime: row.timed ? BigInt(row.event_us as string) : null,
      actorId: row.actor_id as string | null,
      actorType: row.actor_type as string | null,
      action: row.action as string | null,
      resourceType: row.resource_type as string | null,
      resourceId: row.resource_id as string | null,
      result: row.result as EventRow['result'],
      correlationId: row.correlation_id as string | null,
      ip: row.ip as string | null,
      corrects: row.corrects as string | null,
      mapper: row.mapper as string,
    });
  }
  return rows;
}

async function bodyOf(storage: Storage, { tenant, body }: LogRecord): Promise<Uint8Array> {
  if (body.form !== 'object') return body.bytes;
  return (await storage.objects.get(tenant, body.sha256)) ?? assert.fail('an object is lost');
}

/**
 * @param letters what records must be dead letters, by place, with the class
 * @returns how many rows the view has
 */
export async function assertViewIsTheLog(
  storage: Storage,
  letters: ReadonlyMap<Place, string> = new Map(),
): Promise<number> {
  const registry = makeRegistry();
  const source = new PostgresRecordSource(storage.pool);
  const shown = await readView(storage);
  let rows = 0;
  for (const [name, log] of storage.logs) {
    if (name === 'heads' || name === 'windows') continue;
    for (let partition = 0; partition < log.partitions; partition++) {
      for (let from = 0n; ; ) {
        const place = { tree: storage.treeOf(name, partition), position: from };
        const records = (await source.read([place], READ))[0]?.records ?? [];
        for (const record of records) {
          const at = `${name}/${partition}/${record.position}`;
          const expected = letters.has(at) ? null : registry.rowOf(record, await bodyOf(storage, record));
          const found = shown.get(at) ?? null;
          assert.deepEqual(found, expected, at);
          if (expected !== null) rows++;
        }
        if (records.length === 0) break;
        from = (records.at(-1) as LogRecord).position + 1n;
      }
    }
  }
  assert.equal(shown.size, rows, 'the view holds rows of records that the log does not have');
  const { rows: found } = await storage.pool.query<{ place: string; class: string }>(
    `SELECT l.log || '/' || p.partition || '/' || d.position AS place, d.class
       FROM evident.dead_letters d JOIN evident.views v ON v.view = d.view AND v.live = d.generation
       JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id) WHERE d.view = 'hot'`,
  );
  assert.deepEqual(
    new Map(found.map((one) => [one.place, one.class] as const).sort()),
    new Map([...letters].sort()),
  );
  return rows;
}
