/**
 * Faults at the ports: an error or the death of the process, before the effect (nothing persisted) or after it
 * (persisted, and nobody was told). Tiles, which know no transaction, break in between too (`ports.ts`).
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { MemoryLogHooks } from '../src/stores/memory/log.ts';
import type { Process } from './scheduler.ts';
import type { World } from './world.ts';

type When = 'before' | 'during' | 'after';

/** Operations that do not go through the log's database. */
const OUTSIDE = /^(?:tiles|signer|objects|outbox)\./;

/** Operations that a run seldom gets to, or on which much hangs: they fail more often. */
const RARE =
  /^(?:heads\.stop|heads\.markListed|tiles\.read|view\.noteSuspect|letters\.(?:resolve|replay|noteFailure)|generations\.\w+|relay\.relay|outbox\.(?:horizon|stream|dropSlot|createSlot))$/;

export class Faults {
  readonly #world: World;
  #kills = 0;

  constructor(world: World) {
    this.#world = world;
  }

  hooksOf(process: Process): MemoryLogHooks {
    return {
      before: (operation) =>
        this.#gate(process, operation, operation.endsWith('.part') ? 'during' : 'before'),
      after: (operation) => this.#gate(process, operation, 'after'),
    };
  }

  /** One point of an operation: waits, then fails, kills, or lets pass. */
  async #gate(process: Process, operation: string, when: When): Promise<void> {
    const world = this.#world;
    const { copies } = world;
    const name = operation.replace('.part', '');
    await process.step(`${when} ${name}`);
    if (copies !== world.copies && !OUTSIDE.test(name)) throw fault(name, when, 'the database was put back');
    if (world.phase !== 'storm') return;
    const { sides, errors, kills } = this.#chancesOf(when, name);
    const dice = world.random.below(sides);
    if (dice < errors) {
      this.#note('error', process, name, when);
      throw fault(name, when, 'injected');
    }
    if (dice < errors + kills && this.mayKill()) {
      this.#note('kill', process, name, when);
      await process.die();
    }
  }

  /** Of so many sides of a die: how many fail, and how many kill. */
  #chancesOf(when: When, operation: string): { sides: number; errors: number; kills: number } {
    const { errorsPermille, killsPermille, strikes } = this.#world.profile;
    if (strikes.includes(`${when} ${operation}`)) return { sides: 6, errors: 1, kills: 1 };
    return { sides: RARE.test(operation) ? 150 : 1_000, errors: errorsPermille, kills: killsPermille };
  }

  mayKill(): boolean {
    return this.#world.phase === 'storm' && this.#kills++ < this.#world.profile.killsMax;
  }

  /** Kills a process wherever it waits. */
  kill(process: Process): void {
    if (process.state !== 'alive') return;
    if (/^(?:before|during|after) /.test(process.label)) this.#world.coverage.note(`kill: ${process.label}`);
    this.#world.scheduler.kill(process);
  }

  #note(kind: 'error' | 'kill', process: Process, operation: string, when: When): void {
    this.#world.coverage.note(`${kind}: ${when} ${operation}`);
    if (kind === 'error') this.#world.trace.note(`${process.name} error ${when} ${operation}`);
  }
}

function fault(operation: string, when: When, why: string): EvidentError {
  const isAppend = operation.startsWith('append') || operation === 'relay.relay';
  const code =
    isAppend && when === 'after'
      ? 'outcome-unknown'
      : operation.startsWith('outbox.')
        ? 'source-unavailable'
        : OUTSIDE.test(operation)
          ? 'data-unwritable'
          : 'log-unavailable';
  return new EvidentError(code, `${operation}: ${why} ${when} its effect`);
}
