/** Search: a page of events, newest first, recorded before it is answered. */

import { readCursor, writeCursor } from './cursor.ts';
import type { EventFilter } from './filter.ts';
import {
  type EventHit,
  type EventPlace,
  type EventView,
  type FoundEvent,
  PAGE_EVENTS_MAX,
  type QueryDeps,
  type Reader,
  type Scan,
  type SearchPage,
} from './ports.ts';
import { noteFilter, VIEW_RESOURCE } from './record-read.ts';
import { checkLimit, checkTextSpan, completenessOf, tenantOfRead } from './scope.ts';
import { spellingsOf } from './spellings.ts';

/** Most records that one page of a search for text reads, and most bytes of their bodies: about a second's work. */
export const SCAN_RECORDS_MAX = 50_000;
export const SCAN_BYTES_MAX = 64 * 1024 * 1024;

export interface PageRequest {
  readonly cursor?: string;
  /** 1 to `PAGE_EVENTS_MAX`. */
  readonly limit: number;
}

/** Events, where to go on, and what was looked at. */
export interface ScannedPage {
  readonly events: readonly FoundEvent[];
  readonly next: EventPlace | null;
  readonly scan: Scan | null;
}

/**
 * Events that match, newest first, from where the cursor says. Pages joined are the whole answer: every event that the
 * view held when the first page was asked for, once; events that come in between may appear as well.
 *
 * @throws field-invalid, cursor-invalid, tenant-forbidden, query-too-slow, read-unrecorded, log-unavailable
 */
export async function search(
  deps: QueryDeps,
  reader: Reader,
  filter: EventFilter,
  { cursor, limit }: PageRequest,
): Promise<SearchPage> {
  checkLimit(limit, PAGE_EVENTS_MAX);
  checkTextSpan(filter);
  const tenant = tenantOfRead(reader, filter.tenant);
  const after = cursor === undefined ? null : readCursor(tenant, filter, cursor);
  // Before the search: what is projected in between may be in the answer, but is not promised.
  const complete = await completenessOf(deps, tenant, filter);
  const { events, next, scan } = await findPage(deps.view, tenant, filter, after, limit);
  const hits = await withCorrections(deps.view, tenant, events);
  await deps.recorder.record(reader, {
    action: 'audit.read',
    resource: VIEW_RESOURCE,
    tenant,
    details: {
      question: 'search',
      filter: noteFilter(filter),
      events: hits.length,
      limit,
      ...(after === null ? {} : { after: describePlace(after) }),
      ...(scan === null ? {} : { scan }),
    },
  });
  return { events: hits, cursor: next === null ? null : writeCursor(tenant, filter, next), complete, scan };
}

function describePlace({ eventTime, tree, position }: EventPlace): string {
  return `${eventTime}/${tree}/${position}`;
}

/** A page by columns, or by columns and text. */
export async function findPage(
  view: EventView,
  tenant: string | null,
  filter: EventFilter,
  after: EventPlace | null,
  limit: number,
): Promise<ScannedPage> {
  if (filter.text !== undefined) return findText(view, tenant, filter, filter.text, after, limit);
  const { events, next, scanned } = await view.search(tenant, filter, after, limit);
  const scan = scanned === null ? null : { records: scanned, bytes: 0, notSearched: 0 };
  return { events, next, scan };
}

/** Reads the bodies of what the rest of the filter leaves, until the page is full or the bounds are reached. */
async function findText(
  view: EventView,
  tenant: string | null,
  filter: EventFilter,
  text: string,
  after: EventPlace | null,
  limit: number,
): Promise<ScannedPage> {
  const spellings = spellingsOf(text);
  const events: FoundEvent[] = [];
  const scan = { records: 0, bytes: 0, notSearched: 0 };
  let place = after;
  while (scan.records < SCAN_RECORDS_MAX) {
    const page = await view.search(tenant, filter, place, PAGE_EVENTS_MAX);
    // Rows that a scan for the rest of the filter has passed over count as well: they bound the work.
    scan.records += Math.max(0, (page.scanned ?? 0) - page.events.length);
    for (let done = 0; done < page.events.length; ) {
      if (scan.bytes >= SCAN_BYTES_MAX) return { events, next: place, scan };
      const rest = page.events.slice(done);
      const matches = await view.matchText(
        tenant,
        rest.map(recordPlace),
        spellings,
        SCAN_BYTES_MAX - scan.bytes,
      );
      for (const [at, match] of matches.entries()) {
        scan.records++;
        scan.bytes += match.bytes;
        if (!match.searched) scan.notSearched++;
        place = placeOf(rest[at]);
        if (match.matches) events.push(rest[at]);
        if (events.length === limit) return { events, next: place, scan };
      }
      done += matches.length;
    }
    place = page.next;
    if (place === null) break;
  }
  return { events, next: place, scan };
}

function recordPlace({ tree, hit }: FoundEvent): { tree: number; position: bigint } {
  return { tree, position: hit.position };
}

function placeOf({ tree, hit }: FoundEvent): EventPlace {
  return { eventTime: hit.eventTime, tree, position: hit.position };
}

/** Events with the ids of those that correct them. */
export async function withCorrections(
  view: EventView,
  tenant: string | null,
  events: readonly FoundEvent[],
): Promise<EventHit[]> {
  if (events.length === 0) return [];
  const corrections = await view.correctionsOf(
    tenant,
    events.map(({ hit }) => hit),
  );
  const byOriginal = new Map<string, string[]>();
  for (const { hit } of corrections) {
    const original = `${hit.tenant} ${hit.corrects}`;
    byOriginal.set(original, [...(byOriginal.get(original) ?? []), hit.id]);
  }
  return events.map(({ hit }) => ({ ...hit, correctedBy: byOriginal.get(`${hit.tenant} ${hit.id}`) ?? [] }));
}
