/** Where parts of records stand beside the log: the view, its dead letters, identities. */

import type pg from 'pg';
import type { CopyReader, LogPlace } from '../../verify/ports.ts';
import { ask } from './ask.ts';

interface IdentityRow {
  tenant: string;
  id: string;
  body_hash: Uint8Array;
}

/** Both tables by place: neither has an index for it, and an investigation is rare. */
const IDENTITIES = `SELECT tenant, id::text AS id, body_hash FROM evident.identities WHERE tree = $1 AND position = $2
  UNION SELECT tenant, id::text, body_hash FROM evident.identities_reused WHERE tree = $1 AND position = $2 LIMIT 10`;

const ROW = `SELECT json_strip_nulls(json_build_object('generation', e.generation, 'id', e.id, 'tenant', e.tenant, 'type', e.type,
         'event_time', e.event_time, 'actor_id', e.actor_id, 'action', e.action, 'resource_type', e.resource_type,
         'resource_id', e.resource_id, 'result', e.result, 'correlation_id', e.correlation_id))::text AS line
    FROM evident.events e JOIN evident.views v ON v.view = 'hot' AND v.live = e.generation
   WHERE e.tree = $1 AND e.position = $2 LIMIT 1`;

const LETTER = `SELECT format('%s of %s, id %s: %s; %s', d.class, d.tenant, d.id, d.error,
         CASE WHEN d.resolution IS NULL THEN 'open' ELSE d.resolution END) AS line
    FROM evident.dead_letters d JOIN evident.views v ON v.view = d.view AND v.live = d.generation
   WHERE d.view = 'hot' AND d.tree = $1 AND d.position = $2 LIMIT 1`;

export class PostgresCopyReader implements CopyReader {
  readonly #pool: pg.Pool;
  readonly #treeOf: (log: string, partition: number) => number;

  /** @param pool connections that see all tenants */
  constructor(pool: pg.Pool, treeOf: (log: string, partition: number) => number) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  viewRow(place: LogPlace): Promise<string | null> {
    return this.#line('looking for a row of the view', ROW, place);
  }

  deadLetter(place: LogPlace): Promise<string | null> {
    return this.#line('looking for a dead letter', LETTER, place);
  }

  async identities(place: LogPlace): Promise<{ tenant: string; id: string; bodyHash: Uint8Array }[]> {
    const { rows } = await ask<IdentityRow>(
      this.#pool,
      'looking for identities',
      IDENTITIES,
      this.#values(place),
    );
    return rows.map(({ tenant, id, body_hash }) => ({ tenant, id, bodyHash: new Uint8Array(body_hash) }));
  }

  async #line(what: string, statement: string, place: LogPlace): Promise<string | null> {
    const { rows } = await ask<{ line: string }>(this.#pool, what, statement, this.#values(place));
    return rows[0]?.line ?? null;
  }

  #values({ log, partition, position }: LogPlace): unknown[] {
    return [this.#treeOf(log, partition), position.toString()];
  }
}
