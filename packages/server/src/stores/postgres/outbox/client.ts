/** A connection of an operator's command to an application's database. */

import { EvidentError } from '@evident/core/errors.ts';
import pg from 'pg';

const CONNECT_MS_MAX = 10_000;

/**
 * Connects, acts, disconnects. Errors never carry the connection string: it holds a password.
 *
 * @throws usage-invalid when it is no connection string, source-unavailable when nobody answers or the login is refused
 */
export async function withOutboxClient<Result>(
  connectionString: string,
  action: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = await connect(connectionString);
  try {
    return await action(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function connect(connectionString: string): Promise<pg.Client> {
  let client: pg.Client;
  try {
    client = new pg.Client({
      connectionString,
      connectionTimeoutMillis: CONNECT_MS_MAX,
      application_name: 'evident outbox',
    });
  } catch {
    throw new EvidentError(
      'usage-invalid',
      '--postgres: a connection string is expected, such as postgres://user@host/database',
    );
  }
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (cause) {
    await client.end().catch(() => undefined);
    const { message, code } = cause as Error & { code?: string };
    throw new EvidentError(
      'source-unavailable',
      `PostgreSQL at ${client.host}:${client.port} can't be used: ${message || code || 'it does not answer'}`,
      { cause },
    );
  }
}
