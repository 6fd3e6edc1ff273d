/** Dead letters over memory for the tests of this folder: a hot view whose mapper refuses what a test says. */

import { randomUUID } from 'node:crypto';
import { decodeUtf8 } from '@evident/core/bytes.ts';
import { EMPTY_ROW, MappingError } from '@evident/core/mapping/row.ts';
import type { DeadLetterDeps } from '../project/dead-letters.ts';
import type { Projection } from '../project/projection.ts';
import { MemoryDeadLetterStore } from '../stores/memory/dead-letters.ts';
import type { MemoryLog } from '../stores/memory/log.ts';
import { MemoryViewStore, type MemoryViews, memoryTrees } from '../stores/memory/view-store.ts';
import type { HttpDeps } from './deps.ts';

/** Refuses bodies that hold "faulty", until the test has fixed it. */
export class FixableMapper implements Projection {
  readonly name = 'hot';
  readonly definition = 'note/1';
  readonly onDeadLetter = 'skip';
  isFixed = false;

  readonly map: Projection['map'] = (_record, body) => {
    if (!this.isFixed && (decodeUtf8(body) ?? '').includes('faulty'))
      throw new MappingError('faulty: a test says so');
    return { ...EMPTY_ROW, mapper: 'note/1' };
  };
}

export interface MemoryDeadLetters extends Pick<HttpDeps, 'deadLetters' | 'viewStatuses'> {
  readonly mapper: FixableMapper;
  /** Reads what the logs hold into the view. */
  readonly projectLetters: () => Promise<void>;
}

export function openMemoryDeadLetters(
  logs: ReadonlyMap<string, MemoryLog>,
  objects: DeadLetterDeps['bodies'],
  clock: () => bigint,
): MemoryDeadLetters {
  const mapper = new FixableMapper();
  const views: MemoryViews = new Map();
  const trees = memoryTrees(logs.values());
  const store = new MemoryViewStore({ views, trees, clock, recordAt: () => null });
  const letters = new MemoryDeadLetterStore({ views, resolutions: new Map(), trees, logs, clock });
  const deadLetters: DeadLetterDeps = {
    newId: randomUUID,
    instant: () => '2026-11-20T10:00:00.000000Z',
    letters,
    views: store,
    logs,
    bodies: objects,
    projections: new Map([[mapper.name, mapper]]),
    mayMapPoison: false,
  };
  const projectLetters = async (): Promise<void> => {
    const { ref } = await store.open(mapper.name, mapper.definition);
    for (const { tree, log, partition, next } of await store.checkpoints(ref)) {
      const records = await (logs.get(log) as MemoryLog).read(partition, next, 1_000);
      const output = store.newOutput();
      for (const record of records) {
        try {
          const row = mapper.map(
            record,
            record.body.form === 'object' ? new Uint8Array() : record.body.bytes,
          );
          if (row !== null) output.addRow(tree, record, row);
        } catch (error) {
          const kind = record.type === 'poison' ? 'poison' : 'validation';
          const message = (error as Error).message;
          output.addDeadLetter(tree, {
            record,
            class: kind,
            error: message,
            stack: 'at a test',
            attempts: 1,
            firstAt: null,
            lastAt: null,
          });
        }
      }
      const to = records.at(-1)?.position ?? next - 1n;
      await store.commit(ref, [{ tree, from: next, to: to + 1n }], output, 0);
    }
  };
  return {
    mapper,
    projectLetters,
    deadLetters,
    viewStatuses: async (tenant) => [
      {
        view: 'hot',
        live: 1,
        definition: mapper.definition,
        isCurrent: true,
        openDeadLetters: await letters.countOpen('hot', tenant),
        generations: [
          {
            generation: 1,
            definition: mapper.definition,
            state: 'live',
            madeAt: clock(),
            reach: trees.map(({ log, partition }) => ({ log, partition, next: 0n })),
            behind: 0n,
            digest: null,
          },
        ],
      },
    ],
  };
}
