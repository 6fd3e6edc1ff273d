/** A thread that feeds the hot view by a projection which some records end: entry for `project-poison.pg.test.ts`. */

import { workerData } from 'node:worker_threads';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import { MappingError } from '@evident/core/mapping/row.ts';
import { hotProjection, type Projection } from '../src/project/projection.ts';
import { runProjectionThread, type WorkerInput } from '../src/projection-thread.ts';

const hot = hotProjection(makeRegistry());
const text = new TextDecoder();

/** What the record's body asks for. */
const DEEDS: Readonly<Record<string, () => void>> = {
  kill: () => process.kill(process.pid, 'SIGKILL'),
  exit: () => process.exit(3),
  stall: () => {
    for (;;);
  },
  heap: () => {
    const held: unknown[] = [];
    for (;;) held.push(new Array(10_000).fill(held.length));
  },
  invalid: () => {
    throw new MappingError('do: it is invalid');
  },
};

const projection: Projection = {
  ...hot,
  map: (record, body) => {
    const { do: deed } = record.type === 'deed' ? (JSON.parse(text.decode(body)) as { do?: string }) : {};
    if (deed !== undefined) DEEDS[deed]?.();
    const row = hot.map(record, body);
    return deed === 'refuse' && row !== null ? { ...row, action: 'a\u0000b' } : row;
  },
};

runProjectionThread(workerData as WorkerInput, projection);
