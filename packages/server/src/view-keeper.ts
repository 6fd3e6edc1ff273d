/**
 * Keeps the generations of a server's views: builds one anew when rows that are shown were not all made by this
 * program's mappers, shows it when it has caught up, and drops what is no longer shown.
 *
 * Meanwhile the generation that is shown goes on with the new mappers, so that search stays current; its definition
 * says so (`… then …`), and verification answers `not checked` for rows of the earlier ones.
 */

import { setTimeout as wait } from 'node:timers/promises';
import { isEvidentError } from '@evident/core/errors.ts';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import type { ViewOperation } from './cli/command-deps.ts';
import type { Storage } from './compose.ts';
import type { ViewRef } from './project/ports.ts';
import type { Projection } from './project/projection.ts';
import { dropRetired, promoteGeneration, RETIRED_SECONDS } from './project/rebuild.ts';
import { type ProjectionOptions, Projections } from './projections.ts';
import { readViewLag } from './stores/postgres/view-lag.ts';

/** Milliseconds between two looks. */
const KEEP_MS = 5_000;
/** Records behind the log at which a generation is caught up with: the rest takes a moment. */
const CAUGHT_UP_RECORDS = 20_000n;
/** Milliseconds between two looks at how far a build is. */
const LOOK_MS = 500;
/** Who builds and promotes, in audit events. */
const ACTOR = { id: 'evident', role: 'server' };

export class ViewKeeper {
  readonly #storage: Storage;
  readonly #views: ViewOperation;
  readonly #logger: Logger;
  readonly #options: ProjectionOptions;
  readonly #stopping = new AbortController();
  /** Views of which this process has built a generation, or tried: once, or servers of two versions would never end. */
  readonly #tried = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(storage: Storage, views: ViewOperation, logger: Logger, options: ProjectionOptions) {
    this.#storage = storage;
    this.#views = views;
    this.#logger = logger;
    this.#options = options;
  }

  start(): void {
    this.#running = this.#keep();
  }

  /** A build that is broken off goes on at the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #keep(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      for (const projection of this.#views.projections.values()) {
        try {
          await this.#drop(projection.name);
          await this.#renew(projection);
        } catch (error) {
          this.#logger.warn(
            { err: error, view: projection.name },
            'a view could not be kept; it is tried again',
          );
        }
      }
      await this.#sleep(KEEP_MS);
    }
  }

  async #drop(view: string): Promise<void> {
    const dropped = await dropRetired(this.#views.rebuild.generations, view, RETIRED_SECONDS);
    if (dropped.length > 0)
      this.#logger.info({ view, dropped }, 'generations that are no longer shown were dropped');
  }

  /** Builds and promotes a generation, if what is shown is not all of this program's making. */
  async #renew(projection: Projection): Promise<void> {
    const { name: view, definition } = projection;
    const shown = await this.#views.snapshots.withSnapshot(view, async ({ live, generations }) =>
      generations.find(({ generation }) => generation === live),
    );
    if (shown === undefined || shown.definition === definition || this.#tried.has(view)) return;
    const { generations, record } = this.#views.rebuild;
    const { ref, resumed } = await generations.build(view, definition, false);
    this.#tried.add(view);
    const facts = { view, shown: shown.definition, definition, generation: ref.generation };
    this.#logger.warn(
      { ...facts, resumed },
      'rows that are shown were not all made by the mappers of this server: another generation is built beside them',
    );
    if (!resumed) {
      const resource = { type: 'view', id: view };
      const details = { generation: ref.generation, definition };
      await record([
        { actor: ACTOR, action: 'view.rebuild', resource, result: 'success', tenant: null, details },
      ]);
    }
    if (!(await this.#build(ref))) return;
    await this.#promote(projection);
    this.#logger.warn(
      facts,
      "the generation that was built is shown; all its rows are of this server's making",
    );
  }

  /** Feeds a generation in a thread of its own, until it has caught up. @returns false when it is built no more */
  async #build(ref: ViewRef): Promise<boolean> {
    // Metrics of its own: those of the server are about what is shown.
    const builder = new Projections(this.#storage, new Registry(), this.#logger, { ...this.#options, ref });
    builder.start();
    try {
      while (!this.#stopping.signal.aborted) {
        await this.#sleep(LOOK_MS);
        const found = await this.#views.rebuild.generations.building(ref.view);
        if (found?.ref.generation !== ref.generation) return false;
        const lags = await readViewLag(this.#storage.pool);
        const own = lags.filter(({ view, generation }) => view === ref.view && generation === ref.generation);
        const behind = own.reduce((sum, { records }) => sum + records, 0n);
        if (own.length > 0 && behind < CAUGHT_UP_RECORDS) return true;
      }
      return false;
    } finally {
      await builder.stop();
    }
  }

  async #promote(projection: Projection): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await promoteGeneration(this.#views.rebuild, projection, {
        actor: ACTOR,
        allow: 0,
        signal,
        onProgress: () => undefined,
      });
    } catch (error) {
      // Another process has promoted it, or begun anew.
      if (!isEvidentError(error) || error.code !== 'view-changed') throw error;
      this.#logger.info({ err: error, view: projection.name }, 'another process has taken over');
    }
  }

  async #sleep(milliseconds: number): Promise<void> {
    await wait(milliseconds, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}
