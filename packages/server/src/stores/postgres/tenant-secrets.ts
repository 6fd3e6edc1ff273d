import type pg from 'pg';

const SECRET_BYTES = 32;

/**
 * The secret of a tenant, made at first use. Two processes may make one at once: the first that is stored is
 * everybody's.
 */
export async function tenantSecret(
  pool: pg.Pool,
  tenant: string,
  randomBytes: (count: number) => Uint8Array,
): Promise<Uint8Array> {
  const read = async (): Promise<Uint8Array | undefined> => {
    const { rows } = await pool.query<{ secret: Buffer }>(
      'SELECT secret FROM evident.tenant_secrets WHERE tenant = $1',
      [tenant],
    );
    return rows[0]?.secret;
  };
  const known = await read();
  if (known !== undefined) return known;
  await pool.query(
    'INSERT INTO evident.tenant_secrets (tenant, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING',
    [tenant, Buffer.from(randomBytes(SECRET_BYTES))],
  );
  return (await read()) as Uint8Array;
}
