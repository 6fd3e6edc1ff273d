/** One of Evident's own events as the arguments of a function that appends it in its own transaction. */

import { EvidentError } from '@evident/core/errors.ts';
import type { Proposal } from '../../../log/log.ts';
import { encodeAppend } from '../append-call.ts';
import type { PostgresLog } from '../log.ts';

const TYPES =
  'int[] int[] int[] uuid[] text[] text[] text[] text[] int[] text[] text[] smallint[] bytea[] bytea[] bigint[] bytea[] boolean[] int[]';

/** Placeholders with the types that `types` names, and behind them those of evident.append. */
export function placeholders(types: string): string {
  return `${types} ${TYPES}`
    .split(' ')
    .map((type, index) => `$${index + 1}::${type}`)
    .join(', ');
}

/** The arguments of evident.append for one event of a log. */
export function appendArguments(
  logs: ReadonlyMap<string, PostgresLog>,
  log: string,
  event: Proposal,
): Buffer[] {
  const target = logs.get(log);
  if (target === undefined) throw new EvidentError('log-unknown', `there is no log ${log}`);
  return encodeAppend(target.pendingOf([event])).values;
}
