/**
 * A page of events: how it is found. The planner is asked only where an estimate can't hurt; everywhere else the shape
 * of the statement leaves one plan.
 *
 *   one index tells all            → in its order
 *   one index, the rest by looking → in its order, row by row, within bounds; the page may end early, with where to go on
 *   several indexes                → the same through each for a short while, for what is frequent together; then all that
 *                                    matches at once, through several indexes, for what is not
 *   a prefix of actions            → the same by time; then the newest of each action under it
 *   all tenants                    → each tenant's page, merged
 */

import type { EventFilter } from '../../query/filter.ts';
import type { EventPlace } from '../../query/ports.ts';
import { type EventRow, placeOfRow } from './event-rows.ts';
import {
  actionsUnder,
  gatheredPage,
  orderedPage,
  type PageStatement,
  pageOfActions,
  type Scope,
  type Source,
  sourcesOf,
} from './event-sql.ts';
import type { ViewQuery } from './tenant-query.ts';

/** Rows that are looked at, about 1 µs each, before a filter over several indexes or a prefix is answered otherwise. */
export const FIRST_LOOK_ROWS = 4_000;
/** Rows of one step of a scan, and of all steps of a page. */
export const SCAN_STEP_ROWS = 20_000;
export const SCAN_ROWS_MAX = 200_000;
/** Actions under a prefix that are merged one by one. */
const ACTIONS_MAX = 64;

interface MarkedRow extends EventRow {
  matched: boolean;
  number: number;
}

export interface RowPage {
  readonly rows: readonly EventRow[];
  readonly next: EventPlace | null;
  readonly scanned: number | null;
}

interface Step {
  readonly rows: readonly EventRow[];
  /** Where the bound of rows was reached before the limit; null: it was not. */
  readonly reached: EventPlace | null;
}

/**
 * @param limit events of the page; one more is looked for, to know whether there are more
 * @param scanRowsMax rows that may be looked at one by one
 */
export async function findTenantPage(
  query: ViewQuery,
  scope: Scope,
  filter: EventFilter,
  after: EventPlace | null,
  limit: number,
  scanRowsMax: number,
): Promise<RowPage> {
  const sources = sourcesOf(filter);
  const [source = 'time'] = sources;
  const hasPrefix = filter.actionPrefix !== undefined && filter.action === undefined;
  const isCombined = sources.length > 1 || (hasPrefix && source !== 'time');
  const stepOf =
    (leading: Source): TakeStep =>
    (from, rows, wanted) =>
      takeStep(query, orderedPage(scope, filter, leading, from, { limit: wanted, rows }));
  if (!isCombined && !hasPrefix) return scanOn(stepOf(source), after, limit, scanRowsMax);

  const found: EventRow[] = [];
  let place = after;
  // Each goes on where the one before ended: what is frequent within the values of one may be rare within the other's.
  for (const leading of sources.length === 0 ? (['time'] as const) : sources) {
    const look = await stepOf(leading)(place, FIRST_LOOK_ROWS, limit + 1 - found.length);
    found.push(...look.rows);
    if (look.reached === null || found.length > limit) return pageOf(found, limit, null);
    place = look.reached;
  }
  const wanted = limit + 1 - found.length;
  const rest = isCombined
    ? await query.run<EventRow>(gatheredPage(scope, filter, place, wanted))
    : await underPrefix(query, scope, filter, place, wanted);
  return pageOf([...found, ...rest], limit, null);
}

type TakeStep = (from: EventPlace | null, rows: number, wanted: number) => Promise<Step>;

/** Step by step until the page is full, all is seen, or `rowsMax` rows have been looked at. */
async function scanOn(
  take: TakeStep,
  after: EventPlace | null,
  limit: number,
  rowsMax: number,
): Promise<RowPage> {
  const rows: EventRow[] = [];
  let from = after;
  let scanned = 0;
  while (scanned < rowsMax) {
    const step = await take(from, SCAN_STEP_ROWS, limit + 1 - rows.length);
    rows.push(...step.rows);
    if (step.reached === null || rows.length > limit)
      return pageOf(rows, limit, scanned === 0 ? null : scanned);
    from = step.reached;
    scanned += SCAN_STEP_ROWS;
  }
  return { rows, next: from, scanned };
}

async function takeStep(query: ViewQuery, statement: PageStatement): Promise<Step> {
  const marked = await query.run<MarkedRow>(statement, 'ordered');
  const last = marked.at(-1);
  const isReached = last !== undefined && last.number === statement.bound;
  return { rows: marked.filter(({ matched }) => matched), reached: isReached ? placeOfRow(last) : null };
}

async function underPrefix(
  query: ViewQuery,
  scope: Scope,
  filter: EventFilter,
  after: EventPlace | null,
  limit: number,
): Promise<EventRow[]> {
  const { actionPrefix = '', ...others } = filter;
  const isPure = Object.keys(others).every((member) => PURE_MEMBERS.has(member));
  const found = isPure
    ? await query.run<{ action: string }>(actionsUnder(scope, actionPrefix, ACTIONS_MAX + 1), 'ordered')
    : null;
  if (found === null || found.length > ACTIONS_MAX)
    return query.run<EventRow>(gatheredPage(scope, filter, after, limit));
  const actions = found.map(({ action }) => action);
  return query.run<EventRow>(pageOfActions(scope, filter, actions, after, limit), 'ordered');
}

/** Members beside a prefix that the index of actions answers as well. */
const PURE_MEMBERS: ReadonlySet<string> = new Set(['tenant', 'from', 'to']);

function pageOf(rows: readonly EventRow[], limit: number, scanned: number | null): RowPage {
  const page = rows.slice(0, limit);
  return { rows: page, next: rows.length > limit ? placeOfRow(page[limit - 1]) : null, scanned };
}

function compare(a: EventPlace, b: EventPlace): number {
  if (a.eventTime !== b.eventTime) return a.eventTime < b.eventTime ? -1 : 1;
  if (a.tree !== b.tree) return a.tree - b.tree;
  return a.position < b.position ? -1 : a.position > b.position ? 1 : 0;
}

/** Pages of several tenants as one. What lies behind the end of a page that has a next is not known yet, of no tenant. */
export function mergePages(pages: readonly RowPage[], limit: number): RowPage {
  const scans = pages.flatMap(({ scanned }) => (scanned === null ? [] : [scanned]));
  const scanned = scans.length === 0 ? null : scans.reduce((sum, one) => sum + one, 0);
  const ends = pages.flatMap(({ next }) => (next === null ? [] : [next]));
  const end = ends.reduce<EventPlace | null>(
    (newest, one) => (newest === null || compare(one, newest) > 0 ? one : newest),
    null,
  );
  const known = pages
    .flatMap(({ rows }) => rows)
    .map((row) => ({ row, place: placeOfRow(row) }))
    .filter(({ place }) => end === null || compare(place, end) >= 0)
    .sort((a, b) => compare(b.place, a.place));
  const rows = known.slice(0, limit).map(({ row }) => row);
  const next = known.length > limit ? known[limit - 1].place : end;
  return { rows, next, scanned };
}
