/** What one seed is about: sizes, and which faults it has. Seeds differ in kind, so that each can be small. */

import type { Random } from './random.ts';

export interface Profile {
  readonly partitions: number;
  readonly writers: number;
  readonly requestsEach: number;
  readonly sealers: number;
  /** Records that are there before anything dies: enough for full tiles in some seeds. */
  readonly prefill: number;
  /** Of 1,000 steps of a port: how many fail, and how many kill. */
  readonly errorsPermille: number;
  readonly killsPermille: number;
  readonly killsMax: number;
  readonly restartStorms: boolean;
  readonly wildClock: boolean;
  /** What goes wrong beyond crashes, once in a run. */
  readonly disaster: 'none' | 'put back' | 'attack';
  /** Turns in which faults happen; then everything is restarted and must settle. */
  readonly stormTurns: number;
}

export function drawProfile(random: Random): Profile {
  const rough = random.below(3);
  const prefill = random.chance(1, 12) ? random.between(270, 540) : 0;
  return {
    partitions: prefill > 0 ? 1 : random.between(1, 3),
    writers: random.between(1, 3),
    requestsEach: random.between(2, 5),
    sealers: random.pick([1, 2, 2]),
    prefill,
    errorsPermille: [0, 15, 40][rough],
    killsPermille: [0, 8, 20][rough],
    killsMax: random.between(0, 10),
    restartStorms: random.chance(1, 5),
    wildClock: random.chance(1, 3),
    disaster: random.pick(['none', 'none', 'put back', 'put back', 'attack']),
    stormTurns: random.between(150, 500),
  };
}
