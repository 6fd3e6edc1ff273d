import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { parse } from 'csv-parse/sync';
import { eventId, mixedEvents, putEvents, TIME } from '../../contract/view-events.ts';
import { CSV_HEADER } from './csv.ts';
import { EXPORT_FORMATS, type ExportFormat, exportEvents } from './export.ts';
import type { EventFilter } from './filter.ts';
import { openQueryScene, type QueryScene, reader } from './query-fixture.ts';
import { openReadStream, STREAM_RECORD_EVENTS } from './record-read.ts';
import { dropSearch, listSearches, saveSearch } from './saved-searches.ts';

const acme = reader('acme');

async function textOf({ deps }: QueryScene, format: ExportFormat, filter: EventFilter = {}): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of exportEvents(deps, acme, filter, format)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

it('exports rows as CSV that gives every text back, and that no spreadsheet computes', async () => {
  const scene = openQueryScene();
  const texts = ['=1+1', '+1', '-1', '@x', '\tx', "'=x", 'a,"b"\r\nc', 'é', ' x', '＝1', '\nx', 'x;=1+1'];
  await putEvents(
    scene,
    texts.map((text, n) => ({ n, row: { eventTime: TIME + BigInt(n), actorId: text, action: 'doc.read' } })),
  );
  const csv = await textOf(scene, 'csv');
  assert(csv.startsWith(CSV_HEADER) && csv.endsWith('\r\n'));
  const rows = parse(csv, { columns: true }) as Record<string, string>[];
  assert.equal(rows.length, texts.length);
  for (const [at, row] of rows.reverse().entries()) {
    assert.equal(row.actor_id.replace(/^'/, ''), texts[at]);
    assert.doesNotMatch(row.actor_id, /^[=+\-@\t\r\n＝]/);
    assert.equal(row.id, eventId(at));
    assert.match(row.drift_us, /^-?\d+$/, 'numbers stay numbers');
  }
});

it('exports leaf lines byte for byte beside their rows', async () => {
  const scene = openQueryScene();
  await putEvents(
    scene,
    mixedEvents().map((event) => ({ ...event, tenant: 'acme' })),
  );
  const text = await textOf(scene, 'ndjson', { actionPrefix: 'doc' });
  const lines = text.trimEnd().split('\n');
  const found = (await scene.view.search('acme', { actionPrefix: 'doc' }, null, 1_000)).events;
  assert.equal(lines.length, found.length);
  for (const [at, line] of lines.entries()) {
    const { log, partition, position } = found[at].hit;
    const [record] = (await scene.logs.get(log)?.read(partition, position, 1)) ?? [];
    assert(line.endsWith(`,"leaf":${new TextDecoder().decode(leafOf(record))}}`));
    const { row, leaf } = JSON.parse(line) as { row: { actor_id: string }; leaf: { id: string } };
    assert.equal(leaf.id, found[at].hit.id);
    assert.equal(row.actor_id, found[at].hit.actorId);
  }
});

it('exports standard shapes, and reads bodies in the object store', async () => {
  const scene = openQueryScene();
  const [held, lost] = [Buffer.from('{"large":true}'), Buffer.from('{"large":false}')];
  const hashOf = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
  scene.objects.set(Buffer.from(hashOf(held)).toString('hex'), held);
  scene.objects.set(Buffer.from(hashOf(lost)).toString('hex'), Buffer.from('damaged'));
  const object = (bytes: Uint8Array) =>
    ({ form: 'object', sha256: hashOf(bytes), size: BigInt(bytes.length) }) as const;
  await putEvents(scene, [
    { n: 1, row: { eventTime: TIME, action: 'doc.read' } },
    { n: 2, body: object(held), row: { eventTime: TIME + 1n } },
    { n: 3, body: object(lost), row: { eventTime: TIME + 2n } },
  ]);
  const lines = (await textOf(scene, 'cloudevents')).trimEnd().split('\n');
  const events = lines.map((line) => JSON.parse(line) as { id: string; data: unknown });
  assert.deepEqual(
    events.map(({ id }) => id),
    [eventId(3), eventId(2), eventId(1)],
  );
  assert.deepEqual(events[1].data, { large: true });
  assert.deepEqual(events[0].data, {
    body_sha256: Buffer.from(hashOf(lost)).toString('hex'),
    body_size: '15',
  });
  assert.deepEqual(events[2].data, { n: 1 });
  const ocsf = (await textOf(scene, 'ocsf')).trimEnd().split('\n');
  assert(ocsf.every((line) => typeof JSON.parse(line) === 'object') && ocsf.length === 3);
});

it('records the intent before the first byte, and how it ended', async () => {
  const scene = openQueryScene();
  await putEvents(
    scene,
    mixedEvents().map((event) => ({ ...event, tenant: 'acme' })),
  );
  const actions = async () => (await scene.notes()).map(({ action, result }) => `${action} ${result}`);
  const stream = exportEvents(scene.deps, acme, { actor: 'usr_1' }, 'csv');
  await stream.next();
  assert.deepEqual(await actions(), ['audit.export.begin success']);
  await stream.return();
  assert.deepEqual(await actions(), ['audit.export.begin success', 'audit.export.end failure']);
  await textOf(scene, 'csv');
  const last = (await scene.notes()).at(-1);
  assert.equal(`${last?.action} ${last?.result}`, 'audit.export.end success');
  assert.deepEqual(last?.details, { format: 'csv', filter: {}, events: 150 });
});

it('gives no byte when the intent can not be recorded, and no end when the outcome can not', async () => {
  for (const format of EXPORT_FORMATS) {
    const scene = openQueryScene();
    await putEvents(scene, [{ n: 1 }]);
    const isRefused = (error: unknown) => isEvidentError(error) && error.code === 'read-unrecorded';
    const stream = exportEvents(scene.deps, acme, {}, format);
    await stream.next();
    scene.breakRecorder();
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, isRefused);
    await assert.rejects(exportEvents(scene.deps, acme, {}, format).next(), isRefused);
  }
});

it('records a stream every ten thousand events, and its end once', async () => {
  const scene = openQueryScene();
  const stream = await openReadStream(scene.deps.recorder, acme, {
    action: 'audit.tail',
    resource: { type: 'log', id: 'audit' },
    tenant: 'acme',
    details: {},
  });
  for (let at = 0; at < 25; at++) await stream.advance(STREAM_RECORD_EVENTS / 10);
  await stream.end();
  await stream.end(new Error('again'));
  const notes = await scene.notes();
  assert.deepEqual(
    notes.map(({ action, details }) => `${action} ${(details as { events?: number }).events ?? ''}`),
    ['audit.tail.begin ', 'audit.tail.progress 10000', 'audit.tail.progress 20000', 'audit.tail.end 25000'],
  );
});

it('keeps searches of a tenant under names, and records who changes them', async () => {
  const scene = openQueryScene();
  const { deps } = scene;
  const filter = { actor: 'usr_1', from: TIME };
  await saveSearch(deps, acme, { name: 'Späte Zugriffe 1', filter });
  const [kept] = await listSearches(deps, acme);
  assert.deepEqual([kept.name, kept.filter, kept.madeBy], ['Späte Zugriffe 1', filter, 'key:a']);
  assert.deepEqual(await listSearches(deps, reader('beta')), []);
  assert.equal((await listSearches(deps, reader(null), 'acme')).length, 1);
  assert.deepEqual(await listSearches(deps, reader(null)), []);
  await assert.rejects(listSearches(deps, acme, 'beta'), /tenant/);
  await assert.rejects(saveSearch(deps, acme, { name: 'x', filter: { tenant: 'beta' } }), /tenant/);
  for (const name of ['', ' x', 'x ', 'a/b', 'x'.repeat(65), 'a\u0000'])
    await assert.rejects(saveSearch(deps, acme, { name, filter }), /name/);
  assert.equal(await dropSearch(deps, acme, 'Späte Zugriffe 1'), true);
  assert.equal(await dropSearch(deps, acme, 'Späte Zugriffe 1'), false);
  assert.deepEqual(
    (await scene.notes()).map(({ action }) => action),
    ['saved_search.save', 'saved_search.drop', 'saved_search.drop'],
  );
  scene.breakRecorder();
  await assert.rejects(saveSearch(deps, acme, { name: 'x', filter }), /record/);
  assert.deepEqual(await listSearches(deps, acme), []);
});
