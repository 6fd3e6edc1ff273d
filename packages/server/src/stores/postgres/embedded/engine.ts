/**
 * The life of the embedded PostgreSQL: started, watched, started again when it dies, stopped.
 *
 *   stopped ── start ──► starting ── ready ──► running ── stop ──► stopping ──► stopped
 *                           ▲                     │
 *                           └── backoff ◄── died ─┘   (supervise)
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EvidentError } from '@evident/core/errors.ts';
import { chooseLauncher, type Launcher } from './account.ts';
import {
  type EngineAddress,
  openAddress,
  removeStaleSocket,
  removeTemporarySocketDirectory,
  socketParent,
} from './address.ts';
import { type Binaries, findBinaries } from './binaries.ts';
import { type Cluster, checkVersion, clusterDirectory, OWNER, openCluster } from './cluster.ts';
import { engineFault } from './engine-fault.ts';
import type { EngineLogger } from './engine-logger.ts';
import { LogFile } from './log-file.ts';
import { clearOrphans } from './orphan.ts';
import { Postmaster, type PostmasterExit } from './postmaster.ts';
import { type EngineConnection, tryReady } from './readiness.ts';
import { type ServerSettings, serverArguments } from './settings.ts';

const DATABASE = 'evident';
const STOP_MS_DEFAULT = 10_000;
const READY_POLL_MS = 20;
/** Recovery replays up to max_wal_size (4 GB) after a crash: minutes on a slow disk. Waiting is logged. */
const READY_MS_MAX = 600_000;
const WAITING_LOG_MS = 5_000;
/** How long processes of a dead postmaster may keep its shared memory. */
const SHARED_MEMORY_MS_MAX = 10_000;
const SHARED_MEMORY_RETRY_MS = 100;
const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 2_000;
/** A run this long counts as healthy: the next restart is quick again. */
const HEALTHY_RUN_MS = 60_000;

export interface EmbeddedPostgresOptions extends ServerSettings {
  /** The real path that prepareDataDirectory returned; the caller holds its lock from before start until after stop. */
  dataDir: string;
  logger: EngineLogger;
  /** Start it again when it dies, until `stop`. Default true. */
  supervise?: boolean;
  /** `tcp` goes without a Unix socket. Default `auto`. */
  transport?: 'auto' | 'tcp';
  /** Bound for one start, recovery included. Default 10 min. */
  readyMsMax?: number;
  /** PostgreSQL died though nobody stopped it. */
  onExit?: (exit: PostmasterExit) => void;
  /** It answers again after such an end. */
  onRestart?: () => void;
}

interface Installed {
  binaries: Binaries;
  launcher: Launcher;
  cluster: Cluster;
  address: EngineAddress;
}

export class EmbeddedPostgres {
  readonly #options: EmbeddedPostgresOptions;
  readonly #log: LogFile;
  #installed: Installed | undefined;
  #postmaster: Postmaster | undefined;
  /** Present from start to the end of stop; aborted when stopping begins. */
  #life: AbortController | undefined;
  /** The start or restart in progress. */
  #work: Promise<void> = Promise.resolve();
  #backoffMs = BACKOFF_MS_MIN;

  constructor(options: EmbeddedPostgresOptions) {
    this.#options = options;
    this.#log = new LogFile(join(options.dataDir, 'postgres.log'));
  }

  /** The postmaster, while there is one. */
  get pid(): number | undefined {
    return this.#postmaster?.exit === undefined ? this.#postmaster?.pid : undefined;
  }

  /**
   * Resolves when a client can log in. A start that fails leaves no process behind.
   *
   * @throws EvidentError engine-missing, engine-failed, disk-full, data-unwritable, data-version, shutting-down
   */
  async start(): Promise<void> {
    if (this.#life !== undefined) throw new Error('EmbeddedPostgres.start was called twice');
    const life = new AbortController();
    this.#life = life;
    // A start after a failed one begins anew.
    this.#postmaster = undefined;
    const work = this.#install(life.signal).then(() => this.#launch(life.signal));
    this.#work = work.catch(() => undefined);
    try {
      await work;
    } catch (error) {
      this.#throwIfStopping(life.signal);
      await this.stop();
      throw error;
    }
  }

  /**
   * Resolves when PostgreSQL is gone: asked to end, after `boundMs` told to, at last killed. What was committed stays
   * in every case. May be called at any time, also twice.
   */
  async stop(boundMs = STOP_MS_DEFAULT): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    life.abort();
    // A restart in progress makes no new process once the life is aborted, but may have made one just before.
    await this.#postmaster?.stop(boundMs);
    await this.#work;
    if (this.#postmaster?.exit === undefined) await this.#postmaster?.stop(boundMs);
    if (this.#life !== life) return;
    this.#life = undefined;
    this.#log.close();
    removeTemporarySocketDirectory(this.#options.dataDir);
    const exit = this.#postmaster?.exit;
    if (exit !== undefined) this.#options.logger.info({ ...exit }, 'PostgreSQL is stopped');
  }

  /** What `pg` takes. The same across restarts, until stop. */
  connection(): EngineConnection {
    if (this.#installed === undefined) throw new Error('EmbeddedPostgres was not started');
    const { address, cluster } = this.#installed;
    return {
      host: address.host,
      port: address.port,
      user: OWNER,
      password: cluster.password,
      database: DATABASE,
    };
  }

  async #install(signal: AbortSignal): Promise<void> {
    const { dataDir, logger, transport } = this.#options;
    const directory = clusterDirectory(dataDir);
    const binaries = await findBinaries();
    const passed = [...new Set([dataDir, socketParent(dataDir)])];
    const launcher = await chooseLauncher(binaries.postgres, passed, directory, logger);
    this.#throwIfStopping(signal);
    const cluster = await openCluster(dataDir, binaries, launcher, signal);
    const address = await openAddress(dataDir, launcher.account, transport ?? 'auto');
    this.#installed = { binaries, launcher, cluster, address };
  }

  /** Starts one postmaster and waits until it answers. */
  async #launch(signal: AbortSignal): Promise<void> {
    const { cluster, address } = this.#installed!;
    const deadline = performance.now() + SHARED_MEMORY_MS_MAX;
    for (;;) {
      checkVersion(cluster.directory);
      await clearOrphans(cluster.directory, this.#options.logger);
      removeStaleSocket(address);
      this.#throwIfStopping(signal);
      const postmaster = this.#spawn();
      const fault = await this.#waitUntilReady(postmaster, signal);
      if (fault === undefined) {
        this.#watch(postmaster, signal);
        return;
      }
      await postmaster.stop(STOP_MS_DEFAULT);
      this.#throwIfStopping(signal);
      const retry = fault.message.includes('pre-existing shared memory block');
      if (!retry || performance.now() > deadline) throw fault;
      await sleep(SHARED_MEMORY_RETRY_MS);
    }
  }

  #spawn(): Postmaster {
    const { binaries, launcher, cluster, address } = this.#installed!;
    const args = serverArguments(cluster.directory, address, this.#options);
    this.#log.forget();
    const postmaster = new Postmaster(launcher.command(binaries.postgres, args), this.#log);
    this.#postmaster = postmaster;
    return postmaster;
  }

  /** @returns undefined when it is ready, or why it is not */
  async #waitUntilReady(postmaster: Postmaster, signal: AbortSignal): Promise<EvidentError | undefined> {
    const { dataDir, logger, readyMsMax = READY_MS_MAX } = this.#options;
    const begun = performance.now();
    let logAt = begun + WAITING_LOG_MS;
    let cause: unknown;
    while (postmaster.exit === undefined && !signal.aborted && performance.now() - begun < readyMsMax) {
      // Both settle soon: a login has a bound of its own, and the end of the process ends the wait at once.
      const outcome = await Promise.race([tryReady(this.connection()), postmaster.exited]).catch(
        (error: unknown) => error as EvidentError,
      );
      if (outcome instanceof Error) return outcome;
      if ('ready' in outcome && outcome.ready) return undefined;
      if ('ready' in outcome) cause = outcome.cause;
      if (performance.now() > logAt) {
        logAt += WAITING_LOG_MS;
        logger.info(
          { waitedMs: Math.round(performance.now() - begun), lastLine: this.#log.tail().at(-1) },
          'PostgreSQL is not ready yet',
        );
      }
      await Promise.race([sleep(READY_POLL_MS), postmaster.exited]);
    }
    const failure = postmaster.exit?.error ?? cause;
    const tail = this.#log.tail();
    if (postmaster.exit?.error !== undefined) tail.push(postmaster.exit.error.message);
    return engineFault('start PostgreSQL', dataDir, tail, failure);
  }

  #watch(postmaster: Postmaster, signal: AbortSignal): void {
    const begun = performance.now();
    postmaster.exited.then((exit) => {
      if (signal.aborted) return;
      const { logger, onExit, supervise = true } = this.#options;
      logger.error({ ...exit, lastLines: this.#log.tail().slice(-5) }, 'PostgreSQL ended unexpectedly');
      if (performance.now() - begun > HEALTHY_RUN_MS) this.#backoffMs = BACKOFF_MS_MIN;
      onExit?.(exit);
      if (supervise) this.#work = this.#restart(signal);
    });
  }

  /** Never gives up: a full disk is freed some day. Every failure is logged, at most one in 2 s. */
  async #restart(signal: AbortSignal): Promise<void> {
    const { logger, onRestart } = this.#options;
    while (!signal.aborted) {
      await sleep(this.#backoffMs, undefined, { signal }).catch(() => undefined);
      this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX);
      if (signal.aborted) return;
      try {
        await this.#launch(signal);
      } catch (error) {
        if (signal.aborted) return;
        logger.error({ err: error, nextTryMs: this.#backoffMs }, 'PostgreSQL could not be started again');
        continue;
      }
      logger.warn({ pid: this.pid }, 'PostgreSQL runs again');
      onRestart?.();
      return;
    }
  }

  #throwIfStopping(signal: AbortSignal): void {
    if (signal.aborted)
      throw new EvidentError('shutting-down', 'PostgreSQL was stopped while it was starting.');
  }
}
