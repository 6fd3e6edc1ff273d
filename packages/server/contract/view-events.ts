/** Events for tests of the view: put into the log and projected at once, in every mixture, and filters over them. */

import assert from 'node:assert/strict';
import { EMPTY_ROW, type EventResult, type EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';
import fc from 'fast-check';
import type { Log } from '../src/log/log.ts';
import type { ViewStore } from '../src/project/ports.ts';
import type { EventFilter } from '../src/query/filter.ts';
import type { EventPlace, EventView, FoundEvent, SavedSearchStore } from '../src/query/ports.ts';
import { propose } from './log-contract.ts';

export interface EventViewScene {
  readonly view: EventView;
  readonly saved: SavedSearchStore;
  /** Two logs of three partitions each: `audit` and `clicks`. */
  readonly logs: ReadonlyMap<string, Log>;
  readonly store: ViewStore;
}

const utf8 = new TextEncoder();
export const TIME = 1_780_000_000_000_000n;

export const eventId = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

const plainRow: EventRow = { ...EMPTY_ROW, mapper: 'test/1' };

/** One event to be put: its record and its row; row null: the view does not show it. */
export interface PutEvent {
  readonly n: number;
  readonly log?: string;
  readonly tenant?: string;
  readonly type?: string;
  readonly body?: ProposedRecord['body'];
  readonly row?: Partial<EventRow> | null;
}

export function textBody(text: string, form: 'json' | 'base64' = 'json'): ProposedRecord['body'] {
  return { form, bytes: utf8.encode(text) };
}

/** Appends to the log and projects at once, as the projection does. */
export async function putEvents({ logs, store }: EventViewScene, events: readonly PutEvent[]): Promise<void> {
  const rows = new Map<string, Partial<EventRow> | null>();
  for (const [name, log] of logs) {
    const own = events.filter((event) => (event.log ?? 'audit') === name);
    if (own.length === 0) continue;
    const proposals = own.map(({ n, tenant = 'acme', type = 'note', body, row = {} }) => {
      rows.set(`${name} ${tenant} ${eventId(n)}`, row);
      return propose({
        id: eventId(n),
        tenant,
        source: 'test',
        sourceSeq: null,
        type,
        schema: 0,
        key: `${tenant}/${n % 7}`,
        meta: null,
        body: body ?? textBody(`{"n":${n}}`),
      });
    });
    await log.appendOnce(proposals);
  }
  await projectAll(
    { logs, store },
    (record) => rows.get(`${record.log} ${record.tenant} ${record.id}`) ?? null,
  );
}

async function projectAll(
  { logs, store }: Pick<EventViewScene, 'logs' | 'store'>,
  rowOf: (record: LogRecord) => Partial<EventRow> | null,
): Promise<void> {
  const { ref } = await store.open('hot', 'test/1');
  for (const { tree, log, partition, next } of await store.checkpoints(ref)) {
    const records = (await logs.get(log)?.read(partition, next, 10_000)) ?? [];
    if (records.length === 0) continue;
    const output = store.newOutput([tree]);
    for (const record of records) {
      const row = rowOf(record);
      if (row !== null) output.addRow(tree, record, { ...plainRow, ...row });
    }
    const to = next + BigInt(records.length);
    const outcome = await store.commit(ref, [{ tree, from: next, to, last: null }], output, 0);
    assert.equal(outcome.kind, 'committed');
  }
}

/** A dead letter of the record that comes next, which is made for it. */
export async function putDeadLetter(
  { logs, store }: EventViewScene,
  n: number,
  tenant: string,
): Promise<void> {
  const log = logs.get('audit') as Log;
  const record = {
    id: eventId(n),
    tenant,
    source: 'test',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    meta: null,
  };
  const [place] = await log.append([{ ...record, key: `${tenant}/x`, body: textBody('{"bad":true}') }]);
  const { ref } = await store.open('hot', 'test/1');
  const checkpoints = await store.checkpoints(ref);
  const at = checkpoints.find((one) => one.log === 'audit' && one.partition === place.partition);
  assert(at !== undefined);
  const records = await log.read(at.partition, at.next, 100);
  const output = store.newOutput([at.tree]);
  const letter = {
    class: 'validation',
    error: 'bad',
    stack: null,
    attempts: 1,
    firstAt: null,
    lastAt: null,
  } as const;
  for (const one of records)
    if (one.id === eventId(n)) output.addDeadLetter(at.tree, { record: one, ...letter });
  const to = at.next + BigInt(records.length);
  await store.commit(ref, [{ tree: at.tree, from: at.next, to, last: null }], output, 0);
}

/** Every page of a search, joined. */
export async function searchAll(
  view: EventView,
  tenant: string | null,
  filter: EventFilter,
  limit: number,
  onPage?: (page: number) => Promise<void>,
): Promise<FoundEvent[]> {
  const all: FoundEvent[] = [];
  let after: EventPlace | null = null;
  for (let page = 0; ; page++) {
    assert(page < 10_000, 'the pages do not end');
    const found = await view.search(tenant, filter, after, limit);
    assert(found.events.length <= limit);
    all.push(...found.events);
    if (found.next === null) return all;
    after = found.next;
    await onPage?.(page);
  }
}

const TENANTS = ['acme', 'beta', 'acme.eu'];
const ACTORS = ['usr_1', 'usr_2', 'usr_é', null];
const ACTIONS = ['doc.read', 'doc.update', 'doc', 'docs.list', 'login', 'lögin', null];
const RESULTS: (EventResult | null)[] = ['success', 'failure', 'denied', null];

/** A hundred and fifty events in every mixture, many at one time. */
export function mixedEvents(count = 150, first = 1): PutEvent[] {
  return Array.from({ length: count }, (_, at): PutEvent => {
    const n = first + at;
    const pick = <T>(list: readonly T[], by: number): T => list[Math.floor((n * 7_919) / by) % list.length];
    return {
      n,
      log: n % 5 === 0 ? 'clicks' : 'audit',
      tenant: pick(TENANTS, 3),
      type: n % 4 === 0 ? 'click' : 'note',
      row: {
        eventTime: n % 9 === 0 ? null : TIME + BigInt(n % 40) * 60_000_000n,
        actorId: pick(ACTORS, 5),
        actorType: n % 2 === 0 ? 'user' : 'service',
        action: pick(ACTIONS, 11),
        resourceType: n % 3 === 0 ? 'doc' : 'file',
        resourceId: n % 8 === 0 ? null : `r${n % 6}`,
        result: pick(RESULTS, 13),
        correlationId: n % 2 === 0 ? `c${n % 10}` : null,
        ip: n % 3 === 0 ? null : `10.0.0.${n % 3}`,
      },
    };
  });
}

export const one = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const instants = fc.bigInt(TIME - 120_000_000n, TIME + 50n * 60_000_000n);

/** Filters over what `mixedEvents` holds, and beside it. */
export const filters: fc.Arbitrary<EventFilter> = fc
  .record(
    {
      log: one('audit', 'clicks', 'none'),
      type: one('note', 'click', 'x'),
      actor: one('usr_1', 'usr_2', 'usr_é', 'usr', "' OR true --"),
      actorType: one('user', 'service'),
      action: one('doc.read', 'doc.update', 'doc', 'login', '%'),
      actionPrefix: one('doc', 'doc.', 'l', 'lö', 'z', '\u{10ffff}', 'd%'),
      resourceType: one('doc', 'file'),
      resource: one('r0', 'r1', 'r5', 'x'),
      result: one('success', 'failure', 'denied'),
      correlationId: one('c0', 'c2', 'c7'),
      ip: one('10.0.0.1', '10.0.0.2', '::1'),
      from: instants,
      to: instants,
      appendedFrom: fc.constant(1n),
      appendedTo: one(1n, 4_000_000_000_000_000n),
    },
    { requiredKeys: [] },
  )
  .map((filter) => filter as EventFilter);
