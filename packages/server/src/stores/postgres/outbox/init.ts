/** Makes the outbox in an application's database, and puts right one that is there (`evident outbox init`). */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import pg from 'pg';
import { requireVersion } from '../embedded/external.ts';
import { actsAsOwner, type Deviation, deviationOf, inTransaction, lockOutbox, without } from './check.ts';
import {
  compareFacts,
  fingerprint,
  mayRead,
  pinSession,
  pristineFacts,
  type Ring,
  readFacts,
  readShape,
  ringOf,
  SCHEMA,
  storeShape,
} from './facts.ts';
import { type Left, repairOutbox } from './repair.ts';

const SLOTS_DEFAULT = 16;
const SLOTS = { least: 4, most: 256 };
const SLOT_SECONDS_DEFAULT = 60;
const SLOT_SECONDS = { least: 1, most: 86_400 };
const GROUPS = { writer: 'evident_outbox_writer', relay: 'evident_outbox_relay' } as const;

export interface InitOptions {
  /** Slots of the ring, 4 to 256; 16 for a new one. Frozen at the first init. */
  readonly slots?: number;
  /** Seconds for which a slot is written to, 1 to 86,400; 60 for a new one. Frozen at the first init. */
  readonly slotSeconds?: number;
  /** The application's role: it becomes a member of evident_outbox_writer. */
  readonly writer?: string;
  /** The relay's role: it becomes a member of evident_outbox_relay. */
  readonly relay?: string;
}

export interface OutboxReport extends Ring {
  readonly database: string;
  /** Whether there was none before. */
  readonly made: boolean;
  /** What was put right in one that was there. */
  readonly healed: readonly Deviation[];
  /** Memberships that were granted now, such as `evident_outbox_writer to bank`. */
  readonly granted: readonly string[];
  /** What an operator should know: each a sentence. */
  readonly warnings: readonly string[];
}

interface Found {
  readonly database: string;
  readonly owner: string | null;
}

/**
 * Makes what is missing and puts right what is wrong, in one transaction, as the connecting role. Rows stay as they
 * are, and so do the numbers of a ring that is there. Two at once do no harm: the second waits.
 *
 * @param client not in a transaction; of the schema's owner, or of whoever shall own it
 * @throws postgres-version, usage-invalid (encoding, numbers, roles), outbox-damaged when something is left that can't
 *   be put right (the rest is committed), source-unavailable
 */
export async function initOutbox(client: pg.ClientBase, options: InitOptions = {}): Promise<OutboxReport> {
  try {
    const { report, left } = await inTransaction(
      client,
      'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE',
      () => initInTransaction(client, options),
    );
    if (left.length > 0) throw damaged(left.map(deviationOf));
    return report;
  } catch (error) {
    throw initFault(error);
  }
}

async function initInTransaction(
  client: pg.ClientBase,
  options: InitOptions,
): Promise<{ report: OutboxReport; left: Left[] }> {
  await lockOutbox(client);
  const found = await requireDatabase(client);
  await requireRoles(client, options);
  await pinSession(client);
  const ring = await chooseRing(client, options);
  const expected = await pristineFacts(client, ring);
  const before = compareFacts(expected, await readFacts(client));
  const left = before.length === 0 ? [] : await repairOutbox(client, expected, ring);
  await storeShape(client, { fingerprint: await fingerprint(client), facts: expected });
  const made = found.owner === null;
  const report = {
    ...ring,
    database: found.database,
    made,
    healed: made ? [] : without(before.map(deviationOf), left.map(deviationOf)),
    granted: await grantMemberships(client, options),
    warnings: await listWarnings(client, options),
  };
  return { report, left };
}

async function requireDatabase(client: pg.ClientBase): Promise<Found> {
  const { rows } = await client.query(
    `SELECT current_database() AS database, current_user AS user, current_setting('server_version_num')::int AS version,
            current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
            has_database_privilege(current_database(), 'CREATE') AS may_create,
            (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_create_roles,
            (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = $1) AS owner,
            ARRAY(SELECT wanted FROM unnest($2::text[]) wanted WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)) AS missing`,
    [SCHEMA, Object.values(GROUPS)],
  );
  const [row] = rows;
  const { database, user } = row;
  requireVersion(row.version, `the database ${database}`);
  if (row.standby) refuse(`the database ${database} is a standby: connect to its primary`);
  if (row.encoding !== 'UTF8')
    refuse(
      `the database ${database} is encoded in ${row.encoding}; events are UTF-8, so an outbox needs a UTF8 database`,
    );
  if (!row.may_create)
    refuse(
      `the role ${user} may not make a schema: GRANT CREATE ON DATABASE ${quote(database)} TO ${quote(user)}, or use another`,
    );
  if (row.owner !== null && !(await actsAsOwner(client)))
    refuse(
      `the outbox belongs to the role ${row.owner}: connect as it, or as one of its members, not as ${user}`,
    );
  if (row.missing.length > 0 && !row.may_create_roles) {
    const statements = row.missing.map((name: string) => `CREATE ROLE ${name} NOLOGIN`).join('; ');
    refuse(`the role ${user} may not create roles: let an administrator run ${statements}`);
  }
  return { database, owner: row.owner };
}

const quote = pg.escapeIdentifier;

function refuse(detail: string): never {
  throw new EvidentError('usage-invalid', detail);
}

async function requireRoles(client: pg.ClientBase, options: InitOptions): Promise<void> {
  for (const option of ['writer', 'relay'] as const) {
    const name = options[option];
    if (name === undefined) continue;
    if (Object.values(GROUPS).includes(name as never))
      refuse(`--${option}: ${name} is the group itself; name the role that logs in`);
    const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [name]);
    if (rowCount === 0)
      refuse(`--${option}: there is no role ${name}: make it first (CREATE ROLE ${quote(name)} LOGIN …)`);
  }
}

/** What was made is the truth, then the row of the ring; the options are for a new one. */
async function chooseRing(client: pg.ClientBase, options: InitOptions): Promise<Ring> {
  inRange('--slots', options.slots, SLOTS);
  inRange('--slot-seconds', options.slotSeconds, SLOT_SECONDS);
  const kept = ringOf((await readShape(client))?.facts) ?? (await readRing(client));
  if (kept === null)
    return {
      slots: options.slots ?? SLOTS_DEFAULT,
      slotSeconds: options.slotSeconds ?? SLOT_SECONDS_DEFAULT,
    };
  const isOther =
    (options.slots ?? kept.slots) !== kept.slots ||
    (options.slotSeconds ?? kept.slotSeconds) !== kept.slotSeconds;
  if (isOther) {
    refuse(
      `the outbox has ${kept.slots} slots of ${kept.slotSeconds} s and keeps them: rows stand in their slots by these numbers. ` +
        'For others let the relay bring everything, drop the schema evident_outbox, and run init',
    );
  }
  return kept;
}

async function readRing(client: pg.ClientBase): Promise<Ring | null> {
  if (!(await mayRead(client, SCHEMA, 'ring'))) return null;
  const { rows } = await client.query<{ slots: number; slot_seconds: number }>(
    `SELECT * FROM ${SCHEMA}.ring`,
  );
  return rows.length === 0 ? null : { slots: rows[0].slots, slotSeconds: rows[0].slot_seconds };
}

function inRange(
  option: string,
  value: number | undefined,
  { least, most }: { least: number; most: number },
): void {
  if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return;
  refuse(`${option}: a whole number from ${least} to ${most} is expected, not ${value}`);
}

async function grantMemberships(client: pg.ClientBase, options: InitOptions): Promise<string[]> {
  const granted: string[] = [];
  for (const option of ['writer', 'relay'] as const) {
    const [group, name] = [GROUPS[option], options[option]];
    if (name === undefined) continue;
    const { rows } = await client.query<{ member: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = $1::regrole AND member = (SELECT oid FROM pg_roles WHERE rolname = $2)
                         AND inherit_option) AS member`,
      [group, name],
    );
    if (rows[0].member) continue;
    await client.query(`GRANT ${group} TO ${quote(name)} WITH INHERIT TRUE`);
    granted.push(`${group} to ${name}`);
  }
  return granted;
}

/** What init can't see to, or must not. */
async function listWarnings(client: pg.ClientBase, options: InitOptions): Promise<string[]> {
  const { rows } = await client.query(
    `SELECT current_setting('wal_level') AS wal_level,
            (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = $1) AS replicates,
            (SELECT rolsuper OR pg_has_role(oid, 'pg_read_all_stats', 'USAGE') FROM pg_roles WHERE rolname = $1) AS sees,
            (SELECT rolsuper OR pg_has_role(oid, (SELECT nspowner FROM pg_namespace WHERE nspname = $3), 'USAGE')
               FROM pg_roles WHERE rolname = $2) AS owns`,
    [options.relay ?? null, options.writer ?? null, SCHEMA],
  );
  const [{ wal_level, replicates, sees, owns }] = rows;
  const warnings: string[] = [];
  if (wal_level !== 'logical') {
    warnings.push(
      `wal_level is ${wal_level}, so the relay can only poll. To read the write-ahead log: ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL.`,
    );
  }
  if (replicates === false)
    warnings.push(
      `${options.relay} lacks REPLICATION, so its relay can only poll. To read the write-ahead log: ALTER ROLE ${quote(options.relay ?? '')} REPLICATION.`,
    );
  if (sees === false)
    warnings.push(
      `${options.relay} can't see how old the transactions of others are, so it raises no alert about them: GRANT pg_read_all_stats TO ${quote(options.relay ?? '')}.`,
    );
  if (owns === true)
    warnings.push(
      `${options.writer} is a superuser or owns the outbox, so no right keeps it from forging a row. Let the application connect as a role that does neither.`,
    );
  return warnings;
}

/** The detail names what differs, and what to do about each. */
function damaged(left: readonly Deviation[]): EvidentError {
  const list = left.map(({ object, what, heal }) => `${object}: ${what} (${heal})`);
  return new EvidentError('outbox-damaged', `init could not put everything right:\n  ${list.join('\n  ')}`, {
    context: { left },
  });
}

function initFault(error: unknown): unknown {
  if (isEvidentError(error)) return error;
  const { code, message } = error as { code?: string; message: string };
  if (code === undefined || code.length !== 5)
    return new EvidentError('source-unavailable', `making the outbox: ${message}`, { cause: error });
  // Class 08, 53, 57, 58: not of the outbox. The rest is what PostgreSQL says of its objects or of the role's rights.
  const isOperating = /^(?:08|53|55P03|57|58|40)/.test(code);
  return new EvidentError(
    isOperating ? 'source-unavailable' : 'outbox-damaged',
    `init changed nothing, because PostgreSQL refused: ${message} (SQLSTATE ${code})`,
    { cause: error },
  );
}
