import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import fc from 'fast-check';
import { eventId, filters, mixedEvents, putEvents, TIME, textBody } from '../../contract/view-events.ts';
import { countEvents, histogram } from './count.ts';
import { readCursor, writeCursor } from './cursor.ts';
import type { EventFilter } from './filter.ts';
import { filterOfNames } from './filter-names.ts';
import type { EventHit, EventView, SearchPage } from './ports.ts';
import { openQueryScene, type QueryScene, reader } from './query-fixture.ts';
import { SCAN_BYTES_MAX, SCAN_RECORDS_MAX, search } from './search.ts';
import { showEvent } from './show.ts';

const acme = reader('acme', { why: 'ticket 7', requestId: 'r1' });
const everyone = reader(null);

const code =
  (wanted: string, field?: string) =>
  (error: unknown): boolean => {
    assert(isEvidentError(error), String(error));
    assert.equal(error.code, wanted);
    if (field !== undefined) assert.equal(error.context.field, field);
    return true;
  };

async function pagesOf({ deps }: QueryScene, filter: EventFilter, limit: number): Promise<SearchPage[]> {
  const pages: SearchPage[] = [];
  let cursor: string | undefined;
  do {
    const page: SearchPage = await search(deps, acme, filter, {
      limit,
      ...(cursor === undefined ? {} : { cursor }),
    });
    pages.push(page);
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
  return pages;
}

it('says that there is no such log, rather than that nothing was found in it', async () => {
  const { deps } = openQueryScene();
  const filter = { log: 'adit' };
  for (const asked of [
    search(deps, acme, filter, { limit: 1 }),
    countEvents(deps, acme, filter, 'actor', 1),
    histogram(deps, acme, filter, 'day'),
  ])
    await assert.rejects(asked, code('log-unknown', 'log'));
});

it('joins pages by their cursors, and records each page before it is answered', async () => {
  const scene = openQueryScene();
  await putEvents(scene, mixedEvents());
  const filter = { actionPrefix: 'doc' };
  const pages = await pagesOf(scene, filter, 5);
  const whole = await search(scene.deps, acme, filter, { limit: 1_000 });
  assert.deepEqual(
    pages.flatMap(({ events }) => events),
    whole.events,
  );
  assert(pages.length > 2 && pages.every(({ complete }) => complete.generation === 1));
  const notes = await scene.notes();
  assert.equal(notes.length, pages.length + 1);
  const { event_id: _, event_time: __, ...note } = notes[0];
  assert.deepEqual(note, {
    tenant: 'acme',
    recordTenant: 'acme',
    actor: { id: 'key:a', type: 'user', role: 'auditor' },
    action: 'audit.read',
    resource: { type: 'view', id: 'hot' },
    result: 'success',
    reason: 'ticket 7',
    details: { question: 'search', filter: { action_prefix: 'doc' }, events: 5, limit: 5 },
    context: { request_id: 'r1' },
    criticality: 'critical',
  });
  assert.notEqual((notes[1].details as { after: unknown }).after, undefined);
});

it('records the filter by the names that a search takes', async () => {
  const scene = openQueryScene();
  const filter = { actionPrefix: 'document.', actorType: 'user', from: 1_795_000_000_000_000n };
  await search(scene.deps, acme, filter, { limit: 5 });
  const [{ details }] = await scene.notes();
  const noted = (details as { filter: Record<string, string> }).filter;
  assert.deepEqual(Object.keys(noted), ['actor_type', 'action_prefix', 'from']);
  assert.deepEqual(filterOfNames(noted), filter);
});

it('records under the tenant of the reader, of the filter, or of nobody', async () => {
  const scene = openQueryScene();
  await putEvents(scene, mixedEvents(20));
  await search(scene.deps, everyone, { tenant: 'beta' }, { limit: 5 });
  await search(scene.deps, everyone, {}, { limit: 5 });
  await showEvent(scene.deps, everyone, { id: eventId(1) });
  const [{ hit }] = await scene.view.find(null, { id: eventId(1) });
  const tenants = (await scene.notes()).map(({ recordTenant }) => recordTenant);
  assert.deepEqual(tenants, ['beta', '_system', hit.tenant]);
});

it('answers nothing when the read can not be recorded', async () => {
  const scene = openQueryScene();
  await putEvents(scene, mixedEvents(20));
  scene.breakRecorder();
  const refused = code('read-unrecorded');
  await assert.rejects(search(scene.deps, acme, {}, { limit: 5 }), refused);
  await assert.rejects(countEvents(scene.deps, acme, {}, 'actor', 5), refused);
  await assert.rejects(histogram(scene.deps, acme, {}, 'day'), refused);
  await assert.rejects(showEvent(scene.deps, acme, { id: eventId(1) }), refused);
});

it("refuses another tenant's name, and says no more", async () => {
  const scene = openQueryScene();
  await putEvents(scene, mixedEvents(20));
  for (const tenant of ['beta', 'nobody']) {
    const refused = code('tenant-forbidden', 'tenant');
    await assert.rejects(search(scene.deps, acme, { tenant }, { limit: 5 }), refused);
    await assert.rejects(countEvents(scene.deps, acme, { tenant }, 'actor', 5), refused);
    await assert.rejects(showEvent(scene.deps, acme, { id: eventId(1), tenant }), refused);
  }
});

it('takes a cursor of the same search alone, and gives one answer for every other', () => {
  const place = { eventTime: TIME, tree: 3, position: 7n };
  const others = [
    writeCursor('beta', { actor: 'a' }, place),
    writeCursor('acme', { actor: 'b' }, place),
    writeCursor(null, { actor: 'a' }, place),
    writeCursor('acme', {}, place),
    '',
    'x',
    'a'.repeat(10_000),
    Buffer.from('{}').toString('base64url'),
    Buffer.from('null').toString('base64url'),
    Buffer.from(
      JSON.stringify({
        ...JSON.parse(Buffer.from(writeCursor('acme', { actor: 'a' }, place), 'base64url').toString()),
        x: 1,
      }),
    ).toString('base64url'),
    `${writeCursor('acme', { actor: 'a' }, place)}=`,
  ];
  const messages = others.map((cursor) => {
    try {
      readCursor('acme', { actor: 'a' }, cursor);
    } catch (error) {
      assert(code('cursor-invalid', 'cursor')(error));
      return (error as Error).message;
    }
    return 'taken';
  });
  assert.deepEqual(new Set(messages), new Set(['cursor: it is not one of this search']));
  fc.assert(
    fc.property(
      filters,
      fc.bigInt(-(2n ** 55n), 2n ** 57n),
      fc.nat(),
      fc.bigInt(0n, 2n ** 62n),
      (filter, eventTime, tree, position) => {
        const at = { eventTime, tree: tree % 2 ** 31, position };
        assert.deepEqual(readCursor('acme', filter, writeCursor('acme', filter, at)), at);
      },
    ),
  );
  fc.assert(
    fc.property(fc.base64String(), (cursor) => {
      assert.throws(() => readCursor('acme', {}, cursor), code('cursor-invalid'));
    }),
  );
});

it('refuses limits out of bounds, unknown dimensions, text without a span and counts of text', async () => {
  const { deps } = openQueryScene();
  for (const limit of [0, -1, 1.5, 1_001, Number.NaN])
    await assert.rejects(search(deps, acme, {}, { limit }), code('field-invalid', 'limit'));
  await assert.rejects(
    search(deps, acme, { text: 'ab', from: TIME }, { limit: 5 }),
    code('field-invalid', 'to'),
  );
  await assert.rejects(search(deps, acme, { text: 'ab' }, { limit: 5 }), code('field-invalid', 'from'));
  await assert.rejects(countEvents(deps, acme, { text: 'ab' }, 'actor', 5), code('field-invalid', 'text'));
  await assert.rejects(countEvents(deps, acme, {}, 'ip' as never, 5), code('field-invalid', 'by'));
  await assert.rejects(histogram(deps, acme, {}, 'year' as never), code('field-invalid', 'interval'));
});

it('refuses a histogram of more buckets than the bound', async () => {
  const scene = openQueryScene();
  const at = (n: number) => ({ n, row: { eventTime: TIME + BigInt(n) * 60_000_000n } });
  await putEvents(
    scene,
    Array.from({ length: 2_000 }, (_, n) => at(n)),
  );
  assert.equal((await histogram(scene.deps, acme, {}, 'minute')).buckets.length, 2_000);
  await putEvents(scene, [at(5_000)]);
  await assert.rejects(histogram(scene.deps, acme, {}, 'minute'), code('field-invalid', 'interval'));
  assert((await histogram(scene.deps, acme, {}, 'hour')).buckets.length < 60);
});

it('finds text within the span, page by page, and says what it read', async () => {
  const scene = openQueryScene();
  const events = Array.from({ length: 60 }, (_, n) => ({
    n,
    body: textBody(n % 3 === 0 ? '{"x":"Zebra"}' : '{"x":"horse"}'),
    row: { eventTime: TIME + BigInt(n), actorId: n % 2 === 0 ? 'a' : 'b' },
  }));
  await putEvents(scene, events);
  const filter = { text: 'zebra', from: TIME, to: TIME + 50n, actor: 'a' };
  const pages = await pagesOf(scene, filter, 3);
  const found = pages.flatMap((page) => page.events.map(({ eventTime }) => Number(eventTime - TIME)));
  assert.deepEqual(found, [48, 42, 36, 30, 24, 18, 12, 6, 0]);
  const records = pages.reduce((sum, { scan }) => sum + (scan?.records ?? 0), 0);
  const bytes = pages.reduce((sum, { scan }) => sum + (scan?.bytes ?? 0), 0);
  assert.equal(records, 25);
  assert.equal(bytes, 25 * 13);
});

/** A view with endless events, of which none matches a text. */
function endlessView(scene: QueryScene, hit: EventHit, bodyBytes: number): EventView {
  let position = 10_000_000n;
  return {
    complete: (tenant: string | null, log: string | null) => scene.view.complete(tenant, log),
    correctionsOf: async () => [],
    search: async (_tenant: unknown, _filter: unknown, _after: unknown, limit: number) => {
      const events = Array.from({ length: limit }, () => ({
        tree: 1,
        hit: { ...hit, position: --position },
      }));
      return { events, next: { eventTime: hit.eventTime, tree: 1, position }, scanned: null };
    },
    matchText: async (_tenant: unknown, places: readonly unknown[]) =>
      places.map(() => ({ matches: false, bytes: bodyBytes, searched: bodyBytes > 0 })),
  } as unknown as EventView;
}

it('reads no more records and bytes for one page than the bounds, and goes on from there', async () => {
  const scene = openQueryScene();
  await putEvents(
    scene,
    mixedEvents(5).map((event) => ({ ...event, tenant: 'acme' })),
  );
  const [{ hit }] = (await scene.view.search('acme', {}, null, 1)).events;
  const filter = { text: 'zebra', from: 0n, to: TIME * 2n };
  const many = await search({ ...scene.deps, view: endlessView(scene, hit, 0) }, acme, filter, { limit: 5 });
  assert.deepEqual(many.scan, { records: SCAN_RECORDS_MAX, bytes: 0, notSearched: SCAN_RECORDS_MAX });
  assert.notEqual(many.cursor, null);
  const long = await search({ ...scene.deps, view: endlessView(scene, hit, 1_000_000) }, acme, filter, {
    limit: 5,
  });
  assert((long.scan?.bytes ?? 0) < SCAN_BYTES_MAX + 1_000 * 1_000_000);
  assert((long.scan?.records ?? 0) <= 1_000);
  assert.notEqual(long.cursor, null);
});

it('shows an event with its record, what corrects it, and of a correction the original', async () => {
  const scene = openQueryScene();
  await putEvents(scene, [
    { n: 1, row: { eventTime: TIME, actorId: 'a' } },
    { n: 2, row: { eventTime: TIME + 1n, corrects: eventId(1) } },
    { n: 3, row: { eventTime: TIME + 2n, corrects: eventId(2) } },
    { n: 4, row: null },
    { n: 5, tenant: 'beta', row: { eventTime: TIME, corrects: eventId(1) } },
  ]);
  const { deps } = scene;
  const original = await showEvent(deps, acme, { id: eventId(1).toUpperCase() });
  assert.equal(original?.record.id, eventId(1));
  assert.deepEqual(original?.hit?.correctedBy, [eventId(2)]);
  assert.deepEqual(
    original?.corrections.map(({ id }) => id),
    [eventId(2)],
  );
  assert.deepEqual(original?.corrections[0].correctedBy, [eventId(3)]);
  const correction = await showEvent(deps, acme, { id: eventId(2) });
  assert.deepEqual(
    correction?.corrections.map(({ id }) => id),
    [eventId(1), eventId(3)],
  );
  assert(original !== null);
  const { log, partition, position } = original.record;
  assert.deepEqual(await showEvent(deps, acme, { log, partition, position }), original);
  const unseen = await showEvent(deps, acme, { id: eventId(4) });
  assert.equal(unseen?.hit, null);
  assert.equal(unseen?.record.id, eventId(4));
  assert.equal(await showEvent(deps, acme, { id: eventId(5) }), null, "another tenant's is as none");
  assert.equal(await showEvent(deps, reader('beta'), { log, partition, position }), null);
  const notes = await scene.notes();
  assert.deepEqual(
    notes.slice(-2).map(({ details }) => (details as { events: number }).events),
    [0, 0],
    'what was looked for in vain is on record as well',
  );
  await assert.rejects(showEvent(deps, acme, { id: 'x' }), code('field-invalid', 'id'));
  await assert.rejects(
    showEvent(deps, acme, { log: 'audit', partition: -1, position: 0n }),
    code('field-invalid', 'partition'),
  );
  await assert.rejects(
    showEvent(deps, acme, { log: 'audit', partition: 0, position: 2n ** 63n }),
    code('field-invalid', 'position'),
  );
});
