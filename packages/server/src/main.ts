/** The program: commands with everything they need. */

import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import pino from 'pino';
import {
  type CommandDeps,
  EXIT,
  type FoundServer,
  type OpenedData,
  type SourceRegistry,
} from './cli/command-deps.ts';
import { runProgram } from './cli/program.ts';
import {
  attachStorage,
  openStorage,
  recoverDepsOf,
  type Storage,
  sealDepsOf,
  verifyDepsOf,
} from './compose.ts';
import { type ConfigInput, configFromEnvironment, makeConfig, readConfigFile } from './config.ts';
import { nodeHmacSha256 } from './ingest/import/identity.ts';
import { registryOf } from './mapping-files.ts';
import { storeConnection } from './outbox-connections.ts';
import { projectPending } from './project-pending.ts';
import { queryDepsOf } from './queries.ts';
import { listHeads } from './seal/list-heads.ts';
import { recoverPartition } from './seal/recover.ts';
import { openSealer, type SealBreak, sealRound } from './seal/seal.ts';
import { startServer } from './server.ts';
import { isDirectoryHeld } from './stores/folder/data-lock.ts';
import { openFolderOccurrenceStore } from './stores/folder/occurrence-store.ts';
import { PostgresAlertStore } from './stores/postgres/alert-store.ts';
import { PostgresCopyReader } from './stores/postgres/copies.ts';
import { checkOutbox } from './stores/postgres/outbox/check.ts';
import { withOutboxClient } from './stores/postgres/outbox/client.ts';
import { initOutbox } from './stores/postgres/outbox/init.ts';
import { tenantSecret } from './stores/postgres/tenant-secrets.ts';
import { viewOperationOf } from './view-operation.ts';

/** Runs a command line and sets the exit code. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  // Whoever read has closed the pipe, as head does: the rest can't be said. A command that holds an engine goes on to
  // its end all the same; one that follows a log has none.
  let isCut = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    isCut = true;
    if (args[0] === 'tail') process.exit(EXIT.failed);
  });
  const code = await runProgram(commandDeps(), args, readConfigFile);
  process.exitCode = isCut ? EXIT.failed : code;
}

function commandDeps(): CommandDeps {
  return {
    environment: process.env,
    start: async (input) => {
      const config = makeConfig(configFromEnvironment(process.env), input);
      const { url, vkey, keyFile, breaks, storage, stop } = await startServer(config);
      return { url, vkey, keyFile, breaks, dataDir: storage.dataDir, stop };
    },
    findServer: async (dataDir) => readServerFile(dataDir)?.server ?? null,
    open: openData,
    initOutbox: (url, options) =>
      withOutboxClient(outboxAddress(url), (client) => initOutbox(client, options)),
    checkOutbox: (url) => withOutboxClient(outboxAddress(url), checkOutbox),
    randomId: randomUUID,
    clock: () => BigInt(Date.now()) * 1_000n,
  };
}

function outboxAddress(url: string | undefined): string {
  const address = url ?? process.env.EVIDENT_OUTBOX_POSTGRES;
  if (address !== undefined && address !== '') return address;
  throw new EvidentError(
    'usage-invalid',
    "--database: the application's database is needed: --database URL, or EVIDENT_OUTBOX_POSTGRES, so that no password stands on a command line",
  );
}

interface ServerFile {
  readonly server: FoundServer;
  readonly postgres: object;
}

/** What a running server left in its directory; null when none holds it. */
function readServerFile(dataDir: string): ServerFile | null {
  if (!isDirectoryHeld(dataDir)) return null;
  try {
    const { url, postgres } = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as {
      url: string;
      postgres: object;
    };
    return { server: { url, key: readFileSync(join(dataDir, 'admin.key'), 'utf8').trim() }, postgres };
  } catch (cause) {
    throw new EvidentError(
      'data-locked',
      `a process holds ${dataDir}, but it left no address there that you may read (it may be starting): ${(cause as Error).message}`,
      { cause },
    );
  }
}

async function openData(input: ConfigInput, { alone }: { alone: boolean }): Promise<OpenedData> {
  const config = makeConfig(configFromEnvironment(process.env), input);
  // A reader makes nothing: a mistyped directory would be made, and verified.
  if (!alone && !existsSync(join(config.dataDir, 'evident.json'))) {
    throw new EvidentError(
      'usage-invalid',
      `--data: ${config.dataDir} holds no log; evident start makes one there`,
    );
  }
  const held = readServerFile(config.dataDir);
  if (held !== null && alone)
    throw new EvidentError(
      'data-locked',
      `a server holds ${config.dataDir}: stop it first, then run this again`,
    );
  if (held !== null) return openedData(await attachStorage(config, held.postgres), async () => undefined);
  const storage = await openStorage(
    config,
    pino({ level: 'error' }, pino.destination({ dest: 2, sync: true })),
  );
  return openedData(storage, () => projectPending(storage));
}

function openedData(storage: Storage, catchUp: () => Promise<void>): OpenedData {
  const { name, dataDir, logs, tiles, records, objects, pool, verifierOf, vkeyOf } = storage;
  return {
    name,
    dataDir,
    logs,
    tiles,
    heads: records,
    objects,
    verifierOf,
    vkeyOf,
    verify: verifyDepsOf(storage),
    views: viewOperationOf(storage, registryOf(dataDir), true),
    sources: sourceRegistry(storage),
    alerts: new PostgresAlertStore(pool),
    query: queryDepsOf(storage),
    copies: new PostgresCopyReader(pool, storage.treeOf),
    catchUp,
    seal: () => sealEverything(storage),
    importDeps: async (tenant) => ({
      hmacSha256: nodeHmacSha256,
      tenantSecret: await tenantSecret(pool, tenant, randomBytes),
      openOccurrenceStore: () => openFolderOccurrenceStore(dataDir),
    }),
    recover: (log, partition, reason) =>
      recoverPartition(recoverDepsOf(storage, randomUUID), log, partition, reason),
    close: () => storage.close(),
  };
}

function sourceRegistry({ relayLog, dataDir }: Storage): SourceRegistry {
  return {
    list: async () =>
      (await relayLog.listSources()).map(({ name, log, tenants, wantedMode, state }) => ({
        name,
        log,
        tenants,
        wantedMode,
        mode: state?.mode ?? null,
        epoch: state?.epoch ?? null,
      })),
    register: (name, log, tenants, mode) => relayLog.register(name, log, tenants, mode),
    storeConnection: (name, connection) => storeConnection(dataDir, name, connection),
  };
}

/** Seals what waits, and lists it, as the server's loop would. */
async function sealEverything(storage: Storage): Promise<SealBreak[]> {
  const deps = sealDepsOf(storage);
  const breaks: SealBreak[] = [];
  // `heads` last: it lists what the others got.
  const names = [...storage.logs.keys()].filter((log) => log !== 'heads');
  for (const name of [...names, 'heads']) {
    const log = storage.logs.get(name);
    if (log === undefined) continue;
    const { sealer, breaks: found } = await openSealer(deps, log);
    breaks.push(...found);
    for (let more = true; more; ) {
      const round = await sealRound(deps, sealer);
      breaks.push(...round.breaks);
      if (name !== 'heads')
        await listHeads(storage.logs.get('heads') as typeof log, storage.heads, round.sealed);
      more = round.more;
    }
  }
  return breaks;
}
