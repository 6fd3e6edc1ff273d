/** What befalls the application's database, its replication slot, and the right to relay it. */

import type { DatabaseState } from '../src/stores/memory/application-database.ts';
import { SOURCE } from './stages/relay.ts';
import type { World } from './world.ts';

const SLOT = `evident_${SOURCE}`;

export class ApplicationDisasters {
  readonly #world: World;
  /** Turns in which a copy is taken, and those in which it is put in place. */
  readonly #copies = new Set<number>();
  readonly #strikes = new Set<number>();
  #copy: DatabaseState | undefined;

  constructor(world: World) {
    const { random, profile } = world;
    this.#world = world;
    for (let strikes = random.between(1, 2); strikes > 0; strikes--) {
      const at = random.between(100, profile.stormTurns - 20);
      this.#strikes.add(at);
      this.#copies.add(at - random.between(10, random.pick([80, 200])));
    }
  }

  /** After each turn of the storm. */
  strike(turn: number): void {
    const { random, profile, claims, coverage, durable } = this.#world;
    const { capture } = profile;
    if (capture === null) return;
    if (this.#copies.has(turn)) this.#copy = durable.application.copyFiles();
    if (this.#strikes.has(turn)) this.#strikeDatabase(capture.disaster);
    if (capture.mode === 'both' && random.chance(1, 60)) this.#switchMode();
    if (capture.slotFaults && random.chance(1, 150)) this.#strikeSlot();
    if (capture.claimsBreak && random.chance(1, 100) && claims.delete(SOURCE)) {
      this.#world.claimsLost++;
      coverage.note('claim: lost, and its holder is not told');
    }
  }

  #switchMode(): void {
    const { random, coverage, durable, trace } = this.#world;
    const source = durable.sources.get(SOURCE);
    if (source === undefined) return;
    source.wantedMode = random.pick(['polling', 'wal']);
    coverage.note(`mode: ${source.wantedMode} wanted`);
    trace.note(`${source.wantedMode} is wanted`);
  }

  #strikeDatabase(disaster: string): void {
    const { durable, coverage, trace, random } = this.#world;
    const { application } = durable;
    const copy = this.#copy;
    if (disaster === 'none' || copy === undefined) return;
    coverage.note(`application: ${disaster}`);
    trace.note(`the application's database: ${disaster}`);
    this.#copy = undefined;
    if (disaster !== 'restart') this.#world.replacements++;
    if (disaster === 'restart') {
      application.restart();
      this.#forgetAcknowledgements(copy);
    } else if (disaster === 'file copy') {
      application.restart(copy);
      if (random.chance(1, 2)) application.replicationSlots.clear();
    } else if (disaster === 'promote') {
      application.restart(copy);
      application.promote();
    } else {
      const { identity, nextXid } = copy;
      const begin = BigInt(random.between(695, Number(nextXid) + 5));
      application.restoreDump(copy, `${BigInt(identity.system) + 1n}`, begin);
    }
  }

  /** A slot's place is written at checkpoints: after a crash PostgreSQL sends again what it was told it may forget. */
  #forgetAcknowledgements(older: DatabaseState): void {
    const { random, durable } = this.#world;
    for (const [name, slot] of durable.application.replicationSlots) {
      const { confirmed } = older.replicationSlots.get(name) ?? slot;
      if (confirmed < slot.confirmed && random.chance(1, 2)) slot.confirmed = confirmed;
    }
  }

  #strikeSlot(): void {
    const { random, durable, coverage } = this.#world;
    const { replicationSlots, walEnd } = durable.application;
    const slot = replicationSlots.get(SLOT);
    if (slot === undefined) return;
    const what = random.pick(['dropped', 'lost its log', 'moved on by somebody'] as const);
    if (what === 'dropped' && slot.holder?.isOpen) return;
    coverage.note(`slot: ${what}`);
    this.#world.slotsStruck++;
    if (what === 'dropped') replicationSlots.delete(SLOT);
    else if (what === 'lost its log') slot.usable = false;
    else if (!slot.holder?.isOpen) slot.confirmed = walEnd;
  }
}
