/**
 * Writers on real PostgreSQL that go statement by statement.
 *
 * `installSteps` replaces evident.append and its helpers in a test database by the same text with pauses: a pause
 * is a *gate*, an advisory lock (session, gate) that the controller holds. Passing a gate is:
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

/** Advisory locks of session n are (GATE_CLASS + n, gate). */
const GATE_CLASS = 7_000;
const SETTLE_MS_MAX = 20_000;
const POLL_MS = 1;
/** Polls without a pause between them: most sessions settle within a millisecond. */
const POLLS_QUICK = 10;
/** Short, so that a deadlock is found soon; it only sets when PostgreSQL begins to look for one. */
const DEADLOCK_TIMEOUT_MS = 20;
/** Gates that one append may pass before we give up on it. */
const GATES_PASSED_MAX = 500;

/** A place where a session pauses. `step` is the text of the comment, or the beginning of the statement. */
export interface Gate {
  readonly number: number;
  readonly of: string;
  readonly step: string;
}

/**
 * A gate has two keys, and a session comes to one and the other by turns: one that pauses at the same gate twice
 * running must not go through the key that was just let go.
 */
const PAUSE = `
  CREATE SCHEMA IF NOT EXISTS race;
  CREATE TABLE IF NOT EXISTS race.shipped (name text PRIMARY KEY, text text NOT NULL);
  CREATE OR REPLACE FUNCTION race.pause(p_gate int) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    session text := coalesce(current_setting('race.session', true), '');
    turn    text := CASE current_setting('race.turn', true) WHEN '1' THEN '0' ELSE '1' END;
  BEGIN
    IF session <> '' THEN
      PERFORM set_config('race.turn', turn, false);
      PERFORM pg_advisory_lock_shared(${GATE_CLASS} + session::int, p_gate * 2 + turn::int);
      PERFORM pg_advisory_unlock_shared(${GATE_CLASS} + session::int, p_gate * 2 + turn::int);
    END IF;
  END $$`;

const WAITS = {
  name: 'waits',
  text: `SELECT pid, CASE locktype WHEN 'advisory' THEN classid::int END AS class, CASE locktype WHEN 'advisory' THEN objid::int END AS key
           FROM pg_locks WHERE NOT granted AND pid = ANY ($1)`,
};

/** evident.append pauses at its comments "step: …"; the helpers before each statement of their outermost block. */
const STEPS_OF: Record<string, RegExp> = {
  append: /^ *-- step: (.*)$/gm,
  settle_repeats: /^ {2}((?:INSERT INTO|UPDATE|SELECT) \S+)/gm,
  add_child: /^ {2}(EXECUTE format\('\w+ \w+)/gm,
  put_hour: /^ {2}((?:INSERT INTO|SELECT) \S+)/gm,
};

/** Text of a function as the migrations left it, also when it has been replaced since. */
async function shippedText(owner: pg.Pool, name: string): Promise<string> {
  await owner.query(
    'INSERT INTO race.shipped VALUES ($1, pg_get_functiondef($2::regproc)) ON CONFLICT DO NOTHING',
    [name, `evident.${name}`],
  );
  const { rows } = await owner.query<{ text: string }>('SELECT text FROM race.shipped WHERE name = $1', [
    name,
  ]);
  return TMPFIX(name, rows[0].text);
}

/** Installs evident.append with pauses. @param mutate changes its text first: a guard that is removed */
export async function installSteps(owner: pg.Pool, mutate = (append: string) => append): Promise<Gate[]> {
  const gates: Gate[] = [];
  await owner.query(PAUSE);
  if (process.env.FIX === '1') {
    const t = (await owner.query("SELECT pg_get_functiondef('evident.close_hours'::regproc) AS text")).rows[0]
      .text;
    const u = t.replace(
      '\nBEGIN\n',
      '\nBEGIN\n  PERFORM FROM evident.partitions WHERE tree = ANY (p_trees) ORDER BY tree FOR UPDATE;\n',
    );
    if (u === t) throw new Error('fix2');
    await owner.query(u);
  } // TMPFIX
  for (const [name, pattern] of Object.entries(STEPS_OF)) {
    const shipped = await shippedText(owner, name);
    const before = gates.length;
    const paused = (name === 'append' ? mutate(shipped) : shipped).replace(pattern, (line, step: string) => {
      const pause = `PERFORM ${addGate(gates, name, step)};`;
      return name === 'append' ? `${line}\n  ${pause}` : `  ${pause}\n${line}`;
    });
    if (gates.length - before < 2) throw new Error(`evident.${name} has no steps any more: look at STEPS_OF`);
    await owner.query(name === 'append' ? pauseAtCounters(gates, paused) : paused);
  }
  await pauseAtIdentities(owner, gates);
  return gates;
}

function addGate(gates: Gate[], of: string, step: string): string {
  const number = gates.length;
  gates.push({ number, of, step });
  return `race.pause(${number})`;
}

/** Before each counter that is locked: a volatile column is computed behind the sort and below the row's lock. */
function pauseAtCounters(gates: Gate[], append: string): string {
  const from = ' FROM evident.partitions p WHERE p.tree = ANY (p_trees)';
  if (append.split(from).length !== 2)
    throw new Error('evident.append locks the counters in another way: look at pauseAtCounters');
  return append.replace(from, `, ${addGate(gates, 'append', 'a counter')}${from}`);
}

/** Before each identity that is taken. */
async function pauseAtIdentities(owner: pg.Pool, gates: Gate[]): Promise<void> {
  await owner.query(`
    CREATE OR REPLACE FUNCTION race.before_identity() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM ${addGate(gates, 'append', 'an identity')};
      RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER race BEFORE INSERT ON evident.identities FOR EACH ROW EXECUTE FUNCTION race.before_identity()`);
}

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
    const options = `-c role=evident_server -c synchronous_commit=off -c race.session=${this.number} -c deadlock_timeout=${DEADLOCK_TIMEOUT_MS}ms`;
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

function TMPFIX(name: string, text: string): string {
  if (name !== 'append' || process.env.FIX !== '1') return text;
  const at = text.indexOf('  -- step: children\n');
  const to = text.indexOf('  -- step: records\n');
  if (at < 0 || to < at) throw new Error('fix');
  const block = text.slice(at, to);
  return (text.slice(0, at) + text.slice(to)).replace(
    '  -- step: identities\n',
    `${block}  -- step: identities\n`,
  );
}
