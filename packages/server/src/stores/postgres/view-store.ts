/** The port `ViewStore` on PostgreSQL: every change is one call of a function of 0007_view_project.sql. */

import type pg from 'pg';
import {
  type Checkpoint,
  type CommitOutcome,
  type Halt,
  type Output,
  OutputRefused,
  type Span,
  type Suspect,
  type TreePlace,
  type ViewRef,
  type ViewStore,
} from '../../project/ports.ts';
import { ArrayColumn, TIMESTAMPTZ_OID } from './array-column.ts';
import { int4Array, int8Array, OID } from './binary.ts';
import { asEvidentError } from './faults.ts';
import { PostgresOutput } from './view-output.ts';

/**
 * SQLSTATEs with which PostgreSQL refuses data: the same rows would be refused again. 22 values, 23 constraints, 54000
 * an index entry that is too long. All others are of the moment or of the installation, and never make a dead letter:
 * connection (08), privileges (28, 42), deadlock and serialisation (40), disk and memory (53), shutdown (57), input and
 * output (58), and what is broken in the database itself (XX).
 */
export const DATA_REFUSED = /^(?:22|23)...$|^54000$/;

const ROW_TYPES =
  'int[] bigint[] timestamptz[] timestamptz[] boolean[] uuid[] text[] text[] text[] text[] text[] text[] text[] text[] text[] text[] text[] uuid[]';
const LETTER_TYPES =
  'int[] bigint[] uuid[] text[] text[] text[] text[] text[] int[] timestamptz[] timestamptz[]';
const PARAMETERS = `text int int[] bigint[] bigint[] uuid[] timestamptz[] int ${ROW_TYPES} ${LETTER_TYPES}`
  .split(' ')
  .map((type, index) => `$${index + 1}::${type}`);

const COMMIT = {
  name: 'project-batch',
  text: `SELECT * FROM evident.project_batch(${PARAMETERS.join(', ')})`,
};

interface CommitRow {
  outcome: CommitOutcome['kind'];
  shown: number;
  repeats: number;
  reused: number;
}

const micros = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::bigint`;

export class PostgresViewStore implements ViewStore {
  readonly #pool: pg.Pool;
  readonly #output = new PostgresOutput();

  /** @param pool connections that see all tenants */
  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async open(view: string, definition: string): Promise<{ ref: ViewRef; definition: string }> {
    const [row] = await this.#query<{ generation: number; definition: string }>(
      `opening the view ${view}`,
      'SELECT * FROM evident.open_view($1, $2)',
      [view, definition],
    );
    return { ref: { view, generation: row.generation }, definition: row.definition };
  }

  async continueWith({ view, generation }: ViewRef, definition: string): Promise<string | null> {
    const [row] = await this.#query<{ definition: string | null }>(
      `changing the definition of ${view}`,
      'SELECT evident.continue_generation($1, $2, $3) AS definition',
      [view, generation, definition],
    );
    return row.definition;
  }

  async begin(view: string, definition: string): Promise<ViewRef> {
    const [row] = await this.#query<{ generation: number }>(
      `beginning a generation of ${view}`,
      'SELECT evident.begin_generation($1, $2) AS generation',
      [view, definition],
    );
    return { view, generation: row.generation };
  }

  async checkpoints({ view, generation }: ViewRef): Promise<Checkpoint[]> {
    await this.#query(`readying checkpoints of ${view}`, 'SELECT evident.ready_checkpoints($1, $2)', [
      view,
      generation,
    ]);
    const rows = await this.#query<{
      tree: number;
      log: string;
      partition: number;
      next: string;
      attempts: number;
    }>(
      `reading checkpoints of ${view}`,
      `SELECT c.tree, l.log, p.partition, c.next_position AS next, c.attempts
         FROM evident.checkpoints c JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
        WHERE c.view = $1 AND c.generation = $2 ORDER BY c.tree`,
      [view, generation],
    );
    return rows.map((row) => ({ ...row, next: BigInt(row.next) }));
  }

  async countAttempt({ view, generation }: ViewRef, trees: readonly number[]): Promise<void> {
    await this.#query(`counting an attempt of ${view}`, 'SELECT evident.count_attempt($1, $2, $3)', [
      view,
      generation,
      trees,
    ]);
  }

  async rest({ view, generation }: ViewRef): Promise<void> {
    await this.#query(`ending a reader of ${view}`, 'SELECT evident.rest_view($1, $2)', [view, generation]);
  }

  newOutput(trees: readonly number[]): Output {
    this.#output.reset(trees);
    return this.#output;
  }

  async commit(
    { view, generation }: ViewRef,
    spans: readonly Span[],
    output: Output,
    attempts: number,
  ): Promise<CommitOutcome> {
    const values = [
      view,
      generation,
      int4Array(spans.map(({ tree }) => tree)),
      int8Array(spans.map(({ from }) => from)),
      int8Array(spans.map(({ to }) => to)),
      ...lastRecords(spans),
      attempts,
      ...(output as PostgresOutput).values(),
    ];
    try {
      const { rows } = await this.#pool.query<CommitRow>({ ...COMMIT, values });
      const { outcome: kind, shown, repeats, reused } = rows[0];
      return kind === 'committed' ? { kind, shown, repeats, reused } : { kind };
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (code !== undefined && DATA_REFUSED.test(code))
        throw new OutputRefused(`the view refuses it: ${message} (SQLSTATE ${code})`, { cause: error });
      throw asEvidentError(error, `storing a batch of ${view}`, false);
    }
  }

  async suspects({ view, generation }: ViewRef): Promise<Suspect[]> {
    const rows = await this.#query<{
      tree: number;
      position: string;
      attempts: number;
      first_us: string;
      last_us: string;
      error: string;
    }>(
      `reading suspects of ${view}`,
      `SELECT tree, position, attempts, error, ${micros('first_at')} AS first_us, ${micros('last_at')} AS last_us
         FROM evident.suspects WHERE view = $1 AND generation = $2 ORDER BY tree, position`,
      [view, generation],
    );
    return rows.map(({ tree, position, attempts, first_us, last_us, error }) => ({
      tree,
      position: BigInt(position),
      attempts,
      firstAt: BigInt(first_us),
      lastAt: BigInt(last_us),
      error,
    }));
  }

  async noteSuspect({ view, generation }: ViewRef, place: TreePlace, error: string): Promise<number> {
    const [row] = await this.#query<{ attempts: number }>(
      `noting a suspect of ${view}`,
      'SELECT evident.note_suspect($1, $2, $3, $4, $5) AS attempts',
      [view, generation, place.tree, place.position.toString(), error],
    );
    return row.attempts;
  }

  async halts({ view, generation }: ViewRef): Promise<Halt[]> {
    const rows = await this.#query<{ tree: number; position: string; key: string; is_open: boolean }>(
      `reading where ${view} halts`,
      `SELECT d.tree, d.position, r.key, d.resolution IS NULL AS is_open
         FROM evident.dead_letters d
         JOIN evident.checkpoints c USING (view, generation, tree)
         JOIN evident.records r ON r.tree = d.tree AND r.position = d.position
        WHERE d.view = $1 AND d.generation = $2 AND (d.resolution IS NULL OR d.position = c.next_position)
        ORDER BY d.tree, d.position`,
      [view, generation],
    );
    return rows.map(({ tree, position, key, is_open }) => ({
      tree,
      position: BigInt(position),
      key,
      isOpen: is_open,
    }));
  }

  async #query<Row extends pg.QueryResultRow>(what: string, text: string, values: unknown[]): Promise<Row[]> {
    try {
      return (await this.#pool.query<Row>(text, values)).rows;
    } catch (error) {
      throw asEvidentError(error, what, false);
    }
  }
}

/** Id and time of each span's last record. */
function lastRecords(spans: readonly Span[]): [Buffer, Buffer] {
  const ids = new ArrayColumn(OID.uuid);
  const times = new ArrayColumn(TIMESTAMPTZ_OID);
  for (const { last } of spans) {
    if (last === null || last === undefined) {
      ids.addNull();
      times.addNull();
    } else {
      ids.addUuid(last.id);
      times.addInstant(last.appendedAt);
    }
  }
  return [ids.finish(), times.finish()];
}
