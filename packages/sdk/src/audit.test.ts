import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkAuditEvent } from '@evident/core/audit-event.ts';
import { type EvidentError, isEvidentError } from '@evident/core/errors.ts';
import Type from 'typebox';
import { createAudit } from './audit.ts';
import { runWithContext } from './context/context.ts';
import { beginRequest } from './context/request-scope.ts';
import type { OutboxDriver, OutboxRow } from './outbox/driver.ts';

const actor = { id: 'usr_1', type: 'user' } as const;
const resource = { type: 'document', id: 'd1' };
const event = { tenant: 'acme', actor, action: 'document.update', resource } as const;

/** A driver that keeps the rows; its transactions are plain objects. */
function keeping(): OutboxDriver<object> & { rows: OutboxRow[] } {
  const rows: OutboxRow[] = [];
  return { rows, query: async (_tx, statement) => rows.push(...statement.rows) };
}

function setUp(options: Partial<Parameters<typeof createAudit>[0]> = {}) {
  const driver = keeping();
  const audit = createAudit({ service: 'bank', driver, ...options } as {
    service: string;
    driver: typeof driver;
  });
  const bodies = () => driver.rows.map(({ body }) => JSON.parse(body) as Record<string, unknown>);
  return { audit, rows: driver.rows, bodies };
}

const refused = (code: EvidentError['code'], field: string) => (error: unknown) => {
  assert.ok(isEvidentError(error), String(error));
  assert.equal(error.code, code, error.message);
  assert.equal(error.context.field, field);
  return true;
};

describe('audit.log', () => {
  it('writes one row: the event as its schema wants it, its identity, key and meta', async () => {
    const { audit, rows, bodies } = setUp({ now: () => Date.UTC(2026, 10, 20, 10) });
    const receipt = await audit.log({}, event);
    assert.ok(receipt.captured);
    const [body] = bodies();
    checkAuditEvent(body);
    assert.deepEqual(body, {
      event_id: receipt.id,
      event_time: '2026-11-20T10:00:00.000Z',
      ...event,
      result: 'success',
      criticality: 'normal',
    });
    const { body: text, ...row } = rows[0];
    assert.equal(text, JSON.stringify(body));
    assert.deepEqual(row, {
      eventId: receipt.id,
      tenant: 'acme',
      type: 'audit.event',
      key: 'acme/usr_1',
      schema: 1,
      meta: '{"sdk":"0.1.0","service":"bank"}',
    });
    assert.equal(audit.metrics().captured, 1);
  });

  it('takes dates, drops what is undefined, and keeps every member of the schema', async () => {
    const { audit, bodies } = setUp();
    await audit.log(
      {},
      {
        ...event,
        event_id: '0198C0DE-0000-7000-8000-00000000000A',
        event_time: new Date(0),
        actor: { ...actor, role: undefined },
        result: 'denied',
        changes: { plan: { old: undefined, new: 'pro' } },
        reason: 'because',
        error: 'no',
        details: { at: new Date(0), amount: 10n, gone: undefined },
        context: { request_id: 'r1' },
        access: { type: 'break-glass', fields: ['a'] },
        clock: { source: 'c', ns: '1', sequence: 0 },
        sampling: { policy: 'p', rate: 0.5 },
      },
    );
    assert.deepEqual(bodies()[0], {
      ...event,
      event_id: '0198c0de-0000-7000-8000-00000000000a',
      event_time: '1970-01-01T00:00:00.000Z',
      result: 'denied',
      changes: { plan: { old: null, new: 'pro' } },
      reason: 'because',
      error: 'no',
      details: { at: '1970-01-01T00:00:00.000Z', amount: '10' },
      context: { request_id: 'r1' },
      access: { type: 'break-glass', fields: ['a'] },
      clock: { source: 'c', ns: '1', sequence: 0 },
      sampling: { policy: 'p', rate: 0.5 },
      criticality: 'normal',
    });
  });

  it('computes changes from before and after, and refuses both ways at once', async () => {
    const { audit, bodies } = setUp({
      actions: { 'document.update': { changes: { ignore: ['version'], mask: ['secret'] } } },
    });
    const before = { title: 'a', version: 1, secret: 'x' };
    await audit.log({}, { ...event, before, after: { title: 'b', version: 2, secret: 'y' } });
    assert.deepEqual(bodies()[0].changes, {
      title: { old: 'a', new: 'b' },
      secret: { old: '[masked]', new: '[masked]' },
    });
    await assert.rejects(
      audit.log({}, { ...event, before, after: {}, changes: {} }),
      refused('field-invalid', 'event.changes'),
    );
    await assert.rejects(
      audit.log({}, { ...event, after: { f: () => 1 } }),
      refused('field-invalid', 'event.changes.f.new'),
    );
  });

  const bad: [string, object, EvidentError['code'], string][] = [
    ['an unknown member', { colour: 'red' }, 'field-unknown', 'event.colour'],
    ['an empty id', { resource: { type: 'document', id: '' } }, 'field-invalid', 'event.resource.id'],
    ['a tenant that is a path', { tenant: '../x' }, 'field-invalid', 'event.tenant'],
    ['a tenant of ours', { tenant: '_system' }, 'field-invalid', 'event.tenant'],
    [
      'an id with a control character',
      { actor: { ...actor, id: 'a\nb' } },
      'field-invalid',
      'event.actor.id',
    ],
    ['an id that walks directories', { actor: { ...actor, id: '../b' } }, 'field-invalid', 'event.actor.id'],
    [
      'an id too long for a key',
      { actor: { ...actor, id: 'ä'.repeat(256) } },
      'field-invalid',
      'event.actor.id',
    ],
    ['a lone surrogate', { reason: 'x\ud800' }, 'field-invalid', 'event.reason'],
    ['a time that is none', { event_time: 'yesterday' }, 'field-invalid', 'event.event_time'],
    ['a criticality that is none', { criticality: 'high' }, 'field-invalid', 'event.criticality'],
    ['a function in details', { details: { a: { b: () => 1 } } }, 'field-invalid', 'event.details.a.b'],
    ['an id that is none', { event_id: '7' }, 'field-invalid', 'event.event_id'],
    ['a body over 16 MiB', { details: { x: 'x'.repeat(17 << 20) } }, 'body-too-large', 'event'],
  ];
  for (const [what, members, code, field] of bad) {
    it(`refuses ${what} before anything is sent, and names ${field}`, async () => {
      const { audit, rows } = setUp();
      await assert.rejects(audit.log({}, { ...event, ...members } as typeof event), refused(code, field));
      assert.equal(rows.length, 0);
    });
  }

  it('takes text that only looks like an escaped surrogate', async () => {
    const { audit, bodies } = setUp();
    await audit.log({}, { ...event, reason: 'C:\\ud800 \u{1F600}' });
    assert.equal(bodies()[0].reason, 'C:\\ud800 \u{1F600}');
  });
});

describe('who acts', () => {
  const unnamed = { action: 'document.read', resource };

  it('comes from the context, with its request; the event wins', async () => {
    const { audit, bodies } = setUp();
    await runWithContext(
      { tenant: 'acme', actor, context: { request_id: 'r1', session_id: 's1' } },
      async () => {
        await audit.log({}, unnamed);
        await audit.log(
          {},
          {
            ...unnamed,
            tenant: 'other',
            actor: { id: 'job', type: 'service' },
            context: { request_id: 'mine' },
          },
        );
      },
    );
    const [first, second] = bodies();
    assert.deepEqual(
      [first.tenant, first.actor, first.context],
      ['acme', actor, { request_id: 'r1', session_id: 's1' }],
    );
    assert.deepEqual([second.tenant, second.actor], ['other', { id: 'job', type: 'service' }]);
    assert.deepEqual(second.context, { request_id: 'mine', session_id: 's1' });
  });

  it('must be said by somebody', async () => {
    const { audit, rows } = setUp();
    await assert.rejects(audit.log({}, unnamed), (error: Error) => {
      assert.match(error.message, /middleware|runWithContext/);
      return refused('context-missing', 'event.actor')(error);
    });
    await assert.rejects(audit.log({}, { ...unnamed, actor }), refused('context-missing', 'event.tenant'));
    assert.equal(rows.length, 0);
  });

  it('is the tenant of the service where it has one', async () => {
    const { audit, bodies } = setUp({ tenant: 'acme' });
    await audit.log({}, { ...unnamed, actor });
    await runWithContext({ tenant: 'other', actor }, () => audit.log({}, unnamed));
    assert.deepEqual(
      bodies().map(({ tenant }) => tenant),
      ['acme', 'acme'],
    );
  });

  it('is not taken from a request that has ended, unless the event says all itself', async () => {
    const { audit, bodies } = setUp();
    const request = beginRequest({ tenant: 'acme', actor, context: { request_id: 'r1' } });
    const { promise, resolve } = Promise.withResolvers<void>();
    const late = request.run(() => promise.then(() => audit.log({}, unnamed)));
    const explicit = request.run(() => promise.then(() => audit.log({}, event)));
    request.end();
    resolve();
    await assert.rejects(late, { code: 'context-ended' });
    await explicit;
    assert.equal(bodies().length, 1);
    assert.equal(bodies()[0].context, undefined);
  });
});

describe('declared actions', () => {
  const actions = {
    'transfer.create': {
      critical: true,
      details: Type.Object({ iban: Type.String({ personal: true }), amount: Type.Integer({ minimum: 1 }) }),
      personal: ['changes.holder', 'details.iban'],
    },
  } as const;
  const transfer = { ...event, action: 'transfer.create', details: { iban: 'X', amount: 1 } } as const;

  it('give criticality, and an event can only raise it', async () => {
    const { audit, bodies } = setUp({ actions });
    await audit.log({}, transfer);
    await audit.log({}, { ...transfer, criticality: 'normal' });
    await audit.log({}, { ...event, criticality: 'critical' });
    assert.deepEqual(
      bodies().map(({ criticality }) => criticality),
      ['critical', 'critical', 'critical'],
    );
  });

  it('check details, and name the member', async () => {
    const { audit } = setUp({ actions });
    const log = (details: Record<string, unknown>) => audit.log({}, { ...transfer, details });
    await assert.rejects(log({ iban: 'X', amount: 0 }), refused('field-invalid', 'event.details.amount'));
    await assert.rejects(log({ iban: 'X' }), refused('field-invalid', 'event.details.amount'));
    await assert.rejects(
      audit.log({}, { ...event, action: 'transfer.create' }),
      refused('field-invalid', 'event.details.iban'),
    );
  });

  it('put into meta which personal fields the event has, those of the core included', async () => {
    const { audit, rows } = setUp({ actions });
    await audit.log(
      {},
      {
        ...transfer,
        actor: { ...actor, email: 'a@example.invalid' },
        changes: { 'holder.name': { old: 'a', new: 'b' } },
      },
    );
    await audit.log({}, transfer);
    await audit.log({}, event);
    const personal = rows.map(({ meta }) => (JSON.parse(meta) as { personal?: string }).personal);
    assert.deepEqual(personal, ['actor.email,changes.holder,details.iban', 'details.iban', undefined]);
  });

  it('are refused when they make no sense', () => {
    for (const path of ['iban', 'details.a,b', 'details.', 'tenant']) {
      assert.throws(
        () => setUp({ actions: { a: { personal: [path] } } }),
        refused('field-invalid', 'actions.a.personal'),
      );
    }
    const many = Array.from({ length: 200 }, (_, i) => `details.field_${i}`);
    assert.throws(
      () => setUp({ actions: { a: { personal: many } } }),
      refused('field-invalid', 'actions.a.personal'),
    );
  });

  it('can be made the only ones', async () => {
    const { audit } = setUp({ actions, undeclaredActions: 'refuse' });
    await audit.log({}, transfer);
    await assert.rejects(audit.log({}, event), refused('field-invalid', 'event.action'));
    const open = setUp({ actions, undeclaredActions: 'allow' });
    await open.audit.log({}, event);
  });
});

describe('an id that looks like an e-mail address', () => {
  const mailed = { ...event, actor: { id: 'jane@example.invalid', type: 'user' } } as const;

  it('is warned of once per process and service', async () => {
    const warnings: string[] = [];
    const options = { service: 'mail-warned', onWarning: (text: string) => warnings.push(text) };
    await setUp(options).audit.log({}, mailed);
    await setUp(options).audit.log({}, mailed);
    await setUp({ ...options, service: 'mail-warned-2' }).audit.log({}, event);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /pseudonym/);
    assert.doesNotMatch(warnings[0], /jane/);
  });

  it('is refused or allowed where the service says so', async () => {
    await assert.rejects(
      setUp({ emailLikeIds: 'refuse' }).audit.log({}, mailed),
      refused('field-invalid', 'event.actor.id'),
    );
    await setUp({ emailLikeIds: 'refuse' }).audit.log({}, event);
    await setUp({
      service: 'mail-allowed',
      emailLikeIds: 'allow',
      onWarning: () => assert.fail('no warning'),
    }).audit.log({}, mailed);
  });
});

describe('audit.logMany', () => {
  it('writes all in order, and answers each', async () => {
    const { audit, rows } = setUp();
    const receipts = await audit.logMany(
      {},
      Array.from({ length: 2_500 }, () => event),
    );
    assert.equal(receipts.length, 2_500);
    assert.deepEqual(
      receipts.map((receipt) => receipt.captured && receipt.id),
      rows.map(({ eventId }) => eventId),
    );
    assert.deepEqual(await audit.logMany({}, []), []);
  });

  it('sends nothing when one is bad, and names it', async () => {
    const { audit, rows } = setUp();
    const events = [event, event, event, { ...event, resource: { type: 'document', id: '' } }];
    await assert.rejects(audit.logMany({}, events), refused('field-invalid', 'events[3].resource.id'));
    assert.equal(rows.length, 0);
    await assert.rejects(audit.logMany({}, new Array(100_001)), { code: 'batch-too-large' });
  });
});

describe('createAudit', () => {
  it('refuses options that contradict themselves', () => {
    assert.throws(() => setUp({ service: '' }), refused('field-invalid', 'service'));
    assert.throws(() => setUp({ service: '../x' }), refused('field-invalid', 'service'));
    assert.throws(() => setUp({ tenant: 'a b' }), refused('field-invalid', 'tenant'));
    assert.throws(() => setUp({ growth: { bytesMax: 1 } }), refused('usage-invalid', 'growth'));
  });

  it('says what a call needs that the options lack', async () => {
    const { audit } = setUp();
    const receipt = await audit.log({}, event);
    assert.ok(receipt.captured);
    await assert.rejects(receipt.inLog(), refused('usage-invalid', 'server'));
    await assert.rejects(audit.logAlone(event), { code: 'usage-invalid' });
    await assert.rejects(
      audit.capture(event, () => 1),
      { code: 'usage-invalid' },
    );
  });
});
