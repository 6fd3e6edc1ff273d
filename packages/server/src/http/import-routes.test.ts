import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import { MappingError } from '@evident/core/mapping/row.ts';
import { openTestServer, type TestServerOptions } from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

const URL = '/v1/imports/ndjson';
const TYPE = { 'content-type': 'application/octet-stream' };
const lines = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `{"n":${from + i}}\n`).join('');

async function open(test: TestContext, options: TestServerOptions = {}) {
  const server = await openTestServer(test, options);
  const size = () => server.states.get('audit')!.partitions.reduce((sum, { next }) => sum + Number(next), 0);
  const send = (payload: string | Buffer, query = '', as = 'writer:acme') =>
    server.send(as, { method: 'POST', url: `${URL}${query}`, headers: TYPE, payload });
  const begin = async () => {
    const client = new RawClient((await server.listen()).port);
    test.after(() => client.abort());
    const head = `POST ${URL} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys['writer:acme']}\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n`;
    await client.send(head);
    const chunk = (text: string) => client.send(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
    return { client, chunk };
  };
  return { ...server, size, upload: send, begin };
}

describe('POST /v1/imports/{format}', { timeout: 120_000 }, () => {
  it('takes a file, packed or not, and counts what it finds again as repeated', async (test) => {
    const { upload, size, states } = await open(test);
    const file = `${lines(0, 2_500)}not json\n`;
    const first = await upload(file, '?file=..%2F..%2Fetc%2Fevents.ndjson');
    assert.equal(first.statusCode, 200, first.body);
    const { run, counts, refused } = first.json();
    assert.deepEqual(
      [counts, refused],
      [{ taken: 2_501, repeated: 0, reused: 0, unparsed: 1, refused: 0 }, []],
    );
    const record = states.get('audit')!.partitions[0].records[0]!;
    assert.equal(record.source, `import:${run}`);
    assert.equal(JSON.parse(record.meta!).file, 'events.ndjson');
    const again = await upload(gzipSync(file));
    assert.deepEqual([again.json().counts.taken, again.json().counts.repeated], [0, 2_501]);
    assert.equal(size(), 2_501);
  });

  it('takes files of the other formats, whose records can be mapped as they stand in the log', async (test) => {
    const { send, states } = await open(test);
    const event = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get"}';
    const audit = '{ "resourceType": "AuditEvent", "action": "R" }';
    const files: [string, string, number][] = [
      ['k8s', `${event}\n{"kind":"Pod"}\n`, 1],
      [
        'fhir',
        `{"resourceType":"Bundle","entry":[{"resource":${audit}},{"resource":{"resourceType":"Patient"}}]}`,
        1,
      ],
      ['csv', 'time,door\n2026-11-20T10:00:00Z,"north\nside"\n"2026\n', 1],
    ];
    for (const [format, payload, unparsed] of files) {
      const request = { method: 'POST', url: `/v1/imports/${format}`, headers: TYPE, payload } as const;
      const first = await send('writer:acme', request);
      assert.equal(first.statusCode, 200, first.body);
      const records = payload.startsWith('time') ? 3 : 2;
      assert.deepEqual(first.json().counts, { taken: records, repeated: 0, reused: 0, unparsed, refused: 0 });
      assert.equal((await send('writer:acme', request)).json().counts.repeated, records);
    }
    const registry = makeRegistry();
    const found: Record<string, number> = {};
    for (const { records } of states.get('audit')!.partitions)
      for (const record of records) {
        if (record === null || record.body.form === 'object' || record.source === 'evident') continue;
        const { bytes } = record.body;
        try {
          const row = registry.rowOf(record, bytes);
          const what = row === null ? 'none' : `${row.action ?? row.eventTime}`;
          found[`${record.type} ${what}`] = (found[`${record.type} ${what}`] ?? 0) + 1;
        } catch (error) {
          assert.ok(error instanceof MappingError);
          found[`${record.type} refused`] = (found[`${record.type} refused`] ?? 0) + 1;
        }
      }
    assert.deepEqual(found, {
      'k8s get': 1,
      'k8s refused': 1,
      'fhir R': 1,
      'fhir refused': 1,
      'csv none': 1,
      'csv 1795168800000000': 1,
      'csv refused': 1,
    });
  });

  it('keeps what was appended before the client went away; the whole file sent again takes the rest', async (test) => {
    const { upload, begin, size } = await open(test);
    const { client, chunk } = await begin();
    await chunk(lines(0, 1_500));
    await eventually(() => size() >= 1_000);
    client.abort();
    await eventually(() => size() === 1_500);
    const { counts } = (await upload(lines(0, 3_000))).json();
    assert.deepEqual([counts.taken, counts.repeated], [1_500, 1_500]);
  });

  it('answers a problem when the file breaks off in the middle, and says what stays', async (test) => {
    const { upload, size } = await open(test);
    const packed = gzipSync(lines(0, 30_000));
    const response = await upload(packed.subarray(0, packed.length - 20));
    assert.deepEqual(
      [response.statusCode, response.json().code, response.json().field],
      [400, 'field-invalid', 'file'],
    );
    assert.match(response.json().detail, new RegExp(`${size()} records were taken`));
    assert.ok(size() > 20_000);
  });

  it('reads no faster than the log takes: a stalled log stalls the client, not the memory', async (test) => {
    const gate = Promise.withResolvers<void>();
    const before = async (operation: string) => {
      if (operation === 'appendOnce') await gate.promise;
    };
    const { begin, app } = await open(test, { hooks: { before } });
    const { client } = await begin();
    const text = `"${'x'.repeat(65_000)}"\n`.repeat(15);
    const piece = `${text.length.toString(16)}\r\n${text}\r\n`;
    let sent = 0;
    while (client.socket.writableLength < 4_000_000 && sent < 200) {
      client.socket.write(piece);
      sent++;
      await new Promise((done) => setTimeout(done, 5));
    }
    assert.ok(sent < 200, 'the socket took it all');
    client.abort();
    gate.resolve();
    await app.close();
  });

  it('runs no more at once than its bound', async (test) => {
    const { upload, begin, size } = await open(test, { limits: { importsMax: 1 } });
    const { client, chunk } = await begin();
    await chunk(lines(0, 1_500));
    await eventually(() => size() >= 1_000);
    const response = await upload('{}\n');
    assert.deepEqual([response.statusCode, response.headers['retry-after']], [503, '1']);
    await client.send('0\r\n\r\n');
    assert.match(await client.until(/"refused":\[\]\}/), /^HTTP\/1\.1 200 /);
    assert.equal((await upload('{}\n')).statusCode, 200);
  });

  it('breaks off when the server stops: what was appended stays, and the client is told', async (test) => {
    const { begin, size, app } = await open(test);
    const { client, chunk } = await begin();
    await chunk(lines(0, 1_500));
    await eventually(() => size() >= 1_000);
    const closed = app.close();
    const answer = await client.untilClosed();
    assert.match(answer, /^HTTP\/1\.1 503 /);
    assert.match(answer, /"code":"shutting-down"/);
    assert.match(answer, /1500 records were taken/);
    await closed;
  });

  it('answers a refusal and closes, without reading an endless body', async (test) => {
    const { listen } = await open(test);
    const client = new RawClient((await listen()).port);
    await client.send(
      `POST ${URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n`,
    );
    const answer = await client.untilClosed();
    assert.match(answer, /^HTTP\/1\.1 401 /);
    assert.match(answer, /connection: close/i);
  });
});
