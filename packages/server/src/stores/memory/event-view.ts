/** The port `EventView` in memory: what a filter means, by looking at every event. */

import { type LogRecord, RESERVED_LOGS } from '@evident/core/record.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import type { Log } from '../../log/log.ts';
import type { EventFilter } from '../../query/filter.ts';
import { matchesFilter } from '../../query/match.ts';
import {
  type Bucket,
  CORRECTIONS_MAX,
  type Completeness,
  type Dimension,
  type EventHit,
  type EventPlace,
  type EventView,
  type FoundEvent,
  type FoundPage,
  type Interval,
  SAVED_SEARCHES_MAX,
  type SavedSearchStore,
  type SoughtEvent,
  type TextMatch,
  type ValueCount,
} from '../../query/ports.ts';
import { holdsSpelling } from '../../query/spellings.ts';
import type { MemoryGeneration, MemoryRow, MemoryTree, MemoryViews } from './view-store.ts';

export interface MemoryEventViewDeps {
  readonly views: MemoryViews;
  readonly trees: readonly MemoryTree[];
  readonly logs: ReadonlyMap<string, Log>;
}

const INTERVAL_US: Readonly<Record<Interval, bigint>> = {
  minute: 60_000_000n,
  hour: 3_600_000_000n,
  day: 86_400_000_000n,
};

const COLUMN: Readonly<Record<Exclude<Dimension, 'hour' | 'day'>, keyof EventHit>> = {
  actor: 'actorId',
  action: 'action',
  resource: 'resourceId',
  result: 'result',
  type: 'type',
};

type TreePosition = { readonly tree: number; readonly position: bigint };

export class MemoryEventView implements EventView {
  readonly #deps: MemoryEventViewDeps;

  constructor(deps: MemoryEventViewDeps) {
    this.#deps = deps;
  }

  async search(
    tenant: string | null,
    filter: EventFilter,
    after: EventPlace | null,
    limit: number,
  ): Promise<FoundPage> {
    const behind = this.#matching(tenant, filter)
      .filter((one) => after === null || comparePlaces(placeOf(one), after) < 0)
      .sort((a, b) => comparePlaces(placeOf(b), placeOf(a)));
    const events = behind.slice(0, limit);
    return { events, next: behind.length > limit ? placeOf(events[limit - 1]) : null, scanned: null };
  }

  async count(
    tenant: string | null,
    filter: EventFilter,
    by: Dimension,
    limit: number,
  ): Promise<ValueCount[]> {
    const counts = new Map<string | null, bigint>();
    for (const { hit } of this.#matching(tenant, filter)) {
      const value =
        by === 'hour' || by === 'day'
          ? instantText(floorTo(hit.eventTime, INTERVAL_US[by]))
          : (hit[COLUMN[by]] as string | null);
      counts.set(value, (counts.get(value) ?? 0n) + 1n);
    }
    return [...counts]
      .map(([value, count]) => ({ value, count }))
      .sort((a, b) => (a.count === b.count ? compareValues(a.value, b.value) : a.count < b.count ? 1 : -1))
      .slice(0, limit);
  }

  async histogram(
    tenant: string | null,
    filter: EventFilter,
    interval: Interval,
    limit: number,
  ): Promise<Bucket[]> {
    const counts = new Map<bigint, bigint>();
    for (const { hit } of this.#matching(tenant, filter)) {
      const start = floorTo(hit.eventTime, INTERVAL_US[interval]);
      counts.set(start, (counts.get(start) ?? 0n) + 1n);
    }
    return [...counts]
      .map(([start, count]) => ({ start, count }))
      .sort((a, b) => (a.start < b.start ? -1 : 1))
      .slice(0, limit);
  }

  async find(tenant: string | null, what: SoughtEvent): Promise<FoundEvent[]> {
    return this.#matching(tenant, {})
      .filter(({ hit }) =>
        'id' in what
          ? hit.id === what.id
          : hit.log === what.log && hit.partition === what.partition && hit.position === what.position,
      )
      .sort((a, b) => compareTexts(a.hit.tenant, b.hit.tenant) || a.tree - b.tree)
      .slice(0, 100);
  }

  async correctionsOf(
    tenant: string | null,
    events: readonly { readonly tenant: string; readonly id: string }[],
  ): Promise<FoundEvent[]> {
    const all = this.#matching(tenant, {});
    return events.flatMap((event) =>
      all
        .filter(({ hit }) => hit.tenant === event.tenant && hit.corrects === event.id)
        .sort((a, b) => comparePlaces(placeOf(a), placeOf(b)))
        .slice(0, CORRECTIONS_MAX),
    );
  }

  records(tenant: string | null, places: readonly TreePosition[]): Promise<(LogRecord | null)[]> {
    return Promise.all(places.map((place) => this.#record(tenant, place)));
  }

  async recordOf(tenant: string | null, what: SoughtEvent): Promise<LogRecord | null> {
    if (!('id' in what)) {
      const tree = this.#deps.trees.find((one) => one.log === what.log && one.partition === what.partition);
      return tree === undefined ? null : this.#record(tenant, { ...what, tree: tree.tree });
    }
    for (const log of this.#deps.logs.values())
      for (let partition = 0; partition < log.partitions; partition++)
        for (const record of await log.read(partition, 0n, 10_000))
          if (record.id === what.id && (tenant === null || record.tenant === tenant)) return record;
    return null;
  }

  async matchText(
    tenant: string | null,
    places: readonly TreePosition[],
    spellings: readonly string[],
    bytesMax: number,
  ): Promise<TextMatch[]> {
    const matches: TextMatch[] = [];
    let total = 0;
    for (const place of places) {
      const body = (await this.#record(tenant, place))?.body;
      if (body === undefined) matches.push({ matches: false, bytes: 0, searched: true });
      else if (body.form === 'object') matches.push({ matches: false, bytes: 0, searched: false });
      else {
        const bytes = body.bytes.length;
        matches.push({ matches: holdsSpelling(body.bytes, spellings), bytes, searched: true });
        total += bytes;
      }
      if (total >= bytesMax) break;
    }
    return matches;
  }

  async tenants(): Promise<string[]> {
    return [...new Set(this.#matching(null, {}).map(({ hit }) => hit.tenant))].sort(compareTexts);
  }

  async complete(tenant: string | null, log: string | null): Promise<Completeness> {
    const { generation, held } = this.#live();
    const isAsked = (one: { readonly log: string }) => log === null || one.log === log;
    const partitions = [];
    for (const one of this.#deps.trees) {
      if (RESERVED_LOGS.includes(one.log) || !isAsked(one)) continue;
      const heads = (await this.#deps.logs.get(one.log)?.heads()) ?? [];
      const read = held?.checkpoints.get(one.tree)?.next ?? 0n;
      partitions.push({
        log: one.log,
        partition: one.partition,
        read,
        head: heads[one.partition]?.next ?? 0n,
      });
    }
    const letters = [...(held?.letters.values() ?? [])].filter(
      ({ record, resolution }) =>
        resolution === null && isAsked(record) && (tenant === null || record.tenant === tenant),
    );
    return { generation, partitions, lacking: letters.length };
  }

  #live(): { readonly generation: number; readonly held: MemoryGeneration | undefined } {
    const view = this.#deps.views.get('hot');
    return { generation: view?.live ?? 0, held: view?.generations.get(view.live) };
  }

  #matching(tenant: string | null, filter: EventFilter): FoundEvent[] {
    return [...(this.#live().held?.rows.values() ?? [])]
      .map(foundOf)
      .filter(
        ({ hit }) =>
          (tenant === null || hit.tenant === tenant) && matchesFilter({ ...filter, tenant: undefined }, hit),
      );
  }

  async #record(tenant: string | null, { tree, position }: TreePosition): Promise<LogRecord | null> {
    const place = this.#deps.trees.find((one) => one.tree === tree);
    const log = place && this.#deps.logs.get(place.log);
    const [record] = (await log?.read(place?.partition ?? 0, position, 1)) ?? [];
    const isThere = record !== undefined && record.position === position;
    return isThere && (tenant === null || record.tenant === tenant) ? record : null;
  }
}

function foundOf({ tree, record, row }: MemoryRow): FoundEvent {
  const { log, partition, position, appendedAt, id, tenant, type } = record;
  const { eventTime, ...columns } = row;
  return {
    tree,
    hit: {
      log,
      partition,
      position,
      appendedAt,
      id,
      tenant,
      type,
      ...columns,
      eventTime: eventTime ?? appendedAt,
      timed: eventTime !== null,
      driftUs: eventTime === null ? null : appendedAt - eventTime,
      correctedBy: [],
    },
  };
}

function placeOf({ tree, hit }: FoundEvent): EventPlace {
  return { eventTime: hit.eventTime, tree, position: hit.position };
}

function comparePlaces(a: EventPlace, b: EventPlace): number {
  if (a.eventTime !== b.eventTime) return a.eventTime < b.eventTime ? -1 : 1;
  if (a.tree !== b.tree) return a.tree - b.tree;
  return a.position < b.position ? -1 : a.position > b.position ? 1 : 0;
}

/** By the bytes of UTF-8, as PostgreSQL's collation "C" has it. */
function compareTexts(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function compareValues(a: string | null, b: string | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return compareTexts(a, b);
}

function floorTo(us: bigint, step: bigint): bigint {
  return us - (((us % step) + step) % step);
}

interface Kept {
  readonly name: string;
  readonly filter: string;
  readonly madeBy: string;
  readonly madeAt: bigint;
}

/** The port `SavedSearchStore` in memory. */
export class MemorySavedSearches implements SavedSearchStore {
  readonly #kept = new Map<string | null, Map<string, Kept>>();
  readonly #clock: () => bigint;

  constructor(clock: () => bigint) {
    this.#clock = clock;
  }

  async save(
    tenant: string | null,
    search: { readonly name: string; readonly filter: string; readonly madeBy: string },
  ): Promise<'saved' | 'full'> {
    const own = this.#kept.get(tenant) ?? new Map<string, Kept>();
    if (!own.has(search.name) && own.size >= SAVED_SEARCHES_MAX) return 'full';
    own.set(search.name, { ...search, madeAt: this.#clock() });
    this.#kept.set(tenant, own);
    return 'saved';
  }

  async list(tenant: string | null): Promise<Kept[]> {
    return [...(this.#kept.get(tenant)?.values() ?? [])].sort((a, b) => compareTexts(a.name, b.name));
  }

  async drop(tenant: string | null, name: string): Promise<boolean> {
    return this.#kept.get(tenant)?.delete(name) ?? false;
  }
}
