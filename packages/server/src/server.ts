/** The server process: storage opened, what is stored held against what was signed, then the doors. */

import { randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { FastifyInstance } from 'fastify';
import pino, { type Logger } from 'pino';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { createApiKey } from './access/api-keys.ts';
import { ProviderKeys } from './access/provider-keys.ts';
import { makeTokenVerifier, type TokenVerifier } from './access/tokens.ts';
import { VerifiedKeys } from './access/verified-keys.ts';
import { Alerting } from './alerting.ts';
import type { ChangeDeps } from './alerts/changes.ts';
import type { Condition } from './alerts/ports.ts';
import { makeRecordOwn, type RecordOwn } from './audit/record-own.ts';
import { openStorage, type Storage, sealDepsOf } from './compose.ts';
import type { Config } from './config.ts';
import type { HttpDeps } from './http/deps.ts';
import { buildServer } from './http/server.ts';
import { readMappings, registryOf } from './mapping-files.ts';
import { HOT_VIEW } from './project/projection.ts';
import { viewStatuses } from './project/view-status.ts';
import { Projections } from './projections.ts';
import { queryDepsOf } from './queries.ts';
import { type OnRelayAlert, Relays } from './relays.ts';
import type { SealBreak } from './seal/seal.ts';
import { HEADS_LOG, SealLoop } from './seal/seal-loop.ts';
import { writeFileDurably } from './stores/durable-file.ts';
import { openFolderOccurrenceStore } from './stores/folder/occurrence-store.ts';
import { PostgresAlertStore, PostgresRuleStore } from './stores/postgres/alert-store.ts';
import { PostgresApiKeyStore } from './stores/postgres/api-keys.ts';
import { PostgresIdentityReader } from './stores/postgres/identities.ts';
import { PublishedHeads } from './stores/postgres/published-heads.ts';
import { tenantSecret } from './stores/postgres/tenant-secrets.ts';
import { PostgresWebhookStore } from './stores/postgres/webhook-store.ts';
import { ViewKeeper } from './view-keeper.ts';
import { viewOperationOf } from './view-operation.ts';

/** Milliseconds that a stop may take before what is left is told to go. */
const STOP_MS_MAX = 20_000;

export interface RunningServer {
  readonly url: string;
  readonly storage: Storage;
  readonly vkey: string;
  readonly keyFile: string;
  readonly breaks: readonly SealBreak[];
  stop(): Promise<void>;
}

const now = () => performance.now();
const clock = () => BigInt(Date.now()) * 1_000n;

export async function startServer(config: Config): Promise<RunningServer> {
  const logger = pino({ level: config.logLevel }, pino.destination({ dest: 2, sync: true }));
  const storage = await openStorage(config, logger);
  try {
    return await serve(config, storage, logger);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function serve(config: Config, storage: Storage, logger: Logger): Promise<RunningServer> {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const stopping = new AbortController();
  // Before the doors open: rules can be made from the first request on.
  await new PostgresAlertStore(storage.pool).load();
  const alerting = config.roles.includes('project')
    ? new Alerting(storage, metrics, logger, {
        allowPrivate: config.webhookPrivate,
        mappings: readMappings(storage.dataDir),
      })
    : null;
  // Conditions are stored by whoever sees them; the process of the role `project` sends them.
  const report = alerting?.report.bind(alerting) ?? storeConditions(storage, logger);
  const onBreak = (found: SealBreak) => report(breakCondition(found), true);
  const sealing = config.roles.includes('seal') ? makeSealLoop(storage, metrics, logger, onBreak) : null;
  // Before the doors open: a record must not land on a position that was sealed as another one.
  const breaks = sealing === null ? [] : await sealing.open();
  sealing?.start();
  const relays = config.roles.includes('relay') ? new Relays(config, storage, metrics, logger, report) : null;
  relays?.start();
  const projections = config.roles.includes('project')
    ? new Projections(storage, metrics, logger, { mappings: readMappings(storage.dataDir) })
    : null;
  projections?.start();
  const keeper = config.roles.includes('project') ? makeKeeper(storage, logger) : null;
  keeper?.start();
  alerting?.start();
  for (const found of breaks) onBreak(found);
  const parts: Parts = { http: null, relays, projections, keeper, alerting, sealing, stopping };
  try {
    if (config.roles.includes('api'))
      parts.http = await openDoors(
        config,
        storage,
        { relays, projections },
        metrics,
        logger,
        stopping.signal,
      );
    const { http } = parts;
    const url =
      http === null ? '' : `http://${config.host}:${(http.server.address() as { port: number }).port}`;
    const keyFile = await writeOwnerFiles(storage, url);
    return {
      url,
      storage,
      keyFile,
      breaks,
      vkey: storage.vkeyOf(treeOrigin(storage.name, HEADS_LOG, 0)),
      stop: () => stopServer(storage, parts, logger),
    };
  } catch (error) {
    // Whoever reads the log goes on by itself, and would keep the process.
    const late = endLate(logger);
    await stopParts(parts);
    clearTimeout(late);
    throw error;
  }
}

function storeConditions({ pool }: Storage, logger: Logger): OnRelayAlert {
  const store = new PostgresAlertStore(pool);
  return (condition, holds) => {
    const done = holds ? store.raise(condition) : store.settle(condition.key);
    done.catch((error: unknown) =>
      logger.error({ err: error, ...condition }, 'an alert could not be stored'),
    );
  };
}

function breakCondition(found: SealBreak): Condition {
  const subject = `${found.log}/${found.partition}`;
  return {
    key: `seal-break:${subject}`,
    tenant: null,
    name: 'seal break',
    severity: 'critical',
    subject,
    detail:
      'what is stored contradicts a signed head; the partition is stopped: evident verify, then evident recover',
  };
}

function makeKeeper(storage: Storage, logger: Logger): ViewKeeper {
  const views = viewOperationOf(storage, registryOf(storage.dataDir), false);
  return new ViewKeeper(storage, views, logger, { mappings: readMappings(storage.dataDir) });
}

function makeSealLoop(
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  onBreak: (found: SealBreak) => void,
): SealLoop {
  const sealed = new Counter({
    name: 'evident_sealed_records_total',
    help: 'Records whose leaf is below a signed head',
    registers: [metrics],
  });
  const heads = new Counter({
    name: 'evident_signed_heads_total',
    help: 'Tree heads that were signed and stored',
    registers: [metrics],
  });
  const broken = new Gauge({
    name: 'evident_seal_breaks',
    help: 'Partitions that stopped because storage contradicts a signed head',
    registers: [metrics],
  });
  const failures = new Counter({
    name: 'evident_seal_failures_total',
    help: 'Sealing rounds that failed and were tried again',
    registers: [metrics],
  });
  return new SealLoop(
    {
      ...sealDepsOf(storage),
      now,
      clock,
      onSealed: (list, leaves) => {
        sealed.inc(leaves);
        heads.inc(list.length);
      },
      onBreak: (found) => {
        broken.inc();
        onBreak(found);
        logger.error(
          { ...found },
          'a break: the partition is stopped; run evident verify, then evident recover',
        );
      },
      onError: (error) => {
        failures.inc();
        logger.error({ err: error }, 'sealing failed; it is tried again');
      },
    },
    [...storage.logs.values()],
  );
}

type Readers = Pick<Parts, 'relays' | 'projections'>;

async function openDoors(
  config: Config,
  storage: Storage,
  readers: Readers,
  metrics: Registry,
  logger: Logger,
  stopping: AbortSignal,
): Promise<FastifyInstance> {
  const server = buildServer(httpDepsOf(config, storage, readers, metrics, logger, stopping));
  const { host, port } = config;
  try {
    await server.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw error;
    const why = code === 'EADDRINUSE' ? 'another program listens there' : (error as Error).message;
    throw new EvidentError(
      'usage-invalid',
      `port ${port} of ${host}: ${why}; choose another with --port (0: any that is free)`,
      { cause: error, context: { field: 'port' } },
    );
  }
  return server;
}

function httpDepsOf(
  config: Config,
  storage: Storage,
  { relays, projections }: Readers,
  metrics: Registry,
  logger: Logger,
  stopping: AbortSignal,
): HttpDeps {
  const { pool, logs, objects } = storage;
  const recordOwn = recordOwnOf(storage);
  const registry = registryOf(storage.dataDir);
  const views = viewOperationOf(storage, registry, false);
  const statusDeps = { ...views, letters: views.letters.letters, logs };
  const published = new PublishedHeads(pool, storage.name, logs, storage.vkeyOf);
  return {
    logs,
    objects,
    apiKeys: {
      store: new PostgresApiKeyStore(pool),
      verified: new VerifiedKeys(now),
      randomBytes,
      clock,
      record: (event) => recordOwn([event]),
      tokens: tokenVerifierOf(config, logger),
    },
    recordOwn,
    alerts: alertDepsOf(storage, recordOwn),
    ...(config.trustedProxies.length === 0 ? {} : { trustedProxies: config.trustedProxies }),
    tenantSecret: (tenant) => tenantSecret(pool, tenant, randomBytes),
    openOccurrenceStore: () => openFolderOccurrenceStore(storage.dataDir),
    heads: published,
    status: published,
    identities: new PostgresIdentityReader(pool, logs, (listener) => storage.appender.onAppended(listener)),
    query: queryDepsOf(storage),
    mappers: registry,
    deadLetters: views.letters,
    viewStatuses: (tenant) => viewStatuses(statusDeps, tenant, false),
    breaker:
      projections === null
        ? null
        : {
            view: HOT_VIEW,
            reason: () => projections.breaker,
            reset: (allowance) => projections.resetBreaker(allowance),
          },
    sources: async () => (await relays?.reports()) ?? [],
    metrics,
    ready: async () => {
      try {
        await pool.query('SELECT 1');
        return { ready: true, reasons: [] };
      } catch {
        return { ready: false, reasons: ['the log cannot be reached'] };
      }
    },
    waitingBytes: () => storage.appender.waitingBytes,
    now,
    randomId: randomUUID,
    logger,
    stopping,
    limits: { inFlightBytesMax: config.inflightBytesMax, ...config.rateLimits },
  };
}

function alertDepsOf({ pool }: Storage, record: RecordOwn): ChangeDeps {
  return {
    board: new PostgresAlertStore(pool),
    rules: new PostgresRuleStore(pool),
    webhooks: new PostgresWebhookStore(pool),
    record,
    newId: randomUUID,
    randomBytes,
  };
}

/** Evident's own audit events, into the log `audit`. */
function recordOwnOf({ logs }: Storage): RecordOwn {
  const log = logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit, which every start makes');
  return makeRecordOwn({ log, newId: randomUUID, instant: () => formatInstant(clock()) });
}

function tokenVerifierOf({ oidc }: Config, logger: Logger): TokenVerifier | null {
  if (oidc === null) return null;
  const keys = new ProviderKeys(oidc, {
    fetch: (url, options) => fetch(url, options),
    now,
    onFault: (error) =>
      logger.warn(
        { err: error, issuer: oidc.issuer },
        'the identity provider gave no keys; it is asked again',
      ),
  });
  return makeTokenVerifier(oidc, keys, clock);
}

/**
 * Leaves what the owner's command line needs: `server.json` says where the server is and how to reach its
 * PostgreSQL, `admin.key` is an API key. Both are readable by the owner alone. The key is new at each start,
 * and the one before it is revoked.
 */
async function writeOwnerFiles(storage: Storage, url: string): Promise<string> {
  const { dataDir, pool } = storage;
  const note = 'admin.key of the data directory';
  await pool.query(
    'UPDATE evident.api_keys SET revoked_at = clock_timestamp() WHERE note = $1 AND revoked_at IS NULL',
    [note],
  );
  const made = await createApiKey(
    {
      store: new PostgresApiKeyStore(pool),
      verified: new VerifiedKeys(now),
      randomBytes,
      clock,
      record: async () => undefined,
      tokens: null,
    },
    { role: 'admin', tenant: null, note },
    null,
  );
  const keyFile = join(dataDir, 'admin.key');
  writeFileDurably(keyFile, `${made.text}\n`, 0o600);
  chmodSync(keyFile, 0o600);
  const server = { pid: process.pid, url, postgres: storage.connection };
  writeFileDurably(join(dataDir, 'server.json'), `${JSON.stringify(server, null, 2)}\n`, 0o600);
  return keyFile;
}

/** What runs in this process, by its roles. */
interface Parts {
  http: FastifyInstance | null;
  readonly relays: Relays | null;
  readonly projections: Projections | null;
  readonly keeper: ViewKeeper | null;
  readonly alerting: Alerting | null;
  readonly sealing: SealLoop | null;
  readonly stopping: AbortController;
}

async function stopParts(parts: Parts): Promise<void> {
  const { http, relays, projections, keeper, alerting, sealing, stopping } = parts;
  stopping.abort();
  await http?.close();
  await relays?.stop();
  await keeper?.stop();
  await projections?.stop();
  await alerting?.stop();
  await sealing?.stop();
}

/** Ends the process when stopping takes longer than its bound. */
function endLate(logger: Logger): NodeJS.Timeout {
  const late = setTimeout(() => {
    logger.error({}, 'stopping took too long; what is left ends now. Nothing acknowledged is lost');
    process.exit(70);
  }, STOP_MS_MAX);
  return late.unref();
}

/** Ends cleanly within a bound: doors, relays, views, what waits, a last sealing round, PostgreSQL. */
async function stopServer(storage: Storage, parts: Parts, logger: Logger): Promise<void> {
  const late = endLate(logger);
  await stopParts(parts);
  rmSync(join(storage.dataDir, 'server.json'), { force: true });
  await storage.close();
  clearTimeout(late);
}
