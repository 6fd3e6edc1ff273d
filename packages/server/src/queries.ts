/** Wiring of reads of the view, and of who records them. */

import { randomUUID } from 'node:crypto';
import { formatInstant } from '@evident/core/leaf.ts';
import type { Storage } from './compose.ts';
import type { QueryDeps } from './query/ports.ts';
import { makeReadRecorder } from './query/record-read.ts';
import { PostgresEventView, STATEMENT_MS_MAX, type TreeTable } from './stores/postgres/event-view.ts';
import { PostgresSavedSearches } from './stores/postgres/saved-searches.ts';
import { turnsOf } from './stores/postgres/tenant-turns.ts';

export function queryDepsOf(storage: Storage): QueryDeps {
  const { queryPool, logs, objects, name } = storage;
  const audit = logs.get('audit');
  if (audit === undefined) throw new Error('there is no log audit, which every start makes');
  const instant = () => formatInstant(BigInt(Date.now()) * 1_000n);
  const turns = turnsOf(queryPool);
  return {
    view: new PostgresEventView(queryPool, treeTable(storage), STATEMENT_MS_MAX, turns),
    recorder: makeReadRecorder({ log: audit, newId: randomUUID, instant }),
    savedSearches: new PostgresSavedSearches(queryPool, turns),
    bodies: objects,
    installation: name,
  };
}

/** Which log and partition each tree is. The logs of a running process are fixed. */
function treeTable({ logs }: Storage): TreeTable {
  const places = new Map(
    [...logs.values()].flatMap(({ name, trees }) =>
      trees.map((tree, partition) => [tree, { log: name, partition }] as const),
    ),
  );
  return {
    treesOf: (log) => logs.get(log)?.trees ?? [],
    placeOfTree: (tree) => {
      const place = places.get(tree);
      if (place === undefined) throw new Error(`the view has events of tree ${tree}, which is of no log`);
      return place;
    },
  };
}
