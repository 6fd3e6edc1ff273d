/** What published heads promise: I7, I8, and tiles before heads. Every note that was ever stored is looked at. */

import { equalBytes, toBase64 } from '@evident/core/bytes.ts';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { rootOf } from '@evident/core/merkle/tree.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { StoredHead } from '../../src/seal/ports.ts';
import type { History } from '../history.ts';
import { keys } from '../keys.ts';
import { demand, Violation } from '../violation.ts';
import { NAME, type World } from '../world.ts';
import { checkTiles } from './tiles.ts';

/** What was published of one tree: the last head, and the history that it follows from. */
interface Published {
  size: number;
  readonly history: History;
}

export class HeadCheck {
  #seen = 0;
  readonly #published = new Map<string, Published>();
  /** Below this, tiles were found whole. */
  readonly #tilesChecked = new Map<string, number>();
  /** Partitions that stood at the last look, to see who stops. */
  readonly #stopped = new Set<string>();
  /** Partitions of which the database that was put back lacks sealed records. */
  readonly #lost = new Set<string>();

  check(world: World): void {
    const { published } = world.durable.heads;
    for (; this.#seen < published.length; this.#seen++) {
      const { log, partition, head, note } = published[this.#seen];
      this.#checkHead(world, log, partition, head, note);
    }
    this.#checkStops(world);
  }

  #checkHead(world: World, log: string, partition: number, head: StoredHead, note: Uint8Array): void {
    const origin = treeOrigin(NAME, log, partition);
    const opened = openTreeHead(note, [keys.verifierOf(origin)], origin);
    demand(opened.ok, 'I7', () => `the note of ${origin} at size ${head.size} does not verify`);
    const { size, root } = opened.value.head;
    demand(
      size === head.size && equalBytes(root, head.root),
      'I7',
      () => `the note of ${origin} is not of the head beside it`,
    );
    const tree = `${log}/${partition}`;
    world.trace.note(`${tree} published ${size} ${toBase64(root)}`);
    const before = this.#published.get(tree);
    const history = this.#historyOf(world, tree, head, before);
    demand(
      world.copies > 0 || Number(size) > (before?.size ?? 0),
      'I7',
      () => `the stored head of ${origin} went from size ${before?.size} to ${size}`,
    );
    this.#published.set(tree, {
      size: Math.max(Number(size), before?.size ?? 0),
      history: before !== undefined && before.size > Number(size) ? before.history : history,
    });
    demand(
      equalBytes(head.chain, history.chainAt(Number(size))),
      'I7',
      () => `the chain of ${origin} at size ${size} is wrong`,
    );
    world.coverage.note('seal: head published');
    if (size >= 256n) world.coverage.note('seal: head over full tiles published');
    // Where the database went back under a sealed tree, two histories have written tiles: the break says so.
    const others = [world.histories.get(tree) as History, ...(world.pastHistories.get(tree) ?? [])].filter(
      (other) => other !== history,
    );
    if (world.attacked.has(tree) || others.some((other) => other.size > (this.#tilesChecked.get(tree) ?? 0)))
      return;
    checkTiles(world.durable.tiles, tree, head, history, this.#tilesChecked.get(tree) ?? 0);
    this.#tilesChecked.set(tree, Number(size));
  }

  /** The history that gives the root, and all that was published before. */
  #historyOf(world: World, tree: string, head: StoredHead, before: Published | undefined): History {
    const size = Number(head.size);
    const histories = [world.histories.get(tree) as History, ...(world.pastHistories.get(tree) ?? [])];
    const giving = histories.filter(
      (history) => history.size >= size && equalBytes(history.rootAt(size), head.root),
    );
    demand(
      giving.length > 0,
      'I7',
      () => `no history of ${tree} gives the root that was published at size ${size}`,
    );
    if (before === undefined) return giving[0];
    const shared = Math.min(before.size, size);
    const following = giving.find((history) =>
      equalBytes(history.rootAt(shared), before.history.rootAt(shared)),
    );
    demand(
      following !== undefined,
      'I7',
      () =>
        `the head of ${tree} at size ${size} contradicts the one published at size ${before.size}: a fork`,
    );
    return following;
  }

  /** A break is named for a reason. */
  #checkStops(world: World): void {
    for (const [name, { partitions }] of world.durable.logs) {
      for (const [partition, { stopped }] of partitions.entries()) {
        const tree = `${name}/${partition}`;
        if (stopped === null || this.#stopped.has(tree)) continue;
        this.#stopped.add(tree);
        const reason = world.copies > 0 || world.attacked.has(tree);
        demand(
          reason,
          'no false alarm',
          () => `${tree} was stopped, though nothing happened to it: ${stopped}`,
        );
      }
    }
  }

  putBack(world: World): void {
    for (const [name, { partitions }] of world.durable.logs) {
      for (const partition of partitions.keys()) {
        const tree = `${name}/${partition}`;
        const now = world.history(name, partition);
        const signed = world.durable.signer.get(treeOrigin(NAME, name, partition));
        const lost =
          signed !== undefined &&
          (now.size < signed.size || !equalBytes(now.rootAt(Number(signed.size)), signed.root));
        if (lost) this.#lost.add(tree);
        world.coverage.note(lost ? 'put back: sealed records lost' : 'put back: nothing sealed lost');
        const stored = Number(world.durable.heads.stored.get(tree)?.size ?? 0n);
        this.#tilesChecked.set(tree, Math.min(stored, this.#tilesChecked.get(tree) ?? 0));
      }
    }
  }

  settled(world: World): void {
    for (const [name, state] of world.durable.logs) {
      for (const [partition, { stopped, next }] of state.partitions.entries()) {
        const tree = `${name}/${partition}`;
        const head = world.durable.heads.stored.get(tree);
        const gives = this.#derivedRoot(world, name, partition, Number(head?.size ?? 0n));
        const follows = head === undefined || (gives !== null && equalBytes(gives, head.root));
        if (stopped !== null) continue;
        demand(!this.#lost.has(tree), 'I1', () => `${tree} lost sealed records, and no break was named`);
        demand(
          (head?.size ?? 0n) === next,
          'progress',
          () => `${tree} ends at ${next}, but only ${head?.size} positions are sealed, and nobody says why`,
        );
        if (world.attacked.has(tree)) {
          demand(
            !follows,
            'I8',
            () => `${tree}: a record below the head was changed, and the log still gives its root`,
          );
          continue;
        }
        demand(follows, 'I8', () => `${tree}: the log does not give the root of the stored head`);
        this.#checkPublished(world, tree);
        if (head !== undefined && world.copies === 0)
          checkTiles(world.durable.tiles, tree, head, world.history(name, partition), 0);
      }
    }
  }

  /** The log as it stands follows from everything that was ever published. */
  #checkPublished(world: World, tree: string): void {
    const published = this.#published.get(tree);
    if (published === undefined) return;
    const now = world.histories.get(tree) as History;
    const follows =
      now.size >= published.size &&
      equalBytes(now.rootAt(published.size), published.history.rootAt(published.size));
    if (!follows)
      throw new Violation(
        'I7',
        `${tree} is not stopped, and contradicts the head published at size ${published.size}`,
      );
  }

  /** From the stored bytes; null when a record is missing. */
  #derivedRoot(world: World, log: string, partition: number, size: number): Uint8Array | null {
    const records = world.durable.logs.get(log)?.partitions[partition].records.slice(0, size) ?? [];
    const hashes = records.map((record) => (record === null ? null : hashLeaf(leafOf(record))));
    return hashes.length < size || hashes.includes(null) ? null : rootOf(hashes as Uint8Array[]);
  }
}
