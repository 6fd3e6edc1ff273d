/** What an attack is here, and what has to come of it. */

import type { Check, Verdict } from '../packages/server/src/verify/finding.ts';
import type { KeptHead } from './kept-heads.ts';
import type { Scene } from './scene.ts';

/** What `verify` has to answer. Without a place the verdict alone counts. */
export interface Expectation {
  readonly verdict: Verdict;
  readonly check?: Check;
  readonly log?: string;
  readonly partition?: number;
  /** A position that the finding has to cover. */
  readonly position?: bigint;
}

/** Heads that somebody outside wrote down: when the older copy was made, and at the end. */
export interface KeptHeads {
  readonly earlier: readonly KeptHead[];
  readonly later: readonly KeptHead[];
}

export type Caught = 'caught' | 'no';

export interface Attack {
  readonly letter: string;
  readonly title: string;
  /** Does it, on the restored good state. @returns what was done, in a line, and what has to be found */
  run(scene: Scene): Promise<{ readonly did: string; readonly expected: Expectation }>;
  /** What the keepers of the two sets of heads have to find; null: they are not asked, since `verify` finds it. */
  readonly kept: { readonly earlier: Caught; readonly later: Caught } | null;
  /** By design (design §5), not run here: this version has neither. */
  readonly t1: Caught | '';
  readonly t3: Caught | 'in part' | '';
  /** Said below its result. */
  readonly remark?: string;
}
