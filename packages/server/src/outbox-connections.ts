/**
 * Where the databases of sources are. Connection strings hold passwords: they lie in `<data>/outboxes.json`, readable
 * by the owner alone, or come from the environment (`EVIDENT_OUTBOX_<NAME>`), never from the log's database.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { Config } from './config.ts';
import { writeFileDurably } from './stores/durable-file.ts';

const FILE = 'outboxes.json';
/** Instead of a connection string: the PostgreSQL of the data directory itself. */
export const SAME_DATABASE = 'embedded';

function readConnections(dataDir: string): Record<string, string> {
  const path = join(dataDir, FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  try {
    return JSON.parse(text) as Record<string, string>;
  } catch (cause) {
    throw new EvidentError('usage-invalid', `${path} can't be read as JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** @param own the log's own database, for a source that says `embedded` */
export function connectionOf(config: Config, own: pg.ClientConfig, source: string): pg.ClientConfig | null {
  const text = ownText(config.outboxes, source) ?? ownText(readConnections(config.dataDir), source);
  if (text === undefined) return null;
  return text === SAME_DATABASE ? own : { connectionString: text };
}

/** A source may be called `constructor`, and every object has one. */
function ownText(connections: Readonly<Record<string, string>>, source: string): string | undefined {
  return Object.hasOwn(connections, source) ? connections[source] : undefined;
}

/** Keeps a connection string for the relay. */
export function storeConnection(dataDir: string, source: string, connection: string): void {
  const all = { ...readConnections(dataDir), [source]: connection };
  writeFileDurably(join(dataDir, FILE), `${JSON.stringify(all, null, 2)}\n`, 0o600);
}
