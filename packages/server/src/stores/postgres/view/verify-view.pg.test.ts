/** Verification of the view finds whatever a superuser changes in it. Each case begins from a view that is verified. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { resolveDeadLetter } from '../../../project/dead-letters.ts';
import type { Check } from '../../../verify/finding.ts';
import { HotView, noteProjection, notes, OPERATOR } from './view-fixture.ts';

interface Case {
  readonly name: string;
  /** Statements, run in order. */
  readonly change: string[];
  readonly check: Check;
  readonly verdict?: 'tampered' | 'not checked';
}

const NOTE_5 = "generation = 1 AND resource_id = '5'";
const COPY = `INSERT INTO evident.events SELECT generation, appended_at, tree, position, event_time, timed,
  id, tenant, type, mapper, actor_id, actor_type, action, resource_type, resource_id, result, correlation_id, ip, corrects FROM evident.events`;
const COLUMNS: Record<string, string> = {
  event_time: "event_time + interval '1 microsecond'",
  timed: 'NOT timed',
  id: "'00000000-0000-4000-8000-000000000000'",
  tenant: "'other'",
  type: "'other'",
  mapper: "'note/2'",
  actor_id: "'other'",
  actor_type: "'user'",
  action: "'other'",
  resource_type: "'other'",
  resource_id: "'other'",
  result: "'failure'",
  correlation_id: "'other'",
  ip: "'192.0.2.2'",
  corrects: "'00000000-0000-4000-8000-000000000000'",
};

const CASES: Case[] = [
  ...Object.entries(COLUMNS).map(
    ([column, value]): Case => ({
      name: `the column ${column} is changed`,
      change: [`UPDATE evident.events SET ${column} = ${value} WHERE ${NOTE_5}`],
      check: 'view-row',
    }),
  ),
  {
    name: 'a row is deleted',
    change: [`DELETE FROM evident.events WHERE ${NOTE_5}`],
    check: 'view-row-missing',
  },
  {
    name: 'a row and its identity are deleted',
    change: [
      `DELETE FROM evident.event_ids i USING evident.events e WHERE e.${NOTE_5} AND i.id = e.id`,
      `DELETE FROM evident.events WHERE ${NOTE_5}`,
    ],
    check: 'view-row-missing',
  },
  {
    name: 'a row is deleted and its identity listed at a record that stands later',
    change: [
      `UPDATE evident.event_ids i SET position = i.position + 1 FROM evident.events e WHERE e.${NOTE_5} AND i.id = e.id`,
      `DELETE FROM evident.events WHERE ${NOTE_5}`,
    ],
    check: 'view-row-missing',
  },
  { name: 'a row stands twice', change: [`${COPY} WHERE ${NOTE_5}`], check: 'view-row-extra' },
  {
    name: 'a row is inserted for a record that has none',
    change: [`${COPY.replace('tree, position, event', 'tree, 900, event')} WHERE ${NOTE_5}`],
    check: 'view-row-extra',
  },
  {
    name: 'a row is inserted for a dead letter',
    change: [
      `INSERT INTO evident.events (generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper)
       SELECT 1, r.appended_at, d.tree, d.position, r.appended_at, false, d.id, d.tenant, d.type, 'note/1'
         FROM evident.dead_letters d JOIN evident.records r USING (tree, position) WHERE d.error = 'fault: a test' LIMIT 1`,
    ],
    check: 'view-row-extra',
  },
  {
    name: 'a row is inserted for a partition that does not exist',
    change: [`${COPY.replace('tree, position, event', '999, position, event')} WHERE ${NOTE_5}`],
    check: 'view-row-extra',
  },
  {
    name: 'the later of two repeats is shown',
    change: [
      `UPDATE evident.event_ids i SET tree = r.tree, position = r.position, appended_at = r.appended_at
         FROM evident.records r WHERE r.id = i.id AND r.body = convert_to('{"n":3000}', 'UTF8') AND (r.tree <> i.tree OR r.position <> i.position)`,
      `UPDATE evident.events e SET tree = i.tree, position = i.position, appended_at = i.appended_at, event_time = i.appended_at
         FROM evident.event_ids i WHERE e.id = i.id AND e.resource_id = '3000'`,
    ],
    check: 'view-row-missing',
  },
  {
    name: 'a dead letter is deleted',
    change: ["DELETE FROM evident.dead_letters WHERE error = 'fault: a test' AND resolution IS NULL"],
    check: 'view-dead-letter',
  },
  {
    name: 'a dead letter of a reused id is deleted',
    change: ["DELETE FROM evident.dead_letters WHERE error LIKE 'id-reused: %'"],
    check: 'view-dead-letter',
  },
  {
    name: 'a row is hidden as a dead letter',
    change: [
      `INSERT INTO evident.dead_letters (view, generation, tree, position, tenant, id, type, class, error, attempts, first_at, last_at)
       SELECT 'hot', 1, tree, position, tenant, id, type, 'validation', 'fault: a test', 1, now(), now() FROM evident.events WHERE ${NOTE_5}`,
      `DELETE FROM evident.event_ids i USING evident.events e WHERE e.${NOTE_5} AND i.id = e.id`,
      `DELETE FROM evident.events WHERE ${NOTE_5}`,
    ],
    check: 'view-dead-letter',
  },
  {
    name: 'a row is hidden as poison',
    change: [
      `INSERT INTO evident.dead_letters (view, generation, tree, position, tenant, id, type, class, error, attempts, first_at, last_at)
       SELECT 'hot', 1, tree, position, tenant, id, type, 'poison', 'it ended the worker', 3, now(), now() FROM evident.events WHERE ${NOTE_5}`,
      `DELETE FROM evident.event_ids i USING evident.events e WHERE e.${NOTE_5} AND i.id = e.id`,
      `DELETE FROM evident.events WHERE ${NOTE_5}`,
    ],
    check: 'view-dead-letter',
    verdict: 'not checked',
  },
  {
    name: 'a dead letter is discarded by nobody',
    change: [
      "UPDATE evident.dead_letters SET resolution = 'discarded', reason = 'x' WHERE error = 'fault: a test' AND resolution IS NULL",
    ],
    check: 'view-dead-letter',
  },
  {
    name: 'a discarded letter names the event of another',
    change: [
      `UPDATE evident.dead_letters d SET resolution = 'discarded', reason = 'x', event_id = o.event_id FROM evident.dead_letters o
        WHERE d.error = 'fault: a test' AND d.resolution IS NULL AND o.resolution = 'discarded'`,
    ],
    check: 'view-dead-letter',
  },
  {
    name: 'a dead letter says that it was replayed',
    change: [
      `UPDATE evident.dead_letters d SET resolution = 'replayed', event_id = o.event_id FROM evident.dead_letters o
        WHERE d.error = 'fault: a test' AND d.resolution IS NULL AND o.resolution = 'discarded'`,
    ],
    check: 'view-dead-letter',
  },
  {
    name: 'the checkpoint is moved beyond the log',
    change: ['UPDATE evident.checkpoints SET next_position = next_position + 1000'],
    check: 'view-checkpoint',
  },
  {
    name: 'the checkpoint is moved on over records that were not read',
    change: [
      'UPDATE evident.checkpoints SET next_position = p.next_position FROM evident.partitions p WHERE p.tree = checkpoints.tree',
    ],
    check: 'view-row-missing',
  },
  {
    name: 'the checkpoint is moved back',
    change: ['UPDATE evident.checkpoints SET next_position = 2'],
    check: 'view-row-extra',
  },
  {
    name: 'the checkpoints are deleted',
    change: ['DELETE FROM evident.checkpoints'],
    check: 'view-row-extra',
  },
];

describe('verification of the view', () => {
  let view: HotView;
  const opened = new Set<() => Promise<unknown>>();
  before(async () => {
    view = await HotView.open();
    await view.appendMany(notes(40, 0, true));
    const id = await view.append({ n: 3_000 }, { key: 'acme/a' });
    await view.append({ n: 3_000 }, { id, key: 'acme/b' });
    await view.append({ n: 3_001 }, { id, key: 'acme/c' });
    await view.append({ n: 3_001 }, { id, key: 'acme/d' });
    await view.project();
    const [letter] = await view.letters.list({ view: 'hot', state: 'open' }, null, 1);
    await resolveDeadLetter(view.deadLetterDeps(), letter, {
      actor: OPERATOR,
      resolution: 'discarded',
      reason: 'a test line',
    });
    // Not read by the view: what lies beyond the checkpoints is no finding.
    await view.appendMany(notes(8, 200));
  });
  after(async () => {
    for (const close of opened) await close();
  });

  it('finds nothing wrong with a view that was left alone, up to its checkpoints', async () => {
    const { report, findings } = await view.verify();
    assert.deepEqual([findings.verdict, findings.list], ['verified', []]);
    assert.deepEqual([report?.rows, report?.deadLetters], [37, 5]);
    assert.ok((report?.behind ?? 0n) >= 8n);
  });

  for (const { name, change, check, verdict = 'tampered' } of CASES) {
    it(`finds that ${name}`, async () => {
      // A copy of the tables stands in for a transaction: verification has connections of its own.
      const tables = ['events', 'event_ids', 'dead_letters', 'checkpoints'];
      for (const table of tables)
        await view.asSuperuser(`CREATE TABLE kept_${table} AS SELECT * FROM evident.${table}`);
      try {
        let changed = 0;
        for (const statement of change) changed += (await view.asSuperuser(statement)).rowCount ?? 0;
        assert.ok(changed > 0, 'something was changed');
        const { findings } = await view.verify();
        assert.equal(
          findings.verdict,
          verdict,
          JSON.stringify(findings.list.map(({ check: found, detail }) => [found, detail])),
        );
        const found = findings.list.find((one) => one.check === check && one.verdict === verdict);
        assert.ok(found, JSON.stringify(findings.list.map((one) => [one.check, one.detail])));
        assert.match(found.log, /^(?:audit|~unknown)$/);
      } finally {
        for (const table of tables) {
          await view.asSuperuser(`DELETE FROM evident.${table}`);
          await view.asSuperuser(`INSERT INTO evident.${table} SELECT * FROM kept_${table}`);
          await view.asSuperuser(`DROP TABLE kept_${table}`);
        }
      }
    });
  }

  it('says not checked, and not tampered, where rows were made by mappers that this program does not have', async () => {
    const { findings } = await view.verify(noteProjection(2));
    assert.deepEqual([findings.verdict, findings.count.tampered], ['not checked', 0]);
    assert.ok(findings.list.some(({ check, log }) => check === 'view-definition' && log === 'view hot'));
  });
});
