/** The port `DeadLetterStore` on PostgreSQL: functions of 0011_view_operate.sql. */

import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import {
  type DeadLetterEntry,
  type DeadLetterFilter,
  type DeadLetterPlace,
  type DeadLetterStore,
  type OpenLetters,
  RESOLUTION_LOG,
  type ReplayOutcome,
  type Settlement,
  type SettleOutcome,
} from '../../../project/dead-letters.ts';
import { type DeadLetterClass, OutputRefused } from '../../../project/ports.ts';
import type { Resolution, ViewPlace } from '../../../project/view-snapshot.ts';
import { asEvidentError, classifyFault } from '../faults.ts';
import type { TreeOfPartition } from '../leaf-reader.ts';
import type { PostgresLog } from '../log.ts';
import { PostgresOutput } from '../view-output.ts';
import { DATA_REFUSED } from '../view-store.ts';
import { appendArguments, placeholders } from './own-append.ts';

const ROW_TYPES =
  'int[] bigint[] timestamptz[] timestamptz[] boolean[] uuid[] text[] text[] text[] text[] text[] text[] text[] text[] text[] text[] text[] uuid[]';
const ROW_ARRAYS = ROW_TYPES.split(' ').length;
const RESOLVE = `SELECT evident.resolve_dead_letter(${placeholders('text int int bigint text text text')}) AS outcome`;
const REPLAY = `SELECT evident.replay_dead_letter(${placeholders(`text int int bigint text ${ROW_TYPES}`)}) AS outcome`;
/** A deadlock or a lock that was not to be had: nothing was done, and trying again is safe. */
const TRIES_MAX = 5;

const micros = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::bigint`;

interface LetterRow {
  view: string;
  generation: number;
  log: string;
  partition: number;
  position: string;
  tenant: string;
  id: string;
  type: string;
  class: DeadLetterClass;
  error: string;
  stack: string | null;
  attempts: number;
  first_us: string;
  last_us: string;
  resolution: Resolution | null;
  resolved_us: string | null;
  resolved_by: string | null;
  reason: string | null;
  event_id: string | null;
}

const SELECT = `
  SELECT d.view, d.generation, l.log, p.partition, d.position, d.tenant, d.id, d.type, d.class, d.error, d.stack, d.attempts,
         ${micros('d.first_at')} AS first_us, ${micros('d.last_at')} AS last_us, d.resolution, ${micros('d.resolved_at')} AS resolved_us,
         d.resolved_by, d.reason, d.event_id
    FROM evident.dead_letters d
    JOIN evident.views v ON v.view = d.view AND v.live = d.generation
    JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
   WHERE d.view = $1`;

const LIST = `${SELECT}
     AND ($2::text IS NULL OR l.log = $2) AND ($3::text IS NULL OR d.tenant = $3) AND ($4::text IS NULL OR d.type = $4)
     AND ($5::text IS NULL OR d.class = $5)
     AND ($6 = 'all' OR (d.resolution IS NULL) = ($6 = 'open'))
     AND ($7::text IS NULL OR (l.log, p.partition, d.position) > ($7, $8::int, $9::bigint))
   ORDER BY l.log, p.partition, d.position LIMIT $10`;
const FIND = `${SELECT} AND l.log = $2 AND p.partition = $3 AND d.position = $4`;

const bigintOrNull = (text: string | null): bigint | null => (text === null ? null : BigInt(text));

function entryOf(row: LetterRow): DeadLetterEntry {
  return {
    view: row.view,
    generation: row.generation,
    log: row.log,
    partition: row.partition,
    position: BigInt(row.position),
    tenant: row.tenant,
    id: row.id,
    type: row.type,
    class: row.class,
    error: row.error,
    stack: row.stack,
    attempts: row.attempts,
    firstAt: BigInt(row.first_us),
    lastAt: BigInt(row.last_us),
    resolution: row.resolution,
    resolvedAt: bigintOrNull(row.resolved_us),
    resolvedBy: row.resolved_by,
    reason: row.reason,
    eventId: row.event_id,
  };
}

export interface PostgresDeadLetterDeps {
  /** Connections that see all tenants. */
  readonly pool: pg.Pool;
  readonly logs: ReadonlyMap<string, PostgresLog>;
  readonly treeOf: TreeOfPartition;
}

export class PostgresDeadLetterStore implements DeadLetterStore {
  readonly #deps: PostgresDeadLetterDeps;

  constructor(deps: PostgresDeadLetterDeps) {
    this.#deps = deps;
  }

  async list(filter: DeadLetterFilter, after: ViewPlace | null, limit: number): Promise<DeadLetterEntry[]> {
    const { view, log, tenant, type, class: kind, state } = filter;
    const place =
      after === null ? [null, null, null] : [after.log, after.partition, after.position.toString()];
    const rows = await this.#read<LetterRow>('listing dead letters', LIST, [
      view,
      log ?? null,
      tenant ?? null,
      type ?? null,
      kind ?? null,
      state,
      ...place,
      limit,
    ]);
    return rows.map(entryOf);
  }

  async find({ view, log, partition, position }: DeadLetterPlace): Promise<DeadLetterEntry | null> {
    const values = [view, log, partition, position.toString()];
    const [row] = await this.#read<LetterRow>('reading a dead letter', FIND, values);
    return row === undefined ? null : entryOf(row);
  }

  async countOpen(view: string, tenant: string | null): Promise<OpenLetters> {
    const rows = await this.#read<{ class: DeadLetterClass; open: string }>(
      'counting dead letters',
      `SELECT d.class, count(*) AS open FROM evident.dead_letters d JOIN evident.views v ON v.view = d.view AND v.live = d.generation
        WHERE d.view = $1 AND d.resolution IS NULL AND ($2::text IS NULL OR d.tenant = $2) GROUP BY d.class`,
      [view, tenant],
    );
    const of = (kind: DeadLetterClass): number => Number(rows.find((row) => row.class === kind)?.open ?? 0);
    return { validation: of('validation'), poison: of('poison') };
  }

  async resolve(letter: DeadLetterEntry, settlement: Settlement): Promise<SettleOutcome> {
    const { resolution, by, reason, event } = settlement;
    const done = await this.#write<boolean>('resolving a dead letter', RESOLVE, [
      ...this.#placeOf(letter),
      resolution,
      by,
      reason,
      ...appendArguments(this.#deps.logs, RESOLUTION_LOG, event),
    ]);
    return done ? 'resolved' : 'changed';
  }

  async replay(
    letter: DeadLetterEntry,
    record: LogRecord,
    row: EventRow | null,
    { by, event }: Settlement,
  ): Promise<ReplayOutcome> {
    const place = this.#placeOf(letter);
    const output = new PostgresOutput();
    output.reset([place[2] as number]);
    if (row !== null) output.addRow(place[2] as number, record, row);
    const arrays = output.values().slice(0, ROW_ARRAYS);
    const event_ = appendArguments(this.#deps.logs, RESOLUTION_LOG, event);
    return this.#write<ReplayOutcome>('replaying a dead letter', REPLAY, [
      ...place,
      by,
      ...arrays,
      ...event_,
    ]);
  }

  async noteFailure(letter: DeadLetterEntry, error: string, stack: string | null): Promise<SettleOutcome> {
    const done = await this.#write<boolean>(
      'noting that a replay failed',
      'SELECT evident.fail_dead_letter($1, $2, $3, $4, $5, $6) AS outcome',
      [...this.#placeOf(letter), storable(error), stack === null ? null : storable(stack)],
    );
    return done ? 'resolved' : 'changed';
  }

  #placeOf({ view, generation, log, partition, position }: DeadLetterEntry): unknown[] {
    return [view, generation, this.#deps.treeOf(log, partition), position.toString()];
  }

  async #read<Row extends pg.QueryResultRow>(what: string, text: string, values: unknown[]): Promise<Row[]> {
    try {
      return (await this.#deps.pool.query<Row>(text, values)).rows;
    } catch (error) {
      throw asEvidentError(error, what, false);
    }
  }

  async #write<T>(what: string, text: string, values: unknown[]): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { rows } = await this.#deps.pool.query<{ outcome: T }>(text, values);
        return rows[0].outcome;
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        if (code !== undefined && DATA_REFUSED.test(code))
          throw new OutputRefused(`the view refuses it: ${message} (SQLSTATE ${code})`, { cause: error });
        if (attempt >= TRIES_MAX || classifyFault(error, true) !== 'retry')
          throw asEvidentError(error, what, true);
      }
    }
  }
}

/** PostgreSQL's text holds no U+0000, and an error may quote what it found. */
function storable(text: string): string {
  return text.slice(0, 8_000).toWellFormed().replaceAll('\u0000', '\ufffd');
}
