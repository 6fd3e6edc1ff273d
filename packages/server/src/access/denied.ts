/**
 * Refused access, recorded. Whoever is refused must not be able to fill the log, nor to make refusals slow: events go
 * into a bounded queue and are appended in the background, so many a minute of each source and of all. The others are
 * counted, and one event a minute says how many there were.
 */

import type { OwnEvent } from '../audit/own-event.ts';
import type { Suspect } from './authorise.ts';

/** Events a minute of one source: a proven subject, else an address. */
export const DENIED_PER_SOURCE_MAX = 5;
/** Events a minute of all sources together, the one that counts the others not among them. */
export const DENIED_PER_MINUTE_MAX = 60;
/** Of those, the ones of callers who have proven nothing: whoever has many addresses must not hide a credential's denials. */
export const UNPROVEN_PER_MINUTE_MAX = 40;
const MINUTE_MS = 60_000;
/** Events that wait for the log: a minute's. */
const WAITING_MAX = DENIED_PER_MINUTE_MAX + 1;

export interface Denial {
  /** What was asked for, as declared: `GET /v1/logs/:log/tail`. Never what the caller wrote. */
  readonly route: string;
  /** The code that was answered. */
  readonly code: string;
  readonly suspect: Suspect;
  readonly address: string;
  readonly requestId: string;
}

export interface DeniedRecorderDeps {
  /** Resolves when the events are durable in the log. */
  readonly record: (events: readonly OwnEvent[]) => Promise<void>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Told of events that could not be recorded; they are counted in the next one that counts. */
  readonly onFault: (error: unknown, events: number) => void;
}

/** A class because it has a life: a minute that passes, and events that wait. */
export class DeniedRecorder {
  readonly #deps: DeniedRecorderDeps;
  /** Start of the minute, or null while nothing has happened. */
  #minute: number | null = null;
  /** Events of this minute by source; as many sources as events at most. */
  readonly #sources = new Map<string, number>();
  #taken = 0;
  #unproven = 0;
  #left = 0;
  #waiting: OwnEvent[] = [];
  #writing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(deps: DeniedRecorderDeps) {
    this.#deps = deps;
  }

  /** Never fails and never waits. */
  note(denial: Denial): void {
    if (this.#isClosed) return;
    this.#turn();
    const { isProven } = denial.suspect;
    const source = isProven ? (denial.suspect.subject as string) : denial.address;
    const count = this.#sources.get(source) ?? 0;
    const isTaken =
      count < DENIED_PER_SOURCE_MAX &&
      this.#taken < DENIED_PER_MINUTE_MAX &&
      (isProven || this.#unproven < UNPROVEN_PER_MINUTE_MAX) &&
      this.#waiting.length < WAITING_MAX - 1;
    if (isTaken) {
      this.#sources.set(source, count + 1);
      this.#taken++;
      if (!isProven) this.#unproven++;
      this.#waiting.push(eventOf(denial));
      void this.#write();
    } else {
      this.#left++;
    }
    // A flood that ends is told of, too.
    this.#timer ??= setTimeout(() => this.#tick(), MINUTE_MS).unref();
  }

  /** Resolves when what waits is recorded, or can't be. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#writing;
    this.#count();
    await this.#writing;
  }

  #tick(): void {
    this.#timer = null;
    this.#turn();
    if (this.#left > 0) this.#timer = setTimeout(() => this.#tick(), MINUTE_MS).unref();
  }

  /** Begins the next minute when this one is over. */
  #turn(): void {
    const now = this.#deps.now();
    this.#minute ??= now;
    if (now - this.#minute < MINUTE_MS) return;
    this.#count();
    this.#minute = now;
    this.#sources.clear();
    this.#taken = 0;
    this.#unproven = 0;
  }

  /** The event that says how many others there were. */
  #count(): void {
    if (this.#left === 0 || this.#waiting.length >= WAITING_MAX) return;
    this.#waiting.push(countEvent(this.#left));
    this.#left = 0;
    void this.#write();
  }

  #write(): Promise<void> {
    this.#writing ??= this.#drain().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #drain(): Promise<void> {
    // Denials of one turn of the event loop share an append.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const events = this.#waiting;
      this.#waiting = [];
      try {
        await this.#deps.record(events);
      } catch (error) {
        for (const { details } of events) this.#left += Number(details?.not_recorded ?? 1);
        this.#deps.onFault(error, events.length);
      }
    }
  }
}

/**
 * The event of a denial. It concerns the tenant of a proven credential. Who has proven nothing writes into no tenant's
 * trail: that is Evident's own.
 */
function eventOf({ route, code, suspect, address, requestId }: Denial): OwnEvent {
  const { subject, isProven, role, tenant } = suspect;
  return {
    actor: {
      id: subject ?? `address:${address}`,
      role: (isProven ? role : null) ?? 'none',
      ip: address,
    },
    action: 'access.denied',
    resource: { type: 'route', id: route },
    result: 'denied',
    tenant: isProven ? tenant : null,
    details: { code, proven: isProven },
    requestId,
  };
}

function countEvent(left: number): OwnEvent {
  return {
    actor: { id: 'evident', role: 'system' },
    action: 'access.denied',
    resource: { type: 'route', id: 'several' },
    result: 'denied',
    tenant: null,
    details: { not_recorded: left },
  };
}
