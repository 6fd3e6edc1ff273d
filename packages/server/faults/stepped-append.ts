/**
 * Writers on real PostgreSQL that go statement by statement, from gate to gate (append-gates.ts). The controller
 * holds the locks of all gates. Passing one is:
 *
 *   controller lets the lock go → session takes it, gives it back, runs to its next gate → controller takes it again
 *
 * The controller goes on only when every session is settled: it stands at a gate, waits for a lock that another
 * session holds, or has answered. That is read from pg_locks, with a bound; nothing depends on a time.
 */

import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Appender } from '../src/stores/postgres/appender.ts';
import { PostgresLog } from '../src/stores/postgres/log.ts';
import type { TestDatabase } from '../test/database.ts';
import { GATE_CLASS, type Gate } from './append-gates.ts';

const SETTLE_MS_MAX = 20_000;
const POLL_MS = 1;
/** Polls without a pause between them: most sessions settle within a millisecond. */
const POLLS_QUICK = 10;
/** Short, so that a deadlock is found soon; it only sets when PostgreSQL begins to look for one. */
const DEADLOCK_TIMEOUT_MS = 20;
/** Gates that one append may pass before we give up on it. */
const GATES_PASSED_MAX = 500;

const WAITS = {
  name: 'waits',
  text: `SELECT pid, CASE locktype WHEN 'advisory' THEN classid::int END AS class, CASE locktype WHEN 'advisory' THEN objid::int END AS key
           FROM pg_locks WHERE NOT granted AND pid = ANY ($1)`,
};

export type SessionState = 'idle' | 'running' | 'gate' | 'blocked';

/** One writer: a connection of the server's role, and the log through the shipped code on that connection alone. */
export class SteppedSession {
  readonly number: number;
  client!: pg.Client;
  pid = 0;
  state: SessionState = 'idle';
  gate: Gate | undefined;
  /** Key of the gate at which it stands. */
  key = 0;
  /** What the append answered, when it has. */
  answer: unknown;
  /** The first error that PostgreSQL sent; the appender's own may come of a retry in an aborted transaction. */
  fault: (Error & { code?: string }) | undefined;
  busy = false;

  constructor(number: number) {
    this.number = number;
  }

  async connect(connection: pg.ClientConfig): Promise<void> {
    const options = `-c role=evident_server -c evident.tenant=* -c synchronous_commit=off -c race.session=${this.number} -c deadlock_timeout=${DEADLOCK_TIMEOUT_MS}ms`;
    this.client = new pg.Client({ ...connection, options });
    this.client.on('error', () => undefined);
    await this.client.connect();
    this.pid = (await this.client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    this.state = 'idle';
    this.gate = undefined;
    this.fault = undefined;
  }

  log(name: string, trees: readonly number[]): PostgresLog {
    const query = async (text: unknown) => {
      try {
        return await this.client.query(text as pg.QueryConfig);
      } catch (error) {
        this.fault ??= error as Error;
        throw error;
      }
    };
    const pool = { connect: async () => ({ query, release: () => undefined }) } as unknown as pg.Pool;
    return new PostgresLog({ pool, appender: new Appender(pool) }, name, trees);
  }

  start(work: () => Promise<unknown>): void {
    this.busy = true;
    this.answer = undefined;
    this.fault = undefined;
    const settle = (answer: unknown) => {
      this.answer = answer;
      this.busy = false;
    };
    work().then(settle, (error: Error) => {
      this.fault ??= error;
      settle(undefined);
    });
  }
}

export class Stepper {
  readonly sessions: readonly SteppedSession[];
  readonly gates: readonly Gate[];
  readonly #database: TestDatabase;
  readonly #controller: pg.Client;

  private constructor(database: TestDatabase, gates: readonly Gate[], count: number) {
    this.#database = database;
    this.gates = gates;
    this.sessions = Array.from({ length: count }, (_, index) => new SteppedSession(index));
    this.#controller = new pg.Client(database.connection);
  }

  static async open(database: TestDatabase, gates: readonly Gate[], count: number): Promise<Stepper> {
    const stepper = new Stepper(database, gates, count);
    try {
      stepper.#controller.on('error', () => undefined);
      await stepper.#controller.connect();
      await stepper.#controller.query(
        'SELECT pg_advisory_lock($1 + s, k) FROM generate_series(0, $2::int - 1) s, generate_series(0, $3::int - 1) k',
        [GATE_CLASS, count, gates.length * 2],
      );
      for (const session of stepper.sessions) await session.connect(database.connection);
    } catch (error) {
      await stepper.close();
      throw error;
    }
    return stepper;
  }

  async close(): Promise<void> {
    // Those that stand at a gate would not answer the end of their connection.
    const pids = this.sessions.flatMap(({ pid }) => (pid === 0 ? [] : [pid]));
    await this.#controller
      .query('SELECT pg_terminate_backend(p, 5000) FROM unnest($1::int[]) p', [pids])
      .catch(() => undefined);
    await Promise.allSettled(this.sessions.map(({ client }) => client?.end()));
    await this.#controller.end().catch(() => undefined);
  }

  /** Begins a transaction and its one append; resolves when all sessions are settled. */
  async begin(session: SteppedSession, work: () => Promise<unknown>): Promise<void> {
    await session.client.query('BEGIN');
    session.start(work);
    await this.settle();
  }

  /** Lets a session that stands at a gate go to its next one. */
  async pass(session: SteppedSession): Promise<void> {
    if (session.state !== 'gate' || session.gate === undefined)
      throw new Error(`session ${session.number} stands at no gate`);
    const key = [GATE_CLASS + session.number, session.key];
    await this.#controller.query('SELECT pg_advisory_unlock($1, $2)', key);
    await this.settle();
    const { rows } = await this.#controller.query<{ held: boolean }>(
      'SELECT pg_try_advisory_lock($1, $2) AS held',
      key,
    );
    if (!rows[0].held)
      throw new Error(`gate ${session.gate?.step} of session ${session.number} could not be closed again`);
  }

  /** Lets a session go until it stands at `step`, waits for another session, or has answered. */
  async passUntil(session: SteppedSession, step?: string): Promise<void> {
    for (let passed = 0; session.state === 'gate' && session.gate?.step !== step; passed++) {
      if (passed === GATES_PASSED_MAX) throw new Error(`session ${session.number} never came to ${step}`);
      await this.pass(session);
    }
  }

  /** @returns PostgreSQL's clock just before, microseconds since the Unix epoch */
  async end(session: SteppedSession, how: 'COMMIT' | 'ROLLBACK'): Promise<bigint> {
    // A statement sent now would wait behind one that stands at a gate, and nobody would open that.
    if (session.state !== 'idle')
      throw new Error(`session ${session.number} is ${session.state}: it cannot ${how}`);
    const { rows } = await this.#controller.query<{ us: string }>(
      'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us',
    );
    await session.client.query(how);
    await this.settle();
    return BigInt(rows[0].us);
  }

  /** Ends the backend where it stands, and connects anew. */
  async kill(session: SteppedSession): Promise<void> {
    await this.#terminate([session.pid]);
    await session.client.end().catch(() => undefined);
    await this.#until(`session ${session.number} to fail`, async () => !session.busy);
    await session.connect(this.#database.connection);
    await this.settle();
  }

  /** Resolves when the backends are gone, and with them their locks. PostgreSQL's own wait looks every 100 ms only. */
  async #terminate(pids: readonly number[]): Promise<void> {
    await this.#controller.query('SELECT pg_terminate_backend(p) FROM unnest($1::int[]) p', [pids]);
    await this.#until('backends to end', async () => {
      const { rows } = await this.#controller.query('SELECT FROM pg_stat_activity WHERE pid = ANY ($1)', [
        pids,
      ]);
      return rows.length === 0;
    });
  }

  /** Resolves when each session stands at a gate, waits for another, or has answered. */
  async settle(): Promise<void> {
    let last = '';
    await this.#until('the sessions to settle', async () => {
      await this.#look();
      const states = this.sessions.map(({ state }) => state).join();
      // A wait for something that is about to be free (a page, an extension) looks like one for another session.
      const sure = !states.includes('blocked') || states === last;
      last = states;
      return sure && !states.includes('running');
    });
  }

  async #look(): Promise<void> {
    const { rows } = await this.#controller.query<{ pid: number; class: number | null; key: number }>({
      ...WAITS,
      values: [this.sessions.map(({ pid }) => pid)],
    });
    const waits = new Map(rows.map((row) => [row.pid, row]));
    for (const session of this.sessions) {
      const wait = waits.get(session.pid);
      const gate =
        wait?.class === GATE_CLASS + session.number ? this.gates[Math.floor(wait.key / 2)] : undefined;
      if (gate !== undefined) session.key = wait?.key as number;
      session.gate = session.busy ? gate : undefined;
      if (!session.busy) session.state = 'idle';
      else if (wait === undefined) session.state = 'running';
      else session.state = gate === undefined ? 'blocked' : 'gate';
    }
  }

  /** Resolves when a session that waits for another has answered after all: PostgreSQL broke a deadlock. */
  async untilUnblocked(): Promise<void> {
    await this.#until('a session that waits for another', async () => {
      await this.#look();
      return this.sessions.some(({ state, fault }) => state === 'gate' || fault !== undefined);
    });
  }

  /** Resolves when another backend, of whoever, waits for a lock that this session holds. */
  async untilWaited(session: SteppedSession): Promise<void> {
    await this.#until(`a wait for session ${session.number}`, async () => {
      const { rows } = await this.#controller.query(
        'SELECT FROM pg_locks WHERE NOT granted AND $1 = ANY (pg_blocking_pids(pid))',
        [session.pid],
      );
      return rows.length > 0;
    });
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const end = Date.now() + SETTLE_MS_MAX;
    for (let polls = 0; !(await isSo()); polls++) {
      if (Date.now() > end)
        throw new Error(`waited ${SETTLE_MS_MAX} ms for ${what}: ${JSON.stringify(this.describe())}`);
      if (polls < POLLS_QUICK) await immediate();
      else await sleep(POLL_MS);
    }
  }

  describe(): unknown[] {
    return this.sessions.map(({ number, state, gate, fault }) => ({
      number,
      state,
      gate: gate && `${gate.of}: ${gate.step}`,
      fault: fault?.message,
    }));
  }
}
