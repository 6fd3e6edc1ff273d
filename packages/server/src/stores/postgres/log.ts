/** The port `Log` on PostgreSQL. */

import { formatUuid } from '@evident/core/derived-id.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { BODY_FORMS, type LeafSource } from '@evident/core/leaf.ts';
import { partitionOf } from '@evident/core/partition.ts';
import type { Body, LogRecord, ProposedRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import {
  APPEND_RECORDS_MAX,
  type Log,
  type Outcome,
  type PartitionHead,
  type Place,
  type Proposal,
  READ_RECORDS_MAX,
} from '../../log/log.ts';
import type { Pending, Settled } from './append-call.ts';
import type { Appender } from './appender.ts';
import { ask } from './ask.ts';
import { asEvidentError } from './faults.ts';
import { copyRows, rowsQuery } from './record-rows.ts';

/** Keys whose partition is remembered: most records share their key with a recent one. */
const KEYS_MAX = 65_536;
/** Positions are bigint here and int8 there; no partition reaches this. */
const POSITION_END = 2n ** 62n;

export interface PostgresLogDeps {
  readonly pool: pg.Pool;
  readonly appender: Appender;
}

interface HeadRow {
  partition: number;
  first_position: string;
  next_position: string;
  last_us: string;
  stopped: string | null;
}

/**
 * Opens a log, making it with `partitions` partitions when it is new. An existing log keeps its number: it is
 * frozen, because it decides where keys go.
 */
export async function openLog(deps: PostgresLogDeps, name: string, partitions: number): Promise<PostgresLog> {
  await deps.pool.query('SELECT evident.make_log($1, $2)', [name, partitions]);
  const { rows } = await deps.pool.query<{ tree: number }>(
    'SELECT p.tree FROM evident.partitions p JOIN evident.logs l USING (log_id) WHERE l.log = $1 ORDER BY p.partition',
    [name],
  );
  return new PostgresLog(
    deps,
    name,
    rows.map(({ tree }) => tree),
  );
}

/** Names of the logs that the database holds, with the number of their partitions. */
export async function listLogs(pool: pg.Pool): Promise<{ log: string; partitions: number }[]> {
  const { rows } = await pool.query<{ log: string; partitions: number }>(
    'SELECT log, partitions FROM evident.logs ORDER BY log_id',
  );
  return rows;
}

export class PostgresLog implements Log {
  readonly name: string;
  /** Tree number by partition. */
  readonly trees: readonly number[];
  readonly #deps: PostgresLogDeps;
  readonly #partitionOfTree: Map<number, number>;
  readonly #treeOfKey = new Map<string, number>();

  constructor(deps: PostgresLogDeps, name: string, trees: readonly number[]) {
    this.#deps = deps;
    this.name = name;
    this.trees = trees;
    this.#partitionOfTree = new Map(trees.map((tree, partition) => [tree, partition]));
  }

  get partitions(): number {
    return this.trees.length;
  }

  async append(records: readonly ProposedRecord[]): Promise<Place[]> {
    this.#checkBatch(records.length);
    const pending = records.map((record) => this.#pending(record, null, false));
    const settled = await this.#settle(pending);
    return settled.map((result, index) => {
      if (result.kind !== 'appended') throw new Error('an identity was looked for that nobody asked for');
      return {
        partition: this.#partition(pending[index].tree),
        position: result.position,
        appendedAt: result.appendedAt,
      };
    });
  }

  async appendOnce(proposals: readonly Proposal[]): Promise<Outcome[]> {
    this.#checkBatch(proposals.length);
    const pending = this.pendingOf(proposals);
    const settled = await this.#settle(pending);
    return settled.map((result, index) => this.outcomeOf(result, pending[index].tree));
  }

  /** Proposals with their trees, for a call of evident.append. */
  pendingOf(proposals: readonly Proposal[]): Pending[] {
    return proposals.map(({ record, bodyHash, reused }) =>
      this.#pending(record, bodyHash, reused === 'take'),
    );
  }

  /** What became of one of them. */
  outcomeOf(result: Settled, tree: number): Outcome {
    switch (result.kind) {
      case 'appended':
        return {
          kind: 'appended',
          partition: this.#partition(tree),
          position: result.position,
          appendedAt: result.appendedAt,
        };
      default:
        return { kind: result.kind, partition: this.#partition(result.tree), position: result.position };
    }
  }

  async read(partition: number, from: bigint, limit: number): Promise<LogRecord[]> {
    const tree = this.#tree(partition);
    const bounded = Math.min(limit, READ_RECORDS_MAX);
    return this.#withClient(`reading ${this.name}/${partition} from ${from}`, async (client) => {
      const records: LogRecord[] = [];
      const take = (query: string) =>
        copyRows(client, query, (row) => {
          records.push(recordOf(this.name, partition, row));
        });
      // Bounded above: PostgreSQL may fetch and sort all that stands behind `from`, whatever LIMIT says (98 ms for
      // 1,000 of 40,000 rows, 2026-11-21). Positions are gapless but where some were lost: then the rest lies behind.
      const end = from + BigInt(bounded);
      await take(rowsQuery(tree, from, end, bounded));
      const missing = bounded - records.length;
      if (missing > 0) await take(rowsQuery(tree, end, POSITION_END, missing));
      return records;
    });
  }

  async readMany(from: readonly bigint[], limit: number): Promise<LogRecord[]> {
    if (from.length !== this.partitions) throw new RangeError(`${this.partitions} positions are expected`);
    const records: LogRecord[] = [];
    for (let partition = 0; partition < this.partitions && records.length < limit; partition++) {
      const share = Math.ceil((limit - records.length) / (this.partitions - partition));
      records.push(...(await this.read(partition, from[partition], share)));
    }
    return records;
  }

  async head(partition: number): Promise<PartitionHead> {
    this.#tree(partition);
    return (await this.heads())[partition];
  }

  async heads(): Promise<PartitionHead[]> {
    const { rows } = await ask<HeadRow>(
      this.#deps.pool,
      `reading the heads of ${this.name}`,
      `SELECT partition, first_position, next_position, stopped,
              (extract(epoch FROM last_appended_at) * 1000000)::bigint AS last_us
         FROM evident.partitions WHERE tree = ANY ($1) ORDER BY partition`,
      [this.trees],
    );
    return rows.map((row) => ({
      partition: row.partition,
      first: BigInt(row.first_position),
      next: BigInt(row.next_position),
      lastAppendedAt: BigInt(row.last_us),
      stopped: row.stopped,
    }));
  }

  async trim(partition: number, before: bigint): Promise<bigint> {
    const tree = this.#tree(partition);
    try {
      const { rows } = await this.#deps.pool.query<{ trim: string }>('SELECT evident.trim($1, $2)', [
        tree,
        before,
      ]);
      return BigInt(rows[0].trim);
    } catch (error) {
      if ((error as { code?: string }).code === 'EV009') {
        throw new EvidentError(
          'trim-not-archived',
          `trimming ${this.name}/${partition}: ${(error as Error).message}`,
          {
            cause: error,
            context: { log: this.name, partition, position: before },
          },
        );
      }
      throw asEvidentError(error, `trimming ${this.name}/${partition}`, true);
    }
  }

  async closeHours(): Promise<number> {
    const { rows } = await ask<{ closed: number }>(
      this.#deps.pool,
      `closing hours of ${this.name}`,
      'SELECT evident.close_hours($1) AS closed',
      [this.trees],
    );
    return rows[0].closed;
  }

  #checkBatch(count: number): void {
    if (count > APPEND_RECORDS_MAX) {
      throw new EvidentError(
        'batch-too-large',
        `${count} records in one append; the limit is ${APPEND_RECORDS_MAX}`,
      );
    }
  }

  #pending(record: ProposedRecord, bodyHash: Uint8Array | null, keep: boolean): Pending {
    return { record, tree: this.#treeFor(record.key), bodyHash, keep };
  }

  #treeFor(key: string): number {
    let tree = this.#treeOfKey.get(key);
    if (tree === undefined) {
      if (this.#treeOfKey.size >= KEYS_MAX) this.#treeOfKey.clear();
      tree = this.trees[partitionOf(key, this.partitions)];
      this.#treeOfKey.set(key, tree);
    }
    return tree;
  }

  #partition(tree: number): number {
    return this.#partitionOfTree.get(tree) as number;
  }

  #tree(partition: number): number {
    const tree = this.trees[partition];
    if (tree === undefined)
      throw new EvidentError(
        'not-found',
        `${this.name} has ${this.partitions} partitions, and no ${partition}`,
      );
    return tree;
  }

  /** Appends, and says of a stopped partition which it is. */
  async #settle(pending: Pending[]): Promise<Settled[]> {
    try {
      return await this.#deps.appender.append(pending);
    } catch (error) {
      if (!isEvidentError(error) || error.code !== 'partition-stopped') throw error;
      const trees = (error.cause as Error).message.replace('stopped: ', '').split(',').map(Number);
      const partition = this.#partition(trees.find((tree) => this.#partitionOfTree.has(tree)) as number);
      const detail = `${this.name}/${partition} is stopped; nothing of this call was appended`;
      throw new EvidentError('partition-stopped', detail, {
        cause: error,
        context: { log: this.name, partition },
      });
    }
  }

  async #withClient<T>(what: string, use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#deps.pool.connect();
      return await use(client);
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, what, false);
    } finally {
      client?.release(broken);
    }
  }
}

const utf8 = new TextDecoder();

function textOf(row: LeafSource, at: number, length: number): string {
  return utf8.decode(row.bytes.subarray(at, at + length));
}

/** The record of a row; copies what it keeps. */
export function recordOf(log: string, partition: number, row: LeafSource): LogRecord {
  // A Buffer's slice is a view of memory that the next chunk overwrites: copy.
  const bytes = new Uint8Array(row.bytes.subarray(row.bodyAt, row.bodyAt + row.bodyLength));
  const body: Body =
    row.form === BODY_FORMS.object
      ? { form: 'object', sha256: bytes, size: BigInt(row.bodySize) }
      : { form: row.form === BODY_FORMS.json ? 'json' : 'base64', bytes };
  return {
    log,
    partition,
    position: BigInt(row.position),
    appendedAt: BigInt(row.appendedAt),
    id: formatUuid(row.bytes, row.idAt),
    tenant: textOf(row, row.tenantAt, row.tenantLength),
    source: textOf(row, row.sourceAt, row.sourceLength),
    sourceSeq: row.sourceSeqLength < 0 ? null : textOf(row, row.sourceSeqAt, row.sourceSeqLength),
    type: textOf(row, row.typeAt, row.typeLength),
    schema: row.schema,
    key: textOf(row, row.keyAt, row.keyLength),
    meta: row.metaLength < 0 ? null : textOf(row, row.metaAt, row.metaLength),
    body,
  };
}
