import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import type { CheckReport } from '@evident/core/evidence/check-report.ts';
import { openZip } from '@evident/core/evidence/zip-reader.ts';
import type { LightMyRequestResponse } from 'fastify';
import { VERIFY_FUNCTIONS } from '../stores/folder/signing-keys.ts';
import { auditEvent, openTestServer, type TestServer } from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

async function openFilled(test: TestContext, events = 60): Promise<TestServer> {
  const server = await openTestServer(test, { limits: { exportsMax: 1 } });
  const event = () => auditEvent({}, { details: { filler: 'x'.repeat(2_000) } });
  for (let done = 0; done < events; done += 500)
    await server.append(Array.from({ length: Math.min(500, events - done) }, event));
  const other = auditEvent({ key: 'other/1' }, { tenant: 'other', actor: { id: 'usr_2', type: 'user' } });
  await server.append([other], 'writer:other');
  await server.evidence.seal();
  await server.project();
  return server;
}

async function sourceOf(answer: LightMyRequestResponse) {
  assert.equal(answer.statusCode, 200, answer.body.slice(0, 400));
  assert.equal(answer.headers['content-type'], 'application/zip');
  assert.match(String(answer.headers['content-disposition']), /filename="evident-bundle\.zip"/);
  const bytes = new Uint8Array(answer.rawPayload);
  const source = await openZip(async (from, to) => bytes.slice(from, to), bytes.length);
  assert.ok(source.ok);
  return source.value;
}

async function check(server: TestServer, answer: LightMyRequestResponse): Promise<CheckReport> {
  const { keys } = server.evidence.deps;
  const [{ vkey }] = await keys.keysOf([`${server.evidence.deps.name}/heads/0`], 1n);
  return checkBundle(await sourceOf(answer), { vkey, signatures: VERIFY_FUNCTIONS });
}

const bundle = (query = '') => ({ url: `/v1/export?format=bundle${query}` });
const notes = (server: TestServer) =>
  server.reads.notes.map(({ action, result, tenant, details }) => [action, result, tenant, details.events]);

describe('GET /v1/export?format=bundle', { timeout: 120_000 }, () => {
  it('sends the zip of a bundle that is verified, with begin and end on record', async (test) => {
    const server = await openFilled(test);
    for (const [who, query, records, tenant] of [
      ['auditor', '', 61n, null],
      ['auditor', '&proofs=tiles', 61n, null],
      ['auditor', '&tenant=other', 1n, 'other'],
      ['investigator:acme', '', 60n, 'acme'],
      ['auditor', '&actor=usr_2&log=audit', 1n, null],
    ] as const) {
      server.reads.notes.length = 0;
      const report = await check(server, await server.send(who, bundle(query)));
      assert.deepEqual([report.verdict, report.records], ['verified', records], `${who} ${query}`);
      assert.deepEqual(notes(server), [
        ['audit.export.begin', undefined, tenant, undefined],
        ['audit.export.end', undefined, tenant, Number(records)],
      ]);
    }
  });

  it('of one record holds that one, and no other tenant’s', async (test) => {
    const server = await openFilled(test);
    const id = String((await server.send('auditor', { url: '/v1/events?actor=usr_2' })).json().events[0].id);
    const report = await check(server, await server.send('auditor', bundle(`&id=${id}`)));
    assert.deepEqual([report.verdict, report.records], ['verified', 1n]);
    const refused = await server.send('auditor:acme', bundle(`&id=${id}`));
    assert.deepEqual([refused.statusCode, refused.json().code], [404, 'not-found']);
  });

  it('is refused with a code before its first byte', async (test) => {
    const server = await openFilled(test, 3);
    for (const [query, status, code, field] of [
      ['&hours=yesterday&tenant=acme', 400, 'field-invalid', 'hours'],
      ['&hours=2026-11-20T10..2026-11-20T09&tenant=acme', 400, 'field-invalid', 'hours'],
      ['&hours=2026-11-31T10&tenant=acme', 400, 'field-invalid', 'hours'],
      ['&hours=2026-11-20T10', 400, 'field-invalid', 'tenant'],
      ['&hours=2026-11-20T10&tenant=acme&actor=usr_1', 400, 'field-invalid', 'actor'],
      ['&hours=2026-11-20T10&tenant=acme', 409, 'windows-missing', 'hours'],
      ['&hours=2026-11-20T10&tenant=acme&log=nothing', 404, 'log-unknown', 'log'],
      ['&head=0', 400, 'field-invalid', 'head'],
      ['&head=99999', 404, 'not-found', 'head'],
      ['&head=with-anchor', 409, 'not-anchored', undefined],
      ['&head=x', 400, 'field-invalid', 'head'],
      ['&proofs=none', 400, 'field-invalid', 'proofs'],
      ['&id=nonsense', 400, 'field-invalid', 'id'],
      ['&id=0198c0de-0000-7000-8000-000000000000&actor=usr_1', 400, 'field-invalid', 'actor'],
      ['&id=0198c0de-0000-7000-8000-000000000000&hours=2026-11-20T10', 400, 'field-invalid', 'hours'],
      ['&log=nothing', 404, 'log-unknown', 'log'],
      ['&colour=red', 400, 'field-unknown', 'colour'],
    ] as const) {
      const answer = await server.send('auditor', bundle(query));
      const { code: got, field: at } = answer.json();
      assert.deepEqual([answer.statusCode, got, at], [status, code, field], query);
    }
    const foreign = await server.send('auditor:acme', bundle('&hours=2026-11-20T10&tenant=other'));
    assert.deepEqual([foreign.statusCode, foreign.json().code], [403, 'tenant-forbidden']);
    const plain = await server.send('auditor', { url: '/v1/export?format=csv&head=3' });
    assert.deepEqual([plain.statusCode, plain.json().field], [400, 'head']);
    server.reads.isRefusing = true;
    const unrecorded = await server.send('auditor', bundle());
    assert.deepEqual([unrecorded.statusCode, unrecorded.json().code], [503, 'read-unrecorded']);
  });

  it('waits for a head that covers what the log held when it was asked for, and not for what comes later', async (test) => {
    const server = await openFilled(test, 3);
    await server.append([auditEvent(), auditEvent()]);
    await server.project();
    let looks = 0;
    Object.assign(server.evidence.deps, {
      sleep: async () => {
        if (++looks !== 2) return;
        await server.evidence.seal();
        await server.append([auditEvent(), auditEvent(), auditEvent()]);
        await server.project();
      },
    });
    const answer = await server.send('auditor', bundle());
    assert.equal(looks, 2);
    const report = await check(server, answer);
    assert.deepEqual([report.verdict, report.records], ['verified', 6n]);
    assert.equal(answer.headers['evident-newer-records'], '0');
    assert.equal(answer.headers['evident-head-size'], report.head?.size.toString());
  });

  it('says how many matching records it leaves out when no head covers them in time; its bytes are those of that head', async (test) => {
    const server = await openFilled(test, 3);
    const whole = await server.send('auditor', bundle());
    assert.equal(whole.headers['evident-newer-records'], '0');
    const size = String(whole.headers['evident-head-size']);
    await server.append([auditEvent(), auditEvent()]);
    await server.project();
    let looks = 0;
    Object.assign(server.evidence.deps, { sleep: async () => void looks++ });
    const named = await server.send('auditor', bundle(`&head=${size}`));
    assert.equal(looks, 0, 'a head that is named is not waited for');
    const waited = await server.send('auditor', bundle());
    assert.ok(looks > 10 && looks < 100, `${looks} looks`);
    for (const answer of [named, waited]) {
      assert.equal(answer.headers['evident-newer-records'], '2');
      assert.ok(answer.rawPayload.equals(whole.rawPayload));
    }
  });

  it('of a selection that nothing matches is refused unless an empty one is allowed', async (test) => {
    const server = await openFilled(test, 3);
    const refused = await server.send('auditor', bundle('&actor=nobody'));
    assert.deepEqual([refused.statusCode, refused.json().code], [404, 'not-found']);
    assert.match(refused.json().detail, /^0 records match/);
    assert.equal(server.reads.notes.at(-1)?.result, 'failure');
    const never = await server.send('auditor', bundle('&actor=nobody&allow_empty=false'));
    assert.equal(never.statusCode, 404);
    const report = await check(
      server,
      await server.send('auditor', bundle('&actor=nobody&allow_empty=true')),
    );
    assert.deepEqual([report.verdict, report.records], ['verified', 0n]);
    await server.append([auditEvent({}, { actor: { id: 'usr_new', type: 'user' } })]);
    await server.project();
    const early = await server.send('auditor', bundle('&actor=usr_new'));
    assert.deepEqual([early.statusCode, early.json().code], [409, 'not-anchored']);
    assert.match(early.json().detail, /not covered: 1$/);
    const plain = await server.send('auditor', { url: '/v1/export?format=csv&allow_empty=true' });
    assert.deepEqual([plain.statusCode, plain.json().field], [400, 'allow_empty']);
  });

  it('waits for a view that has not read as far as the head, a bounded time', async (test) => {
    const server = await openFilled(test, 3);
    await server.append([auditEvent()]);
    await server.evidence.seal();
    const answer = await server.send('auditor', bundle());
    assert.deepEqual([answer.statusCode, answer.json().code], [503, 'view-behind']);
    await server.project();
    assert.equal((await server.send('auditor', bundle())).statusCode, 200);
  });

  it('of a log without a signed head is not anchored yet', async (test) => {
    const server = await openTestServer(test);
    await server.append([auditEvent()]);
    await server.project();
    const answer = await server.send('auditor', bundle());
    assert.deepEqual([answer.statusCode, answer.json().code], [409, 'not-anchored']);
  });

  it('ends with an outcome when the client goes away in the middle, and gives its place back', async (test) => {
    const server = await openFilled(test, 6_000);
    const { port } = await server.listen();
    const client = new RawClient(port);
    await client.send(
      `GET /v1/export?format=bundle HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys.auditor}\r\n\r\n`,
    );
    await client.until(/application\/zip/);
    client.socket.pause();
    assert.equal((await server.send('auditor', bundle())).json().code, 'overloaded');
    client.abort();
    await eventually(() => server.reads.notes.some(({ action }) => action === 'audit.export.end'));
    const end = server.reads.notes.at(-1)!;
    assert.deepEqual([end.result, end.error], ['failure', 'the reader has gone']);
    assert.equal((await server.send('auditor', bundle('&actor=usr_2'))).statusCode, 200);
  });

  it('that can’t be finished breaks its connection, and does not end it', async (test) => {
    const server = await openFilled(test, 20);
    const { port } = await server.listen();
    // Heads and leaves are there, the tiles of the proofs are not.
    server.evidence.tiles.clear();
    const client = new RawClient(port);
    test.after(() => client.abort());
    await client.send(
      `GET /v1/export?format=bundle HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys.auditor}\r\n\r\n`,
    );
    assert.doesNotMatch(await client.untilClosed(), /\r\n0\r\n\r\n$/);
    await eventually(() => server.reads.notes.some(({ action }) => action === 'audit.export.end'));
    assert.equal(server.reads.notes.at(-1)?.result, 'failure');
  });
});
