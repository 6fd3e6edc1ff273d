/** How far sealing and the reader of alerts are behind the log. */

import type pg from 'pg';

export interface StageLag {
  readonly stage: 'seal' | 'alerts';
  readonly records: bigint;
  /** Age of the first record that the stage has not reached, milliseconds; 0 where there is none. */
  readonly ms: number;
}

/** @param pool connections that see all tenants */
export async function readStageLag(pool: pg.Pool): Promise<StageLag[]> {
  const { rows } = await pool.query<{ stage: StageLag['stage']; records: string; ms: number }>({
    name: 'stage-lag',
    text: `WITH reached AS (
             SELECT 'seal' AS stage, p.tree, coalesce(s.size, 0) AS at, p.next_position
               FROM evident.partitions p LEFT JOIN evident.seals s USING (tree)
             UNION ALL
             SELECT 'alerts', p.tree, c.next_position, p.next_position
               FROM evident.partitions p JOIN evident.alert_checkpoints c USING (tree))
           SELECT x.stage, sum(greatest(x.next_position - x.at, 0)) AS records,
                  greatest(0, coalesce(max(extract(epoch FROM clock_timestamp() - r.appended_at) * 1000), 0))::float8 AS ms
             FROM reached x
             LEFT JOIN LATERAL (SELECT r.appended_at FROM evident.records r
                                 WHERE r.tree = x.tree AND r.position >= x.at AND x.at < x.next_position
                                 ORDER BY r.position LIMIT 1) r ON true
            GROUP BY x.stage`,
  });
  return rows.map((row) => ({ ...row, records: BigInt(row.records) }));
}
