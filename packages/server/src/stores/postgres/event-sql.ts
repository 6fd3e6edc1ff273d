/**
 * Statements about events. `generation` and, where a partial index has to be proved, `result` stand in the text, so that
 * partitions and indexes can be chosen from it; all that a caller wrote is a parameter.
 */

import { instantText } from '@evident/core/shapes/instant.ts';
import type { EventFilter } from '../../query/filter.ts';
import { CORRECTIONS_MAX, type EventPlace } from '../../query/ports.ts';
import { eventColumns } from './event-rows.ts';

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** The parameters of a statement under construction. */
export class Parameters {
  readonly values: unknown[] = [];

  add(value: unknown, type: string): string {
    this.values.push(value);
    return `$${this.values.length}::${type}`;
  }

  instant(us: bigint): string {
    return this.add(instantText(us), 'timestamptz');
  }
}

/** Which index leads: its column stands behind `tenant`, before the order of search. */
export type Source = 'correlation' | 'resource' | 'actor' | 'action' | 'result' | 'time';

/** Most selective first, which holds most of the others (`HELD`). An index over `result` holds what is not success. */
const SOURCES: readonly (readonly [Source, (filter: EventFilter) => boolean])[] = [
  ['correlation', ({ correlationId }) => correlationId !== undefined],
  ['resource', ({ resource }) => resource !== undefined],
  ['actor', ({ actor }) => actor !== undefined],
  ['result', ({ result }) => result !== undefined && result !== 'success'],
  ['action', ({ action }) => action !== undefined],
];

/**
 * What stands in the index of a source behind the order of search (0013_search_combined.sql): it is compared there, at
 * less than 0.1 µs an entry, where a look at the row takes 1 to 4 (2026-11-21, 2 cores AMD EPYC, PostgreSQL 18.4).
 */
const HELD: Readonly<Partial<Record<Source, readonly Source[]>>> = {
  resource: ['result', 'actor', 'action'],
  actor: ['result', 'action'],
  result: ['action'],
};

export function sourcesOf(filter: EventFilter): Source[] {
  return SOURCES.filter(([, applies]) => applies(filter)).map(([source]) => source);
}

const DAY_US = 86_400_000_000n;
/** 9999-12-31T23:59:59.999999Z: no filter names a later time, and instants are not written beyond it. */
const LAST_US = 253_402_300_799_999_999n;

/** The first instant of the day that an instant lies in. */
function dayOf(us: bigint): bigint {
  return us - (((us % DAY_US) + DAY_US) % DAY_US);
}

/** The least text above all that begin with `prefix`, in the order of code points; null: there is none. */
export function endOfPrefix(prefix: string): string | null {
  const points = [...prefix].map((character) => character.codePointAt(0) as number);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    // Surrogates are no characters, and nothing follows the last code point.
    const next = last === 0xd7ff ? 0xe000 : last + 1;
    if (next <= 0x10ffff) return String.fromCodePoint(...points, next);
  }
  return null;
}

function prefixCondition(prefix: string, parameters: Parameters): string {
  const from = `action >= ${parameters.add(prefix, 'text')}`;
  const end = endOfPrefix(prefix);
  return end === null ? from : `${from} AND action < ${parameters.add(end, 'text')}`;
}

/** Where a search goes, apart from the filter. */
export interface Scope {
  readonly generation: number;
  /** One, or several at once. */
  readonly tenants: readonly string[];
  /** Trees of the log that the filter names. */
  readonly trees: readonly number[] | null;
}

/** What every statement has: generation, tenant, time, and days of the append for whole partitions. */
function spanConditions(
  { generation, tenants }: Scope,
  filter: EventFilter,
  parameters: Parameters,
): string[] {
  const tenant =
    tenants.length === 1
      ? `= ${parameters.add(tenants[0], 'text')}`
      : `= ANY (${parameters.add(tenants, 'text[]')})`;
  const conditions = [`generation = ${generation}`, `tenant ${tenant}`];
  const { from, to, appendedFrom, appendedTo } = filter;
  if (from !== undefined) conditions.push(`event_time >= ${parameters.instant(from)}`);
  if (to !== undefined) conditions.push(`event_time < ${parameters.instant(to)}`);
  if (appendedFrom !== undefined)
    conditions.push(`appended_at >= ${parameters.instant(dayOf(appendedFrom))}`);
  if (appendedTo !== undefined) {
    const dayEnd = dayOf(appendedTo - 1n) + DAY_US;
    conditions.push(`appended_at < ${parameters.instant(dayEnd < LAST_US ? dayEnd : LAST_US)}`);
  }
  return conditions;
}

function afterCondition(after: EventPlace | null, parameters: Parameters): string[] {
  if (after === null) return [];
  const place = [
    parameters.instant(after.eventTime),
    parameters.add(after.tree, 'int'),
    parameters.add(after.position.toString(), 'bigint'),
  ];
  return [`(event_time, tree, position) < (${place.join(', ')})`];
}

/** The condition that the index of `source` answers. */
function sourceCondition(source: Source, filter: EventFilter, parameters: Parameters): string[] {
  switch (source) {
    case 'correlation':
      return [`correlation_id = ${parameters.add(filter.correlationId, 'text')}`];
    case 'resource':
      return [`resource_id = ${parameters.add(filter.resource, 'text')}`];
    case 'actor':
      return [`actor_id = ${parameters.add(filter.actor, 'text')}`];
    case 'action':
      return [`action = ${parameters.add(filter.action, 'text')}`];
    case 'result':
      return [`result = '${filter.result === 'denied' ? 'denied' : 'failure'}'`];
    case 'time':
      return [];
  }
}

/**
 * What the leading index holds besides. BETWEEN says the same as equality, but gives no order: with it no other index can
 * lead, whatever the planner thinks of how frequent a value is.
 */
function heldConditions(held: readonly Source[], filter: EventFilter, parameters: Parameters): string[] {
  const conditions: string[] = [];
  const equal = (one: Source, column: string, value: string | undefined) => {
    if (value === undefined || !held.includes(one)) return;
    const same = parameters.add(value, 'text');
    conditions.push(`${column} BETWEEN ${same} AND ${same}`);
  };
  equal('actor', 'actor_id', filter.actor);
  equal('action', 'action', filter.action);
  equal('result', 'result', filter.result);
  if (filter.actionPrefix !== undefined && held.includes('action'))
    conditions.push(prefixCondition(filter.actionPrefix, parameters));
  return conditions;
}

/** What the filter says beyond the span, the condition of `source` and what is asked of its index besides. */
function restConditions(
  scope: Scope,
  filter: EventFilter,
  source: Source,
  held: readonly Source[],
  parameters: Parameters,
): string[] {
  const conditions: string[] = [];
  const equal = (column: string, value: string | undefined) => {
    if (value !== undefined) conditions.push(`${column} = ${parameters.add(value, 'text')}`);
  };
  const isRest = (one: Source) => source !== one && !held.includes(one);
  if (scope.trees !== null) conditions.push(`tree = ANY (${parameters.add(scope.trees, 'int[]')})`);
  equal('type', filter.type);
  if (isRest('actor')) equal('actor_id', filter.actor);
  equal('actor_type', filter.actorType);
  if (isRest('action')) equal('action', filter.action);
  if (filter.actionPrefix !== undefined && !held.includes('action'))
    conditions.push(prefixCondition(filter.actionPrefix, parameters));
  equal('resource_type', filter.resourceType);
  if (isRest('resource')) equal('resource_id', filter.resource);
  if (isRest('result') && filter.result !== undefined) conditions.push(`result = '${checkedResult(filter)}'`);
  if (source !== 'correlation') equal('correlation_id', filter.correlationId);
  equal('ip', filter.ip);
  if (filter.appendedFrom !== undefined)
    conditions.push(`appended_at >= ${parameters.instant(filter.appendedFrom)}`);
  if (filter.appendedTo !== undefined)
    conditions.push(`appended_at < ${parameters.instant(filter.appendedTo)}`);
  return conditions;
}

/** A literal for the text of a statement: one of three words, whatever the filter holds. */
function checkedResult({ result }: EventFilter): string {
  return result === 'denied' || result === 'failure' ? result : 'success';
}

const ORDER = 'ORDER BY event_time DESC, tree DESC, position DESC';

export interface PageStatement extends Statement {
  /** `number` of the last row that is looked at; null: the index tells all, and no row is passed over. */
  readonly bound: number | null;
}

/**
 * Rows in the order of search through the index of `source`, behind `after`. What that index can't tell is looked at
 * row by row, in at most `rows` rows: the order leaves no other plan, so none depends on an estimate. `isLook`: what it
 * holds besides is looked at as well, so that `rows` bounds all that is passed over.
 *
 * The window names the order although its input has it: so the planner knows that the rows come out in order, and stops
 * when the page is full instead of sorting all of the bound. Columns `matched` and `number`: the last row of the bound is given whether it matches or not, to go on from there.
 */
export function orderedPage(
  scope: Scope,
  filter: EventFilter,
  source: Source,
  after: EventPlace | null,
  bounds: { readonly limit: number; readonly rows: number; readonly isLook?: boolean },
): PageStatement {
  const parameters = new Parameters();
  const held = bounds.isLook === true ? [] : (HELD[source] ?? []);
  const leading = [
    ...spanConditions(scope, filter, parameters),
    ...sourceCondition(source, filter, parameters),
    ...afterCondition(after, parameters),
    ...heldConditions(held, filter, parameters),
  ].join(' AND ');
  const rest = restConditions(scope, filter, source, held, parameters);
  if (rest.length === 0) {
    const text = `SELECT ${eventColumns('e')}, true AS matched, 0 AS number FROM evident.events e WHERE ${leading} ${ORDER} LIMIT ${parameters.add(bounds.limit, 'bigint')}`;
    return { text, values: parameters.values, bound: null };
  }
  const scanned = `SELECT * FROM evident.events WHERE ${leading} ${ORDER} LIMIT ${bounds.rows}`;
  const numbered = `SELECT *, coalesce(${rest.join(' AND ')}, false) AS matched, row_number() OVER (${ORDER}) AS number FROM (${scanned}) s`;
  const text = `SELECT ${eventColumns('e')}, matched, number::int FROM (${numbered}) e WHERE matched OR number = ${bounds.rows} ${ORDER} LIMIT ${parameters.add(bounds.limit, 'bigint')}`;
  return { text, values: parameters.values, bound: bounds.rows };
}

/**
 * All that matches, then its newest: the planner takes whatever finds all most cheaply, several indexes together, and
 * never the order of time (OFFSET 0 hides that only some are wanted). Planned anew with the values each time.
 */
export function gatheredPage(
  scope: Scope,
  filter: EventFilter,
  after: EventPlace | null,
  limit: number,
): Statement {
  const parameters = new Parameters();
  const all = [
    ...spanConditions(scope, filter, parameters),
    ...afterCondition(after, parameters),
    ...restConditions(scope, filter, 'time', [], parameters),
  ].join(' AND ');
  const text = `SELECT ${eventColumns('e')} FROM (SELECT * FROM evident.events WHERE ${all} OFFSET 0) e ${ORDER} LIMIT ${limit}`;
  return { text, values: parameters.values };
}

/** The actions that begin with a prefix, by steps from one to the next in the index; at most `most`. */
export function actionsUnder(scope: Scope, prefix: string, most: number): Statement {
  const parameters = new Parameters();
  const within = [
    `generation = ${scope.generation}`,
    `tenant = ${parameters.add(scope.tenants[0], 'text')}`,
    prefixCondition(prefix, parameters),
  ].join(' AND ');
  const first = `(SELECT action FROM evident.events WHERE ${within} ORDER BY action LIMIT 1)`;
  const next = `(SELECT e.action FROM evident.events e WHERE ${within} AND e.action > s.action ORDER BY e.action LIMIT 1)`;
  const text = `WITH RECURSIVE s AS (${first} UNION ALL SELECT ${next} FROM s WHERE s.action IS NOT NULL)
    SELECT action FROM s WHERE action IS NOT NULL LIMIT ${most}`;
  return { text, values: parameters.values };
}

/** The newest of each of these actions, then of all. */
export function pageOfActions(
  scope: Scope,
  filter: EventFilter,
  actions: readonly string[],
  after: EventPlace | null,
  limit: number,
): Statement {
  const parameters = new Parameters();
  const wanted = parameters.add(actions, 'text[]');
  const most = parameters.add(limit, 'bigint');
  const leading = [...spanConditions(scope, filter, parameters), ...afterCondition(after, parameters)].join(
    ' AND ',
  );
  const text = `SELECT ${eventColumns('e')} FROM unnest(${wanted}) a(one) CROSS JOIN LATERAL
    (SELECT * FROM evident.events WHERE ${leading} AND action = a.one ${ORDER} LIMIT ${most}) e
    ORDER BY e.event_time DESC, e.tree DESC, e.position DESC LIMIT ${most}`;
  return { text, values: parameters.values };
}

/** Everything that matches, as a table expression for counts. */
export function matching(scope: Scope, filter: EventFilter, parameters: Parameters): string {
  const [source = 'time'] = sourcesOf(filter);
  const all = [
    ...spanConditions(scope, filter, parameters),
    ...sourceCondition(source, filter, parameters),
    ...restConditions(scope, filter, source, [], parameters),
  ];
  return `evident.events WHERE ${all.join(' AND ')}`;
}

/**
 * The first events that correct each of these, by event and in the order of search turned round. One walk through an index
 * that is small, because few events correct others; a look for each id would cost one in each child.
 */
export function correctionsOf(
  generation: number,
  events: readonly { readonly tenant: string; readonly id: string }[],
): Statement {
  const parameters = new Parameters();
  const conditions = [
    `generation = ${generation}`,
    `tenant = ANY (${parameters.add([...new Set(events.map(({ tenant }) => tenant))], 'text[]')})`,
    // Said for the index, which holds these alone: an array that may be empty proves nothing.
    'corrects IS NOT NULL',
    `corrects = ANY (${parameters.add(
      events.map(({ id }) => id),
      'uuid[]',
    )})`,
  ];
  const numbered = `SELECT *, row_number() OVER (PARTITION BY tenant, corrects ORDER BY event_time, tree, position) AS number
    FROM evident.events WHERE ${conditions.join(' AND ')}`;
  const text = `SELECT ${eventColumns('e')} FROM (${numbered}) e WHERE e.number <= ${CORRECTIONS_MAX}
    ORDER BY e.tenant, e.corrects, e.number`;
  return { text, values: parameters.values };
}

/** Tenants that have events, one step of the primary key each; at most `most`. */
export function tenantsOf(generation: number, most: number): Statement {
  const from = `evident.event_ids e WHERE e.generation = ${generation}`;
  const text = `WITH RECURSIVE s AS (
      (SELECT e.tenant FROM ${from} ORDER BY e.tenant LIMIT 1)
      UNION ALL
      SELECT (SELECT e.tenant FROM ${from} AND e.tenant > s.tenant ORDER BY e.tenant LIMIT 1) FROM s WHERE s.tenant IS NOT NULL
    ) SELECT tenant FROM s WHERE tenant IS NOT NULL LIMIT ${most}`;
  return { text, values: [] };
}
