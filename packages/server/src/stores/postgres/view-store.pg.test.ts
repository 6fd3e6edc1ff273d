import { describeViewStore } from '../../../contract/view-store-contract.ts';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import { Appender } from './appender.ts';
import { openLog } from './log.ts';
import { PostgresRecordSource } from './record-source.ts';
import { PostgresViewStore } from './view-store.ts';

let database: Promise<TestDatabase> | undefined;
let scenes = 0;

describeViewStore('postgres', async () => {
  database ??= openTestDatabase();
  const { pool, owner } = await database;
  // Generations number the tables of rows: each scene has its own, and its own view.
  const name = `scene-${++scenes}`;
  const log = await openLog({ pool, appender: new Appender(pool) }, name, 3);
  await owner.query('DELETE FROM evident.events');
  await owner.query('DELETE FROM evident.event_ids');
  const places = `JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)`;
  return {
    store: new PostgresViewStore(pool),
    source: new PostgresRecordSource(pool),
    log,
    view: name,
    rows: async ({ generation }) => {
      const { rows } = await owner.query(
        `SELECT l.log || '/' || p.partition || '/' || e.position AS place, e.*,
                (extract(epoch FROM appended_at) * 1000000)::bigint AS appended_us,
                (extract(epoch FROM event_time) * 1000000)::bigint AS event_us
           FROM evident.events e ${places} WHERE e.generation = $1 ORDER BY e.tree, e.position`,
        [generation],
      );
      return rows.map((row) => ({
        place: row.place,
        appendedAt: BigInt(row.appended_us),
        id: row.id,
        tenant: row.tenant,
        type: row.type,
        eventTime: row.timed ? BigInt(row.event_us) : null,
        actorId: row.actor_id,
        actorType: row.actor_type,
        action: row.action,
        resourceType: row.resource_type,
        resourceId: row.resource_id,
        result: row.result,
        correlationId: row.correlation_id,
        ip: row.ip,
        corrects: row.corrects,
        mapper: row.mapper,
      }));
    },
    letters: async ({ view, generation }) => {
      const { rows } = await owner.query(
        `SELECT l.log || '/' || p.partition || '/' || d.position AS place, d.class, d.error, d.attempts
           FROM evident.dead_letters d ${places} WHERE d.view = $1 AND d.generation = $2 ORDER BY d.tree, d.position`,
        [view, generation],
      );
      return rows;
    },
    retire: async ({ view, generation }) => {
      await owner.query(
        `UPDATE evident.generations SET state = 'retired' WHERE view = $1 AND generation = $2`,
        [view, generation],
      );
    },
    resolve: async ({ view, generation }, tree, position) => {
      await owner.query(
        `UPDATE evident.dead_letters SET resolution = 'discarded' WHERE view = $1 AND generation = $2 AND tree = $3 AND position = $4`,
        [view, generation, tree, position.toString()],
      );
    },
  };
});
