import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { encodeUtf8, fromBase64, fromHex } from '@evident/core/bytes.ts';
import { verifyConsistency } from '@evident/core/merkle/proof.ts';
import { parseVkey, verifierOf } from '@evident/core/note.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { verifyTlogProof } from '@evident/core/tlog-proof.ts';
import type { ProofJson } from '../evidence/proof-json.ts';
import { VERIFY_FUNCTIONS } from '../stores/folder/signing-keys.ts';
import { auditEvent, openTestServer, type TestServer } from './http-fixture.ts';

async function openFilled(test: TestContext, events = 20): Promise<{ server: TestServer; ids: string[] }> {
  const server = await openTestServer(test);
  const items = Array.from({ length: events }, () => auditEvent());
  await server.append(items);
  return { server, ids: items.map(({ id }) => String(id)) };
}

const proofOf = (id: string, query = '') => ({ url: `/v1/events/${id}/proof${query}` });

function accepts(vkey: string, proof: string, leaf: string, origin: string): boolean {
  const key = parseVkey(vkey);
  assert.ok(key.ok);
  const verifier = verifierOf(key.value, VERIFY_FUNCTIONS);
  return verifyTlogProof(encodeUtf8(proof), hashLeaf(encodeUtf8(leaf)), [verifier], origin).ok;
}

describe('GET /v1/events/{id}/proof', () => {
  it('gives a proof of the record and of its head, which verify, and is on record before it is sent', async (test) => {
    const { server, ids } = await openFilled(test);
    await server.evidence.seal();
    for (const who of ['investigator:acme', 'auditor', 'compliance:acme', 'admin']) {
      server.reads.notes.length = 0;
      const answer = await server.send(who, proofOf(ids[3], '?why=a+complaint'));
      assert.equal(answer.statusCode, 200, answer.body);
      const { leaf, leaf_hash, vkey, origin, proof, anchored } = answer.json() as ProofJson;
      assert.equal(JSON.parse(leaf).id, ids[3]);
      assert.deepEqual(fromHex(leaf_hash), hashLeaf(encodeUtf8(leaf)));
      assert.ok(accepts(vkey, proof, leaf, origin));
      assert.ok(!accepts(vkey, proof, leaf.replace('acme', 'acne'), origin), 'and of no other leaf');
      assert.ok(anchored !== null);
      assert.ok(accepts(anchored.vkey, anchored.proof, anchored.leaf, anchored.origin));
      assert.equal(JSON.parse(anchored.leaf).body.origin, origin);
      const [note] = server.reads.notes;
      assert.deepEqual(
        [note.action, note.resource, note.tenant, note.details.question, note.reader.why],
        ['audit.read', { type: 'event', id: ids[3] }, 'acme', 'proof', 'a complaint'],
      );
    }
  });

  it('says what it waits for: a head, then that the head is listed', async (test) => {
    const { server, ids } = await openFilled(test);
    const unsealed = await server.send('auditor', proofOf(ids[0]));
    assert.deepEqual([unsealed.statusCode, unsealed.json().code], [409, 'not-sealed']);
    await server.evidence.seal();
    await server.append([auditEvent()]);
    const first = (await server.send('auditor', proofOf(ids[0]))).json() as ProofJson;
    assert.ok(first.anchored !== null);
    // The heads log as it was before: nothing is listed.
    server.states.get('heads')?.partitions[0].records.fill(null);
    const answer = (await server.send('auditor', proofOf(ids[0]))).json() as ProofJson;
    assert.equal(answer.anchored, null);
    assert.ok(accepts(answer.vkey, answer.proof, answer.leaf, answer.origin));
  });

  it('of another tenant is as of none, and is refused where the read can’t be recorded or tiles are gone', async (test) => {
    const { server, ids } = await openFilled(test);
    await server.evidence.seal();
    const foreign = auditEvent({ key: 'other/1' }, { tenant: 'other' });
    await server.append([foreign], 'writer:other');
    await server.evidence.seal();
    for (const id of [foreign.id, randomUUID()]) {
      const none = await server.send('auditor:acme', proofOf(String(id)));
      assert.deepEqual([none.statusCode, none.json().code], [404, 'not-found']);
    }
    server.reads.isRefusing = true;
    assert.equal((await server.send('auditor:acme', proofOf(ids[0]))).json().code, 'read-unrecorded');
    server.reads.isRefusing = false;
    server.evidence.tiles.clear();
    const broken = await server.send('auditor:acme', proofOf(ids[0]));
    assert.deepEqual([broken.statusCode, broken.json().code], [500, 'evidence-broken']);
  });

  it('of a place says why there is no record, to whom sees all tenants', async (test) => {
    const { server } = await openFilled(test);
    await server.evidence.seal();
    const at = (position: string) => ({ url: `/v1/logs/audit/partitions/0/records/${position}/proof` });
    assert.equal((await server.send('auditor', at('0'))).statusCode, 200);
    assert.deepEqual((await server.send('auditor', at('900000'))).json().code, 'not-found');
    const state = server.states.get('audit')!.partitions[0];
    state.records[0] = null;
    assert.deepEqual((await server.send('auditor', at('0'))).json().code, 'evidence-broken');
    assert.deepEqual((await server.send('auditor:acme', at('0'))).json().code, 'not-found');
    state.first = 1n;
    const trimmed = await server.send('auditor', at('0'));
    assert.deepEqual([trimmed.statusCode, trimmed.json().code], [410, 'position-trimmed']);
  });
});

describe('GET /v1/logs/{log}/partitions/{partition}/consistency', () => {
  it('proves between any two sizes up to the newest head', async (test) => {
    const { server } = await openFilled(test, 300);
    await server.evidence.seal();
    const url = (query: string) => ({ url: `/v1/logs/audit/partitions/0/consistency?${query}` });
    const newest = (await server.send('writer:acme', url('from=1'))).json();
    const size = Number(newest.to.size);
    assert.ok(size > 50);
    for (const [from, to] of [
      [1, size],
      [7, 8],
      [33, size - 1],
      [size, size],
    ]) {
      const answer = (await server.send('writer:acme', url(`from=${from}&to=${to}`))).json();
      const hash = (text: string) => fromBase64(text) as Uint8Array;
      const claim = {
        size1: BigInt(from),
        size2: BigInt(to),
        root1: hash(answer.from.root),
        root2: hash(answer.to.root),
        proof: answer.proof.map(hash) as Uint8Array[],
      };
      assert.equal(verifyConsistency(claim), 'ok', `${from} ${to}`);
      if (from < to) assert.notEqual(verifyConsistency({ ...claim, root1: claim.root2 }), 'ok');
    }
    for (const [query, status, code, field] of [
      ['from=0', 400, 'field-invalid', 'from'],
      ['from=9&to=8', 400, 'field-invalid', 'to'],
      ['from=1&to=100000', 404, 'not-found', 'to'],
      ['to=8', 400, 'field-invalid', 'from'],
      ['from=1&epoch=1', 404, 'not-found', undefined],
    ] as const) {
      const refused = await server.send('writer:acme', url(query));
      assert.deepEqual(
        [refused.statusCode, refused.json().code, refused.json().field],
        [status, code, field],
        query,
      );
    }
  });
});
