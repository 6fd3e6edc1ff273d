/**
 * Outbox → searchable: the highest rate at which events are found within a second of their commit, all stages running.
 * Rates are tried one after the other, each for 30 s, until one is not held: then its p99 is over a second, or the
 * application itself could not write so fast. What was held before it is the result.
 *
 *   EVIDENT_BENCH_RATES=5000,10000     rates to try, events a second, ascending
 *   EVIDENT_BENCH_STEP_SECONDS=30      how long each is held
 *   EVIDENT_BENCH_LATE_MS=5000         when a rate is given up, and no CPU is told of it
 */

import type { Benchmark, Sample } from './measure.ts';
import { openSearchableScene, runStep, type Step } from './searchable-scene.ts';

const RATES = (
  process.env.EVIDENT_BENCH_RATES ?? '500,1000,2500,5000,7500,10000,12500,15000,20000,25000,30000'
)
  .split(',')
  .map(Number);
const P99_MS_MAX = 1_000;
/** Share of a rate that counts as the rate. */
const KEPT = 0.98;

const isHeld = ({ perSecond, written, isLate, p99 }: Step): boolean =>
  !isLate && p99 <= P99_MS_MAX && written >= perSecond * KEPT;

function describe({ perSecond, written, isLate, p50, p95, p99, probes, cpu }: Step): string {
  const times = [p50, p95, p99].map((ms) => ms.toFixed(0)).join(', ');
  const us = Object.values(cpu).reduce((sum, part) => sum + part, 0);
  const rest = isLate ? 'given up' : `${us.toFixed(0)} µs of CPU an event`;
  return `${perSecond}/s: ${written.toFixed(0)}/s written, p50, p95, p99 ${times} ms of ${probes}, ${rest}`;
}

async function highestRate(mode: 'polling' | 'wal'): Promise<Sample> {
  const scene = await openSearchableScene(mode);
  try {
    let held: Step | undefined;
    let failed: Step | undefined;
    for (const rate of RATES) {
      const step = await runStep(scene, rate);
      process.stderr.write(`\n  ${describe(step)}`);
      if (!isHeld(step)) {
        failed = step;
        break;
      }
      held = step;
    }
    process.stderr.write('\n');
    return {
      value: held?.perSecond ?? 0,
      cpu: (held ?? failed)?.cpu ?? {},
      more: {
        ...(held && { 'p50 ms': held.p50, 'p95 ms': held.p95, 'p99 ms': held.p99 }),
        ...(failed && {
          'not held, events/s': failed.perSecond,
          'written then, events/s': failed.written,
          'its p99 ms': failed.p99,
        }),
      },
    };
  } finally {
    await scene.close();
  }
}

const GOAL = { text: '25,000/s within 1 s', least: 25_000 };

export const SEARCHABLE_BENCHMARKS: Benchmark[] = [
  {
    name: 'outbox → searchable, p99 within 1 s, by polling in one database',
    unit: 'events/s',
    goal: GOAL,
    runs: 1,
    run: () => highestRate('polling'),
  },
  {
    name: 'outbox → searchable, p99 within 1 s, from the write-ahead log',
    unit: 'events/s',
    goal: GOAL,
    runs: 1,
    run: () => highestRate('wal'),
  },
];
