import { describeApiKeyStore } from '../../../contract/api-key-store-contract.ts';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import { PostgresApiKeyStore } from './api-keys.ts';

let database: Promise<TestDatabase> | undefined;

describeApiKeyStore('postgres', async () => {
  database ??= openTestDatabase();
  const { pool, owner } = await database;
  await owner.query('DELETE FROM evident.api_keys');
  return new PostgresApiKeyStore(pool);
});
