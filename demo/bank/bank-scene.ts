/**
 * Everything that the demo runs, in a temporary folder: the bank's PostgreSQL, Evident, the bank. All three are killed
 * and started again; all end with the scene.
 *
 *   clients ──HTTP──► bank ──SQL──► its PostgreSQL ◄──relay── Evident (a server with a PostgreSQL of its own)
 */

import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAudit } from '@evident/sdk';
import { pgDriver } from '@evident/sdk/drivers';
import type pg from 'pg';
import { openPool } from '../../examples/bank/src/serve.ts';
import { setUpBank } from '../../examples/bank/src/set-up.ts';
import {
  type CommandResult,
  runCommand,
  ServerProcess,
  until,
} from '../../packages/server/faults/server-process.ts';
import { BankPostgres } from './bank-postgres.ts';
import { type BankKind, BankProcess } from './bank-process.ts';
import { ORGANISATIONS } from './clients.ts';

export const SOURCE = 'bank';
/** A ring that turns every half minute, so that slots are emptied while the demo runs. */
const SLOTS = 16;
const SLOT_SECONDS = 2;
const SWITCH_MS_MAX = 60_000;
const DRAIN_MS_MAX = 120_000;
const SESSIONS_MS_MAX = 30_000;

export type Victim = 'the bank' | "the bank's PostgreSQL" | 'Evident' | 'Evident and its PostgreSQL';
export type Mode = 'polling' | 'wal';

export class BankScene {
  readonly folder: string;
  readonly postgres: BankPostgres;
  readonly evident: ServerProcess;
  #bank: BankProcess | undefined;
  /** Commands that run: each ends by itself. */
  readonly #commands = new Set<Promise<CommandResult>>();
  #isEnded: Promise<void> | undefined;

  constructor() {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), 'evident-bank-')));
    this.postgres = new BankPostgres(join(this.folder, 'bank'));
    this.evident = new ServerProcess(join(this.folder, 'evident'));
  }

  get bank(): BankProcess {
    if (this.#bank === undefined) throw new Error('the bank was not started');
    return this.#bank;
  }

  get isEnding(): boolean {
    return this.#isEnded !== undefined;
  }

  /** As an operator does it, with the commands of the guide. */
  async start(kind: BankKind): Promise<void> {
    await Promise.all([this.postgres.start(), this.evident.start()]);
    const { ownerUrl, relayUrl, bankUrl } = this.postgres;
    await setUpBank({ connectionString: ownerUrl });
    const ring = ['--slots', String(SLOTS), '--slot-seconds', String(SLOT_SECONDS)];
    const roles = ['--writer', 'bank', '--relay', 'evident_relay'];
    await this.#evidentCommand(['outbox', 'init', ...ring, ...roles], ownerUrl);
    await this.command(['outbox', 'add', SOURCE, '--tenants', ORGANISATIONS.join(',')], relayUrl);
    this.#refuseToStart();
    this.#bank = new BankProcess(kind, bankUrl);
    await this.#bank.start();
  }

  /** What is started while the scene ends would outlive it. */
  #refuseToStart(): void {
    if (this.isEnding) throw new Error('the demo ends');
  }

  /** Runs `evident …` on the data directory. @throws when it fails */
  async command(args: readonly string[], database?: string): Promise<CommandResult> {
    return this.#evidentCommand([...args, '--data', this.evident.dataDir], database);
  }

  async #evidentCommand(args: readonly string[], database?: string): Promise<CommandResult> {
    const environment = database === undefined ? {} : { EVIDENT_OUTBOX_POSTGRES: database };
    this.#refuseToStart();
    const command = runCommand(args, { environment });
    this.#commands.add(command);
    const result = await command.finally(() => this.#commands.delete(command));
    // 1 is an answer: of verify, of intents.
    if (result.code === 0 || result.code === 1) return result;
    throw new Error(`evident ${args.join(' ')} ended with ${result.code}:\n${result.stderr}`);
  }

  /** SIGKILL, and a start. Resolves when what was killed works again. */
  async kill(victim: Victim): Promise<void> {
    switch (victim) {
      case 'the bank':
        await this.bank.kill();
        this.#refuseToStart();
        await this.bank.start();
        return;
      case "the bank's PostgreSQL":
        await this.postgres.kill();
        return;
      case 'Evident':
        await this.evident.killServer();
        this.#refuseToStart();
        await this.evident.start();
        return;
      case 'Evident and its PostgreSQL':
        await this.evident.killBoth();
        this.#refuseToStart();
        await this.evident.start();
    }
  }

  /** Resolves when the relay reads in the new way. */
  async switchTo(mode: Mode): Promise<void> {
    await this.command(['outbox', 'mode', SOURCE, mode]);
    await until(
      `the relay reads by ${mode}`,
      async () => (await this.#source()).mode === mode,
      SWITCH_MS_MAX,
    );
  }

  async #source(): Promise<{ mode: string | null; epoch: number | null }> {
    const answer = await fetch(`${this.evident.url}/v1/sources`, {
      headers: { authorization: `Bearer ${this.evident.adminKey}` },
    });
    const { sources } = (await answer.json()) as {
      sources: { source: string; mode: string | null; epoch: number | null }[];
    };
    return sources.find(({ source }) => source === SOURCE) ?? { mode: null, epoch: null };
  }

  /** Ends the bank, and waits until its database does nothing for it any more. */
  async closeBank(): Promise<void> {
    await this.bank.stop();
    await this.asOwner(async (client) => {
      await until(
        'no session of the bank is left',
        async () =>
          (await client.query("SELECT 1 FROM pg_stat_activity WHERE usename = 'bank'")).rows.length === 0,
        SESSIONS_MS_MAX,
      );
    });
  }

  /**
   * Writes a last event and waits until the log has it. It begins after every other transaction of the bank has ended,
   * so the relay brings it after all of them.
   * @returns its id
   */
  async drain(): Promise<string> {
    const pool = openPool({ connectionString: this.postgres.bankUrl });
    try {
      const server = { url: this.evident.url, key: this.evident.adminKey };
      const audit = createAudit({ service: 'demo', driver: pgDriver(pool), server });
      const receipt = await audit.logAlone({
        action: 'demo.close',
        tenant: ORGANISATIONS[0],
        actor: { id: 'demo', type: 'system' },
        resource: { type: 'demo', id: 'bank' },
        criticality: 'critical',
      });
      if (!receipt.captured) throw new Error('capture is paused');
      await receipt.inLog({ timeoutMs: DRAIN_MS_MAX });
      return receipt.id;
    } finally {
      await pool.end();
    }
  }

  async asOwner<T>(use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const pool = openPool({ connectionString: this.postgres.ownerUrl });
    try {
      const client = await pool.connect();
      try {
        return await use(client);
      } finally {
        client.release();
      }
    } finally {
      await pool.end();
    }
  }

  /** Ends whatever runs, and removes the folder. May be called at any time, also twice. */
  end(): Promise<void> {
    this.#isEnded ??= this.#end();
    return this.#isEnded;
  }

  async #end(): Promise<void> {
    await this.#bank?.kill();
    await Promise.allSettled(this.#commands);
    await this.postgres.stop();
    await this.evident.stop().catch(() => undefined);
    if (existsSync(this.evident.dataDir)) await this.evident.killBoth();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
