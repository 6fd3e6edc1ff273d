/** Whether an outbox is still as init made it, and what the relay puts right at its start. */

import type pg from 'pg';
import {
  compareFacts,
  type Difference,
  fingerprint,
  mayRead,
  pinSession,
  readFacts,
  readShape,
  ringOf,
  SCHEMA,
  type Shape,
} from './facts.ts';
import { type Left, repairOutbox } from './repair.ts';

/** Something of an outbox that is not as init made it. */
export interface Deviation {
  /** Full name, with its kind where it is no relation or function. */
  readonly object: string;
  readonly what: string;
  /** What puts it right, for a person. */
  readonly heal: string;
}

export interface Healed {
  readonly healed: readonly Deviation[];
  readonly left: readonly Deviation[];
}

/** "evid" and "outb" in ASCII: one that makes or heals at a time per database. */
const INIT_LOCK = [0x65766964, 0x6f757462];
/** Milliseconds that healing waits for a lock of a table: an insert that comes meanwhile waits as long. */
const LOCK_MS_MAX = 1_000;
/** Milliseconds that one statement of a relay's healing may take, with the lock. Longer ones are for an operator's init. */
const HEAL_STATEMENT_MS_MAX = 5_000;

const BY_INIT = 'evident outbox init, run as the owner of the schema, puts it right';
const BY_HAND: Record<string, string> = {
  type: 'init changes no column that may hold rows: let the relay bring everything, drop the schema evident_outbox, and run init',
  kind: 'init replaces nothing that may hold rows: rename it or drop it, and run init',
  'partition key': 'let the relay bring everything, drop the schema evident_outbox, and run init',
};

/** Says every difference in words. */
export function deviationOf(one: Difference | Left): Deviation {
  const { object, fact, expected, actual } = one;
  const isMissing = fact === 'kind' && actual === null;
  const what = isMissing
    ? 'is missing'
    : `${subjectOf(one)}: ${actual ?? 'none'} instead of ${expected ?? 'none'}`;
  const reason = 'reason' in one && one.reason !== null ? one.reason : null;
  const isForHand = BY_HAND[fact] !== undefined && !isMissing && !object.endsWith(')');
  const usual = isForHand ? BY_HAND[fact] : BY_INIT;
  return { object, what, heal: reason === null ? usual : `init could not put it right: ${reason}` };
}

function subjectOf({ fact, part }: Difference): string {
  if (part === null) return fact;
  if (fact === 'rights') return `rights of ${part}`;
  if (fact === 'column rights') return `rights on the column ${part}`;
  return `${fact} ${part}`;
}

type Look =
  | { readonly shape: Shape; readonly differences: readonly Difference[] }
  | { readonly shape: null; readonly deviation: Deviation };

/** In a transaction with a pinned session. */
async function look(client: pg.ClientBase): Promise<Look> {
  const actual = await readFacts(client);
  const shape = await readShape(client);
  if (shape === null || shape.fingerprint !== (await fingerprint(client)))
    return { shape: null, deviation: await incomparable(client, shape) };
  return { shape, differences: compareFacts(shape.facts, actual) };
}

/** Why nothing can be compared. */
async function incomparable(client: pg.ClientBase, shape: Shape | null): Promise<Deviation> {
  const heal = 'run evident outbox init as the owner of the schema';
  const { rows } = await client.query<{ name: string; schema: boolean; shape: boolean }>(
    `SELECT current_user AS name, EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS schema,
            EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relname = 'shape') AS shape`,
    [SCHEMA],
  );
  const [found] = rows;
  if (!found.schema) return { object: `schema ${SCHEMA}`, what: 'is missing', heal };
  const object = `${SCHEMA}.shape`;
  if (!found.shape) return { object, what: 'is missing, so nothing says what init made', heal };
  if (!(await mayRead(client, SCHEMA, 'shape')))
    return {
      object,
      what: `may not be read by ${found.name}, so nothing can be compared`,
      heal: `${heal}, with this role as --relay`,
    };
  if (shape === null) return { object, what: 'does not say what init made', heal };
  return {
    object,
    what: `was written by another version of Evident or PostgreSQL (${shape.fingerprint}), so nothing can be compared`,
    heal,
  };
}

const listed = (found: Look): Deviation[] =>
  found.shape === null ? [found.deviation] : found.differences.map(deviationOf);

/**
 * Everything in which the outbox differs from what init made: objects, columns, defaults, checks, slots, owners,
 * rights, functions, publication. Reads the catalogue; membership in the two groups is not looked at.
 *
 * @param client not in a transaction; the relay's role is enough
 */
export async function checkOutbox(client: pg.ClientBase): Promise<Deviation[]> {
  return inTransaction(client, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    await pinSession(client);
    return listed(await look(client));
  });
}

/**
 * Checks; and if the role may act as the schema's owner, puts right what it can in short locks, and checks again.
 * An outbox of another version is left to the operator: two relays of two versions would undo each other's work.
 *
 * If we die here, the transaction is gone and the outbox is as it was.
 */
export async function healOutbox(client: pg.ClientBase): Promise<Healed> {
  const before = await checkOutbox(client);
  if (before.length === 0 || !(await actsAsOwner(client))) return { healed: [], left: before };
  try {
    return await inTransaction(client, 'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE', async () => {
      await pinSession(client);
      await client.query(`SET LOCAL statement_timeout = ${HEAL_STATEMENT_MS_MAX}`);
      await lockOutbox(client);
      const found = await look(client);
      const ring = found.shape === null ? null : ringOf(found.shape.facts);
      if (found.shape === null || ring === null) return { healed: [], left: listed(found) };
      const left = (await repairOutbox(client, found.shape.facts, ring)).map(deviationOf);
      return { healed: without(listed(found), left), left };
    });
  } catch (error) {
    // Nothing is changed; the relay goes on with what there is, and says why.
    const reason = (error as Error).message;
    return { healed: [], left: before.map((one) => ({ ...one, heal: `${one.heal} (tried: ${reason})` })) };
  }
}

/** Waits for others that make or heal; after that, for nothing longer than an insert may wait. */
export async function lockOutbox(client: pg.ClientBase): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1, $2)', INIT_LOCK);
  await client.query(`SET LOCAL lock_timeout = ${LOCK_MS_MAX}`);
}

/** What was found and is not left. */
export function without(found: readonly Deviation[], left: readonly Deviation[]): Deviation[] {
  const still = new Set(left.map(({ object, what }) => `${object}\0${what}`));
  return found.filter(({ object, what }) => !still.has(`${object}\0${what}`));
}

/** Whether the connecting role has the rights of the schema's owner, and may act as it. */
export async function actsAsOwner(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ acts: boolean }>(
    `SELECT pg_has_role(nspowner, 'USAGE') AND pg_has_role(nspowner, 'SET') AS acts
       FROM pg_namespace WHERE nspname = $1`,
    [SCHEMA],
  );
  return rows[0]?.acts === true;
}

/** Ends what it began, whatever happens; a client whose connection broke can't, and says why by the first error. */
export async function inTransaction<Result>(
  client: pg.ClientBase,
  begin: string,
  action: () => Promise<Result>,
): Promise<Result> {
  await client.query(begin);
  try {
    const result = await action();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
