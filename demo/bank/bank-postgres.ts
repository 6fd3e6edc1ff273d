/** The bank's own PostgreSQL: a cluster in a folder, with the roles that the bank and the relay connect as. */

import { randomBytes } from 'node:crypto';
import { openPool } from '../../examples/bank/src/serve.ts';
import {
  type DataLock,
  lockDataDirectory,
  prepareDataDirectory,
} from '../../packages/server/src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../../packages/server/src/stores/postgres/embedded/engine.ts';

const DATABASE = 'bank';
/** The bank's role owns nothing; the relay's may read the write-ahead log, and, by init, the outbox. */
const ROLES = { bank: 'LOGIN', evident_relay: 'LOGIN REPLICATION' } as const;
const RESTART_MS_MAX = 60_000;

export class BankPostgres {
  readonly #lock: DataLock;
  readonly #engine: EmbeddedPostgres;
  readonly #passwords = {
    bank: randomBytes(12).toString('hex'),
    evident_relay: randomBytes(12).toString('hex'),
  };
  #onRestart: () => void = () => undefined;

  constructor(folder: string) {
    const dataDir = prepareDataDirectory(folder);
    this.#lock = lockDataDirectory(dataDir);
    const nothing = () => undefined;
    this.#engine = new EmbeddedPostgres({
      dataDir,
      logger: { info: nothing, warn: nothing, error: nothing },
      // A port that stays the same when it is started again: the bank is given an address once.
      transport: 'tcp',
      sharedBuffersMb: 64,
      onRestart: () => this.#onRestart(),
    });
  }

  async start(): Promise<void> {
    await this.#engine.start();
    const pool = openPool(this.#engine.connection());
    try {
      const databases = await pool.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
      if (databases.rows.length === 0) await pool.query(`CREATE DATABASE ${DATABASE}`);
      for (const [role, attributes] of Object.entries(ROLES)) {
        const { rows } = await pool.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
        const verb = rows.length === 0 ? 'CREATE' : 'ALTER';
        const password = this.#passwords[role as keyof typeof ROLES];
        await pool.query(`${verb} ROLE ${role} ${attributes} PASSWORD '${password}'`);
      }
      // So that the relay can tell whose transaction holds it up, and since when.
      await pool.query('GRANT pg_read_all_stats TO evident_relay');
    } finally {
      await pool.end();
    }
  }

  get ownerUrl(): string {
    const { user, password } = this.#engine.connection();
    return this.#url(user, password);
  }

  get bankUrl(): string {
    return this.#url('bank', this.#passwords.bank);
  }

  get relayUrl(): string {
    return this.#url('evident_relay', this.#passwords.evident_relay);
  }

  /** SIGKILL; whoever started it starts it again at once. Resolves when it answers. */
  async kill(): Promise<void> {
    const { pid } = this.#engine;
    if (pid === undefined) throw new Error("the bank's PostgreSQL does not run");
    let late: NodeJS.Timeout | undefined;
    const again = new Promise<void>((resolve, reject) => {
      this.#onRestart = resolve;
      late = setTimeout(reject, RESTART_MS_MAX, new Error("the bank's PostgreSQL did not come back"));
    });
    process.kill(pid, 'SIGKILL');
    await again.finally(() => clearTimeout(late));
  }

  async stop(): Promise<void> {
    await this.#engine.stop();
    this.#lock.release();
  }

  #url(user: string, password: string): string {
    const { host, port } = this.#engine.connection();
    return `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${DATABASE}`;
  }
}
