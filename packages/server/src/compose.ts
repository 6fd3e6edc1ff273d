/** All wiring: which store serves which port. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { type Verifier, verifierKey } from '@evident/core/note.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { RESERVED_LOGS } from '@evident/core/record.ts';
import pg from 'pg';
import { type Config, PARTITIONS_DEFAULT } from './config.ts';
import { openInception } from './inception.ts';
import { KeyRing } from './key-ring.ts';
import type { HeadSigner, LeafReader } from './seal/ports.ts';
import type { RecoverDeps } from './seal/recover.ts';
import { storeEnded } from './seal/rotate-key.ts';
import type { SealDeps } from './seal/seal.ts';
import type { Signer } from './signer/ports.ts';
import { lockDataDirectory, prepareDataDirectory } from './stores/folder/data-lock.ts';
import { FolderObjectStore } from './stores/folder/object-store.ts';
import { FolderTileStore } from './stores/folder/tile-store.ts';
import { Appender } from './stores/postgres/appender.ts';
import { EmbeddedPostgres } from './stores/postgres/embedded/engine.ts';
import type { EngineLogger } from './stores/postgres/embedded/engine-logger.ts';
import { checkExternal } from './stores/postgres/embedded/external.ts';
import { asEvidentError } from './stores/postgres/faults.ts';
import { PostgresHeadStore } from './stores/postgres/head-store.ts';
import { PostgresKeyRotations } from './stores/postgres/key-rotations.ts';
import { PostgresLeafReader } from './stores/postgres/leaf-reader.ts';
import { listLogs, openLog, type PostgresLog } from './stores/postgres/log.ts';
import { migrate } from './stores/postgres/migrate.ts';
import { openPool } from './stores/postgres/pool.ts';
import { PostgresRecordReader } from './stores/postgres/record-reader.ts';
import { commitRecovery, readPresent } from './stores/postgres/recovery.ts';
import { PostgresRelayLog } from './stores/postgres/relay-log.ts';
import { PostgresTenantLeaves } from './stores/postgres/tenant-leaves.ts';
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
  readonly signer: Signer;
  /** What the signer remembers now, also where another process signs. */
  readonly signerMemory: Pick<HeadSigner, 'last'>;
  readonly leaves: LeafReader;
  readonly heads: PostgresHeadStore;
  readonly records: PostgresRecordReader;
  readonly relayLog: PostgresRelayLog;
  /** Keys, from K through every rotation that is stored. */
  readonly keys: KeyRing;
  readonly rotations: PostgresKeyRotations;
  /** Of the key that signs a tree at a size, as `keys` were read last. */
  verifierOf(origin: string, size: bigint): Verifier;
  /** As `verifierOf`; without a size: of the key that the tree began with. K is that of heads/0. */
  vkeyOf(origin: string, size?: bigint): string;
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
    return await assemble(config, dataDir, connection, true, async () => {
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
  return assemble(config, config.dataDir, connection, false, async () => undefined);
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
    for (const log of RESERVED_LOGS) await client.query('SELECT evident.make_log($1, 1)', [log]);
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
  holds: boolean,
  release: () => Promise<void>,
): Promise<Storage> {
  const role = 'evident_server';
  const pool = openPool(connection, { role, max: POOL_CONNECTIONS, tenant: '*', name: 'evident stages' });
  const queryPool = openPool(connection, { role, max: QUERY_CONNECTIONS, name: 'evident query' });
  // The pool listens to connections that are idle alone. One that breaks between two statements of a transaction
  // would end the process; its next statement says that it is broken.
  for (const one of [pool, queryPool]) one.on('connect', (client) => client.on('error', () => undefined));
  const undo: (() => void)[] = [];
  try {
    const begun = await openInception(config, dataDir, pool, holds);
    undo.push(begun.close);
    const { name, publicKey } = begun;
    const rotations = new PostgresKeyRotations(pool);
    const keys = new KeyRing(verifierKey(treeOrigin(name, 'heads', 0), 'ed25519', publicKey), (from) =>
      rotations.read(from),
    );
    if (holds) await storeEnded(begun.signer, rotations);
    await keys.read().catch(passOverKeys);
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
      signer: begun.signer,
      signerMemory: begun.memory,
      treeOf,
      objects: new FolderObjectStore(join(dataDir, 'objects')),
      leaves: new PostgresLeafReader(pool, treeOf),
      heads: new PostgresHeadStore(pool, treeOf),
      relayLog: new PostgresRelayLog({ pool, logs }),
      records: new PostgresRecordReader(pool, treeOf, (log) => logs.get(log)?.partitions ?? 1),
      keys,
      rotations,
      verifierOf: (origin, size) => keys.verifierOf(origin, size),
      vkeyOf: (origin, size = 0n) => keys.vkeyOf(origin, size),
      close: async () => {
        await appender.close();
        await Promise.all([pool.end(), queryPool.end()]);
        await tiles.close();
        begun.close();
        await release();
      },
    };
  } catch (error) {
    for (const one of undo) one();
    await Promise.all([pool.end(), queryPool.end()]);
    throw asEvidentError(error, 'opening the log', false);
  }
}

/** Stored rotations that do not follow from K: what they say counts for nothing, and verification says so. */
function passOverKeys(error: unknown): void {
  if (!isEvidentError(error) || error.code !== 'key-mismatch') throw error;
}

export function sealDepsOf(storage: Storage): SealDeps {
  const { name, leaves, tiles, heads, signer } = storage;
  return { name, leaves, tiles, heads, signer };
}

export function verifyDepsOf(storage: Storage): VerifyDeps {
  const { name, logs, records, tiles, objects, signerMemory, verifierOf, keys } = storage;
  return {
    name,
    logs: [...logs.values()],
    records,
    tiles,
    heads: records,
    objects,
    verifierOf,
    refreshKeys: async () => void (await keys.read()),
    signer: signerMemory,
    tenantLeaves: new PostgresTenantLeaves(storage.pool, storage.treeOf),
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
