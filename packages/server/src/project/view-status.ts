/** How views stand: what is shown, what is built, how far each has read, and what is missing in them. */

import type { Log } from '../log/log.ts';
import type { DeadLetterStore, OpenLetters } from './dead-letters.ts';
import { digestGeneration, type ViewDigest } from './digest.ts';
import type { Projection } from './projection.ts';
import type { GenerationSummary, ViewSnapshots } from './view-snapshot.ts';

export interface GenerationStatus extends GenerationSummary {
  /** Records that the logs hold and this generation has not read. */
  readonly behind: bigint;
  /** Null unless it was asked for. */
  readonly digest: ViewDigest | null;
}

export interface ViewStatus {
  readonly view: string;
  /** The generation that is shown; null before the first start of a server that projects. */
  readonly live: number | null;
  /** What this program makes rows by. */
  readonly definition: string;
  /** Whether every row that is shown was made by it. */
  readonly isCurrent: boolean;
  /** Retired ones excepted. */
  readonly generations: readonly GenerationStatus[];
  readonly openDeadLetters: OpenLetters;
}

export interface ViewStatusDeps {
  readonly projections: ReadonlyMap<string, Projection>;
  readonly snapshots: ViewSnapshots;
  readonly letters: Pick<DeadLetterStore, 'countOpen'>;
  readonly logs: ReadonlyMap<string, Log>;
}

/**
 * @param tenant whose dead letters are counted; null: everybody's
 * @param withDigest reads every row of every generation
 */
export async function viewStatuses(
  deps: ViewStatusDeps,
  tenant: string | null,
  withDigest: boolean,
): Promise<ViewStatus[]> {
  const statuses: ViewStatus[] = [];
  for (const { name, definition } of deps.projections.values()) {
    const openDeadLetters = await deps.letters.countOpen(name, tenant);
    const { live, found } = await deps.snapshots.withSnapshot(name, async (snapshot) => {
      const found: { summary: GenerationSummary; digest: ViewDigest | null }[] = [];
      for (const summary of snapshot.generations) {
        if (summary.state === 'retired') continue;
        const digest = withDigest ? await digestGeneration(snapshot, summary.generation) : null;
        found.push({ summary, digest });
      }
      return { live: snapshot.live, found };
    });
    // Outside the snapshot, which holds a connection: many that wait for a second one would hold all of them.
    const generations: GenerationStatus[] = [];
    for (const { summary, digest } of found)
      generations.push({ ...summary, digest, behind: await behindOf(deps.logs, summary) });
    const shown = generations.find(({ generation }) => generation === live);
    const isCurrent = shown === undefined || shown.definition === definition;
    statuses.push({ view: name, definition, openDeadLetters, live, isCurrent, generations });
  }
  return statuses;
}

/** Records of the partitions that a generation reads, beyond where it has read. */
async function behindOf(logs: ReadonlyMap<string, Log>, { reach }: GenerationSummary): Promise<bigint> {
  let behind = 0n;
  for (const name of new Set(reach.map(({ log }) => log))) {
    for (const { partition, next } of (await logs.get(name)?.heads()) ?? []) {
      const read = reach.find((one) => one.log === name && one.partition === partition)?.next ?? 0n;
      if (next > read) behind += next - read;
    }
  }
  return behind;
}
