import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { MemoryLog, makeMemoryLogState } from '../stores/memory/log.ts';
import { findOpenIntents } from './open-intents.ts';

const END_OF_TIME = 2n ** 62n;

function record(id: string, type: string, body: object, actor = 'usr_1', tenant = 'acme'): ProposedRecord {
  return {
    id,
    tenant,
    source: 'test',
    sourceSeq: null,
    type,
    schema: type === 'audit.event' ? 1 : 0,
    key: `${tenant}/${actor}`,
    meta: null,
    body: { form: 'json', bytes: encodeUtf8(JSON.stringify(body)) },
  };
}

function intent(id: string, actor = 'usr_1', tenant = 'acme'): ProposedRecord {
  const body = {
    action: 'transfer.create',
    actor: { id: actor },
    resource: { type: 'transfer', id: 't1' },
    intent: true,
  };
  return record(id, 'audit.intent', body, actor, tenant);
}

it('reports an intent without outcome, and none that has one, whatever the outcome was', async () => {
  const log = new MemoryLog(makeMemoryLogState('audit', 4, 0n), () => 1_000_000n);
  const [done, failed, open] = [randomUUID(), randomUUID(), randomUUID()];
  await log.append([intent(done), intent(failed, 'usr_2'), intent(open, 'usr_3')]);
  await log.append([
    record(randomUUID(), 'audit.event', { result: 'success', intent_id: done }),
    record(randomUUID(), 'audit.event', { result: 'failure', intent_id: failed.toUpperCase() }, 'usr_2'),
    record(randomUUID(), 'audit.event', { result: 'success' }, 'usr_3'),
  ]);
  const found = await findOpenIntents(log, END_OF_TIME);
  assert.deepEqual(
    found.map(({ id, action, actor, resource }) => ({ id, action, actor, resource })),
    [{ id: open, action: 'transfer.create', actor: 'usr_3', resource: 'transfer t1' }],
  );
});

it('does not take the outcome of another tenant for one', async () => {
  const log = new MemoryLog(makeMemoryLogState('audit', 1, 0n), () => 1_000_000n);
  const id = randomUUID();
  await log.append([intent(id), record(randomUUID(), 'audit.event', { intent_id: id }, 'usr_1', 'globex')]);
  assert.equal((await findOpenIntents(log, END_OF_TIME)).length, 1);
});

it('leaves out intents that are younger than asked', async () => {
  let now = 1_000_000n;
  const log = new MemoryLog(makeMemoryLogState('audit', 1, 0n), () => now);
  const old = randomUUID();
  await log.append([intent(old)]);
  now = 5_000_000n;
  await log.append([intent(randomUUID())]);
  assert.deepEqual(
    (await findOpenIntents(log, 5_000_000n)).map(({ id }) => id),
    [old],
  );
});

it('reads on over many pages', async () => {
  const log = new MemoryLog(makeMemoryLogState('audit', 1, 0n), () => 1_000_000n);
  const ids = Array.from({ length: 5_000 }, () => randomUUID());
  await log.append(ids.map((id) => intent(id)));
  await log.append(ids.slice(1).map((id) => record(randomUUID(), 'audit.event', { intent_id: id })));
  assert.deepEqual(
    (await findOpenIntents(log, END_OF_TIME)).map(({ id }) => id),
    [ids[0]],
  );
});
