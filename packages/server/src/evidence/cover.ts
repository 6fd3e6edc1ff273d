/** Waits until heads/0 covers what the logs held when evidence was asked for: heads are listed there every ten seconds. */

import type { Log } from '../log/log.ts';
import { type EvidenceDeps, HEADS_LOG } from './ports.ts';

/** Milliseconds between two looks at what is covered, and how often it is looked: 15 s, one listing and a half. */
const COVER_PAUSE_MS = 250;
const COVER_LOOKS_MAX = 60;

/** Positions below `end` held a record. */
export interface PartitionEnd {
  readonly log: string;
  readonly partition: number;
  readonly end: bigint;
  /** It takes no records, and its last ones may never be covered: it is not waited for. */
  readonly isStopped: boolean;
}

/** Where logs end now. @throws log-unavailable */
export async function endsOf(logs: Iterable<Log>): Promise<PartitionEnd[]> {
  const ends: PartitionEnd[] = [];
  for (const log of logs)
    for (const { partition, next, stopped } of await log.heads())
      if (next > 0n) ends.push({ log: log.name, partition, end: next, isStopped: stopped !== null });
  return ends;
}

/**
 * Returns when the newest head of heads/0 covers all of it, or after 15 s: what is missing then is told by the count of
 * records that the head leaves out. What is appended meanwhile is not waited for.
 * @throws log-unavailable
 */
export async function waitForCover(
  { heads, sleep }: Pick<EvidenceDeps, 'heads' | 'sleep'>,
  ends: readonly PartitionEnd[],
): Promise<void> {
  let open = ends.filter(({ isStopped }) => !isStopped);
  for (let looks = 1; open.length > 0; looks++) {
    const top = await heads.newest(HEADS_LOG, 0, null);
    const still: PartitionEnd[] = [];
    for (const one of open) {
      const listed = top === null ? null : await heads.listed(one.log, one.partition, top.size);
      if (listed === null || listed.size < one.end) still.push(one);
    }
    open = still;
    if (open.length === 0 || looks === COVER_LOOKS_MAX) return;
    await sleep(COVER_PAUSE_MS);
  }
}
