/**
 * Sealers: up to two at once, started and killed at random. They do what `SealLoop` does, without its timers:
 * open, then round after round; list heads now and then; go on after an error.
 */

import { treeOrigin } from '@evident/core/origin.ts';
import { listHeads } from '../../src/seal/list-heads.ts';
import {
  checkStored,
  openSealer,
  type SealBreak,
  type SealDeps,
  type SealedHead,
  type Sealer,
  sealRound,
} from '../../src/seal/seal.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import { NAME, type Ports, type Stage, type World } from '../world.ts';
import { HeadCheck } from './heads.ts';
import { tolerant } from './log.ts';

const LAST_ROUNDS_MAX = 60;

export class SealStage implements Stage {
  readonly name = 'seal';
  readonly #check = new HeadCheck();

  begin(world: World): void {
    for (let index = 0; index < world.profile.sealers; index++) {
      world.keep(`sealer-${index}`, (process) => new SimulatedSealer(world, process).run());
    }
  }

  /** A sealer that starts after everything: it finds what those before it have left. */
  beginLast(world: World): void {
    world.spawn('last-sealer', (process) => new SimulatedSealer(world, process).run());
  }

  check(world: World): void {
    this.#check.check(world);
  }

  putBack(world: World): void {
    this.#check.putBack(world);
  }

  settled(world: World): void {
    this.#check.settled(world);
  }
}

class SimulatedSealer {
  readonly #world: World;
  readonly #process: Process;
  readonly #ports: Ports;
  readonly #deps: SealDeps;
  #sealers: Sealer[] = [];
  readonly #unlisted = new Map<string, SealedHead>();

  constructor(world: World, process: Process) {
    this.#world = world;
    this.#process = process;
    this.#ports = world.portsOf(process);
    const { leaves, tiles, heads, signer } = this.#ports;
    this.#deps = { name: NAME, leaves, tiles, heads, signer };
  }

  async run(): Promise<void> {
    const world = this.#world;
    while ((await tolerant(this.#open())) === null) await this.#process.step('open again');
    while (world.phase !== 'end') {
      await this.#process.step('pause');
      if (world.phase === 'storm' && world.random.chance(1, 2)) continue;
      await tolerant(this.#turn(world.random.chance(1, 2)));
    }
    for (let rounds = 0; rounds < LAST_ROUNDS_MAX && (await tolerant(this.#turn(true))) !== 0; rounds++);
    this.#checkDropped();
  }

  async #open(): Promise<void> {
    this.#sealers = [];
    const sealers: Sealer[] = [];
    for (const log of this.#ports.logs.values()) {
      const { sealer, breaks } = await openSealer(this.#deps, log);
      this.#noteBreaks(breaks);
      sealers.push(sealer);
      for (const tree of sealer.trees) {
        if (tree === null) continue;
        const origin = treeOrigin(NAME, tree.log, tree.partition);
        const signed = this.#world.durable.signer.get(origin)?.size ?? 0n;
        if (signed > tree.head.size)
          this.#world.coverage.note('seal: signed head above the stored one at start');
        if (tree.head.size === 0n) continue;
        this.#noteUnlisted({
          log: tree.log,
          partition: tree.partition,
          origin,
          size: tree.head.size,
          root: tree.head.root,
        });
      }
    }
    this.#sealers = sealers;
  }

  /** @returns how many heads were sealed or listed */
  async #turn(lists: boolean): Promise<number> {
    let done = 0;
    for (const sealer of this.#sealers) {
      const round = await sealRound(this.#deps, sealer);
      this.#noteBreaks(round.breaks);
      if (round.more) this.#world.coverage.note('seal: round took only a part');
      for (const head of round.sealed) this.#noteUnlisted(head);
      done += round.sealed.length;
      if (lists) this.#noteBreaks(await checkStored(this.#deps, sealer));
    }
    const log = this.#ports.logs.get('heads');
    if (!lists || this.#unlisted.size === 0 || log === undefined || (await log.head(0)).stopped !== null)
      return done;
    const heads = [...this.#unlisted.values()];
    const before = this.#world.durable.logs.get('heads')?.partitions[0].next;
    await this.#list(heads);
    const after = this.#world.durable.logs.get('heads')?.partitions[0].next;
    this.#world.coverage.note(before === after ? 'seal: listing repeated' : 'seal: heads listed');
    for (const head of heads)
      if (this.#unlisted.get(head.origin) === head) this.#unlisted.delete(head.origin);
    return done + heads.length;
  }

  /** The log `heads` may stop between the look at it and the listing. */
  async #list(heads: readonly SealedHead[]): Promise<void> {
    const log = this.#ports.logs.get('heads');
    if (log === undefined) return;
    try {
      await listHeads(log, this.#deps.heads, heads);
    } catch (error) {
      if ((error as { code?: string }).code !== 'partition-stopped') throw error;
    }
  }

  #noteUnlisted(head: SealedHead): void {
    if (head.log !== 'heads') this.#unlisted.set(head.origin, head);
  }

  #noteBreaks(breaks: readonly SealBreak[]): void {
    for (const { log, partition, reason } of breaks) {
      this.#world.coverage.note(`break: ${kindOf(reason)}`);
      this.#world.trace.note(`${this.#process.name} names a break of ${log}/${partition}: ${reason}`);
    }
  }

  /** A sealer seals a partition, or has stopped it. A tree that it dropped silently would never be sealed. */
  #checkDropped(): void {
    for (const { log, trees } of this.#sealers) {
      for (const [partition, tree] of trees.entries()) {
        if (tree !== null || this.#world.durable.logs.get(log.name)?.partitions[partition].stopped !== null)
          continue;
        demand(
          false,
          'progress',
          () =>
            `${this.#process.name} no longer seals ${log.name}/${partition}, which is not stopped: nobody is told`,
        );
      }
    }
  }
}

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/older copy|log ends|another record|the log now gives|went back/, 'older copy'],
  [/is missing|no record/, 'position is missing'],
  [/tiles do not give/, 'tiles do not give the root'],
  [/signer remembers/, 'signer remembers less'],
  [/signer refused/, 'signer refused'],
];

function kindOf(reason: string): string {
  return KINDS.find(([pattern]) => pattern.test(reason))?.[1] ?? reason;
}
