/** The pause between two attempts: longer each time, uneven, so that many clients don't come back as one. */

export interface RetryTimes {
  /** The first pause, milliseconds; each further one is twice as long. */
  readonly firstMs: number;
  readonly maxMs: number;
}

export const RETRY_TIMES: RetryTimes = { firstMs: 100, maxMs: 30_000 };

const DOUBLINGS_MAX = 30;
/** What is added to a time that the server asked for, as a share of it. */
const SPREAD = 0.25;

/**
 * @param failures attempts in a row that settled nothing, from 1
 * @param retryAfterMs what the server asked for
 * @param random 0 up to 1
 */
export function retryDelayMs(
  { firstMs, maxMs }: RetryTimes,
  failures: number,
  retryAfterMs: number | null,
  random: number,
): number {
  const whole = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, DOUBLINGS_MAX));
  const own = whole / 2 + (whole / 2) * random;
  return retryAfterMs === null ? own : Math.max(own, retryAfterMs * (1 + SPREAD * random));
}

/** A pause that can be cut short. */
export class Pause {
  #end: () => void = () => undefined;

  /** @param holdsProcess whether the process lives on for it */
  wait(ms: number, holdsProcess: boolean): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      if (!holdsProcess) timer.unref();
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  end(): void {
    this.#end();
  }
}
