/** The port `ViewSnapshots` on PostgreSQL: one transaction of repeatable reads, sequences as cursors in it. */

import type { EventResult } from '@evident/core/mapping/row.ts';
import type pg from 'pg';
import type { DeadLetterClass } from '../../../project/ports.ts';
import type {
  DeadLetterMark,
  GenerationSummary,
  IdentityFault,
  Resolution,
  ShownPlace,
  ViewPlace,
  ViewRow,
  ViewSnapshot,
  ViewSnapshots,
} from '../../../project/view-snapshot.ts';
import { asEvidentError } from '../faults.ts';

/** Rows of one FETCH. */
const FETCH_ROWS = 5_000;
/** Sorts of a whole view go to disk in runs of this. */
const WORK_MEM = '64MB';
/** Stands behind every name that a log can have: rows of a tree that no log has are read last, and found. */
const UNKNOWN_LOG = '~unknown';

const MICROSECONDS = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::bigint`;

interface Place {
  readonly log: string;
  readonly partition: number;
}

type Text = string | null;

/** In the order of `ROWS`. */
type RowFields = [
  tree: number,
  position: string,
  appendedAt: string,
  id: string,
  tenant: string,
  type: string,
  mapper: string,
  eventTime: string,
  timed: boolean,
  actorId: Text,
  actorType: Text,
  action: Text,
  resourceType: Text,
  resourceId: Text,
  result: Text,
  correlationId: Text,
  ip: Text,
  corrects: Text,
];

/** In the order of `LETTER_COLUMNS`. */
type LetterFields = [
  tree: number,
  position: string,
  tenant: string,
  id: string,
  kind: DeadLetterClass,
  error: string,
  resolution: Resolution | null,
  eventId: Text,
];

const LETTER_COLUMNS = 'e.tree, e.position, e.tenant, e.id, e.class, e.error, e.resolution, e.event_id';

/** Trees by log and partition, so that the order does not depend on their numbers. */
const RANKED = (table: string): string => `
  FROM ${table} e
  LEFT JOIN (SELECT p.tree, row_number() OVER (ORDER BY l.log, p.partition) AS rank
               FROM evident.partitions p JOIN evident.logs l USING (log_id)) t USING (tree)`;
const ROWS = (generation: number): string => `
  SELECT e.tree, e.position, ${MICROSECONDS('e.appended_at')}, e.id, e.tenant, e.type, e.mapper, ${MICROSECONDS('e.event_time')},
         e.timed, e.actor_id, e.actor_type, e.action, e.resource_type, e.resource_id, e.result, e.correlation_id, e.ip, e.corrects
  ${RANKED('evident.events')}
  WHERE e.generation = ${generation} ORDER BY t.rank NULLS LAST, e.tree, e.position`;
const LETTERS = (generation: number): string => `
  SELECT ${LETTER_COLUMNS}
  ${RANKED('evident.dead_letters')}
  WHERE e.view = current_setting('evident.snapshot_view') AND e.generation = ${generation}
  ORDER BY t.rank NULLS LAST, e.tree, e.position`;

/** Rows and the list of identities must say the same: a row has an entry at its place, and an entry has a row. */
const IDENTITY_FAULTS = `
  SELECT coalesce(e.tree, i.tree) AS tree, coalesce(e.position, i.position) AS position, coalesce(e.id, i.id) AS id,
         CASE WHEN e.id IS NULL THEN 'an identity is listed here, but its row is gone'
              WHEN i.id IS NULL THEN 'a row stands here whose identity is not listed'
              ELSE 'a row stands here, but its identity is listed at another place' END AS detail
    FROM (SELECT r.tree, r.position, r.tenant, r.id, r.appended_at, p.log_id
            FROM evident.events r LEFT JOIN evident.partitions p USING (tree) WHERE r.generation = $1) e
    FULL JOIN (SELECT * FROM evident.event_ids WHERE generation = $1) i
      ON i.tenant = e.tenant AND i.id = e.id AND i.log_id = e.log_id
   WHERE e.id IS NULL OR i.id IS NULL OR i.tree <> e.tree OR i.position <> e.position OR i.appended_at <> e.appended_at
   LIMIT $2`;

export class PostgresViewSnapshots implements ViewSnapshots {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async withSnapshot<T>(view: string, use: (snapshot: ViewSnapshot) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await client.query(
        `SELECT set_config('evident.tenant', '*', true), set_config('work_mem', $1, true), set_config('evident.snapshot_view', $2, true)`,
        [WORK_MEM, view],
      );
      const result = await use(await openSnapshot(client, view));
      await client.query('ROLLBACK');
      return result;
    } catch (error) {
      // The transaction ends with the connection, whatever state it is in.
      broken = error as Error;
      throw asEvidentError(error, `reading the view ${view}`, false);
    } finally {
      client?.release(broken);
    }
  }
}

async function openSnapshot(client: pg.PoolClient, view: string): Promise<ViewSnapshot> {
  const places = new Map<number, Place>();
  const trees = await client.query<{ tree: number; log: string; partition: number }>(
    'SELECT p.tree, l.log, p.partition FROM evident.partitions p JOIN evident.logs l USING (log_id)',
  );
  for (const { tree, log, partition } of trees.rows) places.set(tree, { log, partition });
  const live = await client.query<{ live: number }>('SELECT live FROM evident.views WHERE view = $1', [view]);
  return new PostgresViewSnapshot(
    client,
    view,
    live.rows[0]?.live ?? null,
    places,
    await generations(client, view),
  );
}

async function generations(client: pg.PoolClient, view: string): Promise<GenerationSummary[]> {
  const { rows } = await client.query<{
    generation: number;
    definition: string;
    state: GenerationSummary['state'];
    made_at: string;
    logs: string[];
    partitions: number[];
    nexts: string[];
  }>(
    `SELECT g.generation, g.definition, g.state, ${MICROSECONDS('g.made_at')} AS made_at,
            coalesce(array_agg(l.log ORDER BY l.log, p.partition) FILTER (WHERE p.tree IS NOT NULL), '{}') AS logs,
            coalesce(array_agg(p.partition ORDER BY l.log, p.partition) FILTER (WHERE p.tree IS NOT NULL), '{}') AS partitions,
            coalesce(array_agg(c.next_position::text ORDER BY l.log, p.partition) FILTER (WHERE p.tree IS NOT NULL), '{}') AS nexts
       FROM evident.generations g
       LEFT JOIN evident.checkpoints c USING (view, generation)
       LEFT JOIN evident.partitions p USING (tree)
       LEFT JOIN evident.logs l USING (log_id)
      WHERE g.view = $1 GROUP BY g.view, g.generation ORDER BY g.generation`,
    [view],
  );
  return rows.map(({ generation, definition, state, made_at, logs, partitions, nexts }) => ({
    generation,
    definition,
    state,
    madeAt: BigInt(made_at),
    reach: logs.map((log, index) => ({ log, partition: partitions[index], next: BigInt(nexts[index]) })),
  }));
}

class PostgresViewSnapshot implements ViewSnapshot {
  readonly view: string;
  readonly live: number | null;
  readonly generations: readonly GenerationSummary[];
  readonly #client: pg.PoolClient;
  readonly #places: ReadonlyMap<number, Place>;
  #cursors = 0;

  constructor(
    client: pg.PoolClient,
    view: string,
    live: number | null,
    places: ReadonlyMap<number, Place>,
    known: readonly GenerationSummary[],
  ) {
    this.#client = client;
    this.view = view;
    this.live = live;
    this.#places = places;
    this.generations = known;
  }

  rows(generation: number): AsyncIterable<readonly ViewRow[]> {
    return this.#fetch<RowFields, ViewRow>(ROWS(wholeNumber(generation)), (fields) => this.#row(fields));
  }

  deadLetters(generation: number): AsyncIterable<readonly DeadLetterMark[]> {
    return this.#fetch<LetterFields, DeadLetterMark>(LETTERS(wholeNumber(generation)), (fields) =>
      this.#letter(fields),
    );
  }

  async lettersOf(generation: number, log: string, tenant: string, id: string): Promise<DeadLetterMark[]> {
    const { rows } = await this.#client.query<LetterFields>({
      text: `SELECT ${LETTER_COLUMNS} FROM evident.dead_letters e
               JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
              WHERE e.view = $1 AND e.generation = $2 AND l.log = $3 AND e.tenant = $4 AND e.id = $5`,
      values: [this.view, generation, log, tenant, id],
      rowMode: 'array',
    });
    return rows.map((fields) => this.#letter(fields));
  }

  async shownAt(generation: number, log: string, tenant: string, id: string): Promise<ShownPlace | null> {
    const { rows } = await this.#client.query<{ tree: number; position: string; appended_at: string }>({
      name: 'view-shown-at',
      text: `SELECT i.tree, i.position, ${MICROSECONDS('i.appended_at')} AS appended_at FROM evident.event_ids i
              WHERE i.generation = $1 AND i.tenant = $2 AND i.id = $3
                AND i.log_id = (SELECT log_id FROM evident.logs WHERE log = $4)`,
      values: [generation, tenant, id, log],
    });
    if (rows.length === 0) return null;
    const { tree, position, appended_at } = rows[0];
    return { ...this.#place(tree, position), appendedAt: BigInt(appended_at) };
  }

  async identityFaults(generation: number, limit: number): Promise<IdentityFault[]> {
    const { rows } = await this.#client.query<{ tree: number; position: string; id: string; detail: string }>(
      IDENTITY_FAULTS,
      [generation, limit],
    );
    return rows.map(({ tree, position, id, detail }) => ({ ...this.#place(tree, position), id, detail }));
  }

  async *#fetch<Fields extends unknown[], T>(
    query: string,
    parse: (fields: Fields) => T,
  ): AsyncGenerator<readonly T[]> {
    const name = `walk_${++this.#cursors}`;
    await this.#client.query(`DECLARE ${name} NO SCROLL CURSOR FOR ${query}`);
    for (;;) {
      const { rows } = await this.#client.query<Fields>({
        text: `FETCH ${FETCH_ROWS} FROM ${name}`,
        rowMode: 'array',
      });
      if (rows.length > 0) yield rows.map(parse);
      if (rows.length < FETCH_ROWS) break;
    }
    await this.#client.query(`CLOSE ${name}`);
  }

  #place(tree: number, position: string): ViewPlace {
    const { log, partition } = this.#places.get(tree) ?? { log: UNKNOWN_LOG, partition: tree };
    return { log, partition, position: BigInt(position) };
  }

  #letter([tree, position, tenant, id, kind, error, resolution, eventId]: LetterFields): DeadLetterMark {
    return { ...this.#place(tree, position), tenant, id, class: kind, error, resolution, eventId };
  }

  #row(fields: RowFields): ViewRow {
    return {
      ...this.#place(fields[0], fields[1]),
      appendedAt: BigInt(fields[2]),
      id: fields[3],
      tenant: fields[4],
      type: fields[5],
      mapper: fields[6],
      eventTime: BigInt(fields[7]),
      timed: fields[8],
      actorId: fields[9],
      actorType: fields[10],
      action: fields[11],
      resourceType: fields[12],
      resourceId: fields[13],
      result: fields[14] as EventResult | null,
      correlationId: fields[15],
      ip: fields[16],
      corrects: fields[17],
    };
  }
}

/** It stands in the text of a statement: cursors are declared without parameters. */
function wholeNumber(generation: number): number {
  if (!Number.isSafeInteger(generation)) throw new RangeError('a generation is a whole number');
  return generation;
}
