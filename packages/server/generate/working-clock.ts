/** A clock that runs as an office does: little at night and on weekends, bursts in between. UTC, milliseconds. */

import type { SeededRandom } from './random.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Load of each hour of a working day, beside the others. */
const HOURS = [2, 2, 2, 2, 2, 4, 10, 30, 75, 100, 110, 95, 60, 85, 105, 100, 80, 45, 20, 10, 6, 5, 4, 3];
const HOURS_SUM = HOURS.reduce((sum, load) => sum + load, 0);
const WEEKEND_PART = 0.08;
/** One event of so many begins a burst: an import, a bulk edit, a retry storm. */
const BURST_ONE_OF = 400;
const BURST_EVENTS_MIN = 30;
const BURST_EVENTS_MAX = 150;
const BURST_SPEED = 40;

export class WorkingClock {
  readonly #random: SeededRandom;
  readonly #eventsPerDay: number;
  #now: number;
  #burst = 0;

  constructor(random: SeededRandom, startMs: number, eventsPerDay: number) {
    this.#random = random;
    this.#now = startMs;
    this.#eventsPerDay = eventsPerDay;
  }

  /** Time of the next event: never before the one before it. */
  next(): number {
    if (this.#burst > 0) this.#burst--;
    else if (this.#random.below(BURST_ONE_OF) === 0)
      this.#burst = this.#random.between(BURST_EVENTS_MIN, BURST_EVENTS_MAX);
    const mean = this.#meanGap() / (this.#burst > 0 ? BURST_SPEED : 1);
    // No gap jumps over the next hour's load.
    this.#now += Math.floor(Math.min(this.#random.exponential(mean), HOUR_MS));
    return this.#now;
  }

  #meanGap(): number {
    const hour = Math.floor((this.#now % DAY_MS) / HOUR_MS);
    // The first day of the Unix epoch was a Thursday.
    const weekday = (Math.floor(this.#now / DAY_MS) + 4) % 7;
    const share = (HOURS[hour] / HOURS_SUM) * (weekday === 0 || weekday === 6 ? WEEKEND_PART : 1);
    return HOUR_MS / (this.#eventsPerDay * share);
  }
}
