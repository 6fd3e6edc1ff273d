import { describeDeadLetterStore } from '../../../../contract/dead-letter-store-contract.ts';
import { PostgresRecordSource } from '../record-source.ts';
import { HotView } from './view-fixture.ts';

describeDeadLetterStore('PostgreSQL', async () => {
  const view = await HotView.open([['audit', 3]]);
  return {
    letters: view.letters,
    store: view.store,
    source: new PostgresRecordSource(view.database.pool),
    log: view.log(),
    rows: async ({ generation }) => {
      const { rows } = await view.asSuperuser(
        `SELECT l.log || '/' || p.partition || '/' || e.position AS place FROM evident.events e
           JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id) WHERE e.generation = $1`,
        [generation],
      );
      return rows.map(({ place }) => place as string);
    },
  };
});
