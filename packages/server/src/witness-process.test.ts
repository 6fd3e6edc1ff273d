/** The witness as it is started: over HTTP, with its folder. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import {
  type CosignatureAlgorithm,
  parseCosignerVkey,
  verifyCosignature,
} from '@evident/core/cosignature.ts';
import { type ErrorCode, isEvidentError } from '@evident/core/errors.ts';
import { parseNote } from '@evident/core/note.ts';
import { ADD_CHECKPOINT_BYTES_MAX, parseCosignatureLines } from '@evident/core/tlog-witness.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import fc from 'fast-check';
import type { StartedWitness, WitnessInput } from './cli/command-deps.ts';
import type { WitnessEvent } from './witness/serve.ts';
import { historyOf, ScriptedLog } from './witness/witness-fixture.ts';
import { startWitness } from './witness-process.ts';

const LOG = new ScriptedLog('log.example/heads/0', 1);
const base = mkdtempSync(join(tmpdir(), 'evident-witness-'));
after(() => rmSync(base, { recursive: true, force: true }));
let folders = 0;

function inputOf(more: Partial<WitnessInput> = {}): WitnessInput {
  return {
    stateDir: join(base, String(++folders)),
    listen: { host: '127.0.0.1', port: 0 },
    name: 'witness.example/w',
    logs: [LOG.vkey],
    algorithm: 'ed25519',
    clock: () => 1_795_000_000_000_000n,
    onEvent: () => undefined,
    ...more,
  };
}

async function start(t: Pick<TestContext, 'after'>, input = inputOf()): Promise<StartedWitness> {
  const witness = await startWitness(input);
  t.after(() => witness.stop());
  return witness;
}

function post({ url }: StartedWitness, body: Uint8Array): Promise<Response> {
  return fetch(`${url}add-checkpoint`, { method: 'POST', body: body as BodyInit });
}

async function assertCosigned(witness: StartedWitness, response: Response, head: Uint8Array): Promise<void> {
  assert.equal(response.status, 200);
  const key = parseCosignerVkey(witness.vkey);
  const note = parseNote(head);
  assert.ok(key.ok && note.ok);
  const lines = parseCosignatureLines(note.value.text, await response.bytes());
  assert.ok(lines.ok && lines.value.length === 1);
  const [{ signature }] = lines.value;
  assert.ok((await verifyCosignature(key.value, note.value.text, signature, webCryptoSignatures)).ok);
}

async function failsWith(code: ErrorCode, input: WitnessInput): Promise<void> {
  await assert.rejects(startWitness(input), (error) => isEvidentError(error) && error.code === code);
}

for (const algorithm of ['ed25519', 'ml-dsa-44'] as CosignatureAlgorithm[])
  describe(`a witness with a key of ${algorithm}`, () => {
    it('cosigns over HTTP, and goes on after a restart with the same key and memory', async (t) => {
      const input = inputOf({ algorithm });
      const first = await startWitness(input);
      await assertCosigned(first, await post(first, await LOG.request(0, 5)), LOG.head(5));
      await first.stop();
      const second = await start(t, input);
      assert.equal(second.vkey, first.vkey);
      const known = await post(second, await LOG.request(0, 9));
      assert.equal(known.status, 409);
      assert.equal(known.headers.get('content-type'), 'text/x.tlog.size');
      assert.equal(await known.text(), '5\n');
      await assertCosigned(second, await post(second, await LOG.request(5, 9)), LOG.head(9));
      assert.equal(readFileSync(join(input.stateDir, 'witness.vkey'), 'utf8'), `${first.vkey}\n`);
      for (const secret of ['key', 'last', 'owner.key'])
        assert.equal(statSync(join(input.stateDir, secret)).mode & 0o777, 0o600, secret);
    });
  });

describe('a witness', () => {
  it('answers with the statuses of the specification, and words for people', async (t) => {
    const witness = await start(t);
    await post(witness, await LOG.request(0, 5));
    const refusals: [number, Uint8Array][] = [
      [400, Buffer.from('not a request')],
      [403, await new ScriptedLog(LOG.origin, 2).request(5, 9)],
      [404, await new ScriptedLog('other.example/heads/0', 1).request(0, 5)],
      [409, await LOG.request(5, 5, historyOf('evil'))],
      [413, Buffer.alloc(ADD_CHECKPOINT_BYTES_MAX + 1, 'x')],
      [422, await LOG.request(5, 9, historyOf('evil', 2))],
    ];
    for (const [status, body] of refusals) {
      const response = await post(witness, body);
      assert.equal(response.status, status);
      assert.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
      assert.match(await response.text(), /^.{10,300}\n$/);
    }
    assert.equal((await fetch(`${witness.url}add-checkpoint`)).status, 405);
    assert.equal((await fetch(`${witness.url}heads`, { method: 'POST' })).status, 405);
    assert.equal((await fetch(witness.url)).status, 404);
  });

  it('shows its owner, and nobody else, the last head of each log', async (t) => {
    const witness = await start(t);
    await post(witness, await LOG.request(0, 5));
    const ownerKey = readFileSync(witness.ownerKeyFile, 'utf8').trim();
    for (const authorization of ['', 'Bearer', `Bearer ${ownerKey}x`, `Basic ${ownerKey}`])
      assert.equal((await fetch(`${witness.url}heads`, { headers: { authorization } })).status, 401);
    const response = await fetch(`${witness.url}heads`, { headers: { authorization: `Bearer ${ownerKey}` } });
    const { heads } = (await response.json()) as { heads: Record<string, string>[] };
    assert.equal(heads.length, 1);
    assert.equal(heads[0].size, '5');
    assert.equal(heads[0].note, Buffer.from(LOG.head(5)).toString());
  });

  it('gives out both notes of a fork', async (t) => {
    const events: WitnessEvent[] = [];
    const witness = await start(t, inputOf({ onEvent: (event) => events.push(event) }));
    await post(witness, await LOG.request(0, 5));
    await post(witness, await LOG.request(5, 5, historyOf('evil')));
    const notes = [LOG.head(5), LOG.head(5, historyOf('evil'))];
    assert.deepEqual(events, [
      { what: 'fork', origin: LOG.origin, notes: notes.map((note) => Buffer.from(note).toString('base64')) },
    ]);
  });

  it('takes either key of a log whose key is being rotated', async (t) => {
    const next = new ScriptedLog(LOG.origin, 7);
    const witness = await start(t, inputOf({ logs: [LOG.vkey, next.vkey] }));
    assert.equal((await post(witness, await LOG.request(0, 5))).status, 200);
    assert.equal((await post(witness, await next.request(5, 9))).status, 200);
  });

  it('answers many at once, and cosigns one of those that contradict each other', async (t) => {
    const witness = await start(t);
    const requests = await Promise.all(
      Array.from({ length: 40 }, (_, index) => LOG.request(0, 5, historyOf(`history ${index}`))),
    );
    const statuses = await Promise.all(
      requests.map(async (request) => (await post(witness, request)).status),
    );
    assert.equal(statuses.filter((status) => status === 200).length, 1);
    assert.equal(statuses.filter((status) => status === 409).length, 39);
  });

  it('cosigns nothing but what the log has signed, whatever bytes arrive', async (t) => {
    const witness = await start(t);
    const [text, head] = [await LOG.request(0, 5), LOG.head(5)].map((bytes) => Buffer.from(bytes));
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc
        .tuple(fc.nat(text.length - 1), fc.nat(3), fc.uint8Array({ maxLength: 4 }))
        .map(([at, cut, put]) => Buffer.concat([text.subarray(0, at), put, text.subarray(at + cut)])),
      fc
        .tuple(fc.nat(20), fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 70 }))
        .map(([old, hashes]) => {
          const proof = hashes.map((hash) => `${Buffer.from(hash).toString('base64')}\n`).join('');
          return Buffer.concat([Buffer.from(`old ${old}\n${proof}\n`), head]);
        }),
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (body) => {
        const response = await post(witness, body);
        await response.bytes();
        // A note may carry signatures of strangers, and an old size of 0 or 5 with the head is a good request.
        const isHead = Buffer.from(body).includes(head.subarray(0, head.length - 1));
        if (response.status === 200) assert.ok(isHead);
        else assert.ok([400, 403, 404, 409, 422].includes(response.status), String(response.status));
      }),
      { numRuns: 400 },
    );
  });

  it('outlives what is no HTTP, and whoever leaves in the middle', async (t) => {
    const witness = await start(t);
    const { port } = new URL(witness.url);
    for (const bytes of [
      'x'.repeat(20_000),
      'POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nold 0\n',
      'POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n',
    ]) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => undefined);
      await new Promise((resolve) => socket.write(bytes, resolve));
      socket.destroy();
    }
    assert.equal((await post(witness, await LOG.request(0, 5))).status, 200);
  });
});

describe('a witness is not started', () => {
  it('under another name, or as of another algorithm, than its key has', async () => {
    const input = inputOf();
    await (await startWitness(input)).stop();
    await failsWith('key-mismatch', { ...input, name: 'witness.example/other' });
    await failsWith('key-mismatch', { ...input, algorithm: 'ml-dsa-44' });
  });

  it('from a folder that another has open', async (t) => {
    const input = inputOf();
    await start(t, input);
    await failsWith('data-locked', input);
  });

  it('when its memory was cut, or is gone while its key has cosigned', async (t) => {
    const input = inputOf();
    const witness = await startWitness(input);
    await post(witness, await LOG.request(0, 5));
    await witness.stop();
    const path = join(input.stateDir, 'last');
    const whole = readFileSync(path, 'utf8');
    writeFileSync(path, whole.slice(0, -10));
    await failsWith('witness-refused', input);
    rmSync(path);
    await failsWith('witness-refused', input);
    writeFileSync(path, whole);
    assert.equal((await post(await start(t, input), await LOG.request(0, 5))).status, 409);
  });

  it('without a log, with a vkey that is none, or with a name that no key may have', async () => {
    await failsWith('usage-invalid', inputOf({ logs: [] }));
    await failsWith('usage-invalid', inputOf({ logs: [`${LOG.vkey}x`] }));
    await failsWith('usage-invalid', inputOf({ name: 'two words' }));
    const stateDir = join(base, 'no-key');
    mkdirSync(stateDir);
    writeFileSync(join(stateDir, 'key'), 'not a key');
    await failsWith('key-mismatch', inputOf({ stateDir }));
  });
});
