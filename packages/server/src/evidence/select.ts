/** Which records a bundle holds: "the log at the bundle's head" is what that head covers, and nothing behind it. */

import { EvidentError } from '@evident/core/errors.ts';
import type { EventFilter } from '../query/filter.ts';
import { type EventPlace, PAGE_EVENTS_MAX } from '../query/ports.ts';
import { checkTextSpan } from '../query/scope.ts';
import { findPage } from '../query/search.ts';
import type { PartitionEnd } from './cover.ts';
import { type PartitionPlaces, PlaceGatherer } from './places.ts';
import type { EvidenceDeps, ListedHead, SignedTreeHead } from './ports.ts';

/** Milliseconds between two looks at how far the view has read, and how often it is looked. */
const VIEW_PAUSE_MS = 100;
const VIEW_LOOKS_MAX = 100;
/** Most records of one bundle. */
export const BUNDLE_RECORDS_MAX = 50_000_000;

/** The heads that a head of heads/0 covers, looked up once each. */
export class CoveredHeads {
  readonly #deps: EvidenceDeps;
  readonly #top: SignedTreeHead;
  readonly #known = new Map<string, Promise<ListedHead | null>>();

  constructor(deps: EvidenceDeps, top: SignedTreeHead) {
    this.#deps = deps;
    this.#top = top;
  }

  /** The newest head of a partition that is covered; null: none is. */
  of(log: string, partition: number): Promise<ListedHead | null> {
    const key = `${log}/${partition}`;
    let found = this.#known.get(key);
    if (found === undefined) {
      found = this.#deps.heads.listed(log, partition, this.#top.size);
      this.#known.set(key, found);
    }
    return found;
  }

  /** Positions below are covered. */
  async end(log: string, partition: number): Promise<bigint> {
    return (await this.of(log, partition))?.size ?? 0n;
  }
}

/** What a filter finds. */
export interface Selected {
  readonly places: readonly PartitionPlaces[];
  /**
   * Records that match, that the log held when the bundle was asked for, and that the head does not cover: they are left
   * out. As many of them as the view has read.
   */
  readonly newer: number;
}

/**
 * Places of the events that the view finds, of those that the head covers. The view has to have read that far: what it
 * reads later changes nothing, so the same filter at the same head gives the same places.
 *
 * @param tenant whose events may be seen; null: all
 * @throws view-behind, log-unknown, field-invalid, query-too-slow, log-unavailable
 */
export async function selectByFilter(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  tenant: string | null,
  filter: EventFilter,
  ends: readonly PartitionEnd[],
): Promise<Selected> {
  checkTextSpan(filter);
  await waitForView(deps, covered, tenant, filter);
  const places = new PlaceGatherer();
  const endOf = new Map(ends.map(({ log, partition, end }) => [`${log}/${partition}`, end]));
  const isAsked: IsAsked = ({ log, partition, position }) =>
    position < (endOf.get(`${log}/${partition}`) ?? 0n);
  let newer = 0;
  // One tenant after the other: of a page over all of them the view reads one of each, and gives out one.
  for (const one of tenant === null ? await deps.query.view.tenants() : [tenant])
    newer += await gather(deps, covered, one, filter, isAsked, places);
  return { places: places.finish(), newer };
}

/** Whether a record stood in the log when the bundle was asked for. */
type IsAsked = (place: {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
}) => boolean;

async function gather(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  tenant: string,
  filter: EventFilter,
  isAsked: IsAsked,
  places: PlaceGatherer,
): Promise<number> {
  let newer = 0;
  for (let after: EventPlace | null = null; ; ) {
    const page = await findPage(deps.query.view, tenant, filter, after, PAGE_EVENTS_MAX);
    for (const { hit } of page.events) {
      const { log, partition, position } = hit;
      if (position < (await covered.end(log, partition))) places.add(log, partition, Number(position));
      else if (isAsked(hit)) newer++;
    }
    if (places.count > BUNDLE_RECORDS_MAX)
      throw new EvidentError('field-invalid', `a bundle holds at most ${BUNDLE_RECORDS_MAX} records`);
    after = page.next;
    if (after === null) return newer;
  }
}

async function waitForView(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  tenant: string | null,
  { log }: EventFilter,
): Promise<void> {
  for (let looks = 1; ; looks++) {
    const { partitions } = await deps.query.view.complete(tenant, log ?? null);
    if (log !== undefined && partitions.length === 0)
      throw new EvidentError('log-unknown', `log: there is no log ${log} that can be searched`, {
        context: { field: 'log', log },
      });
    const behind: string[] = [];
    for (const one of partitions)
      if (one.read < (await covered.end(one.log, one.partition))) behind.push(`${one.log}/${one.partition}`);
    if (behind.length === 0) return;
    if (looks === VIEW_LOOKS_MAX)
      throw new EvidentError(
        'view-behind',
        `the view has not read ${behind.slice(0, 3).join(', ')} as far as the head covers, ${VIEW_LOOKS_MAX * VIEW_PAUSE_MS} ms after it was asked`,
      );
    await deps.sleep(VIEW_PAUSE_MS);
  }
}
