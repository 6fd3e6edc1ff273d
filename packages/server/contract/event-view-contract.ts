/** The promises of the ports `EventView` and `SavedSearchStore`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Log } from '../src/log/log.ts';
import type { EventFilter } from '../src/query/filter.ts';
import { matchesFilter } from '../src/query/match.ts';
import { CORRECTIONS_MAX, type FoundEvent, SAVED_SEARCHES_MAX } from '../src/query/ports.ts';
import { spellingsOf } from '../src/query/spellings.ts';
import {
  type EventViewScene,
  eventId,
  filters,
  mixedEvents,
  one,
  putDeadLetter,
  putEvents,
  searchAll,
  TIME,
  textBody,
} from './view-events.ts';

const utf8 = new TextEncoder();
/** Property runs; the full number with EVIDENT_PROVE=1. */
const RUNS = process.env.EVIDENT_PROVE === '1' ? 10_000 : 200;

const ids = (events: readonly FoundEvent[]): number[] =>
  events.map(({ hit }) => Number.parseInt(hit.id.slice(24), 16));

export function describeEventView(name: string, open: () => Promise<EventViewScene>): void {
  describe(`EventView: ${name}`, () => {
    describeSearches(open);
    describeCounts(open);
    describeSingleEvents(open);
    describeTexts(open);
    describeSavedSearches(open);
  });
}

function describeSearches(open: () => Promise<EventViewScene>): void {
  it('answers nothing before there is a view', async () => {
    const { view } = await open();
    assert.deepEqual(await view.search('acme', {}, null, 10), { events: [], next: null, scanned: null });
    assert.deepEqual(await view.count(null, {}, 'actor', 10), []);
    assert.deepEqual(await view.find('acme', { id: eventId(1) }), []);
    assert.equal((await view.complete('acme', null)).generation, 0);
  });

  it('names the tenants that have events, each once', async () => {
    const scene = await open();
    assert.deepEqual(await scene.view.tenants(), []);
    await putEvents(scene, [
      { n: 1, tenant: 'beta' },
      { n: 2, tenant: 'Beta' },
      { n: 3, tenant: 'acme' },
      { n: 4, tenant: 'beta' },
    ]);
    assert.deepEqual(await scene.view.tenants(), ['Beta', 'acme', 'beta']);
  });

  it('gives an event as it was put, to the microsecond', async () => {
    const scene = await open();
    const row = {
      eventTime: TIME + 1n,
      actorId: 'usr_456',
      actorType: 'user',
      action: 'document.update',
      resourceType: 'document',
      resourceId: `d "1" \\ {x}, NULL \u{1f511}`,
      result: 'denied',
      correlationId: 'c',
      ip: '2001:db8::1',
      corrects: eventId(9),
    } as const;
    await putEvents(scene, [{ n: 1, row }, { n: 2 }]);
    const found = await searchAll(scene.view, 'acme', {}, 10);
    assert.equal(found.length, 2);
    const { hit } = found.find((one) => one.hit.id === eventId(1)) as FoundEvent;
    const { log, partition, position, appendedAt, ...rest } = hit;
    const [record] = (await scene.logs.get(log)?.read(partition, position, 1)) ?? [];
    assert.equal(record.id, eventId(1));
    assert.equal(record.appendedAt, appendedAt);
    const shown = { ...row, id: eventId(1), tenant: 'acme', type: 'note', mapper: 'test/1', timed: true };
    assert.deepEqual(rest, { ...shown, driftUs: appendedAt - TIME - 1n, correctedBy: [] });
    const untimed = (found.find((one) => one.hit.id === eventId(2)) as FoundEvent).hit;
    assert.equal(untimed.timed, false);
    assert.equal(untimed.driftUs, null);
    assert.equal(untimed.eventTime, untimed.appendedAt);
  });

  it('finds exactly what a filter says, newest first, whatever the size of pages', async () => {
    const scene = await open();
    await putEvents(scene, mixedEvents());
    const everything = await searchAll(scene.view, null, {}, 1_000);
    assert.equal(everything.length, 150);
    const sizes = one(1, 3, 7, 50);
    await fc.assert(
      fc.asyncProperty(
        filters,
        one<string | null>('acme', 'beta', null),
        sizes,
        async (filter, tenant, limit) => {
          const found = await searchAll(scene.view, tenant, filter, limit);
          const wanted = everything.filter(
            ({ hit }) => (tenant === null || hit.tenant === tenant) && matchesFilter(filter, hit),
          );
          assert.deepEqual(found, wanted);
        },
      ),
      { numRuns: Math.min(RUNS, 1_000) },
    );
  });

  it('joins pages to the whole answer while new events arrive', async () => {
    const scene = await open();
    await putEvents(scene, mixedEvents(60));
    const before = ids(await searchAll(scene.view, 'acme', {}, 1_000));
    let n = 1_000;
    const joined = ids(
      await searchAll(scene.view, 'acme', {}, 4, async () => {
        // Some later than all, some earlier, one among the others.
        const times = [TIME + 10_000_000_000n, TIME - 1_000n, TIME + BigInt(n % 40) * 60_000_000n];
        if (n < 1_020)
          await putEvents(
            scene,
            times.map((eventTime) => ({ n: n++, row: { eventTime } })),
          );
      }),
    );
    assert.equal(new Set(joined).size, joined.length, 'no event comes twice');
    assert.deepEqual(
      joined.filter((one) => one < 1_000),
      before,
    );
  });

  it("shows a tenant nothing of another's, whatever the filter, the place or the id", async () => {
    const scene = await open();
    const events = mixedEvents();
    await putEvents(scene, events);
    const { view } = scene;
    const foreign = (await searchAll(view, null, {}, 1_000)).filter(({ hit }) => hit.tenant !== 'acme');
    const tenants = one<string | undefined>('beta', 'acme.eu', undefined);
    await fc.assert(
      fc.asyncProperty(filters, tenants, fc.nat(foreign.length - 1), async (filter, tenant, at) => {
        const { tree, hit } = foreign[at];
        const wide = { ...filter, ...(tenant === undefined ? {} : { tenant }) };
        const place = { eventTime: hit.eventTime, tree, position: hit.position };
        const { events } = await view.search('acme', wide, place, 20);
        assert(events.every((one) => one.hit.tenant === 'acme'));
        if (at % 10 !== 0) return;
        const at_ = { tree, position: hit.position };
        const { log, partition, position } = hit;
        assert.deepEqual(
          (await view.find('acme', { id: hit.id })).filter((one) => one.hit.tenant !== 'acme'),
          [],
        );
        assert.deepEqual(await view.find('acme', { log, partition, position }), []);
        assert.equal(await view.recordOf('acme', { log, partition, position }), null);
        assert.deepEqual(await view.records('acme', [at_]), [null]);
        assert.deepEqual(await view.correctionsOf('acme', [hit]), []);
        assert.deepEqual(await view.matchText('acme', [at_], ['n'], 1_000), [
          { matches: false, bytes: 0, searched: true },
        ]);
        const counted = await view.count('acme', filter, 'type', 100);
        const total = counted.reduce((sum, { count }) => sum + count, 0n);
        assert(total <= BigInt(events.length === 20 ? 150 : 50));
      }),
      { numRuns: RUNS },
    );
  });
}

function describeCounts(open: () => Promise<EventViewScene>): void {
  it('counts what a search finds, by every dimension and interval', async () => {
    const scene = await open();
    await putEvents(scene, mixedEvents());
    const { view } = scene;
    for (const [tenant, filter] of [
      [null, {}],
      ['acme', { actionPrefix: 'doc' }],
      ['beta', { from: TIME, to: TIME + 1_200_000_000n }],
    ] as [string | null, EventFilter][]) {
      const found = await searchAll(view, tenant, filter, 1_000);
      for (const [by, column] of [
        ['actor', 'actorId'],
        ['action', 'action'],
        ['resource', 'resourceId'],
        ['result', 'result'],
        ['type', 'type'],
      ] as const) {
        const counts = await view.count(tenant, filter, by, 1_000);
        const own = new Map<string | null, bigint>();
        for (const { hit } of found) own.set(hit[column], (own.get(hit[column]) ?? 0n) + 1n);
        assert.deepEqual(new Map(counts.map(({ value, count }) => [value, count])), own);
        assert(counts.every(({ count }, at) => at === 0 || counts[at - 1].count >= count));
        assert.deepEqual(await view.count(tenant, filter, by, 2), counts.slice(0, 2));
      }
      const buckets = await view.histogram(tenant, filter, 'minute', 1_000);
      const total = buckets.reduce((sum, { count }) => sum + count, 0n);
      assert.equal(total, BigInt(found.length));
      assert(
        buckets.every(
          ({ start }, at) => start % 60_000_000n === 0n && (at === 0 || buckets[at - 1].start < start),
        ),
      );
      assert.equal((await view.histogram(tenant, filter, 'minute', 1)).length, 1);
      const hours = await view.count(tenant, filter, 'hour', 1_000);
      const asBuckets = await view.histogram(tenant, filter, 'hour', 1_000);
      assert.equal(hours.length, asBuckets.length);
      assert.match(hours[0].value ?? '', /:00:00\.000000Z$/);
    }
  });

  it('says how far it has read, and how many dead letters the reader knows of', async () => {
    const scene = await open();
    await putEvents(scene, mixedEvents(20));
    await putDeadLetter(scene, 500, 'acme');
    await putDeadLetter(scene, 501, 'beta');
    const complete = await scene.view.complete('acme', null);
    assert.equal(complete.generation, 1);
    assert.deepEqual(
      complete.partitions.map(({ log, partition }) => `${log}/${partition}`),
      ['audit/0', 'audit/1', 'audit/2', 'clicks/0', 'clicks/1', 'clicks/2'],
    );
    assert(complete.partitions.every(({ read, head }) => read === head));
    assert.equal(complete.lacking, 1);
    assert.equal((await scene.view.complete(null, null)).lacking, 2);
    assert.equal((await scene.view.complete('acme.eu', null)).lacking, 0);
    const [clicks] = (await scene.view.complete(null, 'clicks')).partitions;
    assert.equal(clicks.log, 'clicks');
    assert.equal((await scene.view.complete(null, 'clicks')).lacking, 0);
    const audit = scene.logs.get('audit') as Log;
    const next = {
      id: eventId(900),
      tenant: 'acme',
      source: 'test',
      sourceSeq: null,
      type: 'note',
      schema: 0,
      meta: null,
    };
    await audit.append([{ ...next, key: 'acme/z', body: textBody('{}') }]);
    const behind = (await scene.view.complete('acme', 'audit')).partitions.filter(
      ({ read, head }) => read < head,
    );
    assert.equal(behind.length, 1);
  });
}

function describeSingleEvents(open: () => Promise<EventViewScene>): void {
  it('finds an event by id in all logs and tenants that may be seen, and by its place', async () => {
    const scene = await open();
    const { view } = scene;
    const row = { eventTime: TIME };
    await putEvents(scene, [
      { n: 1, row },
      { n: 1, tenant: 'beta', row },
      { n: 1, log: 'clicks', row },
      { n: 2, row: null },
    ]);
    const all = await view.find(null, { id: eventId(1) });
    assert.deepEqual(
      all.map(({ hit }) => `${hit.tenant} ${hit.log}`),
      ['acme audit', 'acme clicks', 'beta audit'],
    );
    assert.deepEqual(
      (await view.find('beta', { id: eventId(1) })).map(({ hit }) => hit.tenant),
      ['beta'],
    );
    const { log, partition, position } = all[0].hit;
    assert.deepEqual(await view.find('acme', { log, partition, position }), [all[0]]);
    assert.deepEqual(await view.find('acme', { id: eventId(2) }), []);
    const record = await view.recordOf('acme', { id: eventId(2) });
    assert.equal(record?.id, eventId(2));
    assert.deepEqual(await view.recordOf('acme', { ...record, log: 'audit' } as never), record);
    assert.equal(await view.recordOf('beta', { id: eventId(2) }), null);
    assert.equal(await view.recordOf(null, { log: 'none', partition: 0, position: 0n }), null);
    assert.equal(await view.recordOf(null, { log: 'audit', partition: 99, position: 0n }), null);
    const records = await view.records('acme', [
      { tree: all[1].tree, position: all[1].hit.position },
      { tree: all[0].tree, position: 1_000_000n },
      { tree: all[0].tree, position },
    ]);
    assert.deepEqual(
      records.map((one) => one && `${one.log} ${one.id}`),
      [`clicks ${eventId(1)}`, null, `audit ${eventId(1)}`],
    );
    assert.deepEqual(records[0]?.body, textBody('{"n":1}'));
  });

  it('finds what corrects an event, oldest first, of its tenant alone, and no more than the bound', async () => {
    const scene = await open();
    const corrections = Array.from({ length: CORRECTIONS_MAX + 5 }, (_, at) => ({
      n: 100 + at,
      row: { eventTime: TIME + BigInt(at), corrects: eventId(1) },
    }));
    await putEvents(scene, [
      { n: 1 },
      { n: 2 },
      ...corrections,
      { n: 300, row: { eventTime: TIME, corrects: eventId(2) } },
      { n: 301, tenant: 'beta', row: { eventTime: TIME, corrects: eventId(1) } },
    ]);
    const of = [
      { tenant: 'acme', id: eventId(1) },
      { tenant: 'acme', id: eventId(2) },
    ];
    const found = ids(await scene.view.correctionsOf('acme', of));
    assert.deepEqual(found, [...corrections.slice(0, CORRECTIONS_MAX).map(({ n }) => n), 300]);
    assert.deepEqual(ids(await scene.view.correctionsOf('beta', of)), []);
    assert.deepEqual(ids(await scene.view.correctionsOf(null, [{ tenant: 'beta', id: eventId(1) }])), [301]);
  });
}

function describeTexts(open: () => Promise<EventViewScene>): void {
  it('searches bodies of every form, and says what it read', async () => {
    const scene = await open();
    const bodies = [
      textBody('{"who":"Zoë","path":"C:\\\\temp","url":"https://x/y"}'),
      textBody('{"who":"zo\\u00EB","url":"https:\\/\\/x\\/y"}'),
      textBody('{\n"WHO": "Zoë"\n}', 'base64'),
      { form: 'base64' as const, bytes: Uint8Array.of(0, 0xff, ...utf8.encode('zoË 2 ZOë'), 0, 0x80) },
      { form: 'base64' as const, bytes: Uint8Array.of(0xc3, 0x28, 0x5a, 0x6f) },
      { form: 'object' as const, sha256: new Uint8Array(32), size: 99n },
      textBody('{"other":true,"n":"200"}'),
    ];
    await putEvents(
      scene,
      bodies.map((body, at) => ({ n: at + 1, body, row: { eventTime: TIME + BigInt(at) } })),
    );
    const found = (await searchAll(scene.view, 'acme', {}, 100)).reverse();
    const places = found.map(({ tree, hit }) => ({ tree, position: hit.position }));
    const matching = async (text: string) => {
      const matches = await scene.view.matchText('acme', places, spellingsOf(text), 1e9);
      assert.equal(matches.length, places.length);
      return matches.flatMap(({ matches }, at) => (matches ? [at + 1] : []));
    };
    assert.deepEqual(await matching('zoë'), [1, 2, 3, 4]);
    assert.deepEqual(await matching('ZOë'), [1, 2, 3, 4]);
    assert.deepEqual(await matching('zoË'), [4], 'beyond ASCII case counts');
    assert.deepEqual(await matching('c:\\TEMP'), [1]);
    assert.deepEqual(await matching('https://x/y'), [1, 2]);
    assert.deepEqual(await matching('zo'), [1, 2, 3, 4, 5]);
    assert.deepEqual(await matching('200'), [7]);
    assert.deepEqual(await matching('_%'), []);
    const matches = await scene.view.matchText('acme', places, ['zo'], 1e9);
    assert.deepEqual(
      matches.map(({ searched }) => searched),
      [true, true, true, true, true, false, true],
    );
    assert.deepEqual(
      matches.map(({ bytes }) => bytes),
      bodies.map((body) => (body.form === 'object' ? 0 : body.bytes.length)),
    );
  });

  it('stops when it has read its bytes, and always gets on', async () => {
    const scene = await open();
    await putEvents(
      scene,
      mixedEvents(20).map((event) => ({ ...event, tenant: 'acme' })),
    );
    const found = await searchAll(scene.view, 'acme', {}, 100);
    const places = found.map(({ tree, hit }) => ({ tree, position: hit.position }));
    assert.equal((await scene.view.matchText('acme', places, ['n'], 0)).length, 1);
    assert.equal((await scene.view.matchText('acme', places, ['n'], 15)).length, 2);
    assert.equal((await scene.view.matchText('acme', places, ['n'], 1_000)).length, 20);
  });
}

function describeSavedSearches(open: () => Promise<EventViewScene>): void {
  it('keeps searches by name, each tenant its own, in bounds', async () => {
    const { saved } = await open();
    const search = (name: string, filter = '{}') => ({ name, filter, madeBy: 'key:a' });
    assert.equal(await saved.save('acme', search('b')), 'saved');
    assert.equal(await saved.save('acme', search('a', '{"actor":"x"}')), 'saved');
    assert.equal(await saved.save('beta', search('a')), 'saved');
    assert.equal(await saved.save(null, search('z')), 'saved');
    assert.equal(await saved.save('acme', search('b', '{"actor":"y"}')), 'saved');
    const list = async (tenant: string | null) =>
      (await saved.list(tenant)).map(({ name, filter }) => [name, filter]);
    assert.deepEqual(await list('acme'), [
      ['a', '{"actor":"x"}'],
      ['b', '{"actor":"y"}'],
    ]);
    assert.deepEqual(await list('beta'), [['a', '{}']]);
    assert.deepEqual(await list(null), [['z', '{}']]);
    assert.equal(await saved.drop('beta', 'b'), false);
    assert.equal(await saved.drop('acme', 'b'), true);
    assert.equal((await list('acme')).length, 1);
    for (let n = 1; n < SAVED_SEARCHES_MAX; n++)
      assert.equal(await saved.save('acme', search(`s${n}`)), 'saved');
    assert.equal(await saved.save('acme', search('one too many')), 'full');
    assert.equal(
      await saved.save('acme', search('a')),
      'saved',
      'one that is there is replaced all the same',
    );
  });
}
