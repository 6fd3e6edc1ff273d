/**
 * The port `Log` in memory: the model that the contract suite and the simulation hold beside PostgreSQL.
 *
 * State and log are apart: the state is what a crash leaves, the log is the process that dies. A call's effect
 * is one synchronous step, as a transaction is; `hooks` run before and after it, and may wait, or throw: a
 * failure before it persisted nothing, one after it persisted everything.
 */

import { hourId } from '@evident/core/derived-id.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatHour } from '@evident/core/leaf.ts';
import { partitionOf } from '@evident/core/partition.ts';
import {
  type Body,
  type LogRecord,
  type ProposedRecord,
  SYSTEM_SOURCE,
  SYSTEM_TENANT,
} from '@evident/core/record.ts';
import {
  APPEND_RECORDS_MAX,
  type Log,
  type Outcome,
  type PartitionHead,
  type Place,
  type Proposal,
  READ_RECORDS_MAX,
} from '../../log/log.ts';

const HOUR_US = 3_600_000_000n;
const utf8 = new TextEncoder();

interface MemoryPartition {
  records: (LogRecord | null)[];
  first: bigint;
  next: bigint;
  lastAppendedAt: bigint;
  stopped: string | null;
}

interface Identity {
  bodyHash: string;
  partition: number;
  position: bigint;
}

/** What is durable of one log. */
export interface MemoryLogState {
  readonly name: string;
  readonly partitions: MemoryPartition[];
  readonly identities: Map<string, Identity>;
  readonly reused: Map<string, Identity>;
  /** How far the archive is verified to hold each partition; nothing beyond it is trimmed. */
  readonly archived: bigint[];
}

export interface MemoryLogHooks {
  before?(operation: string): Promise<void> | void;
  after?(operation: string): Promise<void> | void;
}

export function makeMemoryLogState(name: string, partitions: number, now: bigint): MemoryLogState {
  return {
    name,
    partitions: Array.from({ length: partitions }, () => ({
      records: [],
      first: 0n,
      next: 0n,
      lastAppendedAt: now,
      stopped: null,
    })),
    identities: new Map(),
    reused: new Map(),
    archived: Array.from({ length: partitions }, () => 0n),
  };
}

/** @param clock microseconds since the Unix epoch; it may go back */
export class MemoryLog implements Log {
  readonly #state: MemoryLogState;
  readonly #clock: () => bigint;
  readonly #hooks: MemoryLogHooks;

  constructor(state: MemoryLogState, clock: () => bigint, hooks: MemoryLogHooks = {}) {
    this.#state = state;
    this.#clock = clock;
    this.#hooks = hooks;
  }

  get name(): string {
    return this.#state.name;
  }

  get partitions(): number {
    return this.#state.partitions.length;
  }

  append(records: readonly ProposedRecord[]): Promise<Place[]> {
    return this.#step('append', () => {
      checkBatch(records.length);
      this.#refuseStopped(records);
      const now = this.#clock();
      return records.map((record) => this.#put(record, now));
    });
  }

  appendOnce(proposals: readonly Proposal[]): Promise<Outcome[]> {
    return this.#step('appendOnce', () => this.appendOnceNow(proposals));
  }

  /** The effect of `appendOnce`, for a store that does more in the same transaction. */
  appendOnceNow(proposals: readonly Proposal[]): Outcome[] {
    checkBatch(proposals.length);
    this.#refuseStopped(proposals.map(({ record }) => record));
    const now = this.#clock();
    return proposals.map((proposal) => this.#putOnce(proposal, now));
  }

  read(partition: number, from: bigint, limit: number): Promise<LogRecord[]> {
    return this.#step('read', () => this.#readNow(partition, from, limit));
  }

  readMany(from: readonly bigint[], limit: number): Promise<LogRecord[]> {
    return this.#step('readMany', () => {
      if (from.length !== this.partitions) throw new RangeError(`${this.partitions} positions are expected`);
      const records: LogRecord[] = [];
      for (let partition = 0; partition < this.partitions && records.length < limit; partition++) {
        const share = Math.ceil((limit - records.length) / (this.partitions - partition));
        records.push(...this.#readNow(partition, from[partition], share));
      }
      return records;
    });
  }

  head(partition: number): Promise<PartitionHead> {
    return this.#step('head', () => this.#headNow(partition));
  }

  heads(): Promise<PartitionHead[]> {
    return this.#step('heads', () => this.headsNow());
  }

  /** The effect of `heads`. */
  headsNow(): PartitionHead[] {
    return this.#state.partitions.map((_, partition) => this.#headNow(partition));
  }

  trim(partition: number, before: bigint): Promise<bigint> {
    return this.#step('trim', () => {
      const held = this.#partition(partition);
      if (before > this.#state.archived[partition]) {
        throw new EvidentError(
          'trim-not-archived',
          `trimming ${this.name}/${partition} below ${before}: the archive holds positions below ${this.#state.archived[partition]}`,
          {
            context: { log: this.name, partition, position: before },
          },
        );
      }
      for (let position = held.first; position < before; position++) held.records[Number(position)] = null;
      if (before > held.first) held.first = before;
      return held.first;
    });
  }

  closeHours(): Promise<number> {
    return this.#step('closeHours', () => {
      const now = this.#clock();
      return this.#state.partitions.filter(
        (held, partition) => held.stopped === null && this.#closeHour(partition, now),
      ).length;
    });
  }

  async #step<T>(operation: string, effect: () => T): Promise<T> {
    await this.#hooks.before?.(operation);
    const result = effect();
    await this.#hooks.after?.(operation);
    return result;
  }

  #partition(partition: number): MemoryPartition {
    const held = this.#state.partitions[partition];
    if (held === undefined)
      throw new EvidentError(
        'not-found',
        `${this.name} has ${this.partitions} partitions, and no ${partition}`,
      );
    return held;
  }

  #headNow(partition: number): PartitionHead {
    const { first, next, lastAppendedAt, stopped } = this.#partition(partition);
    return { partition, first, next, lastAppendedAt, stopped };
  }

  #readNow(partition: number, from: bigint, limit: number): LogRecord[] {
    const held = this.#partition(partition);
    const records: LogRecord[] = [];
    const bounded = Math.min(limit, READ_RECORDS_MAX);
    for (let at = from; at < held.next && records.length < bounded; at++) {
      const record = held.records[Number(at)];
      if (record) records.push(record);
    }
    return records;
  }

  #refuseStopped(records: readonly ProposedRecord[]): void {
    for (const { key } of records) {
      const partition = partitionOf(key, this.partitions);
      if (this.#partition(partition).stopped !== null) {
        throw new EvidentError('partition-stopped', `${this.name}/${partition} is stopped`, {
          context: { log: this.name, partition },
        });
      }
    }
  }

  /** Writes `log.hour` when `now` lies in a later hour than the partition's last record. */
  #closeHour(partition: number, now: bigint): boolean {
    const held = this.#partition(partition);
    const at = now > held.lastAppendedAt ? now : held.lastAppendedAt;
    if (at / HOUR_US <= held.lastAppendedAt / HOUR_US) return false;
    const closes = formatHour(at - HOUR_US);
    this.#place(partition, at, {
      id: hourId(this.name, partition, closes),
      tenant: SYSTEM_TENANT,
      source: SYSTEM_SOURCE,
      sourceSeq: null,
      type: 'log.hour',
      schema: 0,
      key: SYSTEM_TENANT,
      meta: null,
      body: { form: 'json', bytes: utf8.encode(JSON.stringify({ closes })) },
    });
    return true;
  }

  #place(partition: number, appendedAt: bigint, record: ProposedRecord): Place {
    const held = this.#partition(partition);
    const position = held.next++;
    held.lastAppendedAt = appendedAt;
    held.records[Number(position)] = {
      ...record,
      body: copyOf(record.body),
      log: this.name,
      partition,
      position,
      appendedAt,
    };
    return { partition, position, appendedAt };
  }

  #put(record: ProposedRecord, now: bigint): Place {
    const partition = partitionOf(record.key, this.partitions);
    this.#closeHour(partition, now);
    const { lastAppendedAt } = this.#partition(partition);
    return this.#place(partition, now > lastAppendedAt ? now : lastAppendedAt, record);
  }

  #putOnce({ record, bodyHash, reused }: Proposal, now: bigint): Outcome {
    const identity = `${record.tenant} ${record.id}`;
    const hash = Buffer.from(bodyHash).toString('hex');
    const known = this.#state.identities.get(identity);
    if (known === undefined) {
      const place = this.#put(record, now);
      this.#state.identities.set(identity, { bodyHash: hash, ...place });
      return { kind: 'appended', ...place };
    }
    const { partition, position } = known;
    if (known.bodyHash === hash) return { kind: 'repeat', partition, position };
    if (reused === 'refuse') return { kind: 'reused', partition, position };
    const second = this.#state.reused.get(`${identity} ${hash}`);
    if (second !== undefined)
      return { kind: 'repeat', partition: second.partition, position: second.position };
    const place = this.#put(record, now);
    this.#state.reused.set(`${identity} ${hash}`, { bodyHash: hash, ...place });
    return { kind: 'appended', ...place };
  }
}

/** What is stored shares no memory with the request that it came in. */
function copyOf(body: Body): Body {
  return body.form === 'object'
    ? { ...body, sha256: new Uint8Array(body.sha256) }
    : { form: body.form, bytes: new Uint8Array(body.bytes) };
}

function checkBatch(count: number): void {
  if (count > APPEND_RECORDS_MAX) {
    throw new EvidentError(
      'batch-too-large',
      `${count} records in one append; the limit is ${APPEND_RECORDS_MAX}`,
    );
  }
}
