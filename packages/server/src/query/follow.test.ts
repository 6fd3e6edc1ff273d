import assert from 'node:assert/strict';
import { hash, randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { EventFilter } from './filter.ts';
import { recordTest } from './follow.ts';

const body = encodeUtf8(
  JSON.stringify({
    event_id: '00000000-0000-4000-8000-000000000001',
    event_time: '2026-11-20T10:00:00Z',
    tenant: 'acme',
    actor: { id: 'usr_1', type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    criticality: 'normal',
    details: { note: 'Quartal' },
  }),
);

function record(over: Partial<LogRecord> = {}): LogRecord {
  return {
    log: 'audit',
    partition: 0,
    position: 0n,
    appendedAt: 1_790_000_000_000_000n,
    id: '00000000-0000-4000-8000-000000000001',
    tenant: 'acme',
    source: 'test',
    sourceSeq: null,
    type: 'audit.event',
    schema: 1,
    key: 'acme/usr_1',
    meta: null,
    body: { form: 'json', bytes: body },
    ...over,
  };
}

const stored = new Map<string, Uint8Array>();
const deps = {
  mappers: makeRegistry(),
  bodies: { get: async (_tenant: string, sha256: Uint8Array) => stored.get(sha256.toHex()) ?? null },
};
const matches = (filter: EventFilter, one: LogRecord) => recordTest(deps, filter)(one);

it('finds a record by what its mapper makes of it, and by its body', async () => {
  assert.equal(await matches({}, record()), true);
  assert.equal(await matches({ actor: 'usr_1', actionPrefix: 'document.' }, record()), true);
  assert.equal(await matches({ actor: 'usr_2' }, record()), false);
  assert.equal(await matches({ text: 'quartal' }, record()), true);
  assert.equal(await matches({ text: 'other' }, record()), false);
});

it('judges a record that no mapper takes by its envelope', async () => {
  const broken = record({ id: randomUUID(), body: { form: 'json', bytes: encodeUtf8('{"no":"event"}') } });
  assert.equal(await matches({ type: 'audit.event', tenant: 'acme' }, broken), true);
  assert.equal(await matches({ actor: 'usr_1' }, broken), false);
  assert.equal(await matches({ appendedFrom: 1_790_000_000_000_001n }, broken), false);
});

it('reads a body from the object store for its row, and does not search it for text', async () => {
  const sha256 = hash('sha256', body, 'buffer');
  const large = record({ body: { form: 'object', sha256, size: BigInt(body.length) } });
  assert.equal(await matches({ actor: 'usr_1' }, large), false, 'the body is missing');
  stored.set(sha256.toHex(), body);
  assert.equal(await matches({ actor: 'usr_1' }, large), true);
  assert.equal(await matches({ text: 'quartal' }, large), false);
});
