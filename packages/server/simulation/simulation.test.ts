/**
 * The simulation in CI: 1,000 seeds, and each mutant until it is found.
 *
 *   EVIDENT_PROVE=1        50,000 seeds
 *   EVIDENT_SEEDS=from-to  these
 *   EVIDENT_SEED=n         one, with its trace
 */

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Coverage } from './coverage.ts';
import { MUTANTS } from './mutants.ts';
import type { RangeResult } from './run-seeds.ts';

const SEEDS_OF_CI = 1_000;
const SEEDS_OF_PROVE = 50_000;
/** A child answers at least this often: memory stays flat, and a failure is told early. */
const CHUNK_MAX = 250;
const WORKERS = Math.min(2, availableParallelism());
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const SCRIPT = join(import.meta.dirname, 'run-seeds.ts');
const run = promisify(execFile);

async function runRange(from: number, to: number, mutant: readonly string[] = []): Promise<RangeResult> {
  const { stdout } = await run(process.execPath, [SCRIPT, String(from), String(to), ...mutant], {
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return JSON.parse(stdout) as RangeResult;
}

function seedsAsked(): [number, number] {
  const range = /^(\d+)-(\d+)$/.exec(process.env.EVIDENT_SEEDS ?? '');
  if (range !== null) return [Number(range[1]), Number(range[2])];
  return [1, process.env.EVIDENT_PROVE === '1' ? SEEDS_OF_PROVE : SEEDS_OF_CI];
}

function reportOf({ failed }: RangeResult): string {
  if (failed === null) return '';
  const { seed, violation, trace } = failed;
  return `seed ${seed}: ${violation}\n${trace.join('\n')}\nreplay: EVIDENT_SEED=${seed} node --test packages/server/simulation/simulation.test.ts`;
}

if (process.env.EVIDENT_SEED !== undefined) {
  it(`every promise holds in seed ${process.env.EVIDENT_SEED}`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, process.env.EVIDENT_SEED ?? ''], {
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    process.stdout.write(stdout);
    assert.equal(status, 0, stderr.toString());
  });
} else {
  it('every promise holds in every seed, and each kind of fault happened', async (t) => {
    const [first, last] = seedsAsked();
    const coverage = new Coverage();
    const begun = performance.now();
    let turns = 0;
    let next = first;
    const work = async (): Promise<void> => {
      while (next <= last) {
        const from = next;
        next = Math.min(last, from + CHUNK_MAX - 1) + 1;
        const result = await runRange(from, next - 1);
        assert.equal(reportOf(result), '');
        assert.ok(result.repeatable, `a seed from ${from} on gives another trace when it is run again`);
        coverage.add(result.coverage);
        turns += result.turns;
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
    const seconds = (performance.now() - begun) / 1000;
    t.diagnostic(
      `${last - first + 1} seeds, ${turns} turns, ${seconds.toFixed(1)} s, ${((last - first + 1) / seconds).toFixed(0)} seeds/s`,
    );
    for (const line of coverage.format().split('\n')) t.diagnostic(line);
    if (last - first + 1 >= SEEDS_OF_CI)
      assert.deepEqual(coverage.missing(), [], 'these never happened: the simulation has become empty');
  });

  describe('each guard is needed', { concurrency: WORKERS }, () => {
    for (const [name, { what }] of Object.entries(MUTANTS)) {
      it(`finds the mutant ${name}: ${what}`, async (t) => {
        const { failed, seeds } = await runRange(1, SEEDS_OF_CI, [name]);
        assert.ok(failed !== null, `${SEEDS_OF_CI} seeds do not find it`);
        assert.doesNotMatch(
          failed.violation ?? '',
          /^unexpected/,
          'it was found by a crash and not by an invariant',
        );
        t.diagnostic(`found in ${seeds} seeds: ${failed.violation}`);
      });
    }
  });
}
