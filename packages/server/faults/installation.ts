/** A whole installation in a folder of its own, for tests that break things in it. No HTTP: see `kill.test.ts`. */

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import pg from 'pg';
import { propose } from '../contract/log-contract.ts';
import { openStorage, recoverDepsOf, type Storage, sealDepsOf, verifyDepsOf } from '../src/compose.ts';
import { type ConfigInput, makeConfig } from '../src/config.ts';
import { propose as proposeBody } from '../src/log/propose.ts';
import { listHeads } from '../src/seal/list-heads.ts';
import { type Recovery, recoverPartition } from '../src/seal/recover.ts';
import { openSealer, type SealBreak, type SealedHead, type Sealer, sealRound } from '../src/seal/seal.ts';
import { type VerifyReport, verify } from '../src/verify/verify.ts';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

export class Installation {
  readonly dir: string;
  #storage: Storage | null = null;
  #sealers: Sealer[] = [];
  /** Settles when the last that was asked to seal has done so. */
  #sealing: Promise<unknown> = Promise.resolve();
  readonly #partitions: number;
  readonly #settings: ConfigInput;

  /** @param settings besides the directory and the log `audit` */
  constructor(dir: string, partitions = 2, settings: ConfigInput = {}) {
    this.dir = dir;
    this.#partitions = partitions;
    this.#settings = settings;
  }

  get storage(): Storage {
    if (this.#storage === null) throw new Error('the installation is stopped');
    return this.#storage;
  }

  /** Starts, and holds what is stored against what was signed. */
  async start(): Promise<SealBreak[]> {
    this.#storage = await openStorage(
      makeConfig(this.#settings, { data: this.dir, logs: { audit: this.#partitions } }),
      quiet,
    );
    const breaks: SealBreak[] = [];
    this.#sealers = [];
    for (const log of this.storage.logs.values()) {
      const opened = await openSealer(sealDepsOf(this.storage), log);
      this.#sealers.push(opened.sealer);
      breaks.push(...opened.breaks);
    }
    return breaks;
  }

  async stop(): Promise<void> {
    await this.#storage?.close();
    this.#storage = null;
  }

  async append(count: number, text: (index: number) => string = (index) => `{"n":${index}}`): Promise<void> {
    const log = this.storage.logs.get('audit');
    const records = Array.from({ length: count }, (_, index) => ({
      id: randomUUID(),
      tenant: 'acme',
      source: 'test',
      sourceSeq: null,
      type: 'note',
      schema: 0,
      key: `acme/${index % 17}`,
      meta: null,
      body: { form: 'json' as const, bytes: encodeUtf8(text(index)) },
    }));
    for (let from = 0; from < count; from += 2_000) {
      await log?.appendOnce(records.slice(from, from + 2_000).map((record) => propose(record)));
    }
  }

  /** Appends one record whose body lies in the object store. */
  async appendLarge(bytes: number): Promise<void> {
    const body = encodeUtf8(JSON.stringify('x'.repeat(bytes)));
    const item = { id: randomUUID(), type: 'note', key: 'acme/large', schema: 0, meta: null, body };
    const proposal = await proposeBody(
      this.storage.objects,
      item,
      'json',
      { tenant: 'acme', source: 'test' },
      'refuse',
    );
    await this.storage.logs.get('audit')?.appendOnce([proposal]);
  }

  /** Seals all that waits, and lists it in `heads`. One after the other: tests that share this run side by side. */
  seal(): Promise<{ sealed: SealedHead[]; breaks: SealBreak[] }> {
    const turn = this.#sealing.then(() => this.#sealAll());
    this.#sealing = turn.catch(() => undefined);
    return turn;
  }

  async #sealAll(): Promise<{ sealed: SealedHead[]; breaks: SealBreak[] }> {
    const deps = sealDepsOf(this.storage);
    const sealed: SealedHead[] = [];
    const breaks: SealBreak[] = [];
    const pass = async (): Promise<void> => {
      for (const sealer of this.#sealers) {
        for (let more = true; more; ) {
          const round = await sealRound(deps, sealer);
          sealed.push(...round.sealed);
          breaks.push(...round.breaks);
          more = round.more;
        }
      }
    };
    await pass();
    const heads = this.storage.logs.get('heads');
    if (heads !== undefined && (await heads.head(0)).stopped === null) {
      await listHeads(
        heads,
        this.storage.heads,
        sealed.filter(({ log }) => log !== 'heads'),
      );
    }
    await pass();
    return { sealed, breaks };
  }

  verify(only: string | null = null): Promise<VerifyReport> {
    return verify(verifyDepsOf(this.storage), only, () => undefined);
  }

  recover(log: string, partition: number, reason = 'a test'): Promise<Recovery> {
    const target = this.storage.logs.get(log);
    if (target === undefined) throw new Error(`no log ${log}`);
    return recoverPartition(recoverDepsOf(this.storage, randomUUID), target, partition, reason);
  }

  /** Runs SQL as the superuser that owns everything: what an attacker with the machine can do. */
  async asSuperuser(text: string, values: unknown[] = []): Promise<pg.QueryResult> {
    const client = new pg.Client(this.storage.connection);
    await client.connect();
    try {
      return await client.query(text, values);
    } finally {
      await client.end();
    }
  }

  treeOf(log: string, partition: number): number {
    return this.storage.treeOf(log, partition);
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Copies parts of the stopped installation's folder aside, or back. */
  copy(from: string, to: string): void {
    rmSync(to, { recursive: true, force: true });
    // With owners: PostgreSQL refuses a directory that is not its account's.
    execFileSync('cp', ['-a', from, to]);
  }
}

/** A started installation that is removed with the test. */
export async function makeInstallation(
  t: Pick<TestContext, 'after'>,
  partitions = 2,
  settings: ConfigInput = {},
): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'evident-faults-'));
  const installation = new Installation(join(folder, 'data'), partitions, settings);
  t.after(async () => {
    await installation.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await installation.start();
  return installation;
}
