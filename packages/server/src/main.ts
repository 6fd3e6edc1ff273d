/** The program: commands with everything they need. */

import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import type { BundleKey } from '@evident/core/evidence/bundle-files.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import pino from 'pino';
import { makeRecordOwn } from './audit/record-own.ts';
import { checkDeps } from './check-deps.ts';
import {
  type CommandDeps,
  type FoundServer,
  OPERATOR,
  type OpenedData,
  type SourceRegistry,
} from './cli/command-deps.ts';
import { keepExitCode } from './cli/exit-code.ts';
import { runProgram } from './cli/program.ts';
import {
  attachStorage,
  openStorage,
  recoverDepsOf,
  type Storage,
  sealDepsOf,
  verifyDepsOf,
} from './compose.ts';
import {
  type Config,
  type ConfigInput,
  configFromEnvironment,
  makeConfig,
  readConfigFile,
} from './config.ts';
import { evidenceDepsOf, wantedAnchorsOf } from './evidence-deps.ts';
import { nodeHmacSha256 } from './ingest/import/identity.ts';
import type { Log } from './log/log.ts';
import { registryOf } from './mapping-files.ts';
import { storeConnection } from './outbox-connections.ts';
import { projectPending } from './project-pending.ts';
import { queryDepsOf } from './queries.ts';
import { listHeads } from './seal/list-heads.ts';
import { recoverPartition } from './seal/recover.ts';
import { type Rotated, rotateKey } from './seal/rotate-key.ts';
import { openSealer, type SealBreak, sealRound } from './seal/seal.ts';
import { readAuditStanding } from './self-auditing.ts';
import { startServer } from './server.ts';
import type { SignerTarget } from './signer/address.ts';
import { startSigner } from './signer-process.ts';
import { isDirectoryHeld } from './stores/folder/data-lock.ts';
import { openFolderOccurrenceStore } from './stores/folder/occurrence-store.ts';
import { PostgresAlertStore } from './stores/postgres/alert-store.ts';
import { PostgresCopyReader } from './stores/postgres/copies.ts';
import { checkOutbox } from './stores/postgres/outbox/check.ts';
import { withOutboxClient } from './stores/postgres/outbox/client.ts';
import { initOutbox } from './stores/postgres/outbox/init.ts';
import { PublishedHeads } from './stores/postgres/published-heads.ts';
import { tenantSecret } from './stores/postgres/tenant-secrets.ts';
import { trustLeft, trustOf } from './trust.ts';
import { viewOperationOf } from './view-operation.ts';
import { startWitness } from './witness-process.ts';

const clock = (): bigint => BigInt(Date.now()) * 1_000n;

/** Runs a command line and sets the exit code. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  // A command that holds an engine goes on to its end without a reader; one that follows a log has none.
  const settle = keepExitCode(args[0] === 'tail');
  settle(await runProgram(commandDeps(), args, readConfigFile));
}

/** Everything that commands need. Also for tests. */
export function commandDeps(): CommandDeps {
  return {
    environment: process.env,
    check: checkDeps,
    start: async (input) => {
      const config = makeConfig(configFromEnvironment(process.env), input);
      const { url, vkey, keyFile, breaks, tiers, storage, stop } = await startServer(config);
      return { url, vkey, keyFile, breaks, tiers, dataDir: storage.dataDir, stop };
    },
    findServer: async (dataDir) => readServerFile(dataDir)?.server ?? null,
    open: openData,
    initOutbox: (url, options) =>
      withOutboxClient(outboxAddress(url), (client) => initOutbox(client, options)),
    checkOutbox: (url) => withOutboxClient(outboxAddress(url), checkOutbox),
    startSigner,
    startWitness,
    randomId: randomUUID,
    clock,
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
  /** As the server was told; null: in the directory. */
  readonly signer: SignerTarget | null;
  /** Authorities and witnesses that the server was told. */
  readonly trust: Pick<ConfigInput, 'timestamps' | 'witnesses' | 'selfAuditRate'>;
}

/** What a running server left in its directory; null when none holds it. */
function readServerFile(dataDir: string): ServerFile | null {
  if (!isDirectoryHeld(dataDir)) return null;
  try {
    const left = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as {
      url: string;
      postgres: object;
      signer: SignerTarget | null;
    } & Parameters<typeof trustLeft>[0];
    const { url, postgres, signer } = left;
    return {
      server: { url, key: readFileSync(join(dataDir, 'admin.key'), 'utf8').trim() },
      postgres,
      signer,
      trust: trustLeft(left),
    };
  } catch (cause) {
    throw new EvidentError(
      'data-locked',
      `a process holds ${dataDir}, but it left no address there that you may read (it may be starting): ${(cause as Error).message}`,
      { cause },
    );
  }
}

async function openData(
  input: ConfigInput,
  { alone, mustExist = !alone }: { alone: boolean; mustExist?: boolean },
): Promise<OpenedData> {
  const given = configFromEnvironment(process.env);
  const config = makeConfig(given, input);
  // A reader makes nothing: a mistyped directory would be made, and verified.
  if (mustExist && !existsSync(join(config.dataDir, 'evident.json'))) {
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
  if (held !== null) {
    const told = makeConfig(held.trust, given, input);
    const settings = { ...told, signer: told.signer ?? held.signer };
    return openedData(await attachStorage(settings, held.postgres), settings, null);
  }
  const storage = await openStorage(
    config,
    pino({ level: 'error' }, pino.destination({ dest: 2, sync: true })),
  );
  return openedData(storage, config, () => projectPending(storage));
}

/** @param catchUp null: a server holds the directory */
function openedData(storage: Storage, config: Config, catchUp: (() => Promise<void>) | null): OpenedData {
  const { name, dataDir, logs, tiles, records, objects, pool, verifierOf, vkeyOf } = storage;
  const query = queryDepsOf(storage);
  return {
    name,
    dataDir,
    logs,
    tiles,
    heads: records,
    objects,
    verifierOf,
    vkeyOf,
    keys: () => keysOfLogs(storage),
    rotateKey: (reason) => rotateAlone(storage, reason),
    verify: verifyDepsOf(storage),
    views: viewOperationOf(storage, registryOf(dataDir), true),
    sources: sourceRegistry(storage),
    alerts: new PostgresAlertStore(pool),
    query,
    evidence: evidenceDepsOf(storage, query, wantedAnchorsOf(config)),
    trust: trustOf(storage, config, clock),
    selfAudit: () => readAuditStanding(storage, config.selfAuditRate, clock),
    copies: new PostgresCopyReader(pool, storage.treeOf),
    isHeldHere: catchUp !== null,
    catchUp: catchUp ?? (async () => undefined),
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

/** Keys of every tree that has one, with the sizes that each signs. */
async function keysOfLogs({ pool, name, logs, keys }: Storage): Promise<readonly BundleKey[]> {
  return new PublishedHeads(pool, name, logs, (origin) => keys.keysOf(origin)).keys();
}

async function rotateAlone(storage: Storage, reason: string): Promise<Rotated> {
  const { logs, signer, rotations } = storage;
  const instant = () => formatInstant(BigInt(Date.now()) * 1_000n);
  const record = makeRecordOwn({ log: logs.get('audit') as Log, newId: randomUUID, instant });
  const resource = { type: 'signing_key', id: 'heads/0' };
  await record([
    { actor: OPERATOR, action: 'signing_key.rotate', resource, result: 'success', tenant: null, reason },
  ]);
  const deps = { ...sealDepsOf(storage), signer, rotations, onBreak: () => undefined };
  const { sealer } = await openSealer(deps, logs.get('heads') as Log);
  const rotated = await rotateKey(deps, sealer);
  await storage.keys.read();
  return rotated;
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
