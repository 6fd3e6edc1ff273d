/** Ports that the memory stores do not break by themselves: torn tiles, objects, and a head store that counts. */

import { toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { ObjectStore } from '../src/log/propose.ts';
import type { BodyReader } from '../src/project/ports.ts';
import type { HeadMove, Signature, TileWrite } from '../src/seal/ports.ts';
import type { MemoryLogHooks } from '../src/stores/memory/log.ts';
import { MemoryHeadStore, MemorySigner, MemoryTileStore } from '../src/stores/memory/seal-stores.ts';
import { keys } from './keys.ts';
import type { Random } from './random.ts';
import type { Process } from './scheduler.ts';
import type { World } from './world.ts';

const HASH_BYTES = 32;

/** Tiles go to several files at once: what a crash or a full disk leaves of a write is any part of it. */
export class TearingTileStore extends MemoryTileStore {
  readonly #world: World;
  readonly #process: Process;

  constructor(world: World, process: Process, hooks: MemoryLogHooks) {
    super(world.durable.tiles, hooks);
    this.#world = world;
    this.#process = process;
  }

  override async write(writes: readonly TileWrite[]): Promise<void> {
    const { random, profile, phase, coverage } = this.#world;
    const tears = phase === 'storm' && random.below(1_000) < profile.errorsPermille + profile.killsPermille;
    if (!tears) return super.write(writes);
    await super.write(writes.map((write) => tear(write, random)));
    const dies = random.chance(1, 2) && this.#world.faults.mayKill();
    coverage.note(`${dies ? 'kill' : 'error'}: during tiles.write`);
    if (dies) return this.#process.die();
    throw new EvidentError('disk-full', 'tiles.write: injected during its effect');
  }
}

function tear(write: TileWrite, random: Random): TileWrite {
  const cut = (hashes: Uint8Array): Uint8Array =>
    hashes.subarray(0, random.between(0, hashes.length / HASH_BYTES) * HASH_BYTES);
  return {
    ...write,
    leaves: { ...write.leaves, hashes: cut(write.leaves.hashes) },
    nodes: write.nodes.filter(() => random.chance(1, 2)),
    chain: { ...write.chain, hashes: cut(write.chain.hashes) },
  };
}

export class CountedHeadStore extends MemoryHeadStore {
  readonly #world: World;

  constructor(world: World, hooks: MemoryLogHooks) {
    super(world.durable.heads, world.durable.logs, hooks);
    this.#world = world;
  }

  override async store(log: string, moves: readonly HeadMove[]): Promise<ReadonlySet<number>> {
    const stored = await super.store(log, moves);
    if (stored.size < moves.length) this.#world.coverage.note('seal: another sealer was first');
    return stored;
  }
}

export class CountedSigner extends MemorySigner {
  readonly #world: World;

  constructor(world: World, hooks: MemoryLogHooks) {
    super(world.durable.signer, keys.signerOf, hooks);
    this.#world = world;
  }

  override async sign(...asked: Parameters<MemorySigner['sign']>): Promise<Signature[]> {
    const signatures = await super.sign(...asked);
    if (signatures.some(({ ok }) => !ok)) this.#world.coverage.note('seal: a signature was refused');
    return signatures;
  }
}

export class SimulatedObjects implements ObjectStore, BodyReader {
  readonly #objects: Map<string, Uint8Array>;
  readonly #hooks: MemoryLogHooks;

  constructor(objects: Map<string, Uint8Array>, hooks: MemoryLogHooks) {
    this.#objects = objects;
    this.#hooks = hooks;
  }

  async put(tenant: string, sha256: Uint8Array, body: Uint8Array): Promise<void> {
    await this.#hooks.before?.('objects.put');
    this.#objects.set(objectName(tenant, sha256), body.slice());
    await this.#hooks.after?.('objects.put');
  }

  async get(tenant: string, sha256: Uint8Array): Promise<Uint8Array | null> {
    await this.#hooks.before?.('objects.get');
    const body = this.#objects.get(objectName(tenant, sha256)) ?? null;
    await this.#hooks.after?.('objects.get');
    return body;
  }
}

export function objectName(tenant: string, sha256: Uint8Array): string {
  return `${tenant}/${toHex(sha256)}`;
}
