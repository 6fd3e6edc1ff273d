import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import { createHttpClient, type HttpClient, type HttpClientOptions } from './client.ts';
import { eventually, FakeLog, makeEvent, optionsFor } from './fake-log-fixture.ts';

function makeFolder(t: TestContext, clients: HttpClient[] = []): string {
  const root = mkdtempSync(join(tmpdir(), 'evident-buffer-'));
  t.after(async () => {
    await Promise.all(clients.map((client) => client.close({ timeoutMs: 0 })));
    rmSync(root, { recursive: true, force: true });
  });
  return join(root, 'deep', 'buffer');
}

/** A log with a folder; `start` makes a client of both, as a new process does. */
function open(t: TestContext, over: Partial<HttpClientOptions> = {}, bytesMax = 1024 * 1024) {
  const clients: HttpClient[] = [];
  const folder = makeFolder(t, clients);
  const log = new FakeLog();
  const { options, problems } = optionsFor(log);
  const start = () => {
    const client = createHttpClient({ ...options, buffer: { kind: 'disk', folder, bytesMax }, ...over });
    clients.push(client);
    return client;
  };
  return { folder, log, problems, start };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof EvidentError, String(error));
    return error.code;
  }
  return 'it was taken';
}

function segmentsOf(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.segment'));
}

describe('a client with a disk buffer', { timeout: 120_000 }, () => {
  it('resolves when the event is on disk, and brings it to the log in order', async (t) => {
    const { folder, log, start } = open(t);
    log.always = 'break';
    const client = start();
    const events = Array.from({ length: 20 }, (_, n) => makeEvent(n));
    assert.deepEqual(await client.send(events[0]), { id: events[0].id, durable: 'disk' });
    const rest = await client.sendMany(events.slice(1));
    assert.deepEqual(
      rest.map(({ durable }) => durable),
      events.slice(1).map(() => 'disk'),
    );
    assert.equal(log.order.length, 0);
    assert.equal(client.metrics().waitingEvents, 20);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    for (const name of readdirSync(folder))
      assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
    assert.deepEqual(await client.flush({ timeoutMs: 10 }), { flushed: false, waiting: 20 });
    log.always = null;
    assert.deepEqual(await client.flush(), { flushed: true, waiting: 0 });
    assert.deepEqual(
      log.order,
      events.map(({ id }) => id),
    );
    const { taken, delivered, waitingEvents, waitingBytes } = client.metrics();
    assert.deepEqual([taken, delivered, waitingEvents, waitingBytes], [20, 20, 0, 0]);
    await client.close();
    assert.deepEqual(segmentsOf(folder), []);
  });

  it('delivers after a new start what was on disk when the last one ended, each event once', async (t) => {
    const { folder, log, start } = open(t, { batchMax: 3 });
    log.script.push('answer', 'take and break');
    const first = start();
    const events = Array.from({ length: 10 }, (_, n) => makeEvent(n));
    await first.sendMany(events);
    await eventually('the answer for some events is lost', () => log.order.length >= 6);
    log.always = 'break';
    assert.equal((await first.close({ timeoutMs: 0 })).flushed, false);
    log.always = null;
    const second = start();
    assert.ok(second.metrics().waitingEvents > 0);
    assert.deepEqual(await second.flush(), { flushed: true, waiting: 0 });
    assert.deepEqual(
      log.order,
      events.map(({ id }) => id),
    );
    assert.ok(second.metrics().repeats > 0);
    await second.close();
    assert.deepEqual(segmentsOf(folder), []);
  });

  it('is full at once past its bound, with nothing half taken, and takes again when there is room', async (t) => {
    const { log, start } = open(t, {}, 4_000);
    log.always = 'break';
    const client = start();
    await client.sendMany(Array.from({ length: 20 }, () => makeEvent()));
    assert.equal(await codeOf(client.sendMany(Array.from({ length: 20 }, () => makeEvent()))), 'buffer-full');
    await client.send(makeEvent());
    assert.deepEqual([client.metrics().taken, client.metrics().full], [21, 1]);
    log.always = null;
    await client.flush();
    await client.sendMany(Array.from({ length: 20 }, () => makeEvent()));
    assert.deepEqual(await client.flush(), { flushed: true, waiting: 0 });
    assert.equal(log.order.length, 41);
  });

  it('counts what is being written before it is on disk', async (t) => {
    const { log, start } = open(t, {}, 4_000);
    log.always = 'break';
    const client = start();
    const codes = await Promise.all(Array.from({ length: 60 }, () => codeOf(client.send(makeEvent()))));
    const taken = codes.filter((code) => code === 'it was taken').length;
    assert.equal(codes.filter((code) => code === 'buffer-full').length, 60 - taken);
    assert.ok(taken > 10 && taken < 40, `${taken} were taken`);
  });

  it('sets aside what the log refuses, says so, and goes on with the rest', async (t) => {
    const { folder, log, problems, start } = open(t);
    const events = Array.from({ length: 6 }, (_, n) => makeEvent(n));
    const spaced = { ...makeEvent(), body: '{"a":\n1}' };
    log.refuses.set(events[2].id, { status: 409, code: 'id-reused' });
    log.refuses.set(spaced.id, { status: 400, code: 'field-invalid' });
    log.poisons.set(events[4].id, { status: 413, code: 'body-too-large' });
    const client = start();
    await client.sendMany([...events, spaced]);
    assert.deepEqual(await client.flush(), { flushed: true, waiting: 0 });
    const passed = [0, 1, 3, 5].map((n) => events[n].id);
    assert.deepEqual(log.order, passed);
    const text = readFileSync(join(folder, 'refused.ndjson'), 'utf8');
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ id, code }) => [id, code]),
      [
        [events[2].id, 'id-reused'],
        [events[4].id, 'body-too-large'],
        [spaced.id, 'field-invalid'],
      ],
    );
    assert.deepEqual(lines[0].envelope.body, { n: 2 });
    assert.match(Buffer.from(lines[2].envelope_base64, 'base64').toString(), /"body":\{"a":\n1\}\}$/);
    assert.deepEqual(
      problems.filter(({ kind }) => kind === 'refused').map(({ id }) => id),
      lines.map(({ id }) => id),
    );
    const { delivered, refused } = client.metrics();
    assert.deepEqual([delivered, refused], [4, 3]);
  });

  it('counts refused events against its bound until somebody has dealt with them', async (t) => {
    const { folder, log, start } = open(t, {}, 4_000);
    const client = start();
    const events = Array.from({ length: 8 }, (_, n) => makeEvent(n));
    for (const { id } of events) log.refuses.set(id, { status: 400, code: 'field-invalid' });
    await client.sendMany(events);
    await client.flush();
    const many = Array.from({ length: 20 }, () => makeEvent());
    assert.equal(await codeOf(client.sendMany(many)), 'buffer-full');
    rmSync(join(folder, 'refused.ndjson'));
    assert.equal(await codeOf(client.sendMany(many)), 'it was taken');
  });

  it('begins a new line after one that a crash cut', async (t) => {
    const { folder, log, start } = open(t);
    await start().close();
    writeFileSync(join(folder, 'refused.ndjson'), '{"refused_at":"20');
    const event = makeEvent();
    log.refuses.set(event.id, { status: 400, code: 'field-invalid' });
    const client = start();
    await client.send(event);
    await client.flush();
    const lines = readFileSync(join(folder, 'refused.ndjson'), 'utf8').split('\n');
    assert.equal(lines.length, 3);
    assert.equal(JSON.parse(lines[1]).id, event.id);
  });

  it('holds everything while a setting is wrong, says so, and loses nothing', async (t) => {
    let key = 'evident_revoked';
    const { log, problems, start } = open(t, { key: () => key });
    log.always = { status: 401, body: { code: 'unauthenticated' } };
    const client = start();
    const events = [makeEvent(), makeEvent()];
    await client.sendMany(events);
    await eventually('it is said', () => problems.some(({ kind }) => kind === 'held'));
    log.always = null;
    key = 'evident_new';
    assert.deepEqual(await client.flush(), { flushed: true, waiting: 0 });
    assert.deepEqual(
      log.order,
      events.map(({ id }) => id),
    );
    assert.equal(log.headers.at(-1)?.authorization, 'Bearer evident_new');
  });

  it('belongs to one client at a time', async (t) => {
    const { start } = open(t);
    const first = start();
    assert.throws(start, (error: EvidentError) => error.code === 'data-locked');
    await first.close();
    await start().send(makeEvent());
  });

  it('says that a folder can not be used', (t) => {
    const { options } = optionsFor(new FakeLog());
    const file = join(makeFolder(t), '..', '..', 'file');
    writeFileSync(file, '');
    const make = () => createHttpClient({ ...options, buffer: { kind: 'disk', folder: join(file, 'x') } });
    assert.throws(make, (error: EvidentError) => error.code === 'data-unwritable');
  });

  it('takes nothing for a caller who has given up, and nothing once it is closed', async (t) => {
    const { start } = open(t);
    const client = start();
    await assert.rejects(client.send(makeEvent(), { signal: AbortSignal.abort() }), { name: 'AbortError' });
    await client.close();
    assert.equal(await codeOf(client.send(makeEvent())), 'shutting-down');
    assert.equal(client.metrics().taken, 0);
  });
});
