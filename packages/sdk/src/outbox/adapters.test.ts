/**
 * Adapters of two lines for query builders, against a real PostgreSQL and through the real libraries. What stands
 * between the marks is what the guide shows.
 */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { type TestContext, test } from 'node:test';
import { PrismaPg } from '@prisma/adapter-pg';
import { sql as drizzleSql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { CompiledQuery, Kysely, PostgresDialect, type Transaction } from 'kysely';
import postgres from 'postgres';
import { until } from '../../../server/src/stores/postgres/embedded/engine-fixture.ts';
import { type Audit, createAudit } from '../audit.ts';
import { type PostgresSql, type PostgresTransaction, pgDriver, postgresDriver } from '../drivers.ts';
import type { OutboxDriver } from './driver.ts';
import { type Application, startApplication } from './outbox-fixture.ts';
import { insertStatement } from './statement.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
} as const;

/** What every driver must do, whatever it is made of. */
async function holds<Tx>(
  t: TestContext,
  app: Application,
  driver: OutboxDriver<Tx>,
  open: (tx: Tx) => PromiseLike<unknown>,
): Promise<void> {
  const audit: Audit<Tx> = createAudit<Tx>({ service: 'bank', driver });
  const state = async () => [await app.accounts(), (await app.rows()).length];

  await t.test('commits one event and many with the change', async () => {
    await app.clear();
    await driver.transaction!(async (tx) => {
      await open(tx);
      await audit.log(tx, { ...event, details: { text: `'"\\ $1 ? \u{1F600}` } });
      await audit.logMany(tx, [event, event, event]);
    });
    assert.deepEqual(await state(), [1, 4]);
    const [row] = await app.rows();
    assert.equal((JSON.parse(row.body) as { details: { text: string } }).details.text, `'"\\ $1 ? \u{1F600}`);
    assert.deepEqual([row.tenant, row.key, row.schema], ['acme', 'acme/usr_1', 1]);
  });

  await t.test('rolls both back', async () => {
    await app.clear();
    await assert.rejects(async () => {
      await driver.transaction!(async (tx) => {
        await open(tx);
        await audit.log(tx, event);
        throw new Error('no');
      });
    }, /no/);
    assert.deepEqual(await state(), [0, 0]);
  });

  await t.test('captures success and failure, and rethrows the very error', async () => {
    await app.clear();
    await audit.capture(event, (tx) => open(tx));
    const boom = new Error('no');
    await assert.rejects(
      audit.capture(event, async () => {
        throw boom;
      }),
      (error) => error === boom,
    );
    assert.deepEqual(
      (await app.bodies()).map(({ result }) => result),
      ['success', 'failure'],
    );
  });

  await t.test('names the field of a row that the outbox refuses', async () => {
    await app.clear();
    const forging = createAudit<Tx>({
      service: 'bank',
      driver: {
        ...driver,
        query: (tx, { rows }) => driver.query(tx, insertStatement([{ ...rows[0], tenant: 'a b' }])),
        transaction: (fn) => driver.transaction!(fn),
      },
    });
    await assert.rejects(forging.logAlone(event), (error) => {
      const { code, context } = error as { code: string; context: { field?: string } };
      assert.deepEqual([code, context.field], ['outbox-refused', 'tenant'], String((error as Error).cause));
      return true;
    });
    assert.deepEqual(await state(), [0, 0]);
  });

  await t.test('reads the size of the outbox', async () => {
    const problems: unknown[] = [];
    const watching = createAudit<Tx>({
      service: 'bank',
      driver,
      growth: { bytesMax: 1 << 30 },
      onProblem: (problem) => problems.push(problem),
    });
    await watching.logAlone(event);
    await until('the size is known', () => watching.metrics().outboxBytes !== null || problems.length > 0);
    assert.deepEqual(problems, []);
    await watching.close();
  });
}

test('drivers and adapters', async (t) => {
  const app = await startApplication(t);
  const INSERT = "INSERT INTO account VALUES ('a1', 0)";

  await t.test('pg', (t) => holds(t, app, pgDriver(app.pool), (tx) => tx.query(INSERT)));

  await t.test('postgres', async (t) => {
    const sql = postgres(app.url, { max: 3 });
    const driver = postgresDriver(sql as PostgresSql);
    await holds(t, app, driver, (tx) => tx`INSERT INTO account VALUES ('a1', 0)`);
    const audit = createAudit({ service: 'bank', driver });
    // The types take what `begin` gives, and `sql` itself is refused as a pool is.
    await sql.begin((tx) => audit.log(tx, event));
    await assert.rejects(audit.log(sql as PostgresTransaction, event), { code: 'usage-invalid' });
    await sql.end();
  });

  await t.test('Kysely', async (t) => {
    type Database = { account: { id: string; balance: string } };
    const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: app.pool }) });
    // adapter
    const driver: OutboxDriver<Transaction<Database>> = {
      query: (tx, s) => tx.executeQuery(CompiledQuery.raw(s.text, [...s.values])),
      transaction: (fn) => db.transaction().execute(fn),
    };
    // end
    await holds(t, app, driver, (tx) =>
      tx.insertInto('account').values({ id: 'a1', balance: '0' }).execute(),
    );
  });

  await t.test('Drizzle', async (t) => {
    const db = drizzle(app.pool);
    // adapter
    const driver: OutboxDriver<Pick<typeof db, 'execute'>> = {
      query: (tx, s) => tx.execute(drizzleSql(s.strings, ...s.values)),
      transaction: (fn) => db.transaction(fn),
    };
    // end
    await holds(t, app, driver, (tx) => tx.execute(drizzleSql`INSERT INTO account VALUES ('a1', 0)`));
  });

  await t.test('Prisma', async (t) => {
    const prisma = createPrisma(app.url);
    // adapter
    const driver: OutboxDriver<PrismaRaw> = {
      query: (tx, s) => tx.$executeRaw(s.strings, ...s.values),
      transaction: (fn) => prisma.$transaction(fn),
      read: (s) => prisma.$queryRaw(s.strings),
    };
    // end
    await holds(t, app, driver, (tx) => tx.$executeRaw`INSERT INTO account VALUES ('a1', 0)`);
    await prisma.$disconnect();
  });
});

/** What a generated Prisma client has, and the adapter uses. */
interface PrismaRaw {
  $executeRaw(strings: TemplateStringsArray, ...values: unknown[]): PromiseLike<number>;
  $queryRaw<T>(strings: TemplateStringsArray, ...values: unknown[]): PromiseLike<T>;
}

interface PrismaClient extends PrismaRaw {
  $transaction<T>(fn: (tx: PrismaRaw) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}

/**
 * A Prisma client without `prisma generate`, which would load an engine from the network: the same runtime with the
 * same inputs that the generated file gives it, for a schema without models.
 */
function createPrisma(url: string): PrismaClient {
  const load = createRequire(import.meta.url);
  const runtime = load('@prisma/client/runtime/client') as {
    getPrismaClient(config: object): new (options: object) => PrismaClient;
  };
  const Client = runtime.getPrismaClient({
    previewFeatures: [],
    clientVersion: (load('@prisma/client/package.json') as { version: string }).version,
    engineVersion: '0',
    activeProvider: 'postgresql',
    inlineSchema: 'datasource db {\n  provider = "postgresql"\n}\n',
    runtimeDataModel: { models: {}, enums: {}, types: {} },
    // Three zeros: no nodes for inputs, none for outputs, no roots.
    parameterizationSchema: { strings: [], graph: 'AAAA' },
    compilerWasm: {
      getRuntime: async () => load('@prisma/client/runtime/query_compiler_fast_bg.postgresql.js') as unknown,
      getQueryCompilerWasmModule: async () => {
        const { wasm } = load('@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.js') as {
          wasm: string;
        };
        return new WebAssembly.Module(Buffer.from(wasm, 'base64'));
      },
      importName: './query_compiler_fast_bg.js',
    },
  });
  return new Client({ adapter: new PrismaPg({ connectionString: url }) });
}
