/** All wiring: which store serves which port. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { formatVkey, type Verifier, verifierKey, verifierOf } from '@evident/core/note.ts';
import { defaultName, treeOrigin } from '@evident/core/origin.ts';
import pg from 'pg';
import { type Config, PARTITIONS_DEFAULT } from './config.ts';
import type { LeafReader } from './seal/ports.ts';
import type { RecoverDeps } from './seal/recover.ts';
import type { SealDeps } from './seal/seal.ts';
import { HEADS_LOG } from './seal/seal-loop.ts';
import { writeFileDurably } from './stores/durable-file.ts';
import { lockDataDirectory, prepareDataDirectory } from './stores/folder/data-lock.ts';
import { FolderObjectStore } from './stores/folder/object-store.ts';
import { FolderSigner, VERIFY_FUNCTIONS } from './stores/folder/signer.ts';
import { FolderTileStore } from './stores/folder/tile-store.ts';
import { Appender } from './stores/postgres/appender.ts';
import { EmbeddedPostgres } from './stores/postgres/embedded/engine.ts';
import type { EngineLogger } from './stores/postgres/embedded/engine-logger.ts';
import { checkExternal } from './stores/postgres/embedded/external.ts';
import { asEvidentError } from './stores/postgres/faults.ts';
import { PostgresHeadStore } from './stores/postgres/head-store.ts';
import { PostgresLeafReader } from './stores/postgres/leaf-reader.ts';
import { listLogs, openLog, type PostgresLog } from './stores/postgres/log.ts';
import { migrate } from './stores/postgres/migrate.ts';
import { openPool } from './stores/postgres/pool.ts';
import { PostgresRecordReader } from './stores/postgres/record-reader.ts';
import { commitRecovery, readPresent } from './stores/postgres/recovery.ts';
import { PostgresRelayLog } from './stores/postgres/relay-log.ts';
import type { VerifyDeps } from './verify/verify.ts';

const POOL_CONNECTIONS = 12;
/** Searches at once; more wait for a connection, and no append waits for a search. */
const QUERY_CONNECTIONS = 6;

/** Everything that is stored, opened. */
export interface Storage {
  readonly dataDir: string;
  readonly name: string;
  readonly pool: pg.Pool;
  /** For reads on behalf of somebody: its connections see no row before a transaction sets a tenant. */
  readonly queryPool: pg.Pool;
  readonly connection: pg.ClientConfig;
  readonly logs: ReadonlyMap<string, PostgresLog>;
  readonly appender: Appender;
  readonly tiles: FolderTileStore;
  readonly objects: FolderObjectStore;
  readonly signer: FolderSigner;
  readonly leaves: LeafReader;
  readonly heads: PostgresHeadStore;
  readonly records: PostgresRecordReader;
  readonly relayLog: PostgresRelayLog;
  verifierOf(origin: string): Verifier;
  vkeyOf(origin: string): string;
  treeOf(log: string, partition: number): number;
  close(): Promise<void>;
}

/** Opens the storage of a data directory that this process holds, starting the embedded PostgreSQL if need be. */
export async function openStorage(config: Config, logger: EngineLogger): Promise<Storage> {
  const dataDir = prepareDataDirectory(config.dataDir);
  const lock = lockDataDirectory(dataDir);
  let engine: EmbeddedPostgres | undefined;
  try {
    // Of a server that was killed: its address may be another process's by now, and commands would send it the admin key.
    rmSync(join(dataDir, 'server.json'), { force: true });
    const connection = await openEngine(config, dataDir, logger, (made) => {
      engine = made;
    });
    await prepareDatabase(connection, config);
    return await assemble(config, dataDir, connection, async () => {
      await engine?.stop();
      lock.release();
    });
  } catch (error) {
    await engine?.stop();
    lock.release();
    throw error;
  }
}

async function openEngine(
  config: Config,
  dataDir: string,
  logger: EngineLogger,
  onEngine: (engine: EmbeddedPostgres) => void,
): Promise<pg.ClientConfig> {
  if (config.postgres !== null) {
    await checkExternal(config.postgres);
    return { connectionString: config.postgres };
  }
  const engine = new EmbeddedPostgres({
    dataDir,
    logger,
    onExit: (exit) => logger.error({ ...exit }, 'PostgreSQL died; it is started again'),
    onRestart: () => logger.info({}, 'PostgreSQL answers again'),
  });
  onEngine(engine);
  await engine.start();
  return engine.connection();
}

/** Opens the storage of a directory that a running server holds, through the PostgreSQL that it runs: for readers. */
export async function attachStorage(config: Config, connection: pg.ClientConfig): Promise<Storage> {
  return assemble(config, config.dataDir, connection, async () => undefined);
}

async function prepareDatabase(connection: pg.ClientConfig, config: Config): Promise<void> {
  const client = new pg.Client(connection);
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
    if (rows[0].server_encoding !== 'UTF8') {
      throw new EvidentError(
        'postgres-version',
        `the database has the encoding ${rows[0].server_encoding}; Evident needs UTF8`,
      );
    }
    await migrate(client);
    await client.query('SELECT evident.make_log($1, 1)', [HEADS_LOG]);
    for (const [log, partitions] of Object.entries(config.logs)) await makeLog(client, log, partitions);
    // Made last and unasked: an `audit` that exists keeps the number of partitions it was made with.
    await client.query('SELECT evident.make_log($1, $2)', ['audit', PARTITIONS_DEFAULT]);
  } finally {
    await client.end();
  }
}

/** An existing log keeps its number of partitions; another number in the configuration is a mistake worth hearing of. */
async function makeLog(client: pg.Client, log: string, partitions: number): Promise<void> {
  const { rows } = await client.query<{ made: number }>('SELECT evident.make_log($1, $2) AS made', [
    log,
    partitions,
  ]);
  if (rows[0].made !== partitions) {
    const detail = `logs.${log}: it has ${rows[0].made} partitions and keeps them; ${partitions} are configured`;
    throw new EvidentError('usage-invalid', detail, { context: { field: `logs.${log}` } });
  }
}

async function assemble(
  config: Config,
  dataDir: string,
  connection: pg.ClientConfig,
  release: () => Promise<void>,
): Promise<Storage> {
  const pool = openPool(connection, { role: 'evident_server', max: POOL_CONNECTIONS, tenant: '*' });
  const queryPool = openPool(connection, { role: 'evident_server', max: QUERY_CONNECTIONS });
  // The pool listens to connections that are idle alone. One that breaks between two statements of a transaction
  // would end the process; its next statement says that it is broken.
  for (const one of [pool, queryPool]) one.on('connect', (client) => client.on('error', () => undefined));
  try {
    const signer = FolderSigner.open(join(dataDir, 'signer'));
    const name = await inception(pool, dataDir, signer, config.name);
    const appender = new Appender(pool);
    const logs = new Map<string, PostgresLog>();
    for (const { log, partitions } of await listLogs(pool))
      logs.set(log, await openLog({ pool, appender }, log, partitions));
    const treeOf = (log: string, partition: number): number => {
      const tree = logs.get(log)?.trees[partition];
      if (tree === undefined)
        throw new EvidentError('not-found', `there is no partition ${log}/${partition}`);
      return tree;
    };
    const tiles = new FolderTileStore(join(dataDir, 'tiles'));
    return {
      dataDir,
      name,
      pool,
      queryPool,
      connection,
      logs,
      appender,
      tiles,
      signer,
      treeOf,
      objects: new FolderObjectStore(join(dataDir, 'objects')),
      leaves: new PostgresLeafReader(pool, treeOf),
      heads: new PostgresHeadStore(pool, treeOf),
      relayLog: new PostgresRelayLog({ pool, logs }),
      records: new PostgresRecordReader(pool, treeOf, (log) => logs.get(log)?.partitions ?? 1),
      verifierOf: (origin) => verifierOf(verifierKey(origin, 'ed25519', signer.publicKey), VERIFY_FUNCTIONS),
      vkeyOf: (origin) => formatVkey(verifierKey(origin, 'ed25519', signer.publicKey)),
      close: async () => {
        await appender.close();
        await Promise.all([pool.end(), queryPool.end()]);
        await tiles.close();
        await release();
      },
    };
  } catch (error) {
    await Promise.all([pool.end(), queryPool.end()]);
    throw asEvidentError(error, 'opening the log', false);
  }
}

/**
 * What this installation was begun as: name and K, in the database and in the data directory.
 *
 * If we die after the row and before the file, the next start writes the file from the row.
 */
async function inception(
  pool: pg.Pool,
  dataDir: string,
  signer: FolderSigner,
  wanted: string | null,
): Promise<string> {
  const read = () => pool.query<{ name: string; vkey: string }>('SELECT name, vkey FROM evident.inception');
  let { rows } = await read();
  if (rows.length === 0) {
    if (signer.hasSigned) {
      throw new EvidentError(
        'seal-break',
        'the database is empty, but the signer of this data directory has signed heads: put the database back, or use another directory',
      );
    }
    const name = wanted ?? defaultName(signer.publicKey);
    const vkey = formatVkey(verifierKey(treeOrigin(name, HEADS_LOG, 0), 'ed25519', signer.publicKey));
    await pool.query('INSERT INTO evident.inception (name, vkey) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
      name,
      vkey,
    ]);
    ({ rows } = await read());
  }
  const { name, vkey } = rows[0];
  const own = formatVkey(verifierKey(treeOrigin(name, HEADS_LOG, 0), 'ed25519', signer.publicKey));
  if (own !== vkey)
    throw new EvidentError(
      'key-mismatch',
      `the database was begun with the key ${vkey}, but this data directory signs with ${own}`,
    );
  if (wanted !== null && wanted !== name) {
    throw new EvidentError(
      'usage-invalid',
      `name: this log was begun as ${name} and keeps that name; ${wanted} is configured`,
      { context: { field: 'name' } },
    );
  }
  writeFileDurably(join(dataDir, 'evident.vkey'), `${vkey}\n`, 0o644);
  return name;
}

export function sealDepsOf(storage: Storage): SealDeps {
  const { name, leaves, tiles, heads, signer } = storage;
  return { name, leaves, tiles, heads, signer };
}

export function verifyDepsOf(storage: Storage): VerifyDeps {
  const { name, logs, records, tiles, objects, signer, verifierOf } = storage;
  return {
    name,
    logs: [...logs.values()],
    records,
    tiles,
    heads: records,
    objects,
    verifierOf,
    // Read anew: a server that runs beside us has signed since.
    signer: {
      last: async (origin) =>
        FolderSigner.readLast(join(storage.dataDir, 'signer')).get(origin) ?? signer.last(origin),
    },
    lost: (log, partition) => records.readLost(log, partition),
  };
}

export function recoverDepsOf(storage: Storage, newId: () => string): RecoverDeps {
  const { name, tiles, heads, signer, records, pool, treeOf } = storage;
  return {
    name,
    tiles,
    heads,
    signer,
    newId,
    readPresent: (log, partition, from, to) => readPresent(records, log, partition, from, to),
    commit: (log, partition, recovery) => commitRecovery(pool, treeOf, log, partition, recovery),
  };
}
