/** The port `RelayLog` in memory: cursor and records change in one synchronous step, as in one transaction. */

import { EvidentError } from '@evident/core/errors.ts';
import type { Outcome, Proposal } from '../../log/log.ts';
import type { RelayLog, Source } from '../../relay/ports.ts';
import { parseState, type RelayState, serialiseState } from '../../relay/state.ts';
import type { MemoryLog, MemoryLogHooks } from './log.ts';
import type { MemorySession } from './outbox.ts';
import type { MemoryHeads } from './seal-stores.ts';

interface MemorySource {
  readonly log: string;
  tenants: readonly string[] | null;
  wantedMode: Source['wantedMode'];
  state: string | null;
  version: bigint;
}

/** What is durable of the sources of a log. */
export type MemorySources = Map<string, MemorySource>;
/** Who holds which source: gone with the session. */
export type MemoryClaims = Map<string, MemorySession>;

export interface MemoryRelayLogDeps {
  readonly sources: MemorySources;
  readonly claims: MemoryClaims;
  readonly logs: ReadonlyMap<string, MemoryLog>;
  readonly heads: MemoryHeads;
  readonly session?: MemorySession;
  readonly hooks?: MemoryLogHooks;
}

export class MemoryRelayLog implements RelayLog {
  readonly #deps: MemoryRelayLogDeps;
  readonly #session: MemorySession;

  constructor(deps: MemoryRelayLogDeps) {
    this.#deps = deps;
    this.#session = deps.session ?? { isOpen: true };
  }

  readSource(name: string): Promise<Source | null> {
    return this.#call('readSource', () => {
      const held = this.#deps.sources.get(name);
      return held === undefined
        ? null
        : { name, ...held, state: held.state === null ? null : parseState(held.state) };
    });
  }

  relay(source: Source, state: RelayState, proposals: readonly Proposal[]): Promise<Outcome[]> {
    return this.#call('relay', () => this.relayNow(source, state, proposals));
  }

  moveCursor(source: Source, state: RelayState): Promise<void> {
    return this.#call('moveCursor', () => this.moveNow(source, state));
  }

  protected relayNow(source: Source, state: RelayState, proposals: readonly Proposal[]): Outcome[] {
    const held = this.#unmoved(source);
    const outcomes = this.#log(source.log).appendOnceNow(proposals);
    this.#move(held, state);
    return outcomes;
  }

  protected moveNow(source: Source, state: RelayState): void {
    this.#move(this.#unmoved(source), state);
  }

  progress(log: string): Promise<{ sealed: readonly bigint[]; next: readonly bigint[] }> {
    return this.#call('progress', () => {
      const next = this.#log(log)
        .headsNow()
        .map((head) => head.next);
      const sealed = next.map(
        (_, partition) => this.#deps.heads.stored.get(`${log}/${partition}`)?.size ?? 0n,
      );
      return { next, sealed };
    });
  }

  async claim(name: string): Promise<{ release(): Promise<void> } | null> {
    const { claims, hooks } = this.#deps;
    await hooks?.before?.('relay.claim');
    if (claims.get(name)?.isOpen) return null;
    const session = this.#session;
    const claim = {
      get isOpen() {
        return session.isOpen;
      },
    };
    const release = async (): Promise<void> => {
      if (claims.get(name) === claim) claims.delete(name);
    };
    claims.set(name, claim);
    try {
      await hooks?.after?.('relay.claim');
    } catch (error) {
      // Whoever is not told that it holds the right has lost its connection, and the right with it.
      await release();
      throw error;
    }
    return { release };
  }

  async #call<T>(operation: string, effect: () => T): Promise<T> {
    await this.#deps.hooks?.before?.(`relay.${operation}`);
    const result = effect();
    await this.#deps.hooks?.after?.(`relay.${operation}`);
    return result;
  }

  #log(name: string): MemoryLog {
    const log = this.#deps.logs.get(name);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${name}`);
    return log;
  }

  /** The source, if nobody has moved its cursor since it was read. */
  #unmoved({ name, version, state }: Source): MemorySource {
    const held = this.#deps.sources.get(name);
    if (held === undefined) throw new EvidentError('source-unknown', `there is no source ${name}`);
    const before = state === null ? null : serialiseState(state);
    // When an older copy was put back the number counts again, and may be met again over another cursor.
    if (held.version !== version || held.state !== before)
      throw new EvidentError('cursor-moved', `the cursor of ${name} was moved by another relay`);
    return held;
  }

  #move(held: MemorySource, state: RelayState): void {
    held.state = serialiseState(state);
    held.version++;
  }
}
