/** `evident rebuild | diff | promote VIEW`: a view built anew beside the one that is shown, compared, shown instead. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { ConfigInput } from '../config.ts';
import { type Comparison, compareGenerations } from '../project/compare.ts';
import type { Projection } from '../project/projection.ts';
import { buildGeneration, dropRetired, promoteGeneration, RETIRED_SECONDS } from '../project/rebuild.ts';
import type { GenerationSummary, ViewSnapshot } from '../project/view-snapshot.ts';
import { showPlace } from '../project/view-snapshot.ts';
import type { ViewStatus } from '../project/view-status.ts';
import { type CommandDeps, EXIT, OPERATOR, type OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { requestServer } from './request.ts';
import { requireTarget, type TargetOptions } from './target.ts';
import { countOf } from './wording.ts';

export interface BuildOptions {
  readonly anew: boolean;
  readonly allow: number;
  readonly promote: boolean;
}

/** Differences that are printed; --json gives up to 100, and all are counted. */
const PRINTED_MAX = 20;

/** Runs with the directory open, until interrupted: what was built stays, and the same command goes on. */
async function withView(
  deps: CommandDeps,
  input: ConfigInput,
  view: string,
  use: (data: OpenedData, projection: Projection, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const data = await deps.open(input, { alone: false });
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    const projection = data.views.projections.get(view);
    if (projection === undefined) {
      const known = [...data.views.projections.keys()].join(', ');
      throw new EvidentError('not-found', `there is no view ${view}; there is: ${known}`);
    }
    return await use(data, projection, stop.signal);
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
    await data.close();
  }
}

/** Records that views read, of all logs. */
async function countRecords({ logs }: OpenedData): Promise<number> {
  let records = 0n;
  for (const log of logs.values())
    if (log.name !== 'heads' && log.name !== 'windows')
      for (const { next } of await log.heads()) records += next;
  return Number(records);
}

/** Tells the running server that what failed was looked at. */
export async function runResetBreaker(
  deps: CommandDeps,
  input: ConfigInput,
  view: string,
  options: TargetOptions & { readonly allow: number; readonly reason: string },
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const { allow, reason } = options;
  const answer = await requestServer(server, `/v1/views/${encodeURIComponent(view)}/reset-breaker`, {
    method: 'POST',
    type: 'application/json',
    body: JSON.stringify({ allow, reason }),
  });
  const { was_open } = (await answer.json()) as { was_open: boolean };
  output.result({ view, was_open });
  output.line(was_open ? `${view} goes on` : `${view} was not standing still`);
  return EXIT.success;
}

export function runRebuild(
  deps: CommandDeps,
  input: ConfigInput,
  view: string,
  { anew, allow, promote }: BuildOptions,
  output: Output,
): Promise<number> {
  return withView(deps, input, view, async (data, projection, signal) => {
    const total = await countRecords(data);
    const bar = new ProgressBar('building');
    const begun = performance.now();
    const options = {
      actor: OPERATOR,
      anew,
      allow,
      signal,
      onProgress: ({ records }: { records: number }) => bar.update(records, total, 'records'),
    };
    try {
      const { ref, resumed, progress } = await buildGeneration(data.views.rebuild, projection, options);
      bar.end();
      const seconds = (performance.now() - begun) / 1_000;
      if (promote) await promoteGeneration(data.views.rebuild, projection, options);
      output.result({
        view,
        generation: ref.generation,
        definition: projection.definition,
        resumed,
        ...progress,
        seconds,
        promoted: promote,
      });
      const rate = Math.round(progress.records / Math.max(seconds, 0.001)).toLocaleString('en');
      output.line(
        `generation ${ref.generation} of ${view} is built${resumed ? ' (gone on with)' : ''}: ${countOf(progress.records, 'record')}, ${countOf(progress.deadLetters, 'dead letter')}, ${seconds.toFixed(1)} s (${rate} records/s)`,
      );
      if (promote) await finishPromotion(data, view, ref.generation, output);
      else
        output.line(
          `evident diff ${view} compares it with the one that is shown, evident promote ${view} shows it`,
        );
      return EXIT.success;
    } finally {
      bar.end();
    }
  });
}

export function runPromote(
  deps: CommandDeps,
  input: ConfigInput,
  view: string,
  { allow }: { readonly allow: number },
  output: Output,
): Promise<number> {
  return withView(deps, input, view, async (data, projection, signal) => {
    const { ref } = await promoteGeneration(data.views.rebuild, projection, {
      actor: OPERATOR,
      allow,
      signal,
      onProgress: () => undefined,
    });
    output.result({ view, generation: ref.generation });
    await finishPromotion(data, view, ref.generation, output);
    return EXIT.success;
  });
}

/** What is left of earlier promotions goes; what was shown a moment ago stays until questions that began on it have ended. */
async function finishPromotion(
  { views }: OpenedData,
  view: string,
  generation: number,
  output: Output,
): Promise<void> {
  output.line(`generation ${generation} of ${view} is shown`);
  const dropped = await dropRetired(views.rebuild.generations, view, RETIRED_SECONDS);
  if (dropped.length > 0) output.line(`dropped: generation ${dropped.join(', ')}`);
}

/** @returns 0 when the two are equal, 1 when they differ */
export function runDiff(
  deps: CommandDeps,
  input: ConfigInput,
  view: string,
  output: Output,
): Promise<number> {
  return withView(deps, input, view, (data) =>
    data.views.snapshots.withSnapshot(view, async (snapshot) => {
      const [shown, built] = pairOf(snapshot);
      const bar = new ProgressBar('comparing');
      const total = await countRecords(data);
      try {
        const comparison = await compareGenerations(snapshot, shown, built, (rows) =>
          bar.update(rows, total, 'rows'),
        );
        bar.end();
        printComparison(view, shown, built, comparison, output);
        return comparison.equal ? EXIT.success : EXIT.differs;
      } finally {
        bar.end();
      }
    }),
  );
}

function pairOf({ view, live, generations }: ViewSnapshot): [GenerationSummary, GenerationSummary] {
  const shown = generations.find(({ generation }) => generation === live);
  const built = generations.findLast(({ state }) => state === 'building');
  if (shown === undefined || built === undefined)
    throw new EvidentError(
      'not-found',
      `no generation of ${view} is being built: evident rebuild ${view} builds one`,
    );
  return [shown, built];
}

function printComparison(
  view: string,
  shown: GenerationSummary,
  built: GenerationSummary,
  comparison: Comparison,
  output: Output,
): void {
  const { first, second, equal, different, differences, passing, reach } = comparison;
  output.result({
    view,
    equal,
    shown: { generation: shown.generation, definition: shown.definition, ...first },
    built: { generation: built.generation, definition: built.definition, ...second },
    reach,
    different,
    passing,
    differences,
  });
  for (const [generation, side] of [
    [shown, first],
    [built, second],
  ] as const) {
    const { rows, deadLetters, digest } = side;
    output.line(
      `generation ${generation.generation} (${generation.state})  ${countOf(rows, 'row')}, ${countOf(deadLetters, 'dead letter')}  ${digest}`,
    );
  }
  output.line(equal ? 'equal, up to where both have read' : countOf(different, 'difference'));
  for (const { what, in: where, columns, id, ...place } of differences.slice(0, PRINTED_MAX)) {
    const only = { first: `only in ${shown.generation}`, second: `only in ${built.generation}` };
    const how = where === 'both' ? `differs in ${columns.join(', ')}` : only[where];
    output.line(`  ${what} ${showPlace(place)} (id ${id}): ${how}`);
  }
  if (different > PRINTED_MAX) output.line(`  … and ${(different - PRINTED_MAX).toLocaleString('en')} more`);
  if (passing > 0)
    output.line(
      `  ${countOf(passing, 'row is', 'rows are')} shown elsewhere because of records that only one of the two has read`,
    );
  if (!equal && shown.definition !== built.definition) {
    output.line(`The two were made by different definitions:`);
    output.line(`  ${shown.generation}: ${shown.definition}`);
    output.line(`  ${built.generation}: ${built.definition}`);
  }
}

/** The part of `evident status` that views have. */
export function printViews(statuses: readonly ViewStatus[], output: Output): void {
  for (const { view, live, definition, isCurrent, generations, openDeadLetters } of statuses) {
    const letters = openDeadLetters.validation + openDeadLetters.poison;
    output.line(
      `view ${view}   ${live === null ? 'not begun' : `generation ${live} is shown`}   ${countOf(letters, 'open dead letter')}`,
    );
    for (const one of generations) {
      const behind = one.behind === 0n ? 'up to date' : `${countOf(one.behind, 'record')} behind`;
      output.line(
        `  generation ${one.generation} (${one.state})  ${behind}  made ${formatInstant(one.madeAt)}`,
      );
    }
    if (isCurrent) continue;
    output.line('  ATTENTION  rows that are shown were not all made by the mappers of this program');
    output.line(`    shown     ${generations.find(({ generation }) => generation === live)?.definition}`);
    output.line(`    program   ${definition}`);
    output.line(`    evident rebuild ${view} makes them all alike`);
  }
}
