/**
 * One seeded schedule: sessions that append over a fresh log, step by step in a random order, and commit, roll
 * back or die; readers after every step. Everything random comes from the seed, so a schedule can be replayed.
 */

import { partitionOf } from '@evident/core/partition.ts';
import type { Outcome } from '../src/log/log.ts';
import { Appender } from '../src/stores/postgres/appender.ts';
import { openLog, type PostgresLog } from '../src/stores/postgres/log.ts';
import type { TestDatabase } from '../test/database.ts';
import { RaceModel, RaceReader } from './race-model.ts';
import { type Attempt, PARTITIONS, planWriters, Random } from './race-plan.ts';
import type { SteppedSession, Stepper } from './stepped-append.ts';

const CHILD = 1_048_576n;
const STEPS_MAX = 3_000;
const TRACE_MAX = 80;

interface Writer {
  readonly session: SteppedSession;
  readonly attempts: Attempt[];
  current: Attempt | undefined;
  steps: number;
}

/** Makes a partition that is near the end of its child, or behind the hour, or ahead of the clock. */
async function shapePartition(database: TestDatabase, random: Random, tree: number): Promise<void> {
  const { owner } = database;
  const nearEnd = random.chance(30);
  if (nearEnd || random.chance(75)) {
    await owner.query(`SELECT evident.add_child($1, 0, ${CHILD})`, [tree]);
    await owner.query(
      'UPDATE evident.partitions SET child_end = $2, next_position = $3, first_position = $3 WHERE tree = $1',
      [tree, CHILD, nearEnd ? CHILD - BigInt(random.below(8)) : 0n],
    );
  }
  const minutes = random.chance(25) ? -60 * (1 + random.below(3)) : random.chance(20) ? 30 : 0;
  if (minutes !== 0) {
    await owner.query(
      'UPDATE evident.partitions SET last_appended_at = last_appended_at + make_interval(mins => $2) WHERE tree = $1',
      [tree, minutes],
    );
  }
}

/** Removes what a schedule left, so that the database does not grow into hundreds of children. */
async function dropLog({ owner }: TestDatabase, log: PostgresLog): Promise<void> {
  const { rows } = await owner.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'evident.records'::regclass AND split_part(c.relname, '_', 2)::int = ANY ($1)`,
    [log.trees],
  );
  if (rows.length > 0) await owner.query(`DROP TABLE ${rows.map(({ name }) => name).join(', ')}`);
}

class Schedule {
  readonly #stepper: Stepper;
  readonly #random: Random;
  readonly #model: RaceModel;
  readonly #readers: RaceReader[];
  readonly #writers: Writer[];
  readonly trace: string[] = [];
  /** How often the one who went last goes again, in percent. */
  readonly #stay: number;
  /** Whether the one who is furthest behind mostly goes next: so that all are at the same statement. */
  readonly #abreast: boolean;

  constructor(stepper: Stepper, random: Random, model: RaceModel, first: readonly bigint[]) {
    this.#stepper = stepper;
    this.#random = random;
    this.#model = model;
    this.#readers = [
      new RaceReader(model, first, 'readMany', 10_000),
      new RaceReader(model, first, 'read', 1 + random.below(3)),
    ];
    const plan = planWriters(random);
    this.#writers = plan.attempts.map((attempts, index) => ({
      session: stepper.sessions[index],
      attempts,
      current: undefined,
      steps: 0,
    }));
    this.#abreast = plan.meeting !== 'anywhere';
    this.#stay = this.#abreast ? 0 : random.pick([0, 0, 50, 85]);
  }

  async run(): Promise<void> {
    let last: Writer | undefined;
    for (
      let step = 0;
      this.#writers.some(({ current, attempts }) => current !== undefined || attempts.length > 0);
      step++
    ) {
      if (step === STEPS_MAX) throw new Error(`not done after ${STEPS_MAX} steps`);
      const ready = this.#writers.filter((writer) => this.#isReady(writer));
      if (ready.length === 0) {
        await this.#stuck();
        continue;
      }
      last = this.#choose(ready, last);
      await this.#go(last);
      for (const { session } of this.#writers) this.#checkFault(session);
      await this.#readers[0].toEnd();
      // The second reader is often behind, so that it reads on across commits.
      if (this.#random.chance(40)) await this.#readers[1].step();
    }
    for (const reader of this.#readers) await reader.toEnd();
  }

  checkReaders(all: Parameters<RaceReader['checkEnd']>[0]): void {
    for (const reader of this.#readers) reader.checkEnd(all);
  }

  #isReady({ session, current, attempts }: Writer): boolean {
    if (session.state !== 'blocked') return current !== undefined || attempts.length > 0;
    return current?.end === 'kill' && current.gatesLeft <= 2;
  }

  #choose(ready: readonly Writer[], last: Writer | undefined): Writer {
    if (last !== undefined && ready.includes(last) && this.#random.chance(this.#stay)) return last;
    if (!this.#abreast || this.#random.chance(20)) return this.#random.pick(ready);
    const behind = Math.min(...ready.map(({ steps }) => steps));
    return this.#random.pick(ready.filter(({ steps }) => steps === behind));
  }

  async #go(writer: Writer): Promise<void> {
    const { session, current } = writer;
    writer.steps++;
    if (current === undefined) {
      await this.#begin(writer);
    } else if (current.end === 'kill' && (current.gatesLeft-- <= 0 || session.state !== 'gate')) {
      this.#note(session, 'kill');
      writer.current = undefined;
      await this.#stepper.kill(session);
    } else if (session.state === 'gate') {
      await this.#stepper.pass(session);
      this.#note(session, 'passes');
    } else {
      await this.#end(writer, current);
    }
  }

  async #begin(writer: Writer): Promise<void> {
    const attempt = (writer.current = writer.attempts.shift() as Attempt);
    const log = writer.session.log(this.#model.log.name, this.#model.log.trees);
    await this.#stepper.begin(writer.session, async (): Promise<Outcome[]> => {
      if (attempt.once) return log.appendOnce(attempt.proposals);
      const places = await log.append(attempt.proposals.map(({ record }) => record));
      return places.map((place) => ({ kind: 'appended', ...place }));
    });
    this.#note(
      writer.session,
      `begins ${attempt.proposals.map(({ record }) => `${partitionOf(record.key, PARTITIONS)}:${record.id.slice(0, 4)}`)}`,
    );
  }

  async #end(writer: Writer, { end, proposals, once }: Attempt): Promise<void> {
    const outcomes = writer.session.answer as Outcome[];
    this.#note(writer.session, end);
    writer.current = undefined;
    const at = await this.#stepper.end(writer.session, end as 'COMMIT' | 'ROLLBACK');
    if (end === 'COMMIT') this.#model.commit(proposals, outcomes, once, at);
  }

  /** All wait for one another. PostgreSQL breaks that, and a writer is told. */
  async #stuck(): Promise<void> {
    await this.#stepper.untilUnblocked();
    await this.#stepper.settle();
    for (const { session } of this.#writers) this.#checkFault(session);
  }

  #checkFault({ number, fault, busy }: SteppedSession): void {
    if (busy || fault === undefined) return;
    throw new Error(`writer ${number} failed: ${fault.message} (SQLSTATE ${fault.code})`, { cause: fault });
  }

  #note({ number, state, gate }: SteppedSession, what: string): void {
    this.trace.push(`${number} ${what}, ${gate === undefined ? state : `at ${gate.of}: ${gate.step}`}`);
    if (this.trace.length > TRACE_MAX) this.trace.shift();
  }
}

/** Each schedule has a log of its own, also when a seed comes again. */
let schedules = 0;

/** Runs the schedule of a seed. @throws with the seed, and what was done last, when a check fails */
export async function runSchedule(database: TestDatabase, stepper: Stepper, seed: number): Promise<void> {
  const random = new Random(seed);
  const deps = { pool: database.pool, appender: new Appender(database.pool) };
  const log = await openLog(deps, `race-${++schedules}`, PARTITIONS);
  for (const tree of log.trees) await shapePartition(database, random, tree);
  const heads = await log.heads();
  const model = new RaceModel(
    log,
    heads.map(({ lastAppendedAt }) => lastAppendedAt),
  );
  const schedule = new Schedule(
    stepper,
    random,
    model,
    heads.map(({ first }) => first),
  );
  try {
    await schedule.run();
    schedule.checkReaders(await model.checkEnd(database.owner));
  } catch (error) {
    const trace = schedule.trace.map((line) => `\n    ${line}`).join('');
    throw new Error(`EVIDENT_RACE_SEED=${seed}: ${(error as Error).message}\n  the last steps:${trace}`, {
      cause: error,
    });
  }
  await dropLog(database, log);
}
