import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { parseTreeHead } from '@evident/core/checkpoint.ts';
import { listTiles, parseEntryBundle, partialWidth, tilePath } from '@evident/core/merkle/tile.ts';
import { CompactRange, rootOf } from '@evident/core/merkle/tree.ts';
import { parseNote } from '@evident/core/note.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { auditEvent, openTestServer, type TestServer } from './http-fixture.ts';

async function openSealed(test: TestContext, events = 1_000): Promise<TestServer> {
  const server = await openTestServer(test);
  for (let done = 0; done < events; done += 500)
    await server.append(
      Array.from({ length: Math.min(500, events - done) }, () => auditEvent({ key: 'acme/same' })),
    );
  await server.evidence.seal();
  return server;
}

/** The partition into which all records of a test go, and its newest head. */
async function treeOf(server: TestServer) {
  const partition = server.states.get('audit')!.partitions.findIndex(({ next }) => next > 100n);
  const base = `/tlog/audit/${partition}`;
  const answer = await server.send('writer:acme', { url: `${base}/checkpoint` });
  assert.equal(answer.statusCode, 200, answer.body);
  const note = parseNote(answer.rawPayload);
  assert.ok(note.ok);
  const head = parseTreeHead(note.value.text);
  assert.ok(head.ok);
  return { partition, base, answer, head: head.value };
}

describe('/tlog/{log}/{partition}', () => {
  it('serves checkpoint and tiles to any key, with the media types and cache headers of the specification', async (test) => {
    const server = await openSealed(test);
    const { base, answer, head } = await treeOf(server);
    assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
    assert.equal(answer.headers['cache-control'], 'no-cache');
    const leaves = new CompactRange();
    for (const tile of listTiles(0n, head.size)) {
      const url = `${base}/${tilePath(tile)}`;
      const got = await server.send('investigator:acme', { url });
      assert.equal(got.statusCode, 200, url);
      assert.equal(got.headers['content-type'], 'application/octet-stream');
      assert.equal(got.headers['cache-control'], 'private, max-age=31536000, immutable');
      assert.equal(got.rawPayload.length, tile.width * 32);
      if (tile.level === 0) leaves.appendMany(new Uint8Array(got.rawPayload));
      const asked = await server.send('investigator:acme', { method: 'HEAD', url });
      assert.deepEqual([asked.statusCode, asked.rawPayload.length], [200, 0]);
      assert.equal(asked.headers['content-length'], String(tile.width * 32));
    }
    assert.deepEqual(leaves.root(), head.root);
    assert.deepEqual(server.reads.notes, [], 'hashes and heads are shown to every reader');
  });

  it('serves partial tiles of older heads, and none beyond the newest', async (test) => {
    const server = await openSealed(test);
    const { base, head } = await treeOf(server);
    const width = partialWidth(0, head.size);
    const last = String(head.size / 256n).padStart(3, '0');
    const get = async (path: string) => server.send('auditor', { url: `${base}/tile/${path}` });
    const full = (await get('0/000')).rawPayload;
    for (const older of [1, 17, 255])
      assert.deepEqual((await get(`0/000.p/${older}`)).rawPayload, full.subarray(0, older * 32));
    assert.equal((await get(`0/${last}.p/${width}`)).statusCode, 200);
    for (const path of [
      `0/${last}.p/${width + 1}`,
      `0/${last}`,
      '0/x001/000',
      '1/000',
      '9/000.p/1',
      '0/0',
      '0/000.p/0',
      '0/000.p/256',
      '0/000.p/01',
      '0/x000/000',
      '0/000/',
      '0/..%2f000',
    ]) {
      const none = await get(path);
      assert.deepEqual([none.statusCode, none.json().code], [404, 'not-found'], path);
      assert.equal(none.headers['cache-control'], 'no-store', 'what is not there may come');
    }
    for (const path of ['64/000x', '00/000', '-1/000']) assert.ok((await get(path)).statusCode >= 400, path);
    const other = await server.send('auditor', { url: '/tlog/audit.r1/0/checkpoint' });
    assert.deepEqual([other.statusCode, other.json().code], [404, 'not-found']);
    const unknown = await server.send('auditor', { url: '/tlog/nothing/0/checkpoint' });
    assert.deepEqual([unknown.statusCode, unknown.json().code], [404, 'log-unknown']);
  });

  it('gives entries to auditors without a tenant alone, on record, never to a cache, compressed where it is asked for', async (test) => {
    const server = await openSealed(test);
    const { base, partition, head } = await treeOf(server);
    const url = `${base}/tile/entries/000`;
    const answer = await server.send('auditor', { url });
    assert.equal(answer.statusCode, 200);
    assert.equal(answer.headers['cache-control'], 'private, no-store');
    assert.equal(answer.headers['content-type'], 'application/octet-stream');
    const entries = parseEntryBundle(answer.rawPayload, 256);
    assert.ok(entries !== null);
    const tile = await server.send('auditor', { url: `${base}/tile/0/000` });
    assert.deepEqual(Buffer.concat(entries.map(hashLeaf)), tile.rawPayload);
    assert.equal(rootOf(entries.map(hashLeaf)).length, 32);
    assert.deepEqual(
      server.reads.notes.map(({ action, resource, details }) => [
        action,
        resource.id,
        details.partition,
        details.records,
      ]),
      [['audit.read', 'audit', partition, 256]],
    );
    const packed = await server.send('auditor', { url, headers: { 'accept-encoding': 'br, gzip' } });
    assert.equal(packed.headers['content-encoding'], 'gzip');
    assert.deepEqual(gunzipSync(packed.rawPayload), answer.rawPayload);
    const refusing = await server.send('auditor', { url, headers: { 'accept-encoding': 'gzip;q=0' } });
    assert.equal(refusing.headers['content-encoding'], undefined);
    for (const who of ['auditor:acme', 'admin:acme', 'writer:acme', 'investigator']) {
      const refused = await server.send(who, { url });
      assert.deepEqual([refused.statusCode, refused.json().code], [403, 'forbidden'], who);
    }
    server.reads.isRefusing = true;
    assert.equal((await server.send('auditor', { url })).json().code, 'read-unrecorded');
    const heads = await server.send('auditor', { url: '/tlog/heads/0/tile/entries/000.p/1' });
    assert.equal(heads.statusCode, 200, 'what is public needs no record');
    const beyond = await server.send('auditor', { url: `${base}/tile/entries/${head.size}` });
    assert.equal(beyond.statusCode, 404);
  });

  it('gives no entry that is not the one that was sealed', async (test) => {
    const server = await openSealed(test, 300);
    const { base, partition } = await treeOf(server);
    const { records } = server.states.get('audit')!.partitions[partition];
    const kept = records[5]!;
    const get = async () => (await server.send('auditor', { url: `${base}/tile/entries/000` })).json();
    records[5] = { ...kept, tenant: 'acne' };
    assert.equal((await get()).code, 'evidence-broken');
    records[5] = null;
    assert.equal((await get()).code, 'evidence-broken');
    records[5] = kept;
    assert.equal((await server.send('auditor', { url: `${base}/tile/entries/000` })).statusCode, 200);
  });
});
