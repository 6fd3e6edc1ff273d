/** Races of the log with a name: two or three writers, stepped to the one moment that matters. Real PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LogRecord } from '@evident/core/record.ts';
import { makeRecord, readAndVerify } from '../contract/log-contract.ts';
import type { Outcome } from '../src/log/log.ts';
import type { PostgresLog } from '../src/stores/postgres/log.ts';
import {
  begin,
  commit,
  count,
  database,
  gates,
  newLog,
  openWriters,
  shape,
  stepper,
} from './stepped-writers.ts';

const CHILD = 1_048_576n;
/** More than a plpgsql loop fetches ahead (10 rows), so that a loop over partitions locks them in two goes. */
const MANY_PARTITIONS = 12;

openWriters();

const types = (records: readonly LogRecord[]) => records.map(({ type }) => type);
const ends = ({ kind, position }: Outcome) => `${kind} ${position}`;

describe('writers that wait', () => {
  it('a writer that commits late: the next one waits and stands behind it, and a reader sees neither', async () => {
    const log = await newLog(1);
    const [a, b] = stepper.sessions;
    await begin(a, log, [0, 0]);
    await stepper.passUntil(a);
    await begin(b, log, [0]);
    await stepper.passUntil(b);
    assert.equal(b.state, 'blocked');
    assert.deepEqual(await readAndVerify(log), []);
    assert.deepEqual((await commit(a)).map(ends), ['appended 0', 'appended 1']);
    assert.equal((await readAndVerify(log)).length, 2);
    assert.deepEqual((await commit(b)).map(ends), ['appended 2']);
    assert.equal((await readAndVerify(log)).length, 3);
  });

  it('a writer that aborts leaves no hole, no identity and no child', async () => {
    const log = await newLog(1);
    const [a, b] = stepper.sessions;
    await begin(a, log, [0, 0]);
    await stepper.passUntil(a);
    await begin(b, log, [0]);
    await stepper.passUntil(b);
    await stepper.end(a, 'ROLLBACK');
    assert.deepEqual((await commit(b)).map(ends), ['appended 0']);
    assert.equal((await readAndVerify(log)).length, 1);
    assert.equal(await count('identities', log), 1);
  });

  it('two writers that name the partitions in opposite order do not wait for each other', async () => {
    const log = await newLog(2);
    const [a, b] = stepper.sessions;
    await begin(a, log, [0, 1]);
    // a holds one counter of the two.
    await stepper.passUntil(a, 'a counter');
    await stepper.pass(a);
    assert.equal(a.gate?.step, 'a counter');
    await begin(b, log, [1, 0]);
    await stepper.passUntil(b);
    assert.equal(b.state, 'blocked');
    await commit(a);
    await commit(b);
    assert.equal((await readAndVerify(log)).length, 4);
  });
});

describe('identities under race', () => {
  it('two writers with crossing identities do not wait for each other, and one is answered `repeat`', async () => {
    const log = await newLog(2);
    const [a, b] = stepper.sessions;
    const [x, y] = [makeRecord().id, makeRecord().id];
    await begin(a, log, [0, 0], [{ id: x }, { id: y }]);
    // a holds one identity of the two.
    await stepper.passUntil(a, 'an identity');
    await stepper.pass(a);
    assert.equal(a.gate?.step, 'an identity');
    await begin(b, log, [1, 1], [{ id: y }, { id: x }]);
    await stepper.passUntil(b);
    assert.equal(b.state, 'blocked');
    const first = await commit(a);
    assert.deepEqual(first.map(ends), ['appended 0', 'appended 1']);
    assert.deepEqual(
      (await commit(b)).map((outcome) => [outcome.kind, outcome.partition, outcome.position]),
      [
        ['repeat', 0, 1n],
        ['repeat', 0, 0n],
      ],
    );
    assert.equal((await readAndVerify(log)).length, 2);
    assert.equal(await count('identities', log), 2);
  });

  it('the identity of a writer that aborts is free for the one that waits for it', async () => {
    const log = await newLog(2);
    const [a, b] = stepper.sessions;
    const { id } = makeRecord();
    await begin(a, log, [0], [{ id }]);
    await stepper.passUntil(a, 'records');
    await begin(b, log, [1], [{ id }]);
    await stepper.passUntil(b);
    await stepper.kill(a);
    assert.deepEqual((await commit(b)).map(ends), ['appended 0']);
    assert.deepEqual(
      (await readAndVerify(log)).map((record) => [record.partition, record.id]),
      [[1, id]],
    );
  });
});

describe('a backend that is killed', () => {
  it('leaves no trace, at whichever step it dies', async () => {
    const log = await newLog(2);
    await shape(log, "last_appended_at = last_appended_at - interval '2 hours'");
    const [a, b] = stepper.sessions;
    const { id } = makeRecord();
    // One that comes to every gate: an hour to close, a child to make, a repeat to settle.
    await begin(b, log, [1], [{ id }]);
    await commit(b);
    const died = new Set<string>();
    for (let passes = 0, done = false; !done; passes++) {
      await begin(a, log, [0, 0, 1], [{ id }]);
      for (let i = 0; i < passes && a.state === 'gate'; i++) await stepper.pass(a);
      done = a.state === 'idle';
      died.add(done ? 'before the commit' : `${a.gate?.of}: ${a.gate?.step}`);
      await stepper.kill(a);
      assert.deepEqual(types(await readAndVerify(log)), ['log.hour', 'note']);
      assert.equal(await count('identities', log), 1);
      assert.deepEqual(
        (await log.heads()).map(({ next }) => next),
        [0n, 2n],
      );
    }
    for (const { of, step } of gates)
      assert.ok(died.has(`${of}: ${step}`), `no writer died at ${of}: ${step}`);
    await begin(a, log, [0, 1]);
    assert.deepEqual((await commit(a)).map(ends), ['appended 1', 'appended 2']);
  });
});

describe('an hour that ends under race', () => {
  it('is closed once, before the first record of the later hour, while other writers wait', async () => {
    const log = await newLog(1);
    await shape(log, "last_appended_at = last_appended_at - interval '1 hour'");
    const [a, b, c] = stepper.sessions;
    for (const session of [a, b, c]) {
      await begin(session, log, [0]);
      await stepper.passUntil(session);
    }
    await commit(a);
    await commit(b);
    await commit(c);
    assert.deepEqual(types(await readAndVerify(log)), ['log.hour', 'note', 'note', 'note']);
  });

  it('is closed by the next writer when the one that closed it dies', async () => {
    const log = await newLog(1);
    await shape(log, "last_appended_at = last_appended_at - interval '1 hour'");
    const [a, b] = stepper.sessions;
    await begin(a, log, [0]);
    await stepper.passUntil(a, 'identities');
    await begin(b, log, [0]);
    await stepper.passUntil(b);
    await stepper.kill(a);
    await commit(b);
    assert.deepEqual(types(await readAndVerify(log)), ['log.hour', 'note']);
  });

  it('closing all hours and a writer that makes a child do not wait for each other', async () => {
    const log = await newLog(MANY_PARTITIONS);
    await shape(log, "last_appended_at = last_appended_at - interval '1 hour'");
    await database.owner.query(
      'UPDATE evident.partitions SET last_appended_at = clock_timestamp() WHERE tree = $1',
      [log.trees[MANY_PARTITIONS - 1]],
    );
    const [a] = stepper.sessions;
    await begin(a, log, [MANY_PARTITIONS - 1]);
    await stepper.passUntil(a, 'close the hours');
    const closing = log.closeHours().then(
      (closed) => closed,
      (error: Error) => error,
    );
    await stepper.untilWaited(a);
    await commit(a);
    assert.equal(await closing, MANY_PARTITIONS - 1);
    await readAndVerify(log);
  });
});

describe('a child table that fills under race', () => {
  /** Its records begin shortly before the end of the first child. */
  async function nearEnd(partitions: number): Promise<PostgresLog> {
    const log = await newLog(partitions);
    await database.owner.query(`SELECT evident.add_child(t, 0, ${CHILD}) FROM unnest($1::int[]) t`, [
      log.trees,
    ]);
    await shape(log, `next_position = ${CHILD - 3n}, first_position = ${CHILD - 3n}, child_end = ${CHILD}`);
    return log;
  }

  it('is followed by one other, made by whoever comes first; readers read across', async () => {
    const log = await nearEnd(1);
    const [a, b, c] = stepper.sessions;
    for (const session of [a, b, c]) {
      await begin(session, log, [0, 0]);
      await stepper.passUntil(session);
    }
    assert.equal((await log.read(0, CHILD - 3n, 10)).length, 0);
    for (const [index, session] of [a, b, c].entries()) {
      await commit(session);
      assert.equal((await log.readMany([CHILD - 3n], 10)).length, 2 * (index + 1));
    }
    assert.equal((await readAndVerify(log)).at(-1)?.position, CHILD + 2n);
  });

  it('two writers that make children, one for an hour and one for records, do not wait for each other', async () => {
    const log = await newLog(2);
    await database.owner.query(
      "UPDATE evident.partitions SET last_appended_at = last_appended_at - interval '1 hour' WHERE tree = $1",
      [log.trees[0]],
    );
    const [a, b] = stepper.sessions;
    const { id } = makeRecord();
    // b holds the identity; a has made its child for log.hour and comes to want the identity; b wants its child.
    await begin(b, log, [1], [{ id }]);
    await stepper.passUntil(b, 'an identity');
    await stepper.pass(b);
    await begin(a, log, [0], [{ id }]);
    await stepper.passUntil(a);
    await stepper.passUntil(b);
    assert.notEqual(
      b.state,
      'blocked',
      'b waits for the child that a made, and a for the identity that b holds',
    );
    await commit(b);
    await commit(a);
    assert.deepEqual(types(await readAndVerify(log)).sort(), ['log.hour', 'note']);
  });

  it('is dropped by trim when it is sealed and archived, while a writer writes; not before', async () => {
    const log = await nearEnd(1);
    await log.append(Array.from({ length: 5 }, () => makeRecord()));
    await shape(log, 'first_position = 0');
    await assert.rejects(log.trim(0, CHILD), { code: 'trim-not-archived' });
    await database.owner.query('SELECT evident.begin_seal($1, $2)', [log.trees[0], Buffer.alloc(32)]);
    await database.owner.query('UPDATE evident.seals SET size = $2 WHERE tree = $1', [log.trees[0], CHILD]);
    await assert.rejects(log.trim(0, CHILD), { code: 'trim-not-archived' });
    await database.owner.query('INSERT INTO evident.archived (tree, next_position) VALUES ($1, $2)', [
      log.trees[0],
      CHILD,
    ]);
    const [a] = stepper.sessions;
    await begin(a, log, [0]);
    await stepper.passUntil(a, 'advance the counters');
    const trimmed = log.trim(0, CHILD);
    await stepper.untilWaited(a);
    await commit(a);
    assert.equal(await trimmed, CHILD);
    assert.deepEqual(
      (await readAndVerify(log)).map(({ position }) => position),
      [CHILD, CHILD + 1n, CHILD + 2n],
    );
    assert.deepEqual(await log.read(0, 0n, 10), await readAndVerify(log));
  });
});
