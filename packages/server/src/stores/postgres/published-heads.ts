/** Heads and keys as HTTP serves them. */

import { epochOrigin } from '@evident/core/origin.ts';
import type pg from 'pg';
import type { HeadsReader, PublishedKey, StatusReader } from '../../http/deps.ts';
import type { PostgresLog } from './log.ts';

export class PublishedHeads implements HeadsReader, StatusReader {
  readonly #pool: pg.Pool;
  readonly #name: string;
  readonly #logs: ReadonlyMap<string, PostgresLog>;
  readonly #keysOf: (origin: string) => Promise<readonly PublishedKey[]>;

  constructor(
    pool: pg.Pool,
    name: string,
    logs: ReadonlyMap<string, PostgresLog>,
    keysOf: (origin: string) => Promise<readonly PublishedKey[]>,
  ) {
    this.#pool = pool;
    this.#name = name;
    this.#logs = logs;
    this.#keysOf = keysOf;
  }

  async newest(log: string, partition: number): Promise<Uint8Array | null> {
    const { rows } = await this.#pool.query<{ note: Buffer }>(
      'SELECT h.note FROM evident.heads h JOIN evident.seals s USING (tree, epoch, size) WHERE h.tree = $1',
      [this.#logs.get(log)?.trees[partition]],
    );
    return rows[0]?.note ?? null;
  }

  async keys(): Promise<readonly PublishedKey[]> {
    const { rows } = await this.#pool.query<{ tree: number; epoch: number }>(
      'SELECT tree, epoch FROM evident.seals',
    );
    const epochs = new Map(rows.map(({ tree, epoch }) => [tree, epoch]));
    const origins = [...this.#logs.values()].flatMap((log) =>
      log.trees.flatMap((tree, partition) =>
        Array.from({ length: (epochs.get(tree) ?? 0) + 1 }, (_, epoch) =>
          epochOrigin(this.#name, log.name, partition, epoch),
        ),
      ),
    );
    return (await Promise.all(origins.map((origin) => this.#keysOf(origin)))).flat();
  }

  async sealedSizes(log: string): Promise<readonly bigint[]> {
    const trees = this.#logs.get(log)?.trees ?? [];
    const { rows } = await this.#pool.query<{ tree: number; size: string }>(
      'SELECT tree, size FROM evident.seals WHERE tree = ANY ($1)',
      [trees],
    );
    const sizes = new Map(rows.map(({ tree, size }) => [tree, BigInt(size)]));
    return trees.map((tree) => sizes.get(tree) ?? 0n);
  }
}
