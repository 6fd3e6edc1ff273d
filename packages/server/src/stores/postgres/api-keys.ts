/** The port `ApiKeyStore` on PostgreSQL. */

import type pg from 'pg';
import type { ApiKey, ApiKeyPage, ApiKeyStore, Role } from '../../access/api-keys.ts';
import { asEvidentError } from './faults.ts';

interface KeyRow {
  key_id: string;
  hash: Buffer;
  role: Role;
  tenant: string | null;
  note: string | null;
  made_us: string;
  revoked_us: string | null;
  expires_us: string | null;
  rotated_to: string | null;
}

const COLUMNS = `key_id, hash, role, tenant, note, (extract(epoch FROM made_at) * 1000000)::bigint AS made_us,
  (extract(epoch FROM revoked_at) * 1000000)::bigint AS revoked_us,
  (extract(epoch FROM expires_at) * 1000000)::bigint AS expires_us, rotated_to`;
/** Exact to the microsecond, which a division of a double would not be. */
const instant = (parameter: string) =>
  `timestamptz 'epoch' + ${parameter}::bigint * interval '1 microsecond'`;

const INSERT = `INSERT INTO evident.api_keys (key_id, hash, role, tenant, note, made_at, expires_at)
  VALUES ($1, $2, $3, $4, $5, ${instant('$6')}, ${instant('$7')})`;
const FIND = `SELECT ${COLUMNS} FROM evident.api_keys WHERE key_id = $1`;
const LIST = `SELECT ${COLUMNS} FROM evident.api_keys
  WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR key_id > $2) ORDER BY key_id LIMIT $3`;
const REVOKE = `UPDATE evident.api_keys SET revoked_at = coalesce(revoked_at, ${instant('$2')}) WHERE key_id = $1`;
/** One statement: the end of the one key and the other's beginning are committed together. */
const ROTATE = `WITH ended AS (
    UPDATE evident.api_keys SET rotated_to = $1, expires_at = least(expires_at, ${instant('$9')})
     WHERE key_id = $8 AND revoked_at IS NULL AND rotated_to IS NULL
       AND (expires_at IS NULL OR expires_at > ${instant('$10')})
    RETURNING key_id)
  INSERT INTO evident.api_keys (key_id, hash, role, tenant, note, made_at, expires_at)
  SELECT $1, $2::bytea, $3, $4, $5, ${instant('$6')}, ${instant('$7')} FROM ended`;

export class PostgresApiKeyStore implements ApiKeyStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async insert(key: ApiKey): Promise<void> {
    await this.#query(`storing API key ${key.keyId}`, INSERT, valuesOf(key), true);
  }

  async find(keyId: string): Promise<ApiKey | null> {
    const { rows } = await this.#query(`looking up API key ${keyId}`, FIND, [keyId]);
    return rows.length === 0 ? null : keyOf(rows[0]);
  }

  async list({ tenant, after, limit }: ApiKeyPage): Promise<ApiKey[]> {
    const { rows } = await this.#query('listing API keys', LIST, [tenant, after, limit]);
    return rows.map(keyOf);
  }

  async revoke(keyId: string, at: bigint): Promise<boolean> {
    const { rowCount } = await this.#query(`revoking API key ${keyId}`, REVOKE, [keyId, at.toString()], true);
    return rowCount === 1;
  }

  async rotate(keyId: string, successor: ApiKey, endsAt: bigint, at: bigint): Promise<boolean> {
    const values = [...valuesOf(successor), keyId, endsAt.toString(), at.toString()];
    const { rowCount } = await this.#query(`rotating API key ${keyId}`, ROTATE, values, true);
    return rowCount === 1;
  }

  async #query(
    what: string,
    text: string,
    values: unknown[],
    writes = false,
  ): Promise<pg.QueryResult<KeyRow>> {
    try {
      return await this.#pool.query<KeyRow>(text, values);
    } catch (error) {
      throw asEvidentError(error, what, writes);
    }
  }
}

function valuesOf({ keyId, hash, role, tenant, note, madeAt, expiresAt }: ApiKey): unknown[] {
  return [keyId, Buffer.from(hash), role, tenant, note, madeAt.toString(), expiresAt?.toString() ?? null];
}

const microsOf = (text: string | null): bigint | null => (text === null ? null : BigInt(text));

function keyOf(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    hash: new Uint8Array(row.hash),
    role: row.role,
    tenant: row.tenant,
    note: row.note,
    madeAt: BigInt(row.made_us),
    revokedAt: microsOf(row.revoked_us),
    expiresAt: microsOf(row.expires_us),
    rotatedTo: row.rotated_to,
  };
}
