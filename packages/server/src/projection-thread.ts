/** The thread that feeds a view, with connections of its own: mapping must not hold up the doors. Entered through projection-worker.ts. */

import { setTimeout as wait } from 'node:timers/promises';
import { parentPort } from 'node:worker_threads';
import type pg from 'pg';
import type { ViewRef } from './project/ports.ts';
import type { Projection } from './project/projection.ts';
import { Projector } from './project/projector.ts';
import { type BatchReport, READER_BOUNDS } from './project/reader.ts';
import { ProjectionWatch } from './projection-watch.ts';
import { FolderObjectStore } from './stores/folder/object-store.ts';
import { openPool } from './stores/postgres/pool.ts';
import { PostgresRecordSource } from './stores/postgres/record-source.ts';
import { PostgresViewStore } from './stores/postgres/view-store.ts';

/** What the thread is given. */
export interface WorkerInput {
  readonly connection: pg.ClientConfig;
  readonly objectsFolder: string;
  /** Mapping files, parsed from JSON. */
  readonly mappings: readonly unknown[];
  readonly memory: SharedArrayBuffer;
  /** The generation to feed; null: the one that is shown. */
  readonly ref: ViewRef | null;
}

/** What it says. */
export type WorkerMessage =
  | { readonly kind: 'open'; readonly ref: ViewRef; readonly definition: string }
  | { readonly kind: 'batch'; readonly batch: BatchReport }
  | { readonly kind: 'error'; readonly error: Error }
  | { readonly kind: 'breaker'; readonly reason: string | null }
  | { readonly kind: 'overtaken' }
  | { readonly kind: 'definition'; readonly definitions: string };

/** What it is told. */
export type WorkerOrder =
  | { readonly kind: 'news' | 'stop' }
  | { readonly kind: 'reset'; readonly allowance: number };

/** One for reading, one for writing. */
const CONNECTIONS = 2;

/** Says which generation it is as soon as that is known: whoever watches notes suspects of it. */
class TellingStore extends PostgresViewStore {
  override async open(view: string, definition: string): Promise<{ ref: ViewRef; definition: string }> {
    const opened = await super.open(view, definition);
    say({ kind: 'open', ref: opened.ref, definition });
    return opened;
  }
}

function say(message: WorkerMessage): void {
  parentPort?.postMessage(message);
}

export function runProjectionThread(input: WorkerInput, projection: Projection): void {
  const pool = openPool(input.connection, {
    role: 'evident_server',
    max: CONNECTIONS,
    tenant: '*',
    name: 'evident project',
  });
  pool.on('connect', (client) => client.on('error', () => undefined));
  const watch = new ProjectionWatch(input.memory);
  const projector = new Projector(
    {
      source: new PostgresRecordSource(pool),
      store: new TellingStore(pool),
      bodies: new FolderObjectStore(input.objectsFolder),
      bounds: READER_BOUNDS,
      random: Math.random,
      sleep: async (milliseconds, signal) => {
        await wait(milliseconds, undefined, { signal }).catch(() => undefined);
      },
      touch: (tree, position, isNoted) => watch.touch(tree, position, isNoted),
      untouch: () => watch.untouch(),
      onBatch: (batch) => say({ kind: 'batch', batch }),
      onError: (error) => say({ kind: 'error', error: error as Error }),
      onBreaker: (reason) => say({ kind: 'breaker', reason }),
      onOvertaken: () => say({ kind: 'overtaken' }),
      onDefinition: (definitions) => say({ kind: 'definition', definitions }),
    },
    projection,
    input.ref,
  );
  if (input.ref !== null) say({ kind: 'open', ref: input.ref, definition: projection.definition });
  parentPort?.on('message', (order: WorkerOrder) => {
    switch (order.kind) {
      case 'news':
        projector.wake();
        break;
      case 'reset':
        projector.resetBreaker(order.allowance);
        break;
      case 'stop':
        projector
          .stop()
          .then(() => pool.end())
          .finally(() => parentPort?.close());
    }
  });
  projector.start();
}
