/**
 * Rebuild: a new generation beside the one that is shown, from position 0, compared, then shown instead.
 *
 *   build ──► building ──promote──► live ──the next promote──► retired ──drop──► (row kept, tables gone)
 *               └──── another definition, or anew ────────────────▲
 *
 * A build that is killed leaves a generation in state building with its checkpoints; the next build of the same
 * definition goes on from there. Several builders of one generation do no harm: each batch is stored by whoever moves
 * the checkpoint first. Nothing shows a generation before `promote`, which is one transaction.
 */

import { hash } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';
import { type OwnActor, type OwnEventDeps, ownEventRecord } from '../audit/own-event.ts';
import type { RecordOwn } from '../audit/record-own.ts';
import type { Proposal } from '../log/log.ts';
import { Breaker, BreakerTripped } from './breaker.ts';
import type { ViewRef } from './ports.ts';
import type { Projection } from './projection.ts';
import { type ReaderDeps, ViewReader } from './reader.ts';

export type PromoteOutcome = 'promoted' | 'behind' | 'gone';

/** Generations of views, as operators handle them. @throws log-unavailable */
export interface GenerationStore {
  /** The generation to build on: one that is being built by the definition, unless `anew`; else a new one. */
  build(
    view: string,
    definition: string,
    anew: boolean,
  ): Promise<{ readonly ref: ViewRef; readonly resumed: boolean }>;
  /** The generation that is being built, if one is. */
  building(view: string): Promise<{ readonly ref: ViewRef; readonly definition: string } | null>;
  /**
   * Shows a generation that has read as far as the one that is shown but for `lagMax` records, and appends the event, in
   * one transaction. Resolutions of dead letters are carried over.
   */
  promote(ref: ViewRef, lagMax: number, event: Proposal): Promise<PromoteOutcome>;
  /** Generations that are neither shown nor built, and whose tables are still there. */
  retired(view: string): Promise<readonly ViewRef[]>;
  /** @returns false when it is busy, or was retired less than `seconds` ago: to be tried again */
  drop(ref: ViewRef, seconds: number): Promise<boolean>;
}

export interface RebuildDeps extends OwnEventDeps {
  readonly generations: GenerationStore;
  readonly reader: Omit<ReaderDeps, 'onBatch' | 'touch' | 'untouch'>;
  readonly record: RecordOwn;
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

export interface BuildProgress {
  /** Records that were read now, without those of a build that this one goes on from. */
  readonly records: number;
  readonly rows: number;
  readonly deadLetters: number;
}

export interface BuildOptions {
  readonly actor: OwnActor;
  /** Begin a new generation, and give up one that is half built. */
  readonly anew: boolean;
  /** Dead letters that pass the breaker uncounted: they were looked at. */
  readonly allow: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BuildProgress) => void;
}

export interface Built {
  readonly ref: ViewRef;
  readonly resumed: boolean;
  readonly progress: BuildProgress;
}

/** Times that another builder may be ahead before this one leaves it to that. */
const OVERTAKEN_MAX = 20;
const OVERTAKEN_MS = 500;
/** Rounds of catching up after which a few records less are good enough. */
const EXACT_ROUNDS = 20;
const PROMOTE_ROUNDS = 40;
/** Records that a reader of the view may see less of for a moment. */
const LAG_MAX = 20_000;
/** Seconds that a retired generation is kept, so that questions which began on it can end. */
export const RETIRED_SECONDS = 60;

/**
 * Builds a generation up to the end of the log.
 * @throws usage-invalid when the breaker opens: too many dead letters in a row to be bad data
 */
export async function buildGeneration(
  deps: RebuildDeps,
  projection: Projection,
  options: BuildOptions,
): Promise<Built> {
  const { name, definition } = projection;
  // The first build of a view makes generation 1, as a server's first start does.
  await deps.reader.store.open(name, definition);
  const { ref, resumed } = await deps.generations.build(name, definition, options.anew);
  // If we die before the event is there, a build without one is gone on with; what is shown in the end has its own.
  if (!resumed) {
    await deps.record([
      {
        actor: options.actor,
        action: 'view.rebuild',
        resource: { type: 'view', id: name },
        result: 'success',
        tenant: null,
        details: { generation: ref.generation, definition },
      },
    ]);
  }
  const catchUp = makeCatchUp(deps, projection, ref, options);
  return { ref, resumed, progress: await catchUp() };
}

/** @returns what reads to the end of the log; it can be called again */
function makeCatchUp(
  deps: RebuildDeps,
  projection: Projection,
  ref: ViewRef,
  options: Pick<BuildOptions, 'allow' | 'signal' | 'onProgress'>,
): () => Promise<BuildProgress> {
  const progress = { records: 0, rows: 0, deadLetters: 0 };
  const breaker = new Breaker();
  breaker.reset(options.allow);
  const reader = new ViewReader(
    {
      ...deps.reader,
      touch: () => undefined,
      untouch: () => undefined,
      onBatch: ({ tally, reused }) => {
        progress.records += tally.records;
        progress.rows += tally.rows;
        progress.deadLetters += tally.validation + tally.poison + reused;
        options.onProgress(progress);
      },
    },
    projection,
    ref,
    breaker,
  );
  return async () => {
    try {
      await readToEnd(deps, reader, options.signal);
    } catch (error) {
      if (!(error instanceof BreakerTripped)) throw error;
      throw new EvidentError(
        'usage-invalid',
        `building generation ${ref.generation} of ${ref.view} stopped: ${error.message}. If they are right, go on with --allow`,
        { cause: error },
      );
    }
    return progress;
  };
}

/** Rounds until nothing is new. The reader ends in good order unless the process dies. */
async function readToEnd(deps: RebuildDeps, reader: ViewReader, signal: AbortSignal): Promise<void> {
  await reader.begin();
  try {
    for (let overtaken = 0; !signal.aborted; ) {
      const round = await reader.round();
      if (round.kind === 'idle') return;
      if (round.kind === 'retired')
        throw new EvidentError(
          'view-changed',
          `generation ${reader.ref.generation} of ${reader.ref.view} is built no more: another was begun`,
        );
      if (round.kind === 'overtaken') {
        if (++overtaken > OVERTAKEN_MAX)
          throw new EvidentError(
            'view-changed',
            `another process builds generation ${reader.ref.generation} of ${reader.ref.view}`,
          );
        await deps.sleep(OVERTAKEN_MS, signal);
        await reader.begin();
      }
    }
    throw new EvidentError('shutting-down', 'the build was told to end; the same command goes on');
  } finally {
    await reader.end().catch(() => undefined);
  }
}

export interface Promoted {
  readonly ref: ViewRef;
}

/**
 * Reads the rest, and shows the generation that is being built.
 * @throws not-found when none is, usage-invalid when it is built by another definition than this program's
 */
export async function promoteGeneration(
  deps: RebuildDeps,
  projection: Projection,
  options: Omit<BuildOptions, 'anew'>,
): Promise<Promoted> {
  const { name, definition } = projection;
  const found = await deps.generations.building(name);
  if (found === null)
    throw new EvidentError(
      'not-found',
      `no generation of ${name} is being built: evident rebuild ${name} builds one`,
    );
  if (found.definition !== definition) {
    throw new EvidentError(
      'usage-invalid',
      `generation ${found.ref.generation} of ${name} is built by ${found.definition}; this program maps by ${definition}: evident rebuild ${name} begins anew`,
    );
  }
  const catchUp = makeCatchUp(deps, projection, found.ref, options);
  for (let round = 1; round <= PROMOTE_ROUNDS; round++) {
    await catchUp();
    const outcome = await deps.generations.promote(
      found.ref,
      round <= EXACT_ROUNDS ? 0 : LAG_MAX,
      promotionEvent(deps, found.ref, definition, options.actor),
    );
    if (outcome === 'promoted') return { ref: found.ref };
    if (outcome === 'gone')
      throw new EvidentError(
        'view-changed',
        `generation ${found.ref.generation} of ${name} is built no more`,
      );
  }
  throw new EvidentError(
    'view-changed',
    `generation ${found.ref.generation} of ${name} can't catch up with the one that is shown`,
  );
}

function promotionEvent(deps: OwnEventDeps, ref: ViewRef, definition: string, actor: OwnActor): Proposal {
  const record = ownEventRecord(deps, {
    actor,
    action: 'view.promote',
    resource: { type: 'view', id: ref.view },
    result: 'success',
    tenant: null,
    details: { generation: ref.generation, definition },
  });
  const bytes = record.body.form === 'object' ? record.body.sha256 : record.body.bytes;
  return { record, bodyHash: hash('sha256', bytes, 'buffer'), reused: 'refuse' };
}

/** Drops what was retired at least `seconds` ago. @returns the generations that were dropped */
export async function dropRetired(
  generations: GenerationStore,
  view: string,
  seconds: number,
): Promise<number[]> {
  const dropped: number[] = [];
  for (const ref of await generations.retired(view))
    if (await generations.drop(ref, seconds)) dropped.push(ref.generation);
  return dropped;
}
