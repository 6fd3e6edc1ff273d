/** One run: a function of its seed. */

import { ApplicationDisasters } from './application-disasters.ts';
import { Disasters } from './disasters.ts';
import type { Focus } from './profile.ts';
import { CaptureStage } from './stages/capture.ts';
import { IngestStage } from './stages/ingest.ts';
import { LogStage } from './stages/log.ts';
import { OperateStage } from './stages/operate.ts';
import { ProjectStage } from './stages/project.ts';
import { RelayStage } from './stages/relay.ts';
import { SealStage } from './stages/seal.ts';
import { Violation } from './violation.ts';
import { type Stage, World } from './world.ts';

export interface SeedResult {
  readonly seed: number;
  readonly hash: string;
  readonly turns: number;
  readonly coverage: readonly (readonly [string, number])[];
  /** Null when every promise held. */
  readonly violation: string | null;
  readonly trace: readonly string[];
}

const CALM_TURNS_MAX = 60_000;
const FULL_TILE = 256n;

/** @param traceLines how many of the last lines of the trace are kept */
export async function runSeed(seed: number, traceLines = 40, focus: Focus = {}): Promise<SeedResult> {
  const world = new World(seed, traceLines, focus);
  let violation: string | null = null;
  try {
    await live(world);
  } catch (error) {
    violation =
      error instanceof Violation ? error.message : `unexpected: ${(error as Error).stack ?? String(error)}`;
  }
  const { trace, scheduler, coverage } = world;
  return {
    seed,
    hash: trace.hash,
    turns: scheduler.turns,
    coverage: [...coverage.counts],
    violation,
    trace: [...trace.lines],
  };
}

async function live(world: World): Promise<void> {
  const ingest = new IngestStage();
  const seal = new SealStage();
  const capture = new CaptureStage();
  const relay = new RelayStage(capture);
  const project = new ProjectStage();
  const operate = new OperateStage(project);
  // The log's own check comes first: the others rely on the histories that it keeps.
  const stages: Stage[] = [
    new LogStage(ingest, relay.relayed, operate),
    ingest,
    seal,
    capture,
    relay,
    project,
    operate,
  ];
  const disasters = new Disasters(world, stages);
  const applicationDisasters = new ApplicationDisasters(world);
  const check = (): void => {
    for (const stage of stages) stage.check?.(world);
  };
  world.trace.note(JSON.stringify(world.profile));
  for (const stage of stages) stage.begin(world);
  const pass = async (): Promise<void> => {
    await world.scheduler.turn();
    check();
    world.passTime();
  };
  world.phase = 'calm';
  for (let turn = 0; turn < CALM_TURNS_MAX && !(isPrefilled(world) && relay.isReady(world)); turn++)
    await pass();
  world.phase = 'storm';
  world.isBegun = true;
  world.trace.note('storm');
  for (let turn = 0; turn < world.profile.stormTurns; turn++) {
    await pass();
    disasters.strike(turn);
    applicationDisasters.strike(turn);
  }
  world.phase = 'calm';
  world.trace.note('calm');
  world.restart(() => true);
  const isDone = (): boolean => ingest.done && capture.done && relay.isDone(world) && operate.done;
  for (let turn = 0; turn < CALM_TURNS_MAX && !isDone(); turn++) await pass();
  if (!isDone())
    throw new Violation(
      'progress',
      `without faults this never ends: ${relay.waitsFor(world) ?? 'callers, sessions or operators'}`,
    );
  world.phase = 'end';
  world.trace.note('end');
  await world.runOut(CALM_TURNS_MAX, check);
  seal.beginLast(world);
  project.beginLast(world);
  await world.runOut(CALM_TURNS_MAX, check);
  operate.beginLast(world);
  await world.runOut(CALM_TURNS_MAX, check);
  for (const stage of stages) stage.settled?.(world);
}

/** Whether the storm may begin: in some seeds over a tree with a full tile. */
function isPrefilled(world: World): boolean {
  return world.profile.prefill === 0 || (world.durable.heads.stored.get('audit/0')?.size ?? 0n) >= FULL_TILE;
}
