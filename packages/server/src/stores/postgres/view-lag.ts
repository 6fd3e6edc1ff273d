/** How far views are behind the log, and how many dead letters are open. */

import type pg from 'pg';

export interface ViewLag {
  readonly view: string;
  readonly generation: number;
  /** Whether it is the generation that is shown; others are being built. */
  readonly isShown: boolean;
  readonly log: string;
  /** Records that were not read yet. */
  readonly records: bigint;
  /** Age of the first of them, in milliseconds; 0 when there is none, or when it is among positions that are lost. */
  readonly ms: number;
}

/** Of every generation that is fed, by log. */
export async function readViewLag(pool: pg.Pool): Promise<ViewLag[]> {
  const { rows } = await pool.query<{
    view: string;
    generation: number;
    isShown: boolean;
    log: string;
    records: string;
    ms: number;
  }>({
    name: 'view-lag',
    text: `SELECT c.view, c.generation, g.state = 'live' AS "isShown", l.log, sum(greatest(p.next_position - c.next_position, 0)) AS records,
                  greatest(0, coalesce(max(extract(epoch FROM clock_timestamp() - r.appended_at) * 1000), 0))::float8 AS ms
             FROM evident.checkpoints c
             JOIN evident.generations g USING (view, generation)
             JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
             LEFT JOIN evident.records r ON r.tree = c.tree AND r.position = c.next_position
            WHERE g.state <> 'retired'
            GROUP BY c.view, c.generation, g.state, l.log ORDER BY c.view, c.generation, l.log`,
  });
  return rows.map((row) => ({ ...row, records: BigInt(row.records) }));
}

/** @param pool connections that see all tenants */
export async function countOpenDeadLetters(
  pool: pg.Pool,
): Promise<{ view: string; generation: number; isShown: boolean; open: number }[]> {
  const { rows } = await pool.query<{ view: string; generation: number; isShown: boolean; open: string }>(
    `SELECT g.view, g.generation, g.state = 'live' AS "isShown", count(d.tree) AS open
       FROM evident.generations g
       LEFT JOIN evident.dead_letters d ON d.view = g.view AND d.generation = g.generation AND d.resolution IS NULL
      WHERE g.state <> 'retired' GROUP BY g.view, g.generation, g.state`,
  );
  return rows.map((row) => ({ ...row, open: Number(row.open) }));
}
