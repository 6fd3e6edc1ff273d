import { describeGenerationStore } from '../../../../contract/generation-store-contract.ts';
import { PostgresRecordSource } from '../record-source.ts';
import { HotView } from './view-fixture.ts';

describeGenerationStore('PostgreSQL', async () => {
  const view = await HotView.open([['audit', 3]]);
  return {
    generations: view.generations,
    letters: view.letters,
    store: view.store,
    source: new PostgresRecordSource(view.database.pool),
    log: view.log(),
  };
});
