/** What the application's database answered, as one of our codes (design: SQLSTATE maps in one table). */

import { type ErrorCode, EvidentError } from '@evident/core/errors.ts';

/** Libraries wrap the error of the driver, some twice. */
const CAUSES_MAX = 6;

interface Mapping {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** A named statement is not there, or is there already: whoever stands between exchanged the connection. */
const PREPARED_LOST =
  'the prepared statement of the insert is not what the client takes it for: a pooler exchanges connections, or something ran DISCARD ALL or DEALLOCATE. Give the driver { prepare: false }';

const BY_STATE: Readonly<Record<string, Mapping>> = {
  '42P01': { code: 'outbox-missing', detail: 'the table evident_outbox.events does not exist' },
  '3F000': { code: 'outbox-missing', detail: 'the schema evident_outbox does not exist' },
  '42883': { code: 'outbox-missing', detail: 'a function of the outbox does not exist' },
  '42703': { code: 'outbox-missing', detail: 'the outbox lacks a column: it was made by another version' },
  '42501': { code: 'outbox-missing', detail: 'the role of the application may not write to the outbox' },
  '53100': { code: 'disk-full', detail: 'the disk of the database is full' },
  '25P02': {
    code: 'outbox-unavailable',
    detail: 'an earlier statement of the transaction had failed, so nothing more can be written in it',
  },
  '26000': { code: 'outbox-unavailable', detail: PREPARED_LOST },
  '42P05': { code: 'outbox-unavailable', detail: PREPARED_LOST },
  '25006': { code: 'outbox-unavailable', detail: 'the transaction is read only' },
  '23502': { code: 'outbox-refused', detail: 'a column of the row is empty' },
  '22021': { code: 'outbox-refused', detail: 'a text does not fit the encoding of the database' },
  '22P02': { code: 'outbox-refused', detail: 'a value of the row is malformed' },
  '54000': { code: 'outbox-refused', detail: 'the row is too large for the database' },
};

const FIELDS = new Set(['tenant', 'type', 'key', 'schema', 'meta', 'body']);

/** The error of a write to the outbox; the database's own stays its cause. */
export function outboxError(error: unknown): EvidentError {
  if (error instanceof EvidentError) return error;
  const state = sqlState(error);
  if (state === '23514') {
    const field = violatedField(error);
    const detail =
      field === undefined
        ? 'a check refused the row'
        : `${field}: the check of evident_outbox.events.${field} refused it`;
    return new EvidentError('outbox-refused', detail, { cause: error, context: { field, sqlstate: state } });
  }
  const { code, detail } = (state === undefined ? undefined : BY_STATE[state]) ?? {
    code: 'outbox-unavailable' as const,
    detail: `the database did not take the row${state === undefined ? '' : ` (SQLSTATE ${state})`}: ${messageOf(error)}`,
  };
  return new EvidentError(code, detail, { cause: error, context: { sqlstate: state } });
}

/** Whether the statement failed because it was prepared, not because of what it says. */
export function isPreparedLost(error: unknown): boolean {
  const state = sqlState(error);
  return state === '26000' || state === '42P05';
}

/** The five characters of PostgreSQL, wherever the library put them. */
export function sqlState(error: unknown): string | undefined {
  for (const layer of layersOf(error)) {
    const { code, originalCode } = layer as { code?: unknown; originalCode?: unknown };
    for (const value of [originalCode, code]) if (isSqlState(value)) return value;
  }
  return undefined;
}

/**
 * Whether the error leaves open what became of a COMMIT: the connection broke or the server went away. Everything
 * else that carries a SQLSTATE is the server's word that the transaction is rolled back.
 */
export function leavesCommitOpen(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || /^(?:08|57P|58|XX)/.test(state) || state === '40003';
}

function isSqlState(value: unknown): value is string {
  // P1001, P2010 and their like are codes of Prisma, EPIPE and EPERM of the operating system.
  return (
    typeof value === 'string' &&
    /^[0-9A-Z]{5}$/.test(value) &&
    /\d/.test(value) &&
    !/^P[1-6]\d{3}$/.test(value)
  );
}

function violatedField(error: unknown): string | undefined {
  for (const layer of layersOf(error)) {
    const { constraint, constraint_name, message } = layer as Record<string, unknown>;
    const quoted = /check constraint "([^"]+)"/.exec(typeof message === 'string' ? message : '')?.[1];
    for (const name of [constraint, constraint_name, quoted]) {
      if (typeof name === 'string' && FIELDS.has(name)) return name;
    }
  }
  return undefined;
}

/** The error, its causes, and what libraries keep beside them; bounded, for a cause may be a cycle. */
function layersOf(error: unknown): object[] {
  const layers: object[] = [];
  const waiting: unknown[] = [error];
  while (waiting.length > 0 && layers.length < CAUSES_MAX) {
    const layer = waiting.shift();
    if (typeof layer !== 'object' || layer === null || layers.includes(layer)) continue;
    layers.push(layer);
    const { cause, meta, driverAdapterError } = layer as Record<string, unknown>;
    waiting.push(cause, meta, driverAdapterError);
  }
  return layers;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
