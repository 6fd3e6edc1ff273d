/**
 * The simulation in CI: 1,000 seeds, directed ones until what is rare has happened, and each mutant until it is found.
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
import { DIRECTED } from './directed.ts';
import { MUTANTS } from './mutants.ts';
import type { DirectedResult } from './run-directed.ts';
import type { SeedResult } from './run-seed.ts';
import type { RangeResult } from './run-seeds.ts';

const SEEDS_OF_CI = 1_000;
const SEEDS_OF_PROVE = 50_000;
/** The mutants that hide best are found by one seed in 150. */
const SEEDS_OF_MUTANT = 2_000;
/** A child answers at least this often: memory stays flat, and a failure is told early. */
const CHUNK_MAX = 250;
const WORKERS = Math.min(2, availableParallelism());
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** Entries of `directed.ts` for one child. */
const DIRECTED_MAX = 10;
const SCRIPT = join(import.meta.dirname, 'run-seeds.ts');
const DIRECTED_SCRIPT = join(import.meta.dirname, 'run-directed.ts');
const run = promisify(execFile);

async function runRange(from: number, to: number, mutant: readonly string[] = []): Promise<RangeResult> {
  const { stdout } = await run(process.execPath, [SCRIPT, String(from), String(to), ...mutant], {
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return JSON.parse(stdout) as RangeResult;
}

async function runDirected(names: readonly string[]): Promise<DirectedResult[]> {
  const { stdout } = await run(process.execPath, [DIRECTED_SCRIPT, ...names], {
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return JSON.parse(stdout) as DirectedResult[];
}

function seedsAsked(): [number, number] {
  const range = /^(\d+)-(\d+)$/.exec(process.env.EVIDENT_SEEDS ?? '');
  if (range !== null) return [Number(range[1]), Number(range[2])];
  return [1, process.env.EVIDENT_PROVE === '1' ? SEEDS_OF_PROVE : SEEDS_OF_CI];
}

const describeFailure = ({ seed, violation, trace }: SeedResult): string =>
  `seed ${seed}: ${violation}\n${trace.join('\n')}`;

function reportOf({ failed }: RangeResult): string {
  if (failed === null) return '';
  return `${describeFailure(failed)}\nreplay: EVIDENT_SEED=${failed.seed} node --test packages/server/simulation/simulation.test.ts`;
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

  it('every promise holds where faults strike at each operation, and on paths that few seeds take', async (t) => {
    const names = Object.keys(DIRECTED);
    const results: DirectedResult[] = [];
    const work = async (): Promise<void> => {
      for (let some = names.splice(0, DIRECTED_MAX); some.length > 0; some = names.splice(0, DIRECTED_MAX))
        results.push(...(await runDirected(some)));
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
    for (const { name, seeds } of results) t.diagnostic(`${seeds.toString().padStart(9)}  ${name}`);
    assert.equal(results.length, Object.keys(DIRECTED).length);
    for (const { name, seeds, missing, failed } of results) {
      assert.equal(
        failed === null
          ? ''
          : `${describeFailure(failed)}\nreplay: node packages/server/simulation/run-directed.ts --seed=${failed.seed} '${name}'`,
        '',
      );
      assert.deepEqual(missing, [], `${name}: ${seeds} seeds do not reach it`);
    }
  });

  describe('each guard is needed', { concurrency: WORKERS }, () => {
    for (const [name, { what }] of Object.entries(MUTANTS)) {
      it(`finds the mutant ${name}: ${what}`, async (t) => {
        const { failed, seeds } = await runRange(1, SEEDS_OF_MUTANT, [name]);
        assert.ok(failed !== null, `${SEEDS_OF_MUTANT} seeds do not find it`);
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
