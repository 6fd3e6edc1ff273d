/**
 * SIGKILL under load to the application, to its PostgreSQL, to the Evident server with its relay, and to Evident's own
 * PostgreSQL; by polling, from the write-ahead log, and while the relay goes from one to the other. Every committed row
 * of business has its one record, byte for byte, in the order of I4; `evident verify` exits 0; the outbox is empty
 * again, and no replication slot is left when polling.
 *
 *   EVIDENT_PROVE=1          100 kills a mode
 *   EVIDENT_KILL_SEED=7      another course of kills (moments are the machine's, so a seed is a tendency, not a replay)
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Random } from '../simulation/random.ts';
import { BankDatabase, type BankRow, BankWriter } from './bank-process.ts';
import { makeServer, runCommand, type ServerProcess, until } from './server-process.ts';

const KINDS = ['writer', 'server', 'source', 'log'] as const;
type Kind = (typeof KINDS)[number];
type Mode = 'polling' | 'wal';

const SEED = Number(process.env.EVIDENT_KILL_SEED ?? 1);
const IS_PROOF = process.env.EVIDENT_PROVE === '1';
/** Each in folders of its own; one begins by polling, the next from the write-ahead log. */
const COURSES = IS_PROOF ? 5 : 2;
/** In a leg every kind is killed in one mode, and one more on the way from it. */
const LEGS = IS_PROOF ? 8 : 1;
const KILLS_A_LEG = KINDS.length + 1;
const SOURCE = 'bank';
const RECOVERY_MS_MAX = 60_000;
const EMPTY_MS_MAX = 30_000;

class Course {
  readonly server: ServerProcess;
  readonly bank: BankDatabase;
  readonly writer: BankWriter;
  readonly random: Random;
  kills = 0;

  constructor(server: ServerProcess, bank: BankDatabase, writer: BankWriter, random: Random) {
    this.server = server;
    this.bank = bank;
    this.writer = writer;
    this.random = random;
  }

  static async open(t: TestContext, seed: number): Promise<Course> {
    const bank = await BankDatabase.start(t);
    const server = makeServer(t, { environment: { EVIDENT_OUTBOX_BANK: bank.url('relay') } });
    await server.start();
    return new Course(server, bank, new BankWriter(t, bank.url('bank'), seed), new Random(seed));
  }

  async log(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client(this.server.postgres);
    client.on('error', () => undefined);
    try {
      await client.connect();
      return (await client.query(text, values)).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async want(mode: Mode): Promise<void> {
    await this.log('SELECT evident.register_source($1, $2, $3, $4)', [SOURCE, 'audit', ['acme'], mode]);
  }

  async mode(): Promise<string | undefined> {
    const [row] = await this.log("SELECT state->>'mode' AS mode FROM evident.sources WHERE source = $1", [
      SOURCE,
    ]);
    return row?.mode as string | undefined;
  }

  async untilMode(mode: Mode): Promise<void> {
    await this.#until(`the relay works by ${mode}`, async () => (await this.mode()) === mode);
  }

  /** What was committed just now is in the log. */
  async untilRelayed(): Promise<void> {
    await this.writer.untilMore(1);
    const [{ id }] = await this.bank.query('SELECT id FROM business ORDER BY seq DESC LIMIT 1');
    await this.#until(`${id} is in the log`, async () => {
      const found = await this.log('SELECT FROM evident.identities WHERE id = $1', [id]);
      return found.length === 1;
    });
  }

  async #until(claim: string, isSo: () => Promise<boolean>): Promise<void> {
    try {
      await until(claim, () => isSo().catch(() => false), RECOVERY_MS_MAX);
    } catch (error) {
      throw new Error(`${(error as Error).message}; the server wrote:\n${this.server.stderr.slice(-4_000)}`);
    }
  }

  /** Kills, and starts again what no supervisor of ours starts. */
  async kill(kind: Kind): Promise<void> {
    this.kills++;
    if (kind === 'log') await this.server.killPostgres();
    if (kind === 'source') await this.bank.kill();
    if (kind === 'writer') {
      await this.writer.kill();
      this.writer.start();
    }
    if (kind === 'server') {
      await this.server.killServer();
      await this.server.start();
    }
  }

  async untilMoment(): Promise<void> {
    await this.writer.untilMore(this.random.between(5, 60));
    await sleep(this.random.below(150));
  }

  /** Each kind once, in an order of its own. */
  async killEach(): Promise<void> {
    const kinds = [...KINDS];
    while (kinds.length > 0) {
      const [kind] = kinds.splice(this.random.below(kinds.length), 1);
      await this.untilMoment();
      await this.kill(kind);
      await this.untilRelayed();
    }
  }

  /** Asks for another mode, and kills somewhere on the way to it. */
  async killOnTheWay(mode: Mode, kind: Kind): Promise<void> {
    await this.want(mode);
    await sleep(this.random.below(1_500));
    await this.kill(kind);
    await this.untilMode(mode);
    await this.untilRelayed();
  }
}

interface StoredRow {
  readonly tree: number;
  readonly id: string;
  readonly key: string;
  readonly body: string;
}

/** Records of the source in the order of each partition. */
async function relayed(course: Course): Promise<StoredRow[]> {
  return (await course.log(
    `SELECT tree, id, key, convert_from(body, 'UTF8') AS body FROM evident.records
      WHERE source = $1 ORDER BY tree, position`,
    [`outbox:${SOURCE}`],
  )) as unknown as StoredRow[];
}

/** The application is stopped: the log is what it committed. */
async function checkLog(course: Course): Promise<void> {
  const rows = await course.bank.committed();
  await until(
    'everything is in the log',
    async () => {
      const [{ count }] = await course.log('SELECT count(*)::int FROM evident.records WHERE source = $1', [
        `outbox:${SOURCE}`,
      ]);
      return (count as number) >= rows.length;
    },
    RECOVERY_MS_MAX,
  );
  checkRecords(await relayed(course), rows, course.writer.ended);
}

/**
 * The records are the committed rows, each once; what COMMIT answered for was committed; and order is that of I4: rows
 * of a transaction keep theirs, and so do transactions that do not overlap.
 * @param records in the order of each partition
 * @param ended when COMMIT was answered, by transaction
 */
function checkRecords(
  records: readonly StoredRow[],
  rows: readonly BankRow[],
  ended: ReadonlyMap<string, bigint>,
): void {
  const committed = new Map(rows.map((row) => [row.id, row]));
  const transactions = new Set(rows.map(({ transaction }) => transaction));
  for (const transaction of ended.keys())
    assert.ok(transactions.has(transaction), `COMMIT of ${transaction} was answered, and it is gone`);
  const seen = new Set<string>();
  let newest = 0n;
  let tree = -1;
  let within = new Map<string, bigint>();
  for (const { id, key, body, ...place } of records) {
    assert.ok(!seen.has(id), `${id} is in the log twice`);
    seen.add(id);
    const row = committed.get(id) ?? assert.fail(`${id} is in the log, and was never committed`);
    assert.deepEqual({ key, body }, { key: row.key, body: row.body });
    if (place.tree !== tree) {
      tree = place.tree;
      newest = 0n;
      within = new Map();
    }
    assert.ok((within.get(row.transaction) ?? -1n) < row.seq, `rows of ${row.transaction} changed places`);
    within.set(row.transaction, row.seq);
    // One whose COMMIT was not answered may have ended at any time.
    const end = ended.get(row.transaction);
    assert.ok(end === undefined || end > newest, `${id} stands behind one that began after it had ended`);
    if (row.begun > newest) newest = row.begun;
  }
  const missing = rows.filter(({ id }) => !seen.has(id)).map(({ id }) => id);
  assert.deepEqual(missing, [], 'committed, and not in the log');
}

async function checkAll(course: Course): Promise<void> {
  await course.writer.stop();
  await checkLog(course);
  await until(
    'all is sealed',
    async () => {
      const [{ open }] = await course.log(
        `SELECT count(*) AS open FROM evident.partitions p LEFT JOIN evident.seals s USING (tree)
        WHERE p.next_position > coalesce(s.size, 0)`,
      );
      return open === '0';
    },
    RECOVERY_MS_MAX,
  );
  const { code, stdout, stderr } = await runCommand(['verify', '--data', course.server.dataDir]);
  assert.equal(code, 0, `evident verify: ${stdout}\n${stderr}`);
  const epochs = await course.log(
    "SELECT convert_from(body, 'UTF8') AS body FROM evident.records WHERE type = 'relay.epoch'",
  );
  assert.deepEqual(epochs, [], 'nothing was taken for another database');
}

/** Nothing is left to relay: the disk is given back, but for the slot of the row by which the source is known. */
async function checkEmptied(course: Course, slots: readonly string[]): Promise<void> {
  await until(
    'the slots are emptied',
    async () => {
      const [{ count }] = await course.bank.query(
        `SELECT count(*)::int FROM pg_inherits
          WHERE inhparent = 'evident_outbox.events'::regclass AND pg_relation_size(inhrelid) > 0`,
      );
      return (count as number) <= 1;
    },
    EMPTY_MS_MAX,
  );
  await until(
    'no replication slot but the one in use',
    async () => {
      const found = await course.bank.query('SELECT slot_name FROM pg_replication_slots');
      return found.map(({ slot_name }) => slot_name).join() === slots.join();
    },
    EMPTY_MS_MAX,
  );
}

const otherThan = (mode: Mode): Mode => (mode === 'polling' ? 'wal' : 'polling');

/** Kills each kind in a mode, then one on the way to the other mode, and so on. */
async function runCourse(t: TestContext, seed: number, first: Mode): Promise<void> {
  const course = await Course.open(t, seed);
  const { random, writer } = course;
  let mode = first;
  await course.want(mode);
  writer.start();
  await course.untilMode(mode);
  for (let leg = 0; leg < LEGS; leg++) {
    await course.killEach();
    mode = otherThan(mode);
    await course.killOnTheWay(mode, KINDS[random.below(KINDS.length)]);
  }
  await checkAll(course);
  await checkEmptied(course, mode === 'wal' ? [`evident_${SOURCE}`] : []);
  t.diagnostic(`${course.kills} kills, ${writer.ended.size} transactions acknowledged`);
}

// Two at a time: a course waits more than it works.
describe('an application, its database, Evident and its database that are killed', { concurrency: 2 }, () => {
  for (let course = 0; course < COURSES; course++) {
    const seed = SEED + course;
    const first = course % 2 === 0 ? 'polling' : 'wal';
    it(`lose nothing and double nothing in ${LEGS * KILLS_A_LEG} kills under load, ${first} first, seed ${seed}`, (t) =>
      runCourse(t, seed, first));
  }
});

it('finds what is missing, doubled, changed, out of order, or acknowledged and gone', () => {
  const row = (id: string, transaction: string, begun: bigint, seq: bigint): BankRow => ({
    id,
    transaction,
    begun,
    key: 'acme/usr_1',
    body: `{"id":"${id}"}`,
    xid: begun,
    seq,
  });
  const rows = [row('a', 'one', 1n, 1n), row('b', 'one', 1n, 2n), row('c', 'two', 5n, 3n)];
  const [a, b, c] = rows.map(({ id, key, body }) => ({ tree: 1, id, key, body }));
  const ended = new Map([
    ['one', 4n],
    ['two', 6n],
  ]);
  checkRecords([a, b, c], rows, ended);
  assert.throws(() => checkRecords([a, b], rows, ended), /not in the log/);
  assert.throws(() => checkRecords([a, b, c, c], rows, ended), /twice/);
  assert.throws(() => checkRecords([a, b, { ...c, body: '{}' }], rows, ended));
  assert.throws(() => checkRecords([a, b, c], rows.slice(0, 2), new Map()), /never committed/);
  assert.throws(() => checkRecords([a, c, b], rows, ended), /began after/);
  assert.throws(() => checkRecords([b, a, c], rows, ended), /changed places/);
  assert.throws(() => checkRecords([a, b], rows.slice(0, 2), ended), /answered, and it is gone/);
  // Transactions that overlapped may stand in either order, and so may those of two partitions.
  checkRecords([c, a, b], rows, new Map([['one', 6n]]));
  checkRecords([c, { ...a, tree: 2 }, { ...b, tree: 2 }], rows, ended);
});
