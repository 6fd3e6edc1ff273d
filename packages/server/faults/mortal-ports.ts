/**
 * Ports of a relay that dies at one call: before it has its effect, or after it and before the relay hears of it.
 * From then on every call fails, as for a process that is gone; its connections are closed by `bury`.
 */

import type { Handover, LocalRelay, Outbox, OutboxStream, ReadBounds, RelayLog } from '../src/relay/ports.ts';

/** Where a relay dies: at the n-th call of a method. */
export interface Death {
  readonly method: string;
  readonly nth: number;
  readonly when: 'before' | 'after';
}

/** Few rows a batch, so that few rows make many batches. */
const BOUNDS: ReadBounds = { rowsMax: 3, bytesMax: 1_000_000 };

class Died extends Error {}

type Call = (...values: never[]) => unknown;

export class MortalPorts {
  /** Calls so far, by method. */
  readonly calls = new Map<string, number>();
  isDead = false;
  readonly #death: Death | null;
  readonly #bounds: ReadBounds | null;
  readonly #open = new Set<{ close(): Promise<void> }>();

  /** @param death null: counts the calls alone */
  constructor(death: Death | null, bounds: ReadBounds | null = BOUNDS) {
    this.#death = death;
    this.#bounds = bounds;
  }

  readonly log = (log: RelayLog): RelayLog =>
    this.#wrap('log', log, {
      claim: (name: string) =>
        this.#call('log.claim', async () => {
          const claim = await log.claim(name);
          if (claim === null) return null;
          const opened = this.#keep({ close: () => claim.release() });
          return { release: () => opened.close() };
        }),
    });

  readonly local = (local: LocalRelay): LocalRelay => this.#wrap('local', local, {});

  readonly outbox = (outbox: Outbox): Outbox => {
    const opened = this.#keep({ close: () => outbox.close() });
    return this.#wrap('outbox', outbox, {
      close: () => opened.close(),
      read: (after: Parameters<Outbox['read']>[0], bounds: ReadBounds) =>
        this.#call('outbox.read', () => outbox.read(after, this.#bounds ?? bounds)),
      readAll: (...[after, sweep, bounds]: Parameters<Outbox['readAll']>) =>
        this.#call('outbox.readAll', () => outbox.readAll(after, sweep, this.#bounds ?? bounds)),
      createSlot: (...call: Parameters<Outbox['createSlot']>) =>
        this.#call('outbox.createSlot', async () => this.#handover(await outbox.createSlot(...call))),
      stream: (...call: Parameters<Outbox['stream']>) =>
        this.#call('outbox.stream', async () => this.#stream(await outbox.stream(...call))),
    });
  };

  /** What the system does for a process that is gone. */
  async bury(): Promise<void> {
    this.isDead = true;
    await Promise.allSettled([...this.#open].map((one) => one.close()));
  }

  #handover(handover: Handover): Handover {
    const opened = this.#keep({ close: () => handover.close() });
    return this.#wrap('handover', handover, {
      close: () => opened.close(),
      read: (after: Parameters<Handover['read']>[0], bounds: ReadBounds) =>
        this.#call('handover.read', () => handover.read(after, this.#bounds ?? bounds)),
    });
  }

  #stream(stream: OutboxStream): OutboxStream {
    const opened = this.#keep({ close: () => stream.close() });
    return this.#wrap('stream', stream, {
      close: () => opened.close(),
      next: (bounds: ReadBounds) => this.#call('stream.next', () => stream.next(this.#bounds ?? bounds)),
      // It answers nothing, so it can't fail; but the relay may die beside it.
      acknowledge: (lsn: bigint) => {
        void this.#call('stream.acknowledge', async () => stream.acknowledge(lsn)).catch(() => undefined);
      },
    });
  }

  #keep(resource: { close(): Promise<void> }): { close(): Promise<void> } {
    const opened = {
      close: async () => {
        if (this.#open.delete(opened)) await resource.close();
      },
    };
    this.#open.add(opened);
    return opened;
  }

  #wrap<Port extends object>(of: string, port: Port, own: Partial<Record<keyof Port, Call>>): Port {
    return new Proxy(port, {
      get: (target, name) => {
        if (Object.hasOwn(own, name)) return own[name as keyof Port];
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return (...values: unknown[]) =>
          this.#call(`${of}.${String(name)}`, async () => Reflect.apply(member, target, values));
      },
    });
  }

  async #call<Answer>(method: string, effect: () => Promise<Answer>): Promise<Answer> {
    if (this.isDead) throw new Died(`dead before ${method}`);
    const nth = (this.calls.get(method) ?? 0) + 1;
    this.calls.set(method, nth);
    const isLast = this.#death?.method === method && this.#death.nth === nth;
    if (isLast && this.#death?.when === 'before') {
      this.isDead = true;
      throw new Died(`died before ${method}`);
    }
    const answer = await effect();
    if (isLast) this.isDead = true;
    if (this.isDead) throw new Died(`died after ${method}`);
    return answer;
  }
}
