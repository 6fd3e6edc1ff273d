/** What an operator has to hear of a source, said when it begins and when it ends. */

import type { Pressure, SlotState } from './ports.ts';

export const ALERTS = ['growing', 'large', 'old', 'horizon-held', 'slot-lag', 'slot-lost'] as const;
export type AlertName = (typeof ALERTS)[number];

export interface Alert {
  readonly source: string;
  readonly name: AlertName;
  readonly active: boolean;
  readonly detail: string;
}

/** Rows a second by which an outbox may grow. */
const GROWTH_MAX = 1_000;
const BYTES_MAX = 4n * 1024n ** 3n;
const OLDEST_MS_MAX = 60_000;
const HOLDER_MS_MAX = 60_000;
const SLOT_LAG_BYTES_MAX = 1024n ** 3n;
/** Milliseconds over which growth is measured: a burst that is relayed at once is no growth. */
const GROWTH_MS = 5_000;

interface Look {
  readonly pressure: Pressure;
  readonly slot: SlotState | null;
  /** Rows relayed since the relay began. */
  readonly relayed: number;
  readonly now: number;
}

export class AlertBoard {
  readonly #source: string;
  readonly #onAlert: (alert: Alert) => void;
  readonly #active = new Set<AlertName>();
  #before: { at: number; lastId: bigint; relayed: number } | null = null;

  constructor(source: string, onAlert: (alert: Alert) => void) {
    this.#source = source;
    this.#onAlert = onAlert;
  }

  get active(): readonly AlertName[] {
    return [...this.#active];
  }

  set(name: AlertName, active: boolean, detail: string): void {
    if (this.#active.has(name) === active) return;
    if (active) this.#active.add(name);
    else this.#active.delete(name);
    this.#onAlert({ source: this.#source, name, active, detail });
  }

  look({ pressure, slot, relayed, now }: Look): void {
    this.#lookAtGrowth(pressure.lastId, relayed, now);
    this.set('large', pressure.bytes > BYTES_MAX, `the outbox takes ${pressure.bytes} bytes`);
    this.set(
      'old',
      (pressure.oldestMs ?? 0) > OLDEST_MS_MAX,
      `the oldest row that is not in the log is ${Math.round((pressure.oldestMs ?? 0) / 1_000)} s old`,
    );
    const { holder } = pressure;
    this.set(
      'horizon-held',
      holder !== null && holder.ageMs > HOLDER_MS_MAX,
      holder === null
        ? 'no transaction holds the horizon'
        : `process ${holder.pid} (${holder.what}) has had a writing transaction open for ${Math.round(holder.ageMs / 1_000)} s: rows committed since wait for it`,
    );
    this.set(
      'slot-lag',
      slot !== null && slot.lagBytes > SLOT_LAG_BYTES_MAX,
      `the slot holds back ${slot?.lagBytes ?? 0n} bytes of write-ahead log`,
    );
  }

  #lookAtGrowth(lastId: bigint, relayed: number, now: number): void {
    const before = this.#before;
    if (before !== null && now - before.at < GROWTH_MS) return;
    this.#before = { at: now, lastId, relayed };
    if (before === null) return;
    const written = Number(lastId - before.lastId);
    const rate = ((written - (relayed - before.relayed)) * 1_000) / (now - before.at);
    this.set('growing', rate > GROWTH_MAX, `the outbox grows by ${Math.round(rate)} rows a second`);
  }
}
