/** Entry of the thread that feeds the hot view. */

import { workerData } from 'node:worker_threads';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import { hotProjection } from './project/projection.ts';
import { runProjectionThread, type WorkerInput } from './projection-thread.ts';

const input = workerData as WorkerInput;
runProjectionThread(input, hotProjection(makeRegistry(input.mappings.map(parseMappingFile))));
