/**
 * Sessions of the application: transactions that write business rows and rows of the outbox, with savepoints,
 * rollbacks, pauses, and commits that come late. Nothing here waits for a relay or for the log.
 */

import { encodeUtf8 } from '@evident/core/bytes.ts';
import { formatUuid } from '@evident/core/derived-id.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import type {
  ApplicationTransaction,
  HeldRow,
  WrittenEvent,
} from '../../src/stores/memory/application-database.ts';
import type { Process } from '../scheduler.ts';
import type { Stage, World } from '../world.ts';

/** Tenants for which the source is registered; a row of any other is rejected. */
export const TENANTS: readonly string[] = ['acme', 'beta'];
const KEYS = 3;

interface Open {
  readonly process: Process;
  readonly transaction: ApplicationTransaction;
}

export class CaptureStage implements Stage {
  readonly name = 'capture';
  /** Every row that was ever inserted, whatever became of it. */
  readonly written: HeldRow[] = [];
  #left: number[] = [];
  #open: Open[] = [];

  begin(world: World): void {
    const { capture } = world.profile;
    if (capture === null) return;
    this.#left = Array.from({ length: capture.sessions }, () => capture.transactionsEach);
    for (const index of this.#left.keys())
      world.keep(`session-${index}`, (process) => this.#run(world, process, index));
  }

  get done(): boolean {
    return this.#left.every((left) => left === 0) && this.#open.length === 0;
  }

  /** A session that died: PostgreSQL rolls its transaction back, sooner or later. */
  check(world: World): void {
    for (const one of this.#open) {
      if (one.process.state !== 'killed' || (world.phase === 'storm' && !world.random.chance(1, 15)))
        continue;
      this.#end(world, one);
    }
  }

  /** What has its commit record is committed, whoever dies. */
  #end(world: World, one: Open): void {
    const { application } = world.durable;
    if (one.transaction.commitLsn === null) application.abort(one.transaction);
    else application.finishCommit(one.transaction);
    this.#open = this.#open.filter((other) => other !== one);
  }

  async #run(world: World, process: Process, index: number): Promise<void> {
    while (!world.isBegun) await process.step('waits');
    while (this.#left[index] > 0) {
      this.#left[index]--;
      const one = { process, transaction: world.durable.application.begin() };
      this.#open.push(one);
      try {
        await this.#transact(world, process, one.transaction);
      } catch (error) {
        // The server was started again: what was open is gone.
        if (!isEvidentError(error)) throw error;
      }
      this.#end(world, one);
      for (let pause = world.random.between(1, 10); pause > 0; pause--) await process.step('think');
    }
  }

  async #transact(world: World, process: Process, transaction: ApplicationTransaction): Promise<void> {
    const { random, coverage } = world;
    const { application } = world.durable;
    const isQuiet = random.below(100) < (world.profile.capture?.quietPercent ?? 0);
    for (let count = random.between(1, isQuiet ? 1 : 4); count > 0; count--) {
      await process.step('statement');
      const savepoint = transaction.rows.length;
      if (isQuiet || random.chance(1, 4)) application.write(transaction);
      else this.written.push(application.insert(transaction, this.#draw(world)));
      if (random.chance(1, 8)) {
        await process.step('rollback to savepoint');
        application.rollBackTo(transaction, savepoint);
        coverage.note('capture: rolled back to a savepoint');
      }
    }
    if (random.chance(1, 6)) {
      coverage.note('capture: commits late');
      for (let pause = random.between(5, 20); pause > 0 && world.phase === 'storm'; pause--)
        await process.step('lingers');
    }
    await process.step('end');
    if (random.chance(1, 7)) {
      coverage.note('capture: rolled back');
      application.abort(transaction);
      return;
    }
    application.writeCommit(transaction);
    const isSlow = random.below(100) < (world.profile.capture?.slowCommitsPercent ?? 0);
    for (let pause = isSlow ? random.between(4, 30) : 1; pause > 0; pause--) await process.step('committing');
    application.finishCommit(transaction);
    coverage.note('capture: committed');
  }

  #draw(world: World): WrittenEvent {
    const { random } = world;
    const again = this.written.length > 0 && random.chance(1, 20) ? random.pick(this.written) : undefined;
    if (again !== undefined) world.coverage.note('capture: same identity again');
    const { tenant } = again ?? { tenant: random.chance(1, 15) ? 'other' : random.pick(TENANTS) };
    const body =
      again !== undefined && random.chance(1, 2) ? again.body : encodeUtf8(`{"n":${random.uint32()}}`);
    return {
      eventId: again?.eventId ?? formatUuid(random.bytes(16)),
      tenant,
      type: random.chance(1, 25) ? 'seal.recovery' : 'note',
      key: `${tenant}/${random.below(KEYS)}`,
      schema: 0,
      meta: random.chance(1, 5) ? `{"n":${random.below(9)}}` : null,
      body,
    };
  }
}

/** Whether the log takes a row only as `relay.rejected`. Of the design, written down again. */
export function isRejected(row: WrittenEvent): boolean {
  return !TENANTS.includes(row.tenant) || /^(?:log|seal|key|relay)\.|^(?:head|window)$/.test(row.type);
}
