/** The server process: storage opened, what is stored held against what was signed, then the doors. */

import { randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { FastifyInstance } from 'fastify';
import pino, { type Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { createApiKey } from './access/api-keys.ts';
import { ProviderKeys } from './access/provider-keys.ts';
import { makeTokenVerifier, type TokenVerifier } from './access/tokens.ts';
import { VerifiedKeys } from './access/verified-keys.ts';
import { Alerting } from './alerting.ts';
import type { ChangeDeps } from './alerts/changes.ts';
import type { SecretBox } from './alerts/ports.ts';
import type { AnchorLoop } from './anchor/anchor-loop.ts';
import { makeAnchorLoop } from './anchoring.ts';
import { makeRecordOwn, type RecordOwn } from './audit/record-own.ts';
import { openStorage, type Storage } from './compose.ts';
import type { Config } from './config.ts';
import { evidenceDepsOf, wantedAnchorsOf } from './evidence-deps.ts';
import type { HttpDeps } from './http/deps.ts';
import { buildServer } from './http/server.ts';
import { readMappings, registryOf } from './mapping-files.ts';
import { openMetricsAccess } from './metrics-access.ts';
import { HOT_VIEW } from './project/projection.ts';
import { viewStatuses } from './project/view-status.ts';
import { Projections } from './projections.ts';
import { queryDepsOf } from './queries.ts';
import { type OnRelayAlert, Relays } from './relays.ts';
import type { SealBreak } from './seal/seal.ts';
import { HEADS_LOG, type SealLoop } from './seal/seal-loop.ts';
import { breakCondition, makeSealLoop, signerCondition } from './sealing.ts';
import { makeSelfAudit, standingOf } from './self-auditing.ts';
import { writeFileDurably } from './stores/durable-file.ts';
import { openFolderOccurrenceStore } from './stores/folder/occurrence-store.ts';
import { openSecretBox } from './stores/folder/secret-box.ts';
import { PostgresAlertStore, PostgresRuleStore } from './stores/postgres/alert-store.ts';
import { PostgresApiKeyStore } from './stores/postgres/api-keys.ts';
import { PostgresIdentityReader } from './stores/postgres/identities.ts';
import { PublishedHeads } from './stores/postgres/published-heads.ts';
import { tenantSecret } from './stores/postgres/tenant-secrets.ts';
import { PostgresWebhookStore } from './stores/postgres/webhook-store.ts';
import { tiersNow, trustToLeave } from './trust.ts';
import type { SelfAudit } from './verify/self-audit.ts';
import type { Tier } from './verify/tiers.ts';
import { ViewKeeper } from './view-keeper.ts';
import { viewOperationOf } from './view-operation.ts';
import { makeWindowLoop } from './windowing.ts';
import type { WindowLoop } from './windows/window-loop.ts';

/** Milliseconds that a stop may take before what is left is told to go. */
const STOP_MS_MAX = 20_000;

export interface RunningServer {
  readonly url: string;
  readonly storage: Storage;
  readonly vkey: string;
  readonly keyFile: string;
  readonly breaks: readonly SealBreak[];
  /** Those in force as it started. */
  readonly tiers: readonly Tier[];
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
  const box = await sealedSecrets(storage, logger);
  const alerting = config.roles.includes('project')
    ? makeAlerting(config, storage, metrics, logger, box)
    : null;
  // Conditions are stored by whoever sees them; the process of the role `project` sends them.
  const report = alerting?.report.bind(alerting) ?? storeConditions(storage, logger);
  const onBreak = (found: SealBreak) => report(breakCondition(found), true);
  // Made before anything runs: it reads files that may not be there.
  const anchoring = config.roles.includes('seal')
    ? makeAnchorLoop(config, storage, metrics, logger, report, clock)
    : null;
  const sealing = config.roles.includes('seal')
    ? makeSealLoop(storage, metrics, logger, onBreak, (held) => report(signerCondition(config), held), clock)
    : null;
  // Before the doors open: a record must not land on a position that was sealed as another one.
  const breaks = sealing === null ? [] : await sealing.open();
  sealing?.start();
  const windowing = sealing === null ? null : makeWindowLoop(storage, metrics, logger, report, clock);
  windowing?.start();
  anchoring?.start();
  const selfAudit = sealing === null ? null : makeSelfAudit(config, storage, metrics, logger, report, clock);
  selfAudit?.start();
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
  const parts: Parts = {
    http: null,
    relays,
    projections,
    keeper,
    alerting,
    windowing,
    anchoring,
    selfAudit,
    sealing,
    stopping,
  };
  try {
    if (config.roles.includes('api'))
      parts.http = await openDoors(
        config,
        storage,
        { relays, projections, sealing },
        box,
        metrics,
        logger,
        stopping.signal,
      );
    const { http } = parts;
    const url =
      http === null ? '' : `http://${config.host}:${(http.server.address() as { port: number }).port}`;
    const keyFile = await writeOwnerFiles(storage, url, config);
    return {
      url,
      storage,
      keyFile,
      breaks,
      tiers: await tiersNow(storage, config, clock),
      vkey: storage.vkeyOf(treeOrigin(storage.name, HEADS_LOG, 0), 0n),
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

function makeAlerting(
  config: Config,
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  box: SecretBox,
): Alerting {
  return new Alerting(storage, metrics, logger, {
    allowPrivate: config.webhookPrivate,
    mappings: readMappings(storage.dataDir),
    box,
    keepDays: config.alertKeepDays,
    record: recordOwnOf(storage),
  });
}

/** Secrets of webhooks that were stored as they are, before they were sealed, are sealed now. */
async function sealedSecrets({ pool, dataDir }: Storage, logger: Logger): Promise<SecretBox> {
  const box = openSecretBox(dataDir);
  const { sealed, foreign } = await new PostgresWebhookStore(pool, box).sealSecrets();
  if (sealed > 0) logger.info({ webhooks: sealed }, 'secrets of webhooks were sealed');
  if (foreign > 0)
    logger.error(
      { webhooks: foreign },
      'secrets of webhooks were sealed with another key than webhook.key of this data directory; nothing is sent there',
    );
  return box;
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

function makeKeeper(storage: Storage, logger: Logger): ViewKeeper {
  const views = viewOperationOf(storage, registryOf(storage.dataDir), false);
  return new ViewKeeper(storage, views, logger, { mappings: readMappings(storage.dataDir) });
}

type Readers = Pick<Parts, 'relays' | 'projections' | 'sealing'>;

async function openDoors(
  config: Config,
  storage: Storage,
  readers: Readers,
  box: SecretBox,
  metrics: Registry,
  logger: Logger,
  stopping: AbortSignal,
): Promise<FastifyInstance> {
  const metricsAccess = openMetricsAccess(config, randomBytes);
  const deps = httpDepsOf(config, storage, readers, box, metrics, logger, stopping);
  const server = buildServer({ ...deps, metricsAccess });
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
  { relays, projections, sealing }: Readers,
  box: SecretBox,
  metrics: Registry,
  logger: Logger,
  stopping: AbortSignal,
): HttpDeps {
  const { pool, logs, objects } = storage;
  const recordOwn = recordOwnOf(storage);
  const registry = registryOf(storage.dataDir);
  const views = viewOperationOf(storage, registry, false);
  const statusDeps = { ...views, letters: views.letters.letters, logs };
  const query = queryDepsOf(storage);
  const published = new PublishedHeads(pool, storage.name, logs, (origin) => storage.keys.keysOf(origin));
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
    alerts: alertDepsOf(storage, recordOwn, box),
    ...(config.trustedProxies.length === 0 ? {} : { trustedProxies: config.trustedProxies }),
    tenantSecret: (tenant) => tenantSecret(pool, tenant, randomBytes),
    openOccurrenceStore: () => openFolderOccurrenceStore(storage.dataDir),
    heads: published,
    status: published,
    identities: new PostgresIdentityReader(pool, logs, (listener) => storage.appender.onAppended(listener)),
    query,
    evidence: evidenceDepsOf(storage, query, wantedAnchorsOf(config)),
    standing: standingOf(storage, config, clock),
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
    ...(sealing === null ? {} : { rotateKey: () => sealing.rotateKey() }),
    waitingBytes: () => storage.appender.waitingBytes,
    now,
    randomId: randomUUID,
    logger,
    stopping,
    limits: { inFlightBytesMax: config.inflightBytesMax, ...config.rateLimits },
  };
}

function alertDepsOf({ pool }: Storage, record: RecordOwn, box: SecretBox): ChangeDeps {
  return {
    board: new PostgresAlertStore(pool),
    rules: new PostgresRuleStore(pool),
    webhooks: new PostgresWebhookStore(pool, box),
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
async function writeOwnerFiles(storage: Storage, url: string, config: Config): Promise<string> {
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
  const server = { pid: process.pid, url, postgres: storage.connection, ...trustToLeave(config) };
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
  readonly windowing: WindowLoop | null;
  readonly anchoring: AnchorLoop | null;
  readonly selfAudit: SelfAudit | null;
  readonly sealing: SealLoop | null;
  readonly stopping: AbortController;
}

async function stopParts(parts: Parts): Promise<void> {
  const { http, relays, projections, keeper, alerting, windowing, anchoring, selfAudit, sealing, stopping } =
    parts;
  stopping.abort();
  await http?.close();
  await relays?.stop();
  await keeper?.stop();
  await projections?.stop();
  await alerting?.stop();
  // Before the sealer: what it appended last is sealed in the last round.
  await windowing?.stop();
  await anchoring?.stop();
  await selfAudit?.stop();
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
