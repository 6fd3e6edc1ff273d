/** Relays of one source: the real ones, over the model of the application's database. Up to two at once. */

import { formatUuid } from '@evident/core/derived-id.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import type { Outcome, Proposal } from '../../src/log/log.ts';
import type { Handover, Outbox, OutboxRow, OutboxStream, Source } from '../../src/relay/ports.ts';
import { Relay, type RelayDeps } from '../../src/relay/relay.ts';
import { parseState, type RelayState, serialiseState } from '../../src/relay/state.ts';
import { MemoryLog, type MemoryLogHooks } from '../../src/stores/memory/log.ts';
import { MemoryOutbox } from '../../src/stores/memory/outbox.ts';
import { MemoryRelayLog } from '../../src/stores/memory/relay.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import { type CaptureStage, TENANTS } from './capture.ts';
import { RelayCheck, type Way } from './relay-check.ts';

export const SOURCE = 'bank';

const SLEEP_TURNS_MAX = 100;

export class RelayStage implements Stage {
  readonly name = 'relay';
  readonly relayed: RelayCheck;
  /** By cursor: changes of either database that the relay knew of which stored it. A cursor can be put back. */
  readonly #causesOf = new Map<string, number>();

  constructor(capture: CaptureStage) {
    this.relayed = new RelayCheck(capture, SOURCE);
  }

  begin(world: World): void {
    const { capture } = world.profile;
    if (capture === null) return;
    const wantedMode =
      capture.mode === 'both' ? world.random.pick(['polling', 'wal'] as const) : capture.mode;
    world.durable.sources.set(SOURCE, {
      log: 'audit',
      tenants: TENANTS,
      wantedMode,
      state: null,
      version: 0n,
    });
    world.onTruncate = (rows) => this.relayed.checkTruncated(world, rows);
    // Readers of the log have their own seeds: here they leave the turns to those who write.
    for (const other of world.processes)
      if (/^(?:reader|hours)/.test(other.name)) world.scheduler.slowDown(world.profile.stormTurns, other);
    world.scheduler.favoured = /^(?:relay|session|sealer)/;
    for (let index = 0; index < capture.relays; index++)
      world.keep(`relay-${index}`, (process) => this.#run(world, process, capture.turnMs));
  }

  putBack(world: World): void {
    this.relayed.putBack(world);
  }

  /** Whether the storm may begin: in some seeds the relay streams by then. A slot waits long where many write. */
  isReady({ durable }: World): boolean {
    const { wantedMode, state = null } = durable.sources.get(SOURCE) ?? {};
    return wantedMode !== 'wal' || (state !== null && parseState(state).mode === 'wal');
  }

  isDone(world: World): boolean {
    return this.waitsFor(world) === null;
  }

  waitsFor(world: World): string | null {
    return world.profile.capture === null ? null : this.relayed.waitsFor(world);
  }

  settled(world: World): void {
    if (world.profile.capture === null) return;
    const waiting = this.relayed.waitsForRow(world);
    demand(waiting === null, 'I2', () => `at the end, ${waiting}`);
  }

  async #run(world: World, process: Process, turnMs: number): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const hooks = endingHooks(world, process, () => ended.resolve(relay.stop()));
    let causes = 0;
    const connect = async (): Promise<Outbox> => {
      await hooks.before?.('outbox.connect');
      causes = world.copies + world.replacements;
      return new CountedOutbox(world, process, hooks);
    };
    const log = new CountedRelayLog(world, process, hooks, (way, state, before) => {
      if (before !== null && state.epoch > before.epoch)
        demand(
          causes > (this.#causesOf.get(serialiseState(before)) ?? 0),
          'no false alarm',
          () => `epoch ${state.epoch} of a database that is the same`,
        );
      this.#causesOf.set(serialiseState(state), causes);
      this.relayed.noteStored(world, way, state);
    });
    const relay = new Relay(
      { ...this.#reports(world, process), log, connect, ...portsOf(world, process, turnMs, hooks) },
      SOURCE,
    );
    relay.start();
    await ended.promise;
  }

  #reports(
    world: World,
    process: Process,
  ): Pick<RelayDeps, 'onRejected' | 'onRelayed' | 'onEpoch' | 'onAlert' | 'onError' | 'onCare'> {
    const { coverage, trace, scheduler } = world;
    return {
      onRejected: () => undefined,
      onRelayed: ({ repeats }) => {
        if (repeats > 0) coverage.note('relay: repeats');
      },
      onEpoch: (_, epoch, reason) => {
        coverage.note(`epoch: ${KINDS.find(([pattern]) => pattern.test(reason))?.[1] ?? reason}`);
        trace.note(`${process.name} begins epoch ${epoch}: ${reason}`);
      },
      onAlert: ({ name, active, detail }) => {
        if (active) coverage.note(`alert: ${name}`);
        const cause = world.slotsStruck + world.replacements + world.copies > 0 || mayBeTwo(world);
        demand(
          name !== 'slot-lost' || !active || cause,
          'no false alarm',
          () => `nobody touched the slot: ${detail}`,
        );
      },
      onError: (_, error) => {
        if (!isExpected(error)) scheduler.fail(error);
        else trace.note(`${process.name} begins anew: ${(error as Error).message}`);
      },
      onCare: (_, { mode, slots }) => {
        for (const slot of slots) coverage.note(`ring: ${slot}`);
        trace.note(`${process.name} cares, ${mode}: ${slots.join(' ')}`);
      },
    };
  }
}

/** Whether two relays may both believe that it is theirs: one then makes and drops slots under the other. */
function mayBeTwo({ claimsLost, copies, profile }: World): boolean {
  return claimsLost + copies > 0 && profile.capture?.relays !== 1;
}

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/system identifier/, 'another system'],
  [/timeline/, 'another timeline'],
  [/token/, 'token missing'],
  [/is not in the outbox/, 'row missing'],
  [/is another one/, 'row is another'],
];

/** What a relay lives through. Everything else that it meets is a finding. */
function isExpected(error: unknown): boolean {
  if (!isEvidentError(error)) return false;
  return error.retryable || error.code === 'data-unwritable' || error.code === 'partition-stopped';
}

function portsOf(
  world: World,
  process: Process,
  turnMs: number,
  hooks: MemoryLogHooks,
): Pick<RelayDeps, 'objects' | 'now' | 'randomId' | 'sleep'> {
  return {
    objects: world.portsOf(process).objects,
    now: () => world.scheduler.turns * turnMs,
    randomId: () => formatUuid(world.random.bytes(16)),
    sleep: async (milliseconds) => {
      world.scheduler.slowDown(Math.min(SLEEP_TURNS_MAX, Math.ceil(milliseconds / turnMs)), process);
      await process.step('sleep');
      await hooks.before?.('sleep');
    },
  };
}

/** The hooks of a process, which tell the relay to end when it is the end. */
function endingHooks(world: World, process: Process, end: () => void): MemoryLogHooks {
  const hooks = world.faults.hooksOf(process);
  return {
    ...hooks,
    before: async (operation) => {
      if (world.phase === 'end') end();
      if (operation !== 'sleep') await hooks.before?.(operation);
    },
  };
}

/** By which call the bytes of a row were read: the relay hands them on as they are. */
const wayOf = new WeakMap<Uint8Array, Way>();

function mark<Row extends OutboxRow>(rows: readonly Row[], way: Way): Row[] {
  for (const { body } of rows) wayOf.set(body, way);
  return [...rows];
}

class CountedOutbox extends MemoryOutbox {
  readonly #world: World;
  readonly #process: Process;

  constructor(world: World, process: Process, hooks: MemoryLogHooks) {
    const isLate = (): boolean => world.random.chance(1, 2);
    super(world.durable.application, { hooks, session: world.sessionOf(process), isLate });
    this.#world = world;
    this.#process = process;
  }

  override async read(...asked: Parameters<Outbox['read']>): Promise<OutboxRow[]> {
    return mark(await super.read(...asked), 'polling');
  }

  override async readAll(...asked: Parameters<Outbox['readAll']>): Promise<OutboxRow[]> {
    return mark(await super.readAll(...asked), 'sweep');
  }

  override async readRestored(...asked: Parameters<Outbox['readRestored']>): Promise<OutboxRow[]> {
    const rows = await super.readRestored(...asked);
    if (rows.length > 0) this.#world.coverage.note('ring: restored rows read');
    return mark(rows, 'restored');
  }

  override async createSlot(...asked: Parameters<Outbox['createSlot']>): Promise<Handover> {
    const handover = await super.createSlot(...asked);
    this.#world.coverage.note('slot: made');
    return { ...handover, read: async (...bounds) => mark(await handover.read(...bounds), 'handover') };
  }

  override async stream(...asked: Parameters<Outbox['stream']>): Promise<OutboxStream> {
    const stream = await super.stream(...asked);
    return {
      next: async (bounds) => {
        const streamed = await stream.next(bounds);
        // Where there is no news, the real one waits for some.
        if (streamed.rows.length === 0)
          this.#world.scheduler.slowDown(this.#world.random.between(1, 12), this.#process);
        return { ...streamed, rows: mark(streamed.rows, 'wal') };
      },
      acknowledge: (lsn) => stream.acknowledge(lsn),
      close: () => stream.close(),
    };
  }
}

type OnStored = (way: Way | null, state: RelayState, before: RelayState | null) => void;

class CountedRelayLog extends MemoryRelayLog {
  readonly #onStored: OnStored;
  readonly #world: World;

  constructor(world: World, process: Process, hooks: MemoryLogHooks, onStored: OnStored) {
    const logs = new Map(
      [...world.durable.logs].map(([name, state]) => [name, new MemoryLog(state, () => world.now)]),
    );
    const { sources, heads } = world.durable;
    super({ sources, heads, logs, claims: world.claims, session: world.sessionOf(process), hooks });
    this.#world = world;
    this.#onStored = onStored;
  }

  protected override relayNow(source: Source, state: RelayState, proposals: readonly Proposal[]): Outcome[] {
    const before = this.#stored();
    const outcomes = super.relayNow(source, state, proposals);
    const ways = proposals.map(({ record: { body } }) =>
      body.form === 'object' ? undefined : wayOf.get(body.bytes),
    );
    this.#onStored(ways.find((way) => way !== undefined) ?? null, state, before);
    return outcomes;
  }

  protected override moveNow(source: Source, state: RelayState): void {
    const before = this.#stored();
    super.moveNow(source, state);
    this.#onStored(null, state, before);
  }

  #stored(): RelayState | null {
    const text = this.#world.durable.sources.get(SOURCE)?.state ?? null;
    return text === null ? null : parseState(text);
  }
}
