/** What happens to the bank while its clients work: processes die, and the relay is told to read in another way. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { BankScene, Mode, Victim } from './bank-scene.ts';

/** How the relay reads, in three parts of equal length. */
const MODES: readonly Mode[] = ['polling', 'wal', 'polling'];
const VICTIMS: readonly Victim[] = [
  'the bank',
  "the bank's PostgreSQL",
  'Evident',
  'the bank',
  "the bank's PostgreSQL",
  'Evident and its PostgreSQL',
];
const SECONDS_PER_KILL = 6;
/** Each of the three at least once, and one in each part. */
const KILLS_MIN = 4;

export interface Disturbance {
  readonly what: string;
  /** What the time was needed for. */
  readonly until: string;
  readonly ms: number;
}

export interface Disturbances {
  readonly kills: ReadonlyMap<Victim, number>;
  readonly switches: number;
}

/**
 * Kills and switches for so many seconds, or as many more as it takes to have killed everything once.
 * @param tell what happened, when it is over
 */
export async function disturb(
  scene: BankScene,
  seconds: number,
  tell: (event: Disturbance) => void,
): Promise<Disturbances> {
  const begun = performance.now();
  const count = Math.max(KILLS_MIN, Math.round(seconds / SECONDS_PER_KILL));
  const restUntil = (share: number) =>
    sleep(Math.max(0, begun + seconds * 1_000 * share - performance.now()));
  const timed = async (what: string, until: string, act: () => Promise<void>) => {
    const at = performance.now();
    await act();
    tell({ what, until, ms: performance.now() - at });
  };
  const kills = new Map<Victim, number>();
  let switches = 0;
  let part = 0;
  for (let done = 0; done < count; done++) {
    const due = Math.floor((done * MODES.length) / count);
    if (due !== part) {
      part = due;
      switches++;
      const mode = MODES[part];
      const what = mode === 'wal' ? 'the relay reads the write-ahead log' : 'the relay polls again';
      await timed(what, 'went over after', () => scene.switchTo(mode));
    }
    await restUntil((done + 1) / (count + 1));
    const victim = VICTIMS[done % VICTIMS.length];
    await timed(`kill -9 ${victim}`, 'works again after', () => scene.kill(victim));
    kills.set(victim, (kills.get(victim) ?? 0) + 1);
  }
  await restUntil(1);
  return { kills, switches };
}
