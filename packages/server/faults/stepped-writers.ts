/** Writers for races with a name: begin, stop where it matters, commit. */

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { partitionOf } from '@evident/core/partition.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { makeRecord, propose } from '../contract/log-contract.ts';
import type { Outcome } from '../src/log/log.ts';
import { Appender } from '../src/stores/postgres/appender.ts';
import { openLog, type PostgresLog } from '../src/stores/postgres/log.ts';
import { openTestDatabase, type TestDatabase } from '../test/database.ts';
import { type Gate, installSteps } from './append-gates.ts';
import { type SteppedSession, Stepper } from './stepped-append.ts';

export let database: TestDatabase;
export let gates: Gate[];
export let stepper: Stepper;
let logs = 0;

/** For a test file, once: a database of its own with three sessions. */
export function openWriters(): void {
  before(async () => {
    database = await openTestDatabase();
    gates = await installSteps(database.owner);
    stepper = await Stepper.open(database, gates, 3);
  });
  after(() => stepper.close());
}

/** A new log; whatever sessions did before is undone. */
export async function newLog(partitions: number): Promise<PostgresLog> {
  for (const session of stepper.sessions) await stepper.kill(session);
  const deps = { pool: database.pool, appender: new Appender(database.pool) };
  return openLog(deps, `steps-${++logs}`, partitions);
}

function keyOf(partition: number, partitions: number): string {
  for (let i = 0; ; i++) if (partitionOf(`k${i}`, partitions) === partition) return `k${i}`;
}

/** Begins a transaction that appends one record a partition, in this order. */
export async function begin(
  session: SteppedSession,
  log: PostgresLog,
  partitions: readonly number[],
  over: Partial<ProposedRecord>[] = [],
): Promise<void> {
  const records = partitions.map((partition, index) =>
    makeRecord({ key: keyOf(partition, log.partitions), ...over[index] }),
  );
  await stepper.begin(session, () =>
    session.log(log.name, log.trees).appendOnce(records.map((record) => propose(record))),
  );
}

/** Lets a session go to the end of its append, and commit. */
export async function commit(session: SteppedSession): Promise<Outcome[]> {
  await stepper.passUntil(session);
  assert.equal(session.fault, undefined);
  assert.equal(session.state, 'idle', `session ${session.number} is ${session.state}`);
  const answer = session.answer as Outcome[];
  await stepper.end(session, 'COMMIT');
  return answer;
}

export async function shape(log: PostgresLog, set: string): Promise<void> {
  await database.owner.query(`UPDATE evident.partitions SET ${set} WHERE tree = ANY ($1)`, [log.trees]);
}

export async function count(table: string, log: PostgresLog): Promise<number> {
  const { rows } = await database.owner.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM evident.${table} WHERE tree = ANY ($1)`,
    [log.trees],
  );
  return rows[0].n;
}
