/**
 * What a log was begun as, and who signs for it. Its mark (name, K, time) stands in three places: the database, the
 * data directory (`inception.json`, and K in `evident.vkey`), and the memory of the signer. A database that is empty
 * where one of the others is not was lost: nothing begins in its place under the same name.
 *
 *   1 row in the database             the next start goes on from here
 *   2 mark in the signer's memory     the same; another empty database meets it, and is refused
 *   3 files in the data directory     the same
 */

import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes } from '@evident/core/bytes.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { formatVkey, parseVkey, verifierKey } from '@evident/core/note.ts';
import { defaultName, treeOrigin } from '@evident/core/origin.ts';
import type pg from 'pg';
import type { Config } from './config.ts';
import type { HeadSigner } from './seal/ports.ts';
import { formatSignerAddress } from './signer/address.ts';
import { checkInception, type InceptionMark, sameInception } from './signer/memory.ts';
import type { Signer, SignerDescription } from './signer/ports.ts';
import { errnoOf, writeFileDurably } from './stores/durable-file.ts';
import { lockDataDirectory } from './stores/folder/data-lock.ts';
import { FolderSigner } from './stores/folder/signer.ts';
import { VERIFY_FUNCTIONS } from './stores/folder/signing-keys.ts';
import { SocketSigner } from './stores/signer-socket/client.ts';

const MARK_FILE = 'inception.json';
/** The log whose key is K. */
const HEADS_ORIGIN_LOG = 'heads';

export interface BegunLog {
  readonly name: string;
  /** The public key of K. */
  readonly publicKey: Uint8Array;
  readonly signer: Signer;
  /** What the signer remembers now, also where another process signs. */
  readonly memory: Pick<HeadSigner, 'last'>;
  close(): void;
}

interface OpenSigner extends Pick<BegunLog, 'signer' | 'memory' | 'close'> {
  /** For messages. */
  readonly where: string;
}

/**
 * Opens the log of a database: begins it if the database is new, and holds the marks against one another if it isn't.
 * A signer that can't be reached holds nobody up who has a log: it is held against the mark when it answers.
 *
 * @param holds this process holds the data directory; a reader makes and writes nothing
 * @throws inception-refused, key-mismatch, usage-invalid, signer-refused; signer-unreachable where a log is to begin
 */
export async function openInception(
  config: Config,
  dataDir: string,
  pool: pg.Pool,
  holds: boolean,
): Promise<BegunLog> {
  let mark = await readRow(pool);
  if (mark === null && !holds)
    throw new EvidentError(
      'usage-invalid',
      `the database of ${dataDir} holds no log yet: start the server first`,
    );
  if (mark === null) refuseTraces(dataDir);
  const opened = openSigner(config, dataDir, { holds, mayMakeKey: holds && mark === null });
  try {
    if (mark === null) mark = await begin(config, pool, opened);
    await checkMark(config, dataDir, opened, mark, holds);
    const key = parseVkey(mark.vkey);
    if (!key.ok) throw new EvidentError('key-mismatch', `the database was begun with no key: ${key.reason}`);
    const { signer, memory, close } = opened;
    return { name: mark.name, publicKey: key.value.publicKey, signer, memory, close };
  } catch (error) {
    opened.close();
    throw error;
  }
}

async function readRow(pool: pg.Pool): Promise<InceptionMark | null> {
  const { rows } = await pool.query<{ name: string; vkey: string; begun_at: string }>(
    `SELECT name, vkey, to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS begun_at
       FROM evident.inception`,
  );
  return rows.length === 0 ? null : { name: rows[0].name, vkey: rows[0].vkey, begunAt: rows[0].begun_at };
}

/** Before anything is made, so that a signing key is never made beside the tiles of another. */
function refuseTraces(dataDir: string): void {
  const mark = readMark(dataDir);
  if (mark !== null) throw lost(`${dataDir} holds ${mark.name}, begun at ${mark.begunAt}`);
  if (existsSync(join(dataDir, 'evident.vkey')))
    throw lost(`${dataDir} holds the log of ${readFileSync(join(dataDir, 'evident.vkey'), 'utf8').trim()}`);
  const tiles = join(dataDir, 'tiles');
  if (existsSync(tiles) && readdirSync(tiles).length > 0)
    throw lost(`${dataDir} holds tiles of sealed records`);
}

function lost(what: string): EvidentError {
  return new EvidentError(
    'inception-refused',
    `the database is empty, but ${what}: put that database back, or begin another log with a new data directory and a signer of its own`,
  );
}

function readMark(dataDir: string): InceptionMark | null {
  const path = join(dataDir, MARK_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  let value: Record<string, unknown> = {};
  try {
    value = Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    // Told below: a file that is no mark.
  }
  const mark = checkInception(value.name, value.vkey, value.begun_at);
  if (!mark.ok)
    throw new EvidentError('inception-refused', `${path} is no mark of inception: ${mark.reason}`);
  return mark.value;
}

function openSigner(
  config: Config,
  dataDir: string,
  { holds, mayMakeKey }: { holds: boolean; mayMakeKey: boolean },
): OpenSigner {
  if (config.signer !== null) {
    const signer = new SocketSigner(config.signer, {
      verify: VERIFY_FUNCTIONS,
      now: () => performance.now(),
    });
    const where = `the signer at ${formatSignerAddress(config.signer.address)}`;
    return { signer, memory: signer, close: () => signer.close(), where };
  }
  const folder = join(dataDir, 'signer');
  if (!mayMakeKey && !existsSync(join(folder, 'key')))
    throw new EvidentError(
      'key-mismatch',
      `${folder} holds no signing key: put it back from its backup, or name the signer of this log with --signer`,
    );
  if (mayMakeKey) mkdirSync(folder, { recursive: true, mode: 0o700 });
  // `evident signer` may hold the same folder: two that sign, each with a memory of its own, would fork every tree.
  const lock = holds ? lockDataDirectory(folder) : null;
  try {
    const signer = FolderSigner.open(folder, { mayMakeKey });
    // Read anew: a server that runs beside us has signed since.
    const last: HeadSigner['last'] = async (origin) => FolderSigner.readLast(folder).get(origin) ?? null;
    return { signer, memory: { last }, close: () => lock?.release(), where: folder };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

async function begin(config: Config, pool: pg.Pool, { signer, where }: OpenSigner): Promise<InceptionMark> {
  const { inception, hasSigned, publicKeys, name: made } = await signer.describe();
  if (inception !== null) throw lost(`${where} was begun for ${inception.name} at ${inception.begunAt}`);
  if (hasSigned) throw lost(`the key of ${where} has signed heads`);
  if (config.name !== null && made !== null && config.name !== made)
    throw new EvidentError('usage-invalid', `name: ${where} is for ${made} alone, not for ${config.name}`, {
      context: { field: 'name' },
    });
  const name = config.name ?? made ?? defaultName(publicKeys[0]);
  const vkey = formatVkey(verifierKey(treeOrigin(name, HEADS_ORIGIN_LOG, 0), 'ed25519', publicKeys[0]));
  await pool.query('INSERT INTO evident.inception (name, vkey) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    name,
    vkey,
  ]);
  return (await readRow(pool)) as InceptionMark;
}

/** Holds settings, signer and data directory against the mark of the database, and writes it where it is not yet. */
async function checkMark(
  config: Config,
  dataDir: string,
  { signer, where }: OpenSigner,
  mark: InceptionMark,
  holds: boolean,
): Promise<void> {
  const description = await describeIfReached(signer);
  if (description !== null) checkKey(description, where, mark);
  if (config.name !== null && config.name !== mark.name)
    throw new EvidentError(
      'usage-invalid',
      `name: this log was begun as ${mark.name} and keeps that name; ${config.name} is configured`,
      { context: { field: 'name' } },
    );
  if (!holds) return;
  const own = readMark(dataDir);
  if (own !== null && !sameInception(own, mark))
    throw new EvidentError(
      'inception-refused',
      `the database was begun as ${mark.name} at ${mark.begunAt}, but ${dataDir} belongs to ${own.name}, begun at ${own.begunAt}`,
    );
  await tellSigner(signer, where, mark);
  writeFileDurably(join(dataDir, 'evident.vkey'), `${mark.vkey}\n`, 0o644);
  const { name, vkey, begunAt } = mark;
  const text = `${JSON.stringify({ name, vkey, begun_at: begunAt })}\n`;
  if (own === null) writeFileDurably(join(dataDir, MARK_FILE), text, 0o644);
}

/** Null where the signer can't be reached: its key is held against K as soon as it answers. */
async function describeIfReached(signer: Signer): Promise<SignerDescription | null> {
  try {
    return await signer.describe();
  } catch (error) {
    if (isUnreachable(error)) return null;
    throw error;
  }
}

function checkKey({ publicKeys }: SignerDescription, where: string, mark: InceptionMark): void {
  const key = parseVkey(mark.vkey);
  if (key.ok && publicKeys.some((one) => equalBytes(one, key.value.publicKey))) return;
  const own = formatVkey(verifierKey(treeOrigin(mark.name, HEADS_ORIGIN_LOG, 0), 'ed25519', publicKeys[0]));
  throw new EvidentError(
    'key-mismatch',
    `the database was begun with the key ${mark.vkey}, but ${where} signs with ${own}`,
  );
}

async function tellSigner(signer: Signer, where: string, mark: InceptionMark): Promise<void> {
  try {
    const begun = await signer.begin(mark);
    if (!begun.ok) throw new EvidentError('inception-refused', `${where}: ${begun.reason}`);
  } catch (error) {
    if (!isUnreachable(error)) throw error;
  }
}

function isUnreachable(error: unknown): boolean {
  return isEvidentError(error) && error.code === 'signer-unreachable';
}
