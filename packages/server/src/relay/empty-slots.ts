/**
 * Gives the outbox's disk back: slots whose rows are all relayed and sealed are emptied.
 *
 * The cursor alone is not enough: until the tree has the records, the outbox is the one copy outside the log.
 */

import { BATCH } from './poll.ts';
import type { Emptied, Outbox, RowPlace, Source } from './ports.ts';
import { type RelayRowsDeps, relayRows } from './relay-rows.ts';
import { comparePlaces, FIRST_PLACE, type RelayState } from './state.ts';

/** A place of the cursor, and where the log's partitions stood when it was there. */
interface Mark {
  readonly done: RowPlace;
  readonly next: readonly bigint[];
}

/** Most rows of another database's past that are read again to empty one slot. */
const RESTORED_ROWS_MAX = 100_000;

/** Rows of a restored database that were relayed from a slot, and where the log's partitions stood after it. */
interface Restored {
  readonly rows: bigint;
  readonly next: readonly bigint[];
}

export class SlotEmptier {
  readonly #deps: RelayRowsDeps;
  readonly #outbox: Outbox;
  /** Waits to be sealed. */
  #mark: Mark | null = null;
  /** Sealed: what is at or below it may go. */
  #safe: RowPlace = FIRST_PLACE;
  readonly #restored = new Map<number, Restored>();

  constructor(deps: RelayRowsDeps, outbox: Outbox) {
    this.#deps = deps;
    this.#outbox = outbox;
  }

  /** Tries every slot once. @returns the source, and what became of each slot */
  async pass(source: Source, state: RelayState): Promise<{ source: Source; slots: Emptied[] }> {
    const { sealed, next } = await this.#deps.log.progress(source.log);
    this.#advance(sealed, next, state);
    const slots: Emptied[] = [];
    let current = source;
    const count = await this.#outbox.slots();
    for (let slot = 0; slot < count; slot++) {
      const known = this.#restored.get(slot);
      const rows = known !== undefined && isSealed(known.next, sealed) ? known.rows : 0n;
      const emptied = await this.#outbox.emptySlot(slot, this.#safe, state.row ?? FIRST_PLACE, rows);
      if (emptied === 'restored') current = await this.#relayRestored(slot, current, state);
      else this.#restored.delete(slot);
      slots.push(emptied);
    }
    return { source: current, slots };
  }

  #advance(sealed: readonly bigint[], next: readonly bigint[], state: RelayState): void {
    if (this.#mark !== null && isSealed(this.#mark.next, sealed)) {
      this.#safe = this.#mark.done;
      this.#mark = null;
    }
    // In a sweep the cursor of polling has not begun.
    if (this.#mark === null && state.mode !== 'sweep' && comparePlaces(state.done, this.#safe) !== 0)
      this.#mark = { done: state.done, next };
  }

  /**
   * Rows whose xids lie in this database's future are no polling's until its counter gets there: they are read by
   * slot, and the slot is emptied in a later pass, if it then holds as many of them, sealed.
   */
  async #relayRestored(slot: number, source: Source, state: RelayState): Promise<Source> {
    let current = source;
    let at = this.#safe;
    let count = 0;
    while (count < RESTORED_ROWS_MAX) {
      const rows = await this.#outbox.readRestored(slot, at, BATCH);
      const last = rows.at(-1);
      if (last === undefined) break;
      current = await relayRows(this.#deps, current, state, rows);
      at = { xid: last.xid, id: last.id };
      count += rows.length;
    }
    const { next } = await this.#deps.log.progress(source.log);
    this.#restored.set(slot, { rows: BigInt(count), next });
    return current;
  }
}

function isSealed(next: readonly bigint[], sealed: readonly bigint[]): boolean {
  return next.every((position, partition) => sealed[partition] >= position);
}
