/**
 * The world of one run: what is durable, the clock, the faults, and the processes that live in it. A process sees
 * the world through `portsOf` alone; what is durable outlives it.
 */

import { chainStart } from '@evident/core/chain.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Log } from '../src/log/log.ts';
import type { ObjectStore } from '../src/log/propose.ts';
import type { DeadLetterStore } from '../src/project/dead-letters.ts';
import type { BodyReader, RecordSource, ViewStore } from '../src/project/ports.ts';
import type { GenerationStore } from '../src/project/rebuild.ts';
import type { HeadSigner, HeadStore, LeafReader, TileStore } from '../src/seal/ports.ts';
import { ApplicationDatabase, type HeldRow } from '../src/stores/memory/application-database.ts';
import { MemoryDeadLetterStore, type MemoryResolutions } from '../src/stores/memory/dead-letters.ts';
import { MemoryGenerationStore } from '../src/stores/memory/generations.ts';
import { MemoryLog, type MemoryLogState, makeMemoryLogState } from '../src/stores/memory/log.ts';
import type { MemorySession } from '../src/stores/memory/outbox.ts';
import type { MemoryClaims, MemorySources } from '../src/stores/memory/relay.ts';
import {
  LogLeafReader,
  type MemoryHeads,
  type MemorySignerState,
  type MemoryTiles,
} from '../src/stores/memory/seal-stores.ts';
import {
  MemoryRecordSource,
  type MemoryTree,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  recordLookup,
} from '../src/stores/memory/view-store.ts';
import { Coverage } from './coverage.ts';
import { Faults } from './faults.ts';
import { History } from './history.ts';
import { CountedHeadStore, CountedSigner, SimulatedObjects, TearingTileStore } from './ports.ts';
import { drawProfile, type Focus, type Profile } from './profile.ts';
import { Random } from './random.ts';
import { type Process, Scheduler } from './scheduler.ts';
import { Trace } from './trace.ts';
import { demand } from './violation.ts';

/** Name of the simulated installation. */
export const NAME = 'simulation.invalid';
const START_US = 1_800_000_000_000_000n;
const MINUTE_US = 60_000_000;

/** What a crash leaves. */
export interface Durable {
  readonly logs: ReadonlyMap<string, MemoryLogState>;
  readonly heads: MemoryHeads;
  readonly tiles: MemoryTiles;
  /** Beside the database, so that an older copy of it meets a memory that is not older. */
  readonly signer: MemorySignerState;
  readonly objects: Map<string, Uint8Array>;
  /** Registered sources with their cursors: in the log's database. */
  readonly sources: MemorySources;
  /** Views with their checkpoints: in the log's database. */
  readonly views: MemoryViews;
  readonly resolutions: MemoryResolutions;
  /** The application's own database, which knows nothing of the log's. */
  readonly application: ApplicationDatabase;
}

export interface Ports {
  readonly logs: ReadonlyMap<string, Log>;
  readonly leaves: LeafReader;
  readonly tiles: TileStore;
  readonly heads: HeadStore;
  readonly signer: HeadSigner;
  readonly objects: ObjectStore & BodyReader;
  readonly views: ViewStore;
  readonly records: RecordSource;
  readonly letters: DeadLetterStore;
  readonly generations: GenerationStore;
}

/** What joins the simulation: see README.md. */
export interface Stage {
  readonly name: string;
  /** Starts its processes with `world.keep`. */
  begin(world: World): void;
  /** After each turn: throws a `Violation`. Look only at what is new. */
  check?(world: World): void;
  /** The database was replaced by an older copy. */
  putBack?(world: World): void;
  /** Everything has settled without faults: looks at everything. */
  settled?(world: World): void;
}

interface Kept {
  readonly name: string;
  readonly main: (process: Process) => Promise<void>;
  process: Process;
}

export class World {
  readonly random: Random;
  readonly trace: Trace;
  readonly coverage = new Coverage();
  readonly profile: Profile;
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  readonly durable: Durable;
  /** What the logs hold, by `log/partition`, and what they held before the database was put back. */
  readonly histories = new Map<string, History>();
  readonly pastHistories = new Map<string, History[]>();
  readonly #kept: Kept[] = [];
  /** Every partition with its number. */
  readonly trees: readonly MemoryTree[];
  now = START_US;
  /** `storm`: faults. `calm`: none, callers finish. `end`: processes do what is left, and end. */
  phase: 'storm' | 'calm' | 'end' = 'storm';
  /** Who may relay which source: ends with the connections to the log's database. */
  readonly claims: MemoryClaims = new Map();
  /** Hears of rows that the ring gives up. */
  onTruncate: (rows: readonly HeldRow[]) => void = () => undefined;
  /** Whether the storm has begun once: what was to be there before it is there. */
  isBegun = false;
  /** How often the database was put back. Its connections do not survive that. */
  copies = 0;
  /** How often a relay lost its right to relay and was not told. */
  claimsLost = 0;
  /** How often somebody laid hands on the replication slot. */
  slotsStruck = 0;
  /** How often the application's database became another one. */
  replacements = 0;
  /** Partitions of which somebody changed a record, with the first position concerned. */
  readonly attacked = new Map<string, number>();

  constructor(seed: number, traceLines: number, focus: Focus = {}) {
    this.random = new Random(seed);
    this.trace = new Trace(traceLines);
    this.profile = drawProfile(this.random, seed, focus);
    this.scheduler = new Scheduler(this.random, this.trace);
    this.faults = new Faults(this);
    const logs = [
      makeMemoryLogState('audit', this.profile.partitions, START_US),
      makeMemoryLogState('heads', 1, START_US),
    ];
    this.durable = {
      logs: new Map(logs.map((state) => [state.name, state])),
      heads: { stored: new Map(), published: [] },
      tiles: new Map(),
      signer: new Map(),
      objects: new Map(),
      sources: new Map(),
      views: new Map(),
      resolutions: new Map(),
      application: new ApplicationDatabase({
        clock: () => this.now,
        slots: this.profile.capture?.ringSlots ?? 4,
        slotUs: BigInt(this.profile.capture?.slotUs ?? 1_000_000),
        onTruncate: (rows) => this.onTruncate(rows),
      }),
    };
    this.trees = memoryTrees(logs.map(({ name, partitions }) => ({ name, partitions: partitions.length })));
    for (const { name, partitions } of logs) {
      for (const partition of partitions.keys()) {
        this.histories.set(
          `${name}/${partition}`,
          new History(chainStart(treeOrigin(NAME, name, partition))),
        );
      }
    }
  }

  /** The ports as one process sees them. Each call waits for its turn before and after its effect. */
  portsOf(process: Process): Ports {
    const hooks = this.faults.hooksOf(process);
    const { durable } = this;
    const clock = (): bigint => this.now;
    const logs = new Map<string, MemoryLog>();
    for (const [name, state] of durable.logs) logs.set(name, new MemoryLog(state, clock, hooks));
    const { views, resolutions } = durable;
    const { trees } = this;
    return {
      logs,
      leaves: new LogLeafReader(logs),
      tiles: new TearingTileStore(this, process, hooks),
      heads: new CountedHeadStore(this, hooks),
      signer: new CountedSigner(this, hooks),
      objects: new SimulatedObjects(durable.objects, hooks),
      views: new MemoryViewStore({
        views,
        trees,
        clock,
        recordAt: (tree, position) => this.recordAt(tree, position),
        hooks,
      }),
      records: new MemoryRecordSource(durable.logs, trees, hooks),
      letters: new MemoryDeadLetterStore({ views, resolutions, trees, logs, clock, hooks }),
      generations: new MemoryGenerationStore({ views, resolutions, logs, clock, hooks }),
    };
  }

  recordAt(tree: number, position: bigint): LogRecord | null {
    return recordLookup(this.durable.logs, this.trees)(tree, position);
  }

  /** What a process holds in a database; it goes when the process dies. */
  sessionOf(process: Process): MemorySession {
    return {
      get isOpen() {
        return process.state === 'alive';
      },
    };
  }

  /** Starts a process that is started again when it was killed. `main` takes up what is durable. */
  keep(name: string, main: (process: Process) => Promise<void>): void {
    this.#kept.push({ name, main, process: this.scheduler.spawn(name, main) });
  }

  /** Starts a process that nobody starts again. */
  spawn(name: string, main: (process: Process) => Promise<void>): void {
    this.scheduler.spawn(name, main);
  }

  get processes(): Process[] {
    return this.#kept.map(({ process }) => process);
  }

  restart(when: (dead: Process) => boolean): void {
    for (const kept of this.#kept) {
      if (kept.process.state === 'killed' && when(kept.process))
        kept.process = this.scheduler.spawn(kept.name, kept.main);
    }
  }

  /** Lets time pass: a little, and in some seeds hours, or back. */
  passTime(): void {
    this.now += BigInt(this.random.below(3_000));
    const { capture } = this.profile;
    // Or the ring might turn in step with the relay, and one slot be current whenever it is looked at.
    if (capture !== null && this.random.chance(1, 400))
      this.now += BigInt(this.random.below(capture.ringSlots * capture.slotUs));
    if (!this.profile.wildClock || !this.random.chance(1, 40)) return;
    const minutes = this.random.between(-90, 200);
    this.now += BigInt(minutes * MINUTE_US);
    if (minutes < 0) this.coverage.note('clock: back');
    if (minutes >= 60) this.coverage.note('clock: an hour or more forward');
    this.trace.note(`clock ${minutes} minutes`);
  }

  /** Runs until nothing waits. */
  async runOut(turnsMax: number, afterTurn: () => void): Promise<void> {
    const end = this.scheduler.turns + turnsMax;
    while (await this.scheduler.turn()) {
      afterTurn();
      demand(
        this.scheduler.turns < end,
        'progress',
        () => `without faults the run does not end within ${turnsMax} turns`,
      );
    }
  }

  history(log: string, partition: number): History {
    return this.histories.get(`${log}/${partition}`) as History;
  }
}
