import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it, type TestContext } from 'node:test';
import { openTestServer } from './http-fixture.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const RULE = {
  name: 'reads',
  filter: { action_prefix: 'document.' },
  threshold: 3,
  window_seconds: 60,
  group_by: 'actor',
};

async function open(t: TestContext) {
  const server = await openTestServer(t);
  const json = (as: string, method: 'POST' | 'PATCH', url: string, payload: unknown = {}) =>
    server.send(as, { method, url, headers: JSON_TYPE, payload: JSON.stringify(payload) });
  const get = async (as: string, url: string) => (await server.send(as, { url })).json();
  return { ...server, json, get };
}

it('makes, changes and ends a rule, and records each before it is made', async (t) => {
  const { json, get, send, recorded } = await open(t);
  const made = await json('compliance:acme', 'POST', '/v1/alert-rules', RULE);
  assert.equal(made.statusCode, 201);
  const rule = made.json();
  assert.deepEqual(rule, {
    ...RULE,
    id: rule.id,
    version: 1,
    tenant: 'acme',
    drift_over_ms: null,
    severity: 'medium',
    enabled: true,
    made_by: rule.made_by,
    active_from: rule.active_from,
  });
  const url = `/v1/alert-rules/${rule.id}`;
  const changed = await json('admin:acme', 'PATCH', url, { threshold: 9 });
  assert.deepEqual([changed.json().threshold, changed.json().version], [9, 2]);
  assert.equal((await get('investigator:acme', '/v1/alert-rules')).rules.length, 1);
  assert.equal((await send('admin:acme', { method: 'DELETE', url })).statusCode, 204);
  assert.deepEqual((await get('investigator:acme', '/v1/alert-rules')).rules, []);
  assert.deepEqual(
    recorded.map(({ action, resource, tenant }) => [action, resource.id, tenant]),
    ['create', 'change', 'remove'].map((what) => [`alert_rule.${what}`, rule.id, 'acme']),
  );
  assert.match(JSON.stringify(recorded[1].details), /"threshold":9/);
});

it('says what is wrong with a rule, and changes nothing', async (t) => {
  const { json, get, recorded } = await open(t);
  const wrong: [object, string][] = [
    [{ ...RULE, threshold: 0 }, 'threshold'],
    [{ ...RULE, filter: { text: 'word' } }, 'filter.text'],
    [{ filter: {} }, 'name'],
    [{ ...RULE, when: 'x' }, 'when'],
  ];
  for (const [rule, field] of wrong) {
    const answer = await json('admin', 'POST', '/v1/alert-rules', rule);
    assert.equal(answer.statusCode, 400, answer.body);
    assert.equal(answer.json().field, field);
  }
  assert.deepEqual((await get('admin', '/v1/alert-rules')).rules, []);
  assert.equal(recorded.length, 0);
});

it('keeps the rules, webhooks and alerts of one tenant from another', async (t) => {
  const { json, get, send, app } = await open(t);
  const rule = (await json('admin', 'POST', '/v1/alert-rules?tenant=other', RULE)).json();
  assert.equal(rule.tenant, 'other');
  for (const answer of [
    await json('admin:acme', 'PATCH', `/v1/alert-rules/${rule.id}`, { threshold: 9 }),
    await send('admin:acme', { method: 'DELETE', url: `/v1/alert-rules/${rule.id}` }),
    await json('admin:acme', 'POST', `/v1/alerts/${randomUUID()}/acknowledge`),
    await send('admin:acme', { method: 'DELETE', url: `/v1/webhooks/${randomUUID()}` }),
  ])
    assert.equal(answer.statusCode, 404);
  for (const url of ['/v1/alert-rules', '/v1/webhooks', '/v1/alerts'])
    assert.equal((await send('admin:acme', { url: `${url}?tenant=other` })).statusCode, 403);
  assert.equal((await json('admin:acme', 'POST', '/v1/alert-rules?tenant=other', RULE)).statusCode, 403);
  for (const [tenant, status] of [
    ['_system', 403],
    ['no%20name', 400],
  ] as const) {
    assert.equal((await json('admin', 'POST', `/v1/alert-rules?tenant=${tenant}`, RULE)).statusCode, status);
    const webhook = { name: 'w', url: 'https://example.com/' };
    assert.equal((await json('admin', 'POST', `/v1/webhooks?tenant=${tenant}`, webhook)).statusCode, status);
  }
  const foreign = { ...RULE, filter: { tenant: 'other' } };
  assert.equal((await json('admin:acme', 'POST', '/v1/alert-rules', foreign)).statusCode, 403);
  assert.deepEqual((await get('admin:acme', '/v1/alert-rules')).rules, []);
  assert.equal((await get('admin', '/v1/alert-rules')).rules.length, 1);
  assert.ok(app);
});

it('shows the secret of a webhook once, and to admins alone what is sent there', async (t) => {
  const { json, get, send, recorded } = await open(t);
  const made = await json('admin:acme', 'POST', '/v1/webhooks', {
    name: 'siem',
    url: 'https://example.com/in?token=never-in-the-log',
  });
  assert.equal(made.statusCode, 201);
  const { id, secret } = made.json();
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.equal((await send('compliance:acme', { url: '/v1/webhooks' })).statusCode, 403);
  const listed = JSON.stringify(await get('admin:acme', '/v1/webhooks'));
  assert.ok(!listed.includes(secret) && listed.includes('"pending":0'));
  assert.ok(!JSON.stringify(recorded).includes('never-in-the-log'));
  assert.equal((await json('admin:acme', 'POST', `/v1/webhooks/${id}/retry`)).json().retried, 0);
  assert.equal((await send('admin:acme', { method: 'DELETE', url: `/v1/webhooks/${id}` })).statusCode, 204);
  assert.deepEqual((await get('admin:acme', '/v1/webhooks')).webhooks, []);
  assert.deepEqual(
    recorded.map(({ action }) => action),
    ['webhook.create', 'access.denied', 'webhook.retry', 'webhook.remove'],
  );
  const wrong = await json('admin', 'POST', '/v1/webhooks', { name: 'x', url: 'http://example.com/' });
  assert.deepEqual([wrong.statusCode, wrong.json().field], [400, 'url']);
});

it('lists alerts in pages, records that they were read, and acknowledges them', async (t) => {
  const server = await open(t);
  const { json, get, reads } = server;
  const webhooks = await json('admin', 'POST', '/v1/webhooks', { name: 'w', url: 'https://example.com/' });
  assert.equal(webhooks.statusCode, 201);
  const { alerts } = server;
  for (let i = 0; i < 3; i++)
    await alerts.board.raise({
      key: `k${i}`,
      tenant: i === 0 ? null : 'acme',
      name: 'n',
      severity: 'low',
      subject: null,
      detail: '',
    });
  const first = await get('auditor', '/v1/alerts?limit=2');
  const second = await get('auditor', `/v1/alerts?limit=2&cursor=${first.cursor}`);
  assert.deepEqual([first.alerts.length, second.alerts.length, second.cursor], [2, 1, null]);
  assert.equal((await get('investigator:acme', '/v1/alerts')).alerts.length, 2);
  assert.ok(
    JSON.stringify(reads, (_name, value) => (typeof value === 'bigint' ? `${value}` : value)).includes(
      'alerts',
    ),
  );
  assert.equal((await server.send('auditor', { url: '/v1/alerts?cursor=x' })).json().code, 'cursor-invalid');
  const [{ id }] = first.alerts;
  assert.equal((await json('investigator:acme', 'POST', `/v1/alerts/${id}/acknowledge`)).statusCode, 403);
  const ack = async (as: string, note: string) =>
    (await json(as, 'POST', `/v1/alerts/${id}/acknowledge`, { note })).json();
  const done = await ack('compliance:acme', 'a drill');
  assert.deepEqual([done.outcome, done.note], ['acknowledged', 'a drill']);
  const recorded = server.recorded.length;
  assert.deepEqual(await ack('admin:acme', 'me too'), { ...done, outcome: 'already' });
  assert.equal(server.recorded.length, recorded, 'what was not done is not on record');
  const open2 = await get('investigator:acme', '/v1/alerts?state=unacknowledged');
  assert.equal(open2.alerts.length, 1);
  const seen = (await get('auditor', '/v1/alerts')).alerts.find((alert: { id: string }) => alert.id === id);
  assert.equal(seen.note, 'a drill');
});
