import assert from 'node:assert/strict';
import { it } from 'node:test';
import { makeEvent } from '../../contract/alert-scene.ts';
import { evaluate, parsePlace, placeText } from './evaluate.ts';
import { type AlertRule, checkRule, shownDefinition } from './rule.ts';
import { checkWebhook, secretText, signature } from './webhook.ts';

const given = { name: 'n', window_seconds: 60 };
const ruleOf = (input: object, over: Partial<AlertRule> = {}): AlertRule => ({
  ...checkRule({ ...given, ...input }, null),
  id: 'r',
  version: 1,
  tenant: null,
  madeBy: 'key:a',
  activeFrom: 0n,
  activeTo: null,
  ...over,
});

it('reads a rule, and names what is wrong with one', () => {
  const rule = checkRule(
    {
      ...given,
      filter: { action_prefix: 'iam:' },
      threshold: 5,
      group_by: 'ip',
      severity: 'high',
      drift_over_ms: 2,
    },
    'acme',
  );
  assert.deepEqual(rule, {
    name: 'n',
    filter: { actionPrefix: 'iam:' },
    driftOverUs: 2_000n,
    threshold: 5n,
    windowUs: 60_000_000n,
    groupBy: 'ip',
    severity: 'high',
    enabled: true,
  });
  assert.deepEqual(checkRule(shownDefinition(rule), 'acme'), rule);
  const wrong: [object, RegExp][] = [
    [{ name: '' }, /^name:/],
    [{ threshold: 0 }, /^threshold:/],
    [{ threshold: 1.5 }, /^threshold:/],
    [{ window_seconds: 86_401 }, /^window_seconds:/],
    [{ group_by: 'tenant' }, /^group_by:/],
    [{ severity: 'dire' }, /^severity:/],
    [{ enabled: 'yes' }, /^enabled:/],
    [{ filter: [] }, /^filter:/],
    [{ filter: { text: 'word' } }, /^filter.text:/],
    [{ filter: { from: '2026-01-01' } }, /^filter.from:/],
    [{ filter: { tenant: 'other' } }, /^filter.tenant:/],
    [{ filter: { nothing: 'x' } }, /nothing:/],
    [{ when: 'x' }, /^when:/],
  ];
  for (const [input, reason] of wrong)
    assert.throws(() => checkRule({ ...given, ...input }, 'acme'), { message: reason });
});

it('counts by what a rule says, and leaves out events that do not tell it', () => {
  const events = [
    makeEvent(0, 0, 0, { actorId: 'a', ip: '1.1.1.1' }),
    makeEvent(0, 1, 0, { actorId: 'b', ip: null, resourceId: null }),
    makeEvent(0, 2, 0, { actorId: null, ip: '1.1.1.1' }, { source: 'key-2' }),
  ];
  const counts = (group_by: string) =>
    evaluate([ruleOf({ group_by })], events).map(({ subject, count }) => [subject, Number(count)]);
  assert.deepEqual(counts('actor'), [
    ['a', 1],
    ['b', 1],
  ]);
  assert.deepEqual(counts('ip'), [['1.1.1.1', 2]]);
  assert.deepEqual(counts('resource'), [['document/doc_1', 2]]);
  assert.deepEqual(counts('source'), [
    ['key-1', 2],
    ['key-2', 1],
  ]);
  assert.deepEqual(counts('none'), [['', 3]]);
});

it('applies a rule within its time and to its tenant', () => {
  const event = makeEvent(0, 0, 0);
  const at = event.record.appendedAt;
  const matches = (over: Partial<AlertRule>) => evaluate([ruleOf({}, over)], [event]).length === 1;
  assert.deepEqual(
    [
      { activeFrom: at },
      { activeFrom: at + 1n },
      { activeTo: at },
      { activeTo: at + 1n },
      { tenant: 'acme' },
      { tenant: 'other' },
      { enabled: false },
    ].map(matches),
    [true, false, false, true, true, false, false],
  );
});

it('finds drift either way, but none in what was imported or tells no time', () => {
  const rule = ruleOf({ drift_over_ms: 1_000, group_by: 'source' });
  const drifts = (ms: bigint | null, source = 'outbox:bank') => {
    const { record, row } = makeEvent(0, 0, 0, {}, { source });
    const eventTime = ms === null ? null : record.appendedAt - ms * 1_000n;
    return evaluate([rule], [{ record, row: { ...row, eventTime } }]).length === 1;
  };
  assert.deepEqual(
    [1_000n, 1_001n, -1_001n, null].map((ms) => drifts(ms)),
    [false, true, true, false],
  );
  assert.equal(drifts(999_999n, 'import:1'), false);
});

it('writes places that sort as records do, and reads them again', () => {
  const texts = [makeEvent(0, 9, 0), makeEvent(0, 10, 0), makeEvent(1, 2, 0), makeEvent(0, 0, 1)].map(
    ({ record }) => placeText(record),
  );
  assert.deepEqual([...texts].sort(), texts);
  assert.deepEqual(parsePlace(texts[1]), { log: 'audit', partition: 0, position: 10n });
});

it('signs as Standard Webhooks does', () => {
  const secret = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
  assert.equal(secretText(secret), 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  assert.equal(
    signature(secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330n, Buffer.from('{"test": 2432232314}')),
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

it('takes https, or http on this machine, and nothing else for a webhook', () => {
  const webhook = (url: unknown) => checkWebhook({ name: 'n', url });
  for (const url of [
    'https://example.com/a?b=1',
    'http://127.0.0.1:1/',
    'http://localhost/',
    'http://[::1]/',
  ])
    assert.equal(webhook(url).url, url);
  for (const url of [
    'http://example.com/',
    'ftp://example.com/',
    'https://a:b@example.com/',
    'x',
    '',
    1,
    'https://e.com/#f',
    'http://10.0.0.1/',
    'file:///etc/hosts',
  ])
    assert.throws(() => webhook(url), { message: /^url:/ });
  assert.throws(() => checkWebhook({ name: 'n', url: 'https://e.com', payload: 'xml' }), {
    message: /^payload:/,
  });
});

it('means by a filter what a search means by it', () => {
  const event = makeEvent(0, 0, 0, { ip: '1.1.1.1', correlationId: 'c' });
  const same = {
    log: 'audit',
    tenant: 'acme',
    type: 'audit.event',
    actor: 'usr_1',
    actor_type: 'user',
    action: 'document.read',
    action_prefix: 'document.',
    resource_type: 'document',
    resource: 'doc_1',
    result: 'success',
    correlation_id: 'c',
    ip: '1.1.1.1',
  };
  const other = { log: 'clicks', result: 'denied', ip: '1.1.1.2' } as Record<string, string>;
  for (const [member, value] of Object.entries(same)) {
    assert.equal(evaluate([ruleOf({ filter: { [member]: value } })], [event]).length, 1, member);
    const wrong = other[member] ?? `${value}x`;
    assert.equal(evaluate([ruleOf({ filter: { [member]: wrong } })], [event]).length, 0, member);
  }
  assert.equal(evaluate([ruleOf({ filter: same })], [event]).length, 1);
});
