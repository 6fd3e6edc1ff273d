import { describeLog } from '../../../contract/log-contract.ts';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import { Appender } from './appender.ts';
import { openLog } from './log.ts';

let database: Promise<TestDatabase> | undefined;
let logs = 0;

describeLog('postgres', async (partitions) => {
  database ??= openTestDatabase();
  const { pool, owner } = await database;
  const log = await openLog({ pool, appender: new Appender(pool) }, `contract-${++logs}`, partitions);
  const tree = (partition: number) => log.trees[partition];
  return {
    log,
    passHours: async (hours) => {
      // The clock is PostgreSQL's own: what was appended becomes that much older instead.
      const older = [log.trees, `${hours} hours`];
      await owner.query(
        'UPDATE evident.records SET appended_at = appended_at - $2::interval WHERE tree = ANY ($1)',
        older,
      );
      await owner.query(
        'UPDATE evident.partitions SET last_appended_at = last_appended_at - $2::interval WHERE tree = ANY ($1)',
        older,
      );
    },
    archive: async (partition, next) => {
      await owner.query('INSERT INTO evident.archived (tree, next_position) VALUES ($1, $2)', [
        tree(partition),
        next,
      ]);
    },
    stop: async (partition, reason) => {
      await owner.query('SELECT evident.stop_partition($1, $2)', [tree(partition), reason]);
    },
    trimUnit: 1_048_576n,
  };
});
