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
}

const COLUMNS = `key_id, hash, role, tenant, note, (extract(epoch FROM made_at) * 1000000)::bigint AS made_us,
  (extract(epoch FROM revoked_at) * 1000000)::bigint AS revoked_us`;
/** Exact to the microsecond, which a division of a double would not be. */
const instant = (parameter: string) =>
  `timestamptz 'epoch' + ${parameter}::bigint * interval '1 microsecond'`;

const INSERT = `INSERT INTO evident.api_keys (key_id, hash, role, tenant, note, made_at) VALUES ($1, $2, $3, $4, $5, ${instant('$6')})`;
const FIND = `SELECT ${COLUMNS} FROM evident.api_keys WHERE key_id = $1`;
const LIST = `SELECT ${COLUMNS} FROM evident.api_keys
  WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR key_id > $2) ORDER BY key_id LIMIT $3`;
const REVOKE = `UPDATE evident.api_keys SET revoked_at = coalesce(revoked_at, ${instant('$2')}) WHERE key_id = $1`;

export class PostgresApiKeyStore implements ApiKeyStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async insert({ keyId, hash, role, tenant, note, madeAt }: ApiKey): Promise<void> {
    const values = [keyId, Buffer.from(hash), role, tenant, note, madeAt.toString()];
    await this.#query(`storing API key ${keyId}`, INSERT, values, true);
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

function keyOf(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    hash: new Uint8Array(row.hash),
    role: row.role,
    tenant: row.tenant,
    note: row.note,
    madeAt: BigInt(row.made_us),
    revokedAt: row.revoked_us === null ? null : BigInt(row.revoked_us),
  };
}
