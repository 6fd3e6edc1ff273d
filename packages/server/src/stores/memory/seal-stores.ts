/** The ports of sealing in memory. State and store are apart, as in `log.ts`: the state is what a crash leaves. */

import { equalBytes } from '@evident/core/bytes.ts';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { emptyRoot, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { type Signer as NoteSigner, signNote } from '@evident/core/note.ts';
import { parseOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { Log } from '../../log/log.ts';
import type {
  HeadMove,
  HeadSigner,
  HeadStore,
  LeafReader,
  LeafRun,
  Signature,
  SignRequest,
  StoredHead,
  TileStore,
  TileWrite,
} from '../../seal/ports.ts';
import { refusalOf } from '../../signer/rule.ts';
import type { MemoryLogHooks, MemoryLogState } from './log.ts';

async function step<T>(hooks: MemoryLogHooks, operation: string, effect: () => T): Promise<T> {
  await hooks.before?.(operation);
  const result = effect();
  await hooks.after?.(operation);
  return result;
}

/** Leaf hashes of any log, through the port. */
export class LogLeafReader implements LeafReader {
  readonly #logs: ReadonlyMap<string, Log>;

  constructor(logs: ReadonlyMap<string, Log>) {
    this.#logs = logs;
  }

  async readLeafHashes(log: string, partition: number, from: bigint, limit: number): Promise<LeafRun> {
    const source = this.#logs.get(log);
    if (source === undefined) throw new EvidentError('log-unknown', `there is no log ${log}`);
    const records = (await source.read(partition, from, limit)).filter(
      ({ position }) => position < from + BigInt(limit),
    );
    const hole = records.findIndex(({ position }, index) => position !== from + BigInt(index));
    const whole = hole < 0 ? records : records.slice(0, hole);
    const hashes = new Uint8Array(whole.length * HASH_BYTES);
    for (const [index, record] of whole.entries()) hashes.set(hashLeaf(leafOf(record)), index * HASH_BYTES);
    return { hashes, holeAt: hole < 0 ? null : from + BigInt(hole) };
  }
}

/** What is durable of tiles: hashes by `log/partition/row/index`. */
export type MemoryTiles = Map<string, Uint8Array>;

export class MemoryTileStore implements TileStore {
  readonly #tiles: MemoryTiles;
  readonly #hooks: MemoryLogHooks;

  constructor(tiles: MemoryTiles, hooks: MemoryLogHooks = {}) {
    this.#tiles = tiles;
    this.#hooks = hooks;
  }

  async write(writes: readonly TileWrite[]): Promise<void> {
    // One hash at a time: a crash may leave any prefix of them.
    await this.#hooks.before?.('tiles.write');
    for (const { log, partition, leaves, nodes, chain } of writes) {
      this.#put(`${log}/${partition}/0`, leaves.from, leaves.hashes);
      await this.#hooks.before?.('tiles.write.part');
      for (const { level, index, hashes } of nodes) this.#put(`${log}/${partition}/${level}`, index, hashes);
      await this.#hooks.before?.('tiles.write.part');
      this.#put(`${log}/${partition}/chain`, chain.from, chain.hashes);
    }
    await this.#hooks.after?.('tiles.write');
  }

  async read(
    log: string,
    partition: number,
    level: number,
    index: bigint,
    count: number,
  ): Promise<Uint8Array | null> {
    return step(this.#hooks, 'tiles.read', () => this.#get(`${log}/${partition}/${level}`, index, count));
  }

  async readChain(log: string, partition: number, from: bigint, count: number): Promise<Uint8Array | null> {
    return step(this.#hooks, 'tiles.read', () => this.#get(`${log}/${partition}/chain`, from, count));
  }

  #put(row: string, from: bigint, hashes: Uint8Array): void {
    for (let at = 0; at < hashes.length; at += HASH_BYTES) {
      this.#tiles.set(`${row}/${from + BigInt(at / HASH_BYTES)}`, hashes.slice(at, at + HASH_BYTES));
    }
  }

  #get(row: string, from: bigint, count: number): Uint8Array | null {
    const hashes = new Uint8Array(count * HASH_BYTES);
    for (let i = 0; i < count; i++) {
      const hash = this.#tiles.get(`${row}/${from + BigInt(i)}`);
      if (hash === undefined) return null;
      hashes.set(hash, i * HASH_BYTES);
    }
    return hashes;
  }
}

/** What is durable of heads. `published` holds every note that was ever stored. */
export interface MemoryHeads {
  readonly stored: Map<string, StoredHead>;
  readonly published: { log: string; partition: number; head: StoredHead; note: Uint8Array }[];
}

export class MemoryHeadStore implements HeadStore {
  readonly #heads: MemoryHeads;
  readonly #logs: ReadonlyMap<string, MemoryLogState>;
  readonly #hooks: MemoryLogHooks;

  constructor(heads: MemoryHeads, logs: ReadonlyMap<string, MemoryLogState>, hooks: MemoryLogHooks = {}) {
    this.#heads = heads;
    this.#logs = logs;
    this.#hooks = hooks;
  }

  load(log: string, chainStarts: readonly Uint8Array[]): Promise<StoredHead[]> {
    return step(this.#hooks, 'heads.load', () =>
      chainStarts.map((chain, partition) => {
        const name = `${log}/${partition}`;
        const head = this.#heads.stored.get(name) ?? {
          epoch: 0,
          size: 0n,
          root: emptyRoot(),
          chain,
          edge: new Uint8Array(0),
        };
        this.#heads.stored.set(name, head);
        return head;
      }),
    );
  }

  store(log: string, moves: readonly HeadMove[]): Promise<ReadonlySet<number>> {
    return step(this.#hooks, 'heads.store', () => {
      const stored = new Set<number>();
      for (const { partition, from, to, note } of moves) {
        const now = this.#heads.stored.get(`${log}/${partition}`);
        if (
          now === undefined ||
          now.size !== from.size ||
          !equalBytes(now.root, from.root) ||
          to.size <= now.size
        )
          continue;
        this.#heads.stored.set(`${log}/${partition}`, to);
        this.#heads.published.push({ log, partition, head: to, note });
        stored.add(partition);
      }
      return stored;
    });
  }

  stop(log: string, partition: number, reason: string): Promise<void> {
    return step(this.#hooks, 'heads.stop', () => {
      const held = this.#logs.get(log)?.partitions[partition];
      if (held !== undefined) held.stopped ??= reason;
    });
  }

  markListed(): Promise<void> {
    return step(this.#hooks, 'heads.markListed', () => undefined);
  }
}

/** What a signer remembers durably. */
export type MemorySignerState = Map<string, { size: bigint; root: Uint8Array }>;

export class MemorySigner implements HeadSigner {
  readonly #last: MemorySignerState;
  readonly #signerOf: (origin: string) => NoteSigner;
  readonly #hooks: MemoryLogHooks;

  constructor(last: MemorySignerState, signerOf: (origin: string) => NoteSigner, hooks: MemoryLogHooks = {}) {
    this.#last = last;
    this.#signerOf = signerOf;
    this.#hooks = hooks;
  }

  async last(origin: string): Promise<{ size: bigint; root: Uint8Array } | null> {
    return step(this.#hooks, 'signer.last', () => this.#last.get(origin) ?? null);
  }

  sign(heads: readonly SignRequest[]): Promise<Signature[]> {
    return step(this.#hooks, 'signer.sign', () => heads.map((head) => this.#signOne(head)));
  }

  #signOne(request: SignRequest): Signature {
    const { origin, size, root } = request;
    const name = parseOrigin(origin)?.name ?? null;
    const reason = refusalOf({ name, last: this.#last, mayBegin: () => true }, request);
    if (reason !== null) return { ok: false, reason };
    this.#last.set(origin, { size, root });
    return { ok: true, note: signNote(formatTreeHead({ origin, size, root }), [this.#signerOf(origin)]) };
  }
}
