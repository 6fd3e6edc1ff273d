/**
 * The log itself: what every partition promises at every moment (I1, I3), its readers, and the process that
 * closes hours.
 */

import { decodeUtf8 } from '@evident/core/bytes.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { formatHour, leafOf } from '@evident/core/leaf.ts';
import { partitionOf } from '@evident/core/partition.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { MemoryLogState } from '../../src/stores/memory/log.ts';
import type { History } from '../history.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import type { IngestStage } from './ingest.ts';
import { holds } from './items.ts';
import type { OperateStage } from './operate.ts';
import type { RelayCheck } from './relay-check.ts';

const HOUR_US = 3_600_000_000n;

export class LogStage implements Stage {
  readonly name = 'log';
  readonly #ingest: IngestStage;
  readonly #relay: RelayCheck;
  readonly #operate: OperateStage;

  constructor(ingest: IngestStage, relay: RelayCheck, operate: OperateStage) {
    this.#ingest = ingest;
    this.#relay = relay;
    this.#operate = operate;
  }

  begin(world: World): void {
    world.keep('reader', (process) => this.#readOne(world, process));
    world.keep('reader-of-all', (process) => this.#readAll(world, process));
    world.keep('hours', (process) => closeHours(world, process));
  }

  check(world: World): void {
    for (const [name, state] of world.durable.logs) {
      for (const [partition, held] of state.partitions.entries()) {
        const history = world.history(name, partition);
        if (Number(held.next) !== history.size) this.#takeUp(world, state, partition, history);
      }
    }
  }

  /** Checks what was appended in this turn, and keeps its leaves. */
  #takeUp(world: World, state: MemoryLogState, partition: number, history: History): void {
    const held = state.partitions[partition];
    const tree = `${state.name}/${partition}`;
    demand(
      Number(held.next) > history.size,
      'I3',
      () => `the counter of ${tree} went back from ${history.size} to ${held.next}`,
    );
    for (let position = history.size; position < Number(held.next); position++) {
      const record = held.records[position];
      const place = `${tree}/${position}`;
      demand(
        record !== null && record !== undefined && Number(record.position) === position,
        'I3',
        () => `${place} is a hole`,
      );
      const last = history.records[position - 1];
      demand(
        last === undefined || record.appendedAt >= last.appendedAt,
        'log',
        () => `${place}: appended_at went back`,
      );
      if (record.source.startsWith('outbox:') || record.type.startsWith('relay.'))
        this.#relay.takeUp(world, record);
      else if (record.source === 'evident') this.#checkOwn(world, record, place);
      else this.#checkSent(record, place, state.partitions.length);
      const turned = last !== undefined && record.appendedAt / HOUR_US > last.appendedAt / HOUR_US;
      demand(
        !turned || record.type === 'log.hour',
        'log',
        () => `${place}: the hour turned without log.hour`,
      );
      if (last?.type === 'log.hour' && last.appendedAt === record.appendedAt)
        world.coverage.note('hours: closed by an append');
      history.add(record, hashLeaf(leafOf(record)));
    }
    world.trace.note(`${tree} ends at ${held.next}`);
  }

  #checkSent(record: LogRecord, place: string, partitions: number): void {
    demand(
      this.#ingest.sentAs(record.tenant, record.id).some((item) => holds(record, item)),
      'I1',
      () => `nobody sent what ${place} holds: ${record.id}`,
    );
    demand(
      partitionOf(record.key, partitions) === record.partition,
      'I4',
      () => `${place} is not where the key ${record.key} belongs`,
    );
  }

  #checkOwn(world: World, record: LogRecord, place: string): void {
    if (record.type === 'audit.event' && record.log === 'audit') {
      this.#operate.takeUp(world, record, place);
      return;
    }
    if (record.type !== 'log.hour') {
      demand(
        record.log === 'heads' && record.type === 'head',
        'log',
        () => `${place} is of type ${record.type}`,
      );
      return;
    }
    const body = record.body.form === 'json' ? decodeUtf8(record.body.bytes) : null;
    const closes = formatHour(record.appendedAt - HOUR_US);
    demand(body === `{"closes":"${closes}"}`, 'log', () => `${place} closes ${body} at ${record.appendedAt}`);
  }

  async #readOne(world: World, process: Process): Promise<void> {
    const { logs } = world.portsOf(process);
    const names = [...logs.keys()];
    for (let next = new Map<string, bigint>(), copies = world.copies; world.phase !== 'end'; ) {
      await process.step('think');
      if (copies !== world.copies) {
        next = new Map();
        copies = world.copies;
        world.coverage.note('reader: began again');
      }
      const log = logs.get(world.random.pick(names));
      if (log === undefined) continue;
      const partition = world.random.below(log.partitions);
      const tree = `${log.name}/${partition}`;
      const from = next.get(tree) ?? 0n;
      const limit = world.random.between(1, 40);
      const page = await tolerant(log.read(partition, from, limit));
      if (page === null) continue;
      demand(page.length <= limit, 'I3', () => `${page.length} records for a limit of ${limit}`);
      next.set(tree, this.#takePage(world, tree, from, page));
      if (page.length === 0 && world.random.chance(1, 3)) next.delete(tree);
    }
  }

  async #readAll(world: World, process: Process): Promise<void> {
    const log = world.portsOf(process).logs.get('audit');
    if (log === undefined) return;
    let vector = Array.from({ length: log.partitions }, () => 0n);
    for (let copies = world.copies; world.phase !== 'end'; ) {
      await process.step('think');
      if (copies !== world.copies) vector = vector.map(() => 0n);
      copies = world.copies;
      const page = await tolerant(log.readMany(vector, world.random.between(1, 60)));
      if (page === null) continue;
      vector = vector.map((from, partition) =>
        this.#takePage(
          world,
          `audit/${partition}`,
          from,
          page.filter((record) => record.partition === partition),
        ),
      );
    }
  }

  /** @returns where the reader goes on */
  #takePage(world: World, tree: string, from: bigint, page: readonly LogRecord[]): bigint {
    if (world.attacked.has(tree)) return from + BigInt(page.length);
    let next = from;
    for (const record of page) {
      demand(
        record.position === next,
        'I3',
        () => `a reader of ${tree} got position ${record.position} instead of ${next}`,
      );
      const known = (world.histories.get(tree) as History).records[Number(next)];
      demand(
        known === undefined || known === record,
        'I3',
        () => `a reader of ${tree} saw position ${next} change`,
      );
      next++;
    }
    return next;
  }

  putBack(world: World): void {
    for (const [name, state] of world.durable.logs) {
      for (const [partition, held] of state.partitions.entries()) {
        const tree = `${name}/${partition}`;
        const before = world.history(name, partition);
        world.pastHistories.set(tree, [...(world.pastHistories.get(tree) ?? []), before]);
        world.histories.set(tree, before.fork(Number(held.next)));
      }
    }
  }

  /** Reads every stored record again, from its bytes. */
  settled(world: World): void {
    for (const [name, state] of world.durable.logs) {
      for (const [partition, held] of state.partitions.entries()) {
        if (world.attacked.has(`${name}/${partition}`)) continue;
        const history = world.history(name, partition);
        demand(
          Number(held.next) === history.size && held.records.length === history.size,
          'I3',
          () => `${name}/${partition} holds ${held.records.length} records, its counter says ${held.next}`,
        );
        for (const [position, record] of held.records.entries()) {
          const same =
            record !== null && Buffer.compare(hashLeaf(leafOf(record)), history.hashes[position]) === 0;
          demand(same, 'I3', () => `${name}/${partition}/${position} has changed`);
        }
      }
    }
  }
}

async function closeHours(world: World, process: Process): Promise<void> {
  const { logs } = world.portsOf(process);
  while (world.phase === 'storm') {
    for (let pause = world.random.between(1, 12); pause > 0; pause--) await process.step('think');
    for (const log of logs.values()) {
      if (((await tolerant(log.closeHours())) ?? 0) > 0) world.coverage.note('hours: closed by the closer');
    }
  }
}

/** The answer, or null when a fault took it. */
export async function tolerant<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    if (isEvidentError(error) && (error.retryable || error.code === 'data-unwritable')) return null;
    throw error;
  }
}
