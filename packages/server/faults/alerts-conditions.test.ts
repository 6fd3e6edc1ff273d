/** A real server's own troubles are alerts while they last: an open dead letter, and the first rules of every installation. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { makeServer, until } from './server-process.ts';

interface ShownAlert {
  readonly name: string;
  readonly tenant: string;
  readonly subject: string | null;
  readonly closed_at: string | null;
}

it('raises an open dead letter until it is resolved, denied bursts, and clocks that drift', async (t) => {
  const server = makeServer(t);
  await server.start();
  const ask = async (method: string, path: string, body?: string, type = 'application/json') => {
    const answer = await fetch(`${server.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${server.adminKey}`,
        ...(body === undefined ? {} : { 'content-type': type }),
      },
      ...(body === undefined ? {} : { body }),
    });
    assert.ok(answer.ok, `${method} ${path}: ${await answer.clone().text()}`);
    return answer.status === 204 ? null : await answer.json();
  };
  const alerts = async (): Promise<ShownAlert[]> => (await ask('GET', '/v1/alerts')).alerts;
  const named = async (name: string) => (await alerts()).filter((alert) => alert.name === name);

  await ask(
    'POST',
    '/v1/imports/apache?tenant=acme',
    'this is no line of Apache\n',
    'application/octet-stream',
  );
  await until('the dead letter is an alert', async () => (await named('dead letters')).length === 1);
  const [letter] = await named('dead letters');
  assert.deepEqual([letter.tenant, letter.closed_at], ['_system', null]);
  const [{ log, partition, position }] = (await ask('GET', '/v1/dead-letters')).dead_letters;
  const reason = JSON.stringify({ reason: 'a test' });
  await ask('POST', `/v1/dead-letters/hot/${log}/${partition}/${position}/discard`, reason);
  await until('the alert closes', async () => (await named('dead letters'))[0].closed_at !== null);

  const denied = Array.from({ length: 10 }, () => {
    const id = randomUUID();
    const body = {
      event_id: id,
      event_time: '2026-01-01T00:00:00Z',
      tenant: 'acme',
      actor: { id: 'usr_1', type: 'user' },
      action: 'document.read',
      resource: { type: 'document', id: 'doc_1' },
      result: 'denied',
      criticality: 'normal',
    };
    return { id, type: 'audit.event', schema: 1, key: 'acme/usr_1', body };
  });
  await ask('POST', '/v1/logs/audit/records?tenant=acme', JSON.stringify(denied));
  await until('ten denied at once are an alert', async () => (await named('denied burst')).length === 1);
  assert.equal((await named('denied burst'))[0].subject, 'usr_1');
  await until(
    'a clock that is months off is an alert',
    async () => (await named('clock drift')).length === 1,
  );
  assert.equal((await named('clock drift'))[0].tenant, 'acme');
});
