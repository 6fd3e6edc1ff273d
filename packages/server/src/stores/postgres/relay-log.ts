/** The port `RelayLog` on PostgreSQL: cursor and records in one transaction. */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { Outcome, Proposal } from '../../log/log.ts';
import type { LocalRelay, ReadBounds, RelayLog, Source } from '../../relay/ports.ts';
import { parseState, type RelayState, serialiseState } from '../../relay/state.ts';
import { encodeAppend, settleAppend } from './append-call.ts';
import { ask } from './ask.ts';
import { asEvidentError, classifyFault } from './faults.ts';
import type { PostgresLog } from './log.ts';

/** "relay" in ASCII: first half of the advisory lock of a source. */
const CLAIM = 0x72656c61;
const RETRIES_MAX = 5;
/** Raised when the cursor was moved by another. */
const MOVED = 'EV011';

const RELAY = {
  name: 'relay',
  text: `SELECT * FROM evident.relay($1, $2, $3, $4, $5::int[], $6::int[], $7::int[], $8::uuid[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::int[], $14::text[], $15::text[], $16::smallint[], $17::bytea[], $18::bytea[],
    $19::bigint[], $20::bytea[], $21::boolean[], $22::int[])`,
};

export interface PostgresRelayLogDeps {
  readonly pool: pg.Pool;
  readonly logs: ReadonlyMap<string, PostgresLog>;
}

interface SourceRow {
  source: string;
  log: string;
  tenants: string[] | null;
  wanted_mode: 'polling' | 'wal';
  state: string | null;
  version: string;
}

const SOURCES = `SELECT s.source, l.log, s.tenants, s.wanted_mode, s.state::text AS state, s.version
                   FROM evident.sources s JOIN evident.logs l USING (log_id)`;

function sourceOf(row: SourceRow): Source {
  return {
    name: row.source,
    log: row.log,
    tenants: row.tenants,
    wantedMode: row.wanted_mode,
    state: row.state === null ? null : parseState(row.state),
    version: BigInt(row.version),
  };
}

/** The cursor that is to be moved, as it was read. */
function beforeOf({ state }: Source): string | null {
  return state === null ? null : serialiseState(state);
}

export class PostgresRelayLog implements RelayLog {
  readonly #deps: PostgresRelayLogDeps;

  constructor(deps: PostgresRelayLogDeps) {
    this.#deps = deps;
  }

  async readSource(name: string): Promise<Source | null> {
    const { rows } = await ask<SourceRow>(
      this.#deps.pool,
      `reading the source ${name}`,
      `${SOURCES} WHERE s.source = $1`,
      [name],
    );
    return rows.length === 0 ? null : sourceOf(rows[0]);
  }

  async listSources(): Promise<Source[]> {
    const { rows } = await ask<SourceRow>(
      this.#deps.pool,
      'reading the sources',
      `${SOURCES} ORDER BY s.source`,
      [],
    );
    return rows.map(sourceOf);
  }

  /** @throws usage-invalid when the log is not there, or the source goes into another one */
  async register(
    name: string,
    log: string,
    tenants: readonly string[] | null,
    mode: Source['wantedMode'],
  ): Promise<void> {
    try {
      await this.#deps.pool.query('SELECT evident.register_source($1, $2, $3, $4)', [
        name,
        log,
        tenants,
        mode,
      ]);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (code === 'EV013' || code === '23514')
        throw new EvidentError('usage-invalid', `source ${name}: ${message}`, { cause: error });
      throw asEvidentError(error, `registering the source ${name}`, true);
    }
  }

  async relay(source: Source, state: RelayState, proposals: readonly Proposal[]): Promise<Outcome[]> {
    const log = this.#deps.logs.get(source.log);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${source.log}`);
    const pending = log.pendingOf(proposals);
    const { values, slotOf } = encodeAppend(pending);
    const head = [source.name, source.version, beforeOf(source), serialiseState(state)];
    for (let attempt = 1; ; attempt++) {
      try {
        const { rows } = await this.#deps.pool.query({ ...RELAY, values: [...head, ...values] });
        return settleAppend(pending, slotOf, rows[0]).map((settled, index) =>
          log.outcomeOf(settled, pending[index].tree),
        );
      } catch (error) {
        if (classifyFault(error, true) === 'retry' && attempt < RETRIES_MAX) continue;
        throw movedOr(error, source, `relaying ${proposals.length} records of ${source.name}`);
      }
    }
  }

  async moveCursor(source: Source, state: RelayState): Promise<void> {
    try {
      await this.#deps.pool.query('SELECT evident.move_cursor($1, $2, $3, $4)', [
        source.name,
        source.version,
        beforeOf(source),
        serialiseState(state),
      ]);
    } catch (error) {
      throw movedOr(error, source, `moving the cursor of ${source.name}`);
    }
  }

  async progress(name: string): Promise<{ sealed: readonly bigint[]; next: readonly bigint[] }> {
    const log = this.#deps.logs.get(name);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${name}`);
    const { rows } = await ask<{ next_position: string; sealed: string }>(
      this.#deps.pool,
      `reading how far ${name} is sealed`,
      `SELECT p.next_position, coalesce(s.size, 0) AS sealed
         FROM evident.partitions p LEFT JOIN evident.seals s USING (tree)
        WHERE p.tree = ANY ($1) ORDER BY p.partition`,
      [log.trees],
    );
    return {
      next: rows.map((row) => BigInt(row.next_position)),
      sealed: rows.map((row) => BigInt(row.sealed)),
    };
  }

  /** A session's advisory lock: it ends with the process, however that ends. */
  async claim(name: string): Promise<{ release(): Promise<void> } | null> {
    let client: pg.PoolClient;
    try {
      client = await this.#deps.pool.connect();
    } catch (error) {
      throw asEvidentError(error, `claiming the source ${name}`, false);
    }
    try {
      const { rows } = await client.query<{ ours: boolean }>(
        'SELECT pg_try_advisory_lock($1, hashtext($2)) AS ours',
        [CLAIM, name],
      );
      if (rows[0].ours) {
        // Closed, not given back: a pooled connection would keep the lock.
        return { release: async () => client.release(true) };
      }
      client.release();
      return null;
    } catch (error) {
      client.release(error as Error);
      throw asEvidentError(error, `claiming the source ${name}`, false);
    }
  }
}

/** The port `LocalRelay`: evident.relay_local. */
export class PostgresLocalRelay implements LocalRelay {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async isLocal(tokens: readonly string[]): Promise<boolean> {
    try {
      const { rows } = await this.#pool.query<{ local: boolean }>(
        'SELECT bool_or(evident.is_local(token)) AS local FROM unnest($1::uuid[]) token',
        [tokens],
      );
      return rows[0].local;
    } catch (error) {
      throw asEvidentError(error, 'asking whether the outbox is here', false);
    }
  }

  async relay(
    source: Source,
    state: RelayState,
    { rowsMax }: ReadBounds,
    metas: readonly string[],
  ): Promise<{ taken: number; repeats: number; state: RelayState }> {
    try {
      const { rows } = await this.#pool.query<{ taken: number; repeats: number; state: string }>({
        name: 'relay-local',
        text: 'SELECT taken, repeats, state::text AS state FROM evident.relay_local($1, $2, $3, $4, $5)',
        values: [source.name, source.version, serialiseState(state), rowsMax, metas],
      });
      const [{ taken, repeats }] = rows;
      return { taken, repeats, state: parseState(rows[0].state) };
    } catch (error) {
      // A body nested so deep that PostgreSQL itself gives up: the relay's own code looks at it.
      if ((error as { code?: string }).code === '54001') return { taken: 0, repeats: 0, state };
      throw movedOr(error, source, `relaying rows of ${source.name}`);
    }
  }
}

function movedOr(error: unknown, source: Source, what: string): EvidentError {
  if ((error as { code?: string }).code === MOVED) {
    return new EvidentError('cursor-moved', `${what}: another relay has moved the cursor`, {
      cause: error,
      context: { source: source.name },
    });
  }
  return asEvidentError(error, what, true);
}
