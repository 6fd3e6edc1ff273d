import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import { auditEvent, envelope, openTestServer } from './http-fixture.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const RECORDS = { method: 'POST', url: '/v1/logs/audit/records' } as const;

describe('POST /v1/logs/{log}/records', () => {
  it('answers 201 with the place of each record, for a bare array, an object and NDJSON', async (test) => {
    const server = await openTestServer(test);
    const items = [auditEvent(), envelope({ key: 'acme/usr_2' })];
    const array = await server.append(items);
    assert.equal(array.statusCode, 201, array.body);
    const answer = array.json();
    assert.deepEqual(
      { log: answer.log, appended: answer.appended, repeats: answer.repeats, refused: answer.refused },
      { log: 'audit', appended: 2, repeats: 0, refused: 0 },
    );
    assert.deepEqual(
      answer.results.map(({ id }: { id: string }) => id),
      items.map(({ id }) => id),
    );
    assert.equal(answer.results[0].appended_at, '2027-01-15T08:00:00.000000Z');
    const object = await server.send('writer:acme', {
      ...RECORDS,
      headers: JSON_TYPE,
      payload: JSON.stringify({ records: [envelope()] }),
    });
    assert.equal(object.statusCode, 201);
    const lines = `${JSON.stringify(envelope())}\r\n\n${JSON.stringify(envelope())}`;
    const ndjson = await server.send('writer:acme', {
      ...RECORDS,
      headers: { 'content-type': 'Application/X-NDJSON; charset=utf-8' },
      payload: lines,
    });
    assert.equal(ndjson.statusCode, 201, ndjson.body);
    assert.equal(ndjson.json().appended, 2);
  });

  it('keeps the bytes of a body, and the key id as source', async (test) => {
    const server = await openTestServer(test);
    const body = '{ "b" : 1.50, "a":"\\u00e9\u{1f511}", "b":2 }';
    const text = `[{"id":"${randomUUID()}","type":"note","key":"acme/1","schema":0,"body":${body}}]`;
    const response = await server.send('writer:acme', { ...RECORDS, headers: JSON_TYPE, payload: text });
    assert.equal(response.statusCode, 201, response.body);
    const { partition, position } = response.json().results[0];
    const record = server.states.get('audit')!.partitions[partition].records[Number(position)]!;
    assert.equal(Buffer.from((record.body as { bytes: Uint8Array }).bytes).toString(), body);
    assert.equal(record.source, server.keys['writer:acme'].split('_')[1]);
    assert.equal(record.tenant, 'acme');
  });

  it('answers a batch sent again with 200 and the places of the first time, and appends nothing', async (test) => {
    const server = await openTestServer(test);
    const items = [envelope(), envelope()];
    const first = await server.append(items);
    const content = server.content();
    const second = await server.append(items);
    assert.equal(second.statusCode, 200);
    assert.equal(second.json().repeats, 2);
    assert.deepEqual(
      second.json().results.map((one: { position: string }) => one.position),
      first.json().results.map((one: { position: string }) => one.position),
    );
    assert.equal(server.content(), content);
    const mixed = await server.append([...items, envelope()]);
    assert.equal(mixed.statusCode, 201);
    assert.deepEqual([mixed.json().appended, mixed.json().repeats], [1, 2]);
  });

  it('refuses an id with another body as 409 id-reused, and takes the others of the batch with 207', async (test) => {
    const server = await openTestServer(test);
    const item = envelope();
    await server.append([item]);
    const alone = await server.append([{ ...item, body: { n: 2 } }]);
    assert.equal(alone.statusCode, 409);
    assert.equal(alone.json().results[0].problem.code, 'id-reused');
    const mixed = await server.append([
      envelope(),
      { ...item, body: { n: 2 } },
      envelope({ type: 'log.hour' }),
    ]);
    assert.equal(mixed.statusCode, 207);
    const { results, appended, refused } = mixed.json();
    assert.deepEqual([appended, refused], [1, 2]);
    assert.deepEqual([results[1].index, results[1].id, results[1].problem.status], [1, item.id, 409]);
    assert.deepEqual(
      [results[2].index, results[2].problem.code, results[2].problem.field],
      [2, 'field-reserved', 'type'],
    );
  });

  it('answers 422 when all items are refused, for several reasons', async (test) => {
    const server = await openTestServer(test);
    const response = await server.append([envelope({ type: 'head' }), envelope({ id: 'x' })]);
    assert.equal(response.statusCode, 422);
    assert.equal(response.json().refused, 2);
  });

  it('takes a body of 16 MiB, and puts it into the object store', async (test) => {
    const server = await openTestServer(test);
    const response = await server.append([envelope({ body: 'x'.repeat(16 * 1024 * 1024 - 2) })]);
    assert.equal(response.statusCode, 201, response.body);
    assert.equal(server.objects.size, 1);
  });

  it('takes an admin that names a tenant, and refuses one that names none', async (test) => {
    const server = await openTestServer(test);
    const send = (as: string, query: string) =>
      server.send(as, {
        method: 'POST',
        url: `/v1/logs/audit/records${query}`,
        headers: JSON_TYPE,
        payload: JSON.stringify([envelope()]),
      });
    assert.equal((await send('admin', '?tenant=acme')).statusCode, 201);
    assert.equal((await send('admin:acme', '')).statusCode, 201);
    assert.equal((await send('writer:acme', '?tenant=acme')).statusCode, 201);
    const content = server.content();
    for (const [as, query, status, code] of [
      ['admin', '', 400, 'field-invalid'],
      ['admin', '?tenant=_system', 403, 'field-reserved'],
      ['admin', '?tenant=..%2Fetc', 400, 'field-invalid'],
      ['admin', '?tenant=acme&tenant=other', 400, 'field-invalid'],
      ['admin:acme', '?tenant=other', 403, 'tenant-forbidden'],
      ['writer:acme', '?tenant=other', 403, 'tenant-forbidden'],
    ] as const) {
      const response = await send(as, query);
      assert.deepEqual(
        [response.statusCode, response.json().code, response.json().field],
        [status, code, 'tenant'],
        `${as} ${query}`,
      );
    }
    assert.equal(server.content(), content);
  });

  it('answers faults of the log as problems that say whether to try again, without what the driver said', async (test) => {
    let code: 'log-unavailable' | 'outcome-unknown' | 'partition-stopped' | 'disk-full' | null = null;
    const before = () => {
      if (code !== null) throw new EvidentError(code, 'connect ECONNREFUSED 10.1.2.3:5432');
    };
    const server = await openTestServer(test, { hooks: { before } });
    for (const [fault, status, retryAfter] of [
      ['log-unavailable', 503, '1'],
      ['outcome-unknown', 503, '1'],
      ['partition-stopped', 503, undefined],
      ['disk-full', 507, undefined],
    ] as const) {
      code = fault;
      const response = await server.append([envelope()]);
      assert.deepEqual(
        [response.statusCode, response.json().code, response.headers['retry-after']],
        [status, fault, retryAfter],
      );
      if (fault !== 'partition-stopped') assert.doesNotMatch(response.body, /ECONNREFUSED|10\.1/);
      assert.equal(server.logged.at(-1)?.fields.code, fault);
    }
  });

  it('answers an unexpected exception as 500 internal without its message or stack, and logs it', async (test) => {
    const before = () => {
      throw new TypeError('secret thing at /srv/evident');
    };
    const server = await openTestServer(test, { hooks: { before } });
    const response = await server.append([envelope()]);
    assert.equal(response.statusCode, 500);
    assert.equal(response.json().code, 'internal');
    assert.doesNotMatch(response.body, /secret|srv|TypeError|\bat \w+ \(/);
    assert.match(String(server.logged.at(-1)?.fields.err), /secret thing/);
    assert.equal(server.logged.at(-1)?.fields.requestId, response.headers['x-request-id']);
  });
});
