/**
 * The log under race, on real PostgreSQL: seeded schedules of writers that commit late, abort or die between any
 * two statements, while readers read. And the same checks with a guard removed from evident.append, which must
 * then fail: a suite that cannot fail shows nothing.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openTestDatabase, type TestDatabase } from '../test/database.ts';
import { installSteps } from './append-gates.ts';
import { runSchedule } from './race-schedule.ts';
import { Stepper } from './stepped-append.ts';

const SESSIONS = 4;
/** Schedules for CI: about 40 s on two cores. */
const SCHEDULES = 80;
/** Databases in which schedules run at the same time. */
const LANES = 2;
const REPLAYS = 10;

/** Seeds of this run: 1 and on, or one of them again and again. */
function seeds(): number[] {
  const replayed = process.env.EVIDENT_RACE_SEED;
  if (replayed !== undefined) return Array.from({ length: REPLAYS }, () => Number(replayed));
  const count = SCHEDULES * (process.env.EVIDENT_PROVE === '1' ? 20 : 1);
  return Array.from({ length: count }, (_, index) => index + 1);
}

let lanes: TestDatabase[] | undefined;

/** One after the other: the migrations of two databases would make one role at the same time. */
async function openLanes(): Promise<TestDatabase[]> {
  lanes ??= [];
  while (lanes.length < LANES) lanes.push(await openTestDatabase());
  return lanes;
}

/** Takes seeds from `queue` until it is empty or a schedule fails. @returns how many were run */
async function runLane(
  database: TestDatabase,
  queue: number[],
  mutate?: (append: string) => string,
): Promise<number> {
  const stepper = await Stepper.open(database, await installSteps(database.owner, mutate), SESSIONS);
  let run = 0;
  try {
    for (let seed = queue.shift(); seed !== undefined; seed = queue.shift()) {
      await runSchedule(database, stepper, seed);
      run++;
    }
  } catch (error) {
    queue.length = 0;
    throw error;
  } finally {
    await stepper.close();
  }
  return run;
}

async function runAll(queue: number[], mutate?: (append: string) => string): Promise<number> {
  const runs = await Promise.allSettled(
    (await openLanes()).map((database) => runLane(database, queue, mutate)),
  );
  return runs.reduce((sum, run) => {
    if (run.status === 'rejected') throw run.reason;
    return sum + run.value;
  }, 0);
}

describe('the log under race', () => {
  it('keeps order, identities and counters whatever writers do between any two statements, and readers see no hole', async (t) => {
    const queue = seeds();
    const due = queue.length;
    assert.equal(await runAll(queue), due);
    t.diagnostic(`${due} schedules`);
  });
});

interface Guard {
  /** What is removed, and what the checks of the schedules then find. */
  readonly name: string;
  remove(append: string): string;
  readonly found: RegExp;
}

function swap(text: string, from: string, to: string): string {
  assert.ok(
    text.includes(from),
    `evident.append does not say ${JSON.stringify(from)} any more: write this removal anew`,
  );
  return text.replace(from, () => to);
}

const COUNTER_ORDER = 'ORDER BY p.tree FOR UPDATE';
const IDENTITY_ORDER = '       ORDER BY 1, 2, 3, u.off\n';
const CLOCK = '  now_at := clock_timestamp();\n';
const RUNNING_MAXIMUM = 'moments[i] := greatest(now_at, lasts[i]);';

/** The clock is read as the first thing of all. */
function clockFirst(append: string): string {
  return swap(swap(append, CLOCK, ''), '\nBEGIN\n', `\nBEGIN\n${CLOCK}`);
}

const GUARDS: readonly Guard[] = [
  {
    name: 'counters locked in the order in which each caller names them: a deadlock',
    // Only the order of locking: the rows are put back in ascending order behind it, so all else stays right.
    remove: (append) =>
      swap(
        append,
        COUNTER_ORDER,
        'ORDER BY array_position(p_slot, array_position(p_trees, p.tree)) FOR UPDATE',
      ).replace(/array_agg\(c\.(\w+)\)/g, 'array_agg(c.$1 ORDER BY c.tree)'),
    found: /40P01/,
  },
  {
    name: 'counters read without a lock: two writers take one place',
    remove: (append) => swap(append, COUNTER_ORDER, 'ORDER BY p.tree'),
    found: /23505|was given after|nobody committed/,
  },
  {
    name: 'identities taken in the order in which each caller names them: a deadlock',
    remove: (append) => swap(append, IDENTITY_ORDER, ''),
    found: /40P01/,
  },
  {
    name: 'the clock read before the locks, and no running maximum: a time before its turn, or before that of the record below',
    remove: (append) => swap(clockFirst(append), RUNNING_MAXIMUM, 'moments[i] := now_at;'),
    found: /appended_at went back|lies before that of its turn/,
  },
  {
    // With the running maximum time does not go back; but a record gets a time at which its writer still waited.
    name: 'the clock read before the locks alone: a record has a time before its turn',
    remove: clockFirst,
    found: /lies before that of its turn/,
  },
  {
    name: 'the running maximum alone: a clock that was set back takes time back',
    remove: (append) => swap(append, RUNNING_MAXIMUM, 'moments[i] := now_at;'),
    found: /lies before that of its turn/,
  },
];

describe('a guard removed from evident.append is found', () => {
  for (const { name, remove, found } of GUARDS) {
    it(name, async (t) => {
      const queue = Array.from({ length: SCHEDULES }, (_, index) => index + 1);
      await assert.rejects(
        runAll(queue, (shipped) => {
          const changed = remove(shipped);
          assert.notEqual(changed, shipped);
          return changed;
        }),
        (error: Error) => {
          assert.match(error.message, found);
          t.diagnostic(error.message.split('\n')[0]);
          return true;
        },
      );
    });
  }
});
