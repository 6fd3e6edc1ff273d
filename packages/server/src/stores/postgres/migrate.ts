/** Brings a database to today's schema: numbered files, each once, in order, in one transaction each. */

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';

const FOLDER = new URL('../../../sql/postgres/', import.meta.url);
/** "evident" in ASCII: one migration at a time per database. */
const LOCK = 0x65766964;

/**
 * @param client connection of the schema's owner
 * @returns names of the files that were applied now
 * @throws data-version when the database holds a migration that this version does not know, or a changed one
 */
export async function migrate(client: pg.ClientBase): Promise<string[]> {
  const files = (await readdir(FOLDER)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort();
  await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
  try {
    await client.query('CREATE SCHEMA IF NOT EXISTS evident');
    await client.query(
      'CREATE TABLE IF NOT EXISTS evident.migrations (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())',
    );
    const applied = await appliedMigrations(client);
    for (const name of applied.keys()) {
      if (!files.includes(name)) {
        throw new EvidentError(
          'data-version',
          `the database has the migration ${name}, which this version does not know`,
        );
      }
    }
    const done: string[] = [];
    for (const name of files) if (await applyOne(client, name, applied.get(name))) done.push(name);
    return done;
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [LOCK]);
  }
}

async function appliedMigrations(client: pg.ClientBase): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; sha256: string }>(
    'SELECT name, sha256 FROM evident.migrations',
  );
  return new Map(rows.map((row) => [row.name, row.sha256]));
}

async function applyOne(client: pg.ClientBase, name: string, known: string | undefined): Promise<boolean> {
  const text = await readFile(new URL(name, FOLDER), 'utf8');
  const sha256 = createHash('sha256').update(text).digest('hex');
  if (known === sha256) return false;
  if (known !== undefined)
    throw new EvidentError('data-version', `the migration ${name} was changed after it was applied`);
  await client.query('BEGIN');
  try {
    await client.query(text);
    await guardFunctions(client);
    await client.query('INSERT INTO evident.migrations (name, sha256) VALUES ($1, $2)', [name, sha256]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw new EvidentError(
      'data-version',
      `the migration ${name} could not be applied: ${(error as Error).message}`,
      { cause: error },
    );
  }
  return true;
}

/** A function that a migration makes or replaces has the check of 0014_tenant_bounds.sql from the same commit on. */
async function guardFunctions(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ guard: string | null }>(
    "SELECT to_regprocedure('evident.guard_functions()')::text AS guard",
  );
  if (rows[0].guard !== null) await client.query('SELECT evident.guard_functions()');
}
