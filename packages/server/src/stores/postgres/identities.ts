/** Where identities stand in logs. */

import type pg from 'pg';
import type { IdentityPlace, IdentityReader, SoughtIdentity } from '../../http/deps.ts';
import { ask } from './ask.ts';
import type { PostgresLog } from './log.ts';

/** Each probe is one look into the primary key; a batch is one statement. */
const FIND = {
  name: 'find-identities',
  text: `SELECT s.ordinal::int AS ordinal, i.tree, i.position
           FROM unnest($1::text[], $2::text[], $3::uuid[]) WITH ORDINALITY AS s (log, tenant, id, ordinal)
           JOIN evident.logs l ON l.log = s.log
           JOIN evident.identities i ON i.log_id = l.log_id AND i.tenant = s.tenant AND i.id = s.id`,
};

interface FoundRow {
  ordinal: number;
  tree: number;
  position: string;
}

export class PostgresIdentityReader implements IdentityReader {
  readonly #pool: pg.Pool;
  readonly #logs: ReadonlyMap<string, PostgresLog>;
  readonly onAppended: IdentityReader['onAppended'];

  /** @param onAppended tells of commits of this process; others are found by looking */
  constructor(
    pool: pg.Pool,
    logs: ReadonlyMap<string, PostgresLog>,
    onAppended: IdentityReader['onAppended'],
  ) {
    this.#pool = pool;
    this.#logs = logs;
    this.onAppended = onAppended;
  }

  async find(sought: readonly SoughtIdentity[]): Promise<(IdentityPlace | null)[]> {
    const places: (IdentityPlace | null)[] = sought.map(() => null);
    for (const { ordinal, tree, position } of await this.#rows(sought)) {
      const { log } = sought[ordinal - 1];
      const partition = this.#logs.get(log)?.trees.indexOf(tree) ?? -1;
      if (partition < 0)
        throw new Error(`an identity of ${log} stands in tree ${tree}, which is not of that log`);
      places[ordinal - 1] = { partition, position: BigInt(position) };
    }
    return places;
  }

  async #rows(sought: readonly SoughtIdentity[]): Promise<FoundRow[]> {
    const columns = [
      sought.map(({ log }) => log),
      sought.map(({ tenant }) => tenant),
      sought.map(({ id }) => id),
    ];
    const what = `looking for ${sought.length} identities`;
    return (await ask<FoundRow>(this.#pool, what, FIND, columns)).rows;
  }
}
