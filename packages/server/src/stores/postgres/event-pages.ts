/**
 * A page of events: how it is found. The planner is asked only where an estimate can't hurt; everywhere else the shape
 * of the statement leaves one plan.
 *
 *   one index tells all            → in its order
 *   one index, the rest by looking → in its order, row by row, within bounds; the page may end early, with where to go on
 *   several values                 → a short look through the index of each, for what is rare, or frequent together; then
 *                                    in the order of the first, whose index holds what else is asked
 *   a prefix of actions            → a look by time, for what is frequent; then the newest of each action under it
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

/** Rows that are looked at, 1 to 4 µs each, before a prefix of actions is answered otherwise. */
export const PREFIX_LOOK_ROWS = 4_000;
/**
 * Rows that are looked at through the index of each of several values: where one has no more, that was the page. Most of all
 * values are so rare; and what is rare beside something frequent would cost all entries of that. With 1,000
 * two values took as much CPU at the 95th percentile, three 38 ms instead of 27 (2026-11-21, 10 million events, under
 * load, as in docs/performance.md; measured with a look by result besides).
 */
export const LOOK_ROWS = 500;
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
  const through =
    (leading: Source, isLook: boolean): TakeStep =>
    (from, rows, wanted) =>
      takeStep(query, orderedPage(scope, filter, leading, from, { limit: wanted, rows, isLook }));
  if (source === 'time' && filter.actionPrefix !== undefined) {
    const look = await through('time', true)(after, PREFIX_LOOK_ROWS, limit + 1);
    if (look.reached === null || look.rows.length > limit) return pageOf(look.rows, limit, null);
    const wanted = limit + 1 - look.rows.length;
    const rest = await underPrefix(query, scope, filter, look.reached, wanted);
    return pageOf([...look.rows, ...rest], limit, null);
  }
  // What fails or is denied is a share of everything, and never rare.
  const looks = sources.length > 1 ? sources.filter((one) => one !== 'result') : [];
  for (const one of looks) {
    const look = await through(one, true)(after, LOOK_ROWS, limit + 1);
    if (look.reached === null || look.rows.length > limit) return pageOf(look.rows, limit, null);
  }
  return scanOn(through(source, false), after, limit, scanRowsMax);
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
