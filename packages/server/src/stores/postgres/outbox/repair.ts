/**
 * Puts an outbox right without touching a row: takes away what is wrong, lets `outbox.sql` make what is missing, and
 * sets what still differs to what the facts say. All in the caller's transaction.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import {
  compareFacts,
  type Difference,
  type Facts,
  keyOf,
  type Ring,
  readFacts,
  runOutboxSql,
  SCHEMA,
} from './facts.ts';
import { remedyOf } from './remedy.ts';

/** What taking away one thing may bring to light: a slot that was detached, then attached, may differ in itself. */
const ROUNDS_MAX = 4;
/** Differences that resist, after which no more are tried. */
const FAILURES_MAX = 32;
/** A lock that is not to be had, or a statement that takes too long: the business goes before. */
const NOT_NOW = new Set(['55P03', '57014', '40P01']);

const EVENTS = `${SCHEMA}.events`;
const LOCK_ALL = `DO $$ BEGIN
  IF to_regclass('${EVENTS}') IS NOT NULL THEN LOCK TABLE ${EVENTS} IN ACCESS EXCLUSIVE MODE; END IF;
END $$`;

/** A difference that is left, and why, where PostgreSQL has said so. */
export interface Left extends Difference {
  readonly reason: string | null;
}

class Resisted extends Error {
  readonly difference: Difference;

  constructor(difference: Difference, cause: unknown) {
    super((cause as Error).message, { cause });
    this.difference = difference;
  }
}

/**
 * @returns what is left, because no statement puts it right or because PostgreSQL refused the one that would
 * @throws source-unavailable when a lock was not to be had in time; the driver's error when `outbox.sql` itself failed
 */
export async function repairOutbox(client: pg.ClientBase, expected: Facts, ring: Ring): Promise<Left[]> {
  const reasons = new Map<string, string>();
  while (reasons.size < FAILURES_MAX) {
    await client.query('SAVEPOINT repair');
    try {
      await repairAll(client, expected, ring, reasons);
      await client.query('RELEASE SAVEPOINT repair');
      break;
    } catch (error) {
      if (!(error instanceof Resisted)) throw notNow(error);
      // What was taken away for it comes back: a slot that can't be attached where it belongs stays where it was.
      await client.query('ROLLBACK TO SAVEPOINT repair');
      reasons.set(keyOf(error.difference), error.message);
    }
  }
  const left = compareFacts(expected, await readFacts(client));
  return left.map((one) => ({ ...one, reason: reasons.get(keyOf(one)) ?? null }));
}

function notNow(error: unknown): unknown {
  const { code, message } = error as { code?: string; message: string };
  if (code === undefined || !NOT_NOW.has(code)) return error;
  return new EvidentError(
    'source-unavailable',
    `the outbox is in use, and is not put right while others would have to wait for it (${message}); nothing was changed`,
    { cause: error },
  );
}

async function repairAll(
  client: pg.ClientBase,
  expected: Facts,
  ring: Ring,
  reasons: ReadonlyMap<string, string>,
): Promise<void> {
  const differences = async () =>
    compareFacts(expected, await readFacts(client)).filter((one) => !reasons.has(keyOf(one)));
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const found = await differences();
    if (found.length === 0) return;
    // First of all, and with all slots: taken later, behind the lock of one slot, it could wait for an insert that waits for us.
    if (found.some(isLocking)) await client.query(LOCK_ALL);
    await apply(client, found, (one) => remedyOf(one, expected).takeAway);
    await runOutboxSql(client, ring);
    await apply(client, await differences(), (one) => remedyOf(one, expected).putRight);
  }
}

function isLocking({ object, fact, actual }: Difference): boolean {
  const isTable = object === EVENTS || object.startsWith(`${EVENTS}_`) || fact === 'place';
  if (fact === 'storage parameters' || fact.endsWith('rights')) return false;
  return isTable && !(fact === 'kind' && actual === null);
}

async function apply(
  client: pg.ClientBase,
  differences: readonly Difference[],
  statementOf: (one: Difference) => string | undefined,
): Promise<void> {
  const done = new Set<string>();
  for (const one of differences) {
    const statement = statementOf(one);
    if (statement === undefined || done.has(statement)) continue;
    done.add(statement);
    try {
      await client.query(statement);
    } catch (error) {
      if (NOT_NOW.has((error as { code?: string }).code ?? '')) throw error;
      throw new Resisted(one, error);
    }
  }
}
