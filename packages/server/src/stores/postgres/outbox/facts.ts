/**
 * What an outbox consists of, as facts of PostgreSQL's catalogue. What they ought to be is written nowhere a second
 * time: init lets `outbox.sql` make a copy under another name, takes down its facts, and rolls it back.
 */

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type pg from 'pg';

const FOLDER = new URL('../../../../sql/outbox/', import.meta.url);
export const SCHEMA = 'evident_outbox';
/** Never committed. */
const COPY = 'evident_outbox_pristine';

/** How many slots the ring has, and how long each is written to. Frozen at the first init. */
export interface Ring {
  readonly slots: number;
  readonly slotSeconds: number;
}

export interface Fact {
  /** The object's full name, with its kind where it is no relation or function. */
  readonly object: string;
  readonly fact: string;
  /** The column, constraint, grantee … of the object that it is about. */
  readonly part: string | null;
  readonly value: string;
}

export type Facts = ReadonlyMap<string, Fact>;

/** One fact that is not as it was made. */
export interface Difference {
  readonly object: string;
  readonly fact: string;
  readonly part: string | null;
  /** Null: there should be nothing. */
  readonly expected: string | null;
  /** Null: there is nothing. */
  readonly actual: string | null;
}

/** What init left in the database: the facts, and which version they are of. */
export interface Shape {
  readonly fingerprint: string;
  readonly facts: Facts;
}

export function keyOf({ object, fact, part }: Pick<Fact, 'object' | 'fact' | 'part'>): string {
  return JSON.stringify([object, fact, part]);
}

function indexFacts(list: readonly Fact[]): Facts {
  return new Map(list.map((fact) => [keyOf(fact), fact]));
}

const readSql = (name: string): Promise<string> => readFile(new URL(name, FOLDER), 'utf8');

/** Names written with their schema, expressions written alike, text constants read alike: for facts and for DDL. */
export async function pinSession(client: pg.ClientBase): Promise<void> {
  await client.query(
    `SET LOCAL search_path = pg_catalog; SET LOCAL quote_all_identifiers = off;
     SET LOCAL standard_conforming_strings = on; SET LOCAL check_function_bodies = on`,
  );
}

/** Runs `outbox.sql` in the transaction that is open: makes what is missing. Ends as the role that it began as. */
export async function runOutboxSql(
  client: pg.ClientBase,
  ring: Ring,
  schema: string = SCHEMA,
): Promise<void> {
  const text = (await readSql('outbox.sql')).replaceAll(/\bevident_outbox\b/g, schema);
  await client.query('SELECT set_config($1, $2, true), set_config($3, $4, true)', [
    `${schema}.slots`,
    String(ring.slots),
    `${schema}.slot_seconds`,
    String(ring.slotSeconds),
  ]);
  await client.query(text);
}

/** Facts of the outbox as it should be, with this ring. Needs the right to make one; leaves nothing. */
export async function pristineFacts(client: pg.ClientBase, ring: Ring): Promise<Facts> {
  await client.query('SAVEPOINT pristine');
  await runOutboxSql(client, ring, COPY);
  const facts = await readFacts(client, COPY);
  await client.query('ROLLBACK TO SAVEPOINT pristine; RELEASE SAVEPOINT pristine');
  return facts;
}

/** In a transaction with a pinned session. Any role may. */
export async function readFacts(client: pg.ClientBase, schema: string = SCHEMA): Promise<Facts> {
  const { rows } = await client.query<Fact>(await readSql('facts.sql'), [schema]);
  const named = (text: string) => text.replaceAll(COPY, SCHEMA);
  const list = rows.map((fact) => ({ ...fact, object: named(fact.object), value: named(fact.value) }));
  return indexFacts([...list, ...(await readRows(client, schema))]);
}

/** The rows that init makes: the ring's numbers and the place of the tokens. Left out for a role that may not look. */
async function readRows(client: pg.ClientBase, schema: string): Promise<Fact[]> {
  const facts: Fact[] = [];
  const add = (table: string, fact: string, value: unknown) =>
    facts.push({ object: `${SCHEMA}.${table}`, fact, part: null, value: String(value) });
  if (await mayRead(client, schema, 'ring')) {
    const { rows } = await client.query(`SELECT * FROM ${schema}.ring`);
    for (const row of rows) {
      add('ring', 'slots', row.slots);
      add('ring', 'slot_seconds', row.slot_seconds);
    }
  }
  if (await mayRead(client, schema, 'heartbeat')) {
    const { rowCount } = await client.query(`SELECT FROM ${schema}.heartbeat`);
    add('heartbeat', 'rows', rowCount);
  }
  return facts;
}

/** Whether a table is there and this role may read it: nothing is thrown, and no transaction broken. */
export async function mayRead(client: pg.ClientBase, schema: string, table: string): Promise<boolean> {
  const { rows } = await client.query<{ readable: boolean }>(
    `SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [schema, table],
  );
  return rows[0]?.readable === true;
}

/** Of what makes an outbox and of what looks at it: facts of another fingerprint can't be compared. */
export async function fingerprint(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query<{ major: number }>(
    "SELECT current_setting('server_version_num')::int / 10000 AS major",
  );
  const hash = createHash('sha256');
  for (const name of ['outbox.sql', 'facts.sql']) hash.update(await readSql(name)).update('\0');
  return `${hash.digest('hex').slice(0, 16)}/postgresql-${rows[0].major}`;
}

/** What init left; null when there is nothing that this role can read. */
export async function readShape(client: pg.ClientBase): Promise<Shape | null> {
  if (!(await mayRead(client, SCHEMA, 'shape'))) return null;
  const { rows } = await client.query<{ fingerprint?: unknown; facts?: unknown }>(
    `SELECT * FROM ${SCHEMA}.shape`,
  );
  const [row] = rows;
  if (typeof row?.fingerprint !== 'string' || !Array.isArray(row.facts)) return null;
  return { fingerprint: row.fingerprint, facts: indexFacts(row.facts as Fact[]) };
}

export async function storeShape(client: pg.ClientBase, shape: Shape): Promise<void> {
  const values = [shape.fingerprint, JSON.stringify([...shape.facts.values()])];
  const { rows } = await client.query<{ same: boolean }>(
    `SELECT (fingerprint, facts) = ($1, $2::jsonb) AS same FROM ${SCHEMA}.shape`,
    values,
  );
  if (rows.length === 1 && rows[0].same) return;
  await client.query(`DELETE FROM ${SCHEMA}.shape`);
  await client.query(`INSERT INTO ${SCHEMA}.shape (fingerprint, facts) VALUES ($1, $2::jsonb)`, values);
}

/** The numbers that facts speak of, or null. */
export function ringOf(facts: Facts | undefined): Ring | null {
  const number = (fact: string) =>
    facts?.get(keyOf({ object: `${SCHEMA}.ring`, fact, part: null }))?.value ?? null;
  const [slots, slotSeconds] = [number('slots'), number('slot_seconds')];
  return slots === null || slotSeconds === null
    ? null
    : { slots: Number(slots), slotSeconds: Number(slotSeconds) };
}

const SCHEMA_OBJECT = `schema ${SCHEMA}`;
/** Of a slot that is not attached: what it has of its own is what it would have from its parent. */
const INHERITED = new Set(['type', 'nullability', 'default', 'constraint', 'index']);

/** Everything that differs, each cause once, sorted by object. */
export function compareFacts(expected: Facts, actual: Facts): Difference[] {
  const all: Difference[] = [];
  for (const [key, { object, fact, part, value }] of expected) {
    const found = actual.get(key)?.value ?? null;
    if (found !== value) all.push({ object, fact, part, expected: value, actual: found });
  }
  for (const [key, { object, fact, part, value }] of actual) {
    if (!expected.has(key) && isOurs(expected, object, fact))
      all.push({ object, fact, part, expected: null, actual: value });
  }
  const differs = new Map(all.map((one) => [keyOf(one), one]));
  const schema = differs.get(keyOf({ object: SCHEMA_OBJECT, fact: 'kind', part: null }));
  if (schema !== undefined) return [schema];
  return all.filter((one) => isCause(one, differs)).sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

const order = ({ object, fact, part }: Difference) => `${object}\0${fact}\0${part ?? ''}`;

/** What else stands in the schema is not ours, unless it is a child of our tables or another form of our functions. */
function isOurs(expected: Facts, object: string, fact: string): boolean {
  if (expected.has(keyOf({ object, fact: 'kind', part: null })) || fact === 'place') return true;
  const name = object.slice(0, object.indexOf('(') + 1);
  return fact === 'kind' && name !== '' && [...expected.values()].some((one) => one.object.startsWith(name));
}

/** Whether a difference stands for itself: not for what a missing object, or the parent of a slot, lacks. */
function isCause(one: Difference, differs: ReadonlyMap<string, Difference>): boolean {
  const { object, fact, part } = one;
  const missing = differs.get(keyOf({ object, fact: 'kind', part: null }));
  if (missing?.actual === null && fact !== 'kind') return false;
  const place = differs.get(keyOf({ object, fact: 'place', part: null }));
  if (place?.actual === null && INHERITED.has(fact)) return false;
  const type = differs.get(keyOf({ object, fact: 'type', part }));
  if ((type?.actual === null || type?.expected === null) && (fact === 'nullability' || fact === 'default'))
    return false;
  if (part === null || !object.startsWith(`${SCHEMA}.events_`)) return true;
  const parents = keyOf({ object: `${SCHEMA}.events`, fact: fact.replace(/ of its own$/, ''), part });
  return !differs.has(parents);
}
