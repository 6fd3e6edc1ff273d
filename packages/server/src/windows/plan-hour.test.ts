/** Where hours end, found by halving, against a reading of every position; logs made from seeds. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Random } from '../../simulation/random.ts';
import { planHour } from './plan-hour.ts';
import type { HourSource, IndexedHour, PlacedTime } from './ports.ts';

const HOUR_US = 3_600_000_000n;
const SEEDS = 150;

/** By position a record, or null where it was lost. */
type Line = (PlacedTime | null)[];

/** What appends, idle hours, recoveries without a log.hour, and losses leave. */
function makeLine(random: Random): Line {
  const line: Line = [];
  let time = HOUR_US * 100n + BigInt(random.below(4)) * HOUR_US;
  const put = (isHour: boolean): void => {
    line.push({ position: BigInt(line.length), appendedAt: time, isHour });
  };
  for (let spans = random.between(1, 9); spans > 0; spans--) {
    const count = random.chance(1, 6) ? random.below(1_500) : random.below(6);
    for (let n = 0; n < count; n++) {
      time += BigInt(random.below(1_000));
      put(false);
    }
    time = (time / HOUR_US + BigInt(random.between(1, 3))) * HOUR_US + BigInt(random.below(1_000_000));
    // A recovery stands in a later hour, and ends none.
    put(!random.chance(1, 8));
  }
  if (random.chance(1, 3)) {
    const from = random.below(line.length);
    line.fill(null, from, from + random.below(line.length - from));
  }
  return line;
}

function sourceOf(lines: readonly Line[], looks: { count: number }): HourSource {
  return {
    partitions: async () =>
      lines.map((line, partition) => ({
        partition,
        epoch: 0,
        sealed: BigInt(line.length),
        lastAppendedAt: line.findLast((record) => record !== null)?.appendedAt ?? 0n,
        stopped: null,
      })),
    firstRecord: async (_log, partition, from, below) => {
      looks.count++;
      return lines[partition].slice(Number(from), Number(below)).find((record) => record !== null) ?? null;
    },
    readTenants: () => Promise.reject(new Error('nothing is read to plan')),
  };
}

/** The rule of `window-hours.ts`, position by position; null: an hour is not closed yet. */
function expectHour(lines: readonly Line[], last: IndexedHour | null) {
  const parts = lines.map((line, partition) => {
    const from = Number(last?.ends[partition] ?? 0n);
    const first = line.findIndex((record, at) => at >= from && record !== null);
    if (first < 0) return null;
    const raw = Number((line[first] as PlacedTime).appendedAt / HOUR_US);
    const end = line.findIndex((record, at) => at > first && at > from && record?.isHour === true);
    return { from, name: last !== null && raw <= last.hour ? last.hour + 1 : raw, end };
  });
  if (parts.some((part) => part === null)) return null;
  const known = parts.filter((part) => part !== null);
  const hour = Math.min(...known.map(({ name }) => name));
  if (known.some(({ name, end }) => name === hour && end < 0)) return null;
  return {
    hour,
    ranges: known.map(({ from, name, end }) => ({
      from: BigInt(from),
      to: BigInt(name === hour ? end : from),
    })),
  };
}

it('plans each hour as a reading of every position does, until one is not closed', async () => {
  let hours = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = new Random(seed);
    const lines = Array.from({ length: random.between(1, 4) }, () => makeLine(random));
    const source = sourceOf(lines, { count: 0 });
    let last: IndexedHour | null = null;
    for (;;) {
      const plan = await planHour(source, 'audit', last);
      const expected = expectHour(lines, last);
      if (plan.kind === 'open') {
        assert.equal(expected, null, `seed ${seed}: behind hour ${last?.hour}`);
        break;
      }
      assert.deepEqual({ hour: plan.hour, ranges: plan.ranges }, expected, `seed ${seed}`);
      last = { log: 'audit', hour: plan.hour, position: 0n, ends: plan.ranges.map(({ to }) => to) };
      hours++;
    }
  }
  assert.ok(hours > SEEDS, `${hours} hours`);
});

it('looks at few records of an hour that has many, and at none while it lasts', async () => {
  const long: Line = Array.from({ length: 200_000 }, (_, at) => ({
    position: BigInt(at),
    appendedAt: HOUR_US * 100n + BigInt(at),
    isHour: false,
  }));
  const end = { position: 200_000n, appendedAt: HOUR_US * 101n, isHour: true };
  const looks = { count: 0 };
  const plan = await planHour(sourceOf([[...long, end]], looks), 'audit', null);
  assert.deepEqual(plan.kind === 'ready' && plan.ranges, [{ from: 0n, to: 200_000n }]);
  assert.ok(looks.count < 60, `${looks.count}`);
  looks.count = 0;
  const done: IndexedHour = { log: 'audit', hour: 99, position: 0n, ends: [0n] };
  const open = await planHour(sourceOf([long], looks), 'audit', done);
  assert.equal(open.kind, 'open');
  assert.equal(looks.count, 0);
});
