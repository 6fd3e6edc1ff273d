import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import fc from 'fast-check';
import { filters } from '../../contract/view-events.ts';
import { checkFilter, describeFilter, FILTER_MEMBERS } from './check-filter.ts';

function refusal(input: Record<string, unknown>): string {
  try {
    checkFilter(input);
  } catch (error) {
    assert(isEvidentError(error));
    return `${error.code} ${error.context.field}`;
  }
  return 'taken';
}

it('takes every member, times as RFC 3339 or a date', () => {
  const filter = checkFilter({
    log: 'audit',
    tenant: 'acme',
    type: 'audit.event',
    actor: 'usr_1',
    actorType: 'user',
    action: 'document.update',
    actionPrefix: 'document.',
    resourceType: 'document',
    resource: 'd1',
    result: 'denied',
    correlationId: 'c',
    ip: '2001:db8::1',
    from: '2026-11-20',
    to: '2026-11-20T10:00:00.5+01:00',
    appendedFrom: '2026-11-20T00:00:00Z',
    appendedTo: undefined,
    text: 'zo',
  });
  assert.equal(filter.from, 1_795_132_800_000_000n);
  assert.equal(filter.to, 1_795_132_800_000_000n + 9n * 3_600_000_000n + 500_000n);
  assert.equal('appendedTo' in filter, false);
  assert.equal(Object.keys(filter).length, FILTER_MEMBERS.length - 1);
});

it('names the member that it refuses', () => {
  const refused: [Record<string, unknown>, string][] = [
    [{ nope: '1' }, 'field-unknown nope'],
    [{ __proto__: null, constructor: '1' }, 'field-unknown constructor'],
    [{ log: 'Audit' }, 'field-invalid log'],
    [{ tenant: '*' }, 'field-invalid tenant'],
    [{ tenant: '' }, 'field-invalid tenant'],
    [{ tenant: '_other' }, 'field-invalid tenant'],
    [{ type: 'a b' }, 'field-invalid type'],
    [{ actor: '' }, 'field-invalid actor'],
    [{ actor: 7 }, 'field-invalid actor'],
    [{ actor: null }, 'field-invalid actor'],
    [{ actor: ['a', 'b'] }, 'field-invalid actor'],
    [{ actor: 'é'.repeat(257) }, 'field-invalid actor'],
    [{ action: '\ud800' }, 'field-invalid action'],
    [{ actionPrefix: '' }, 'field-invalid actionPrefix'],
    [{ resource: 'a\u0000' }, 'field-invalid resource'],
    [{ result: 'ok' }, 'field-invalid result'],
    [{ ip: '1.2.3' }, 'field-invalid ip'],
    [{ from: '2026-02-29' }, 'field-invalid from'],
    [{ from: '2026-11-20T10:00:00' }, 'field-invalid from'],
    [{ from: 1_795_132_800 }, 'field-invalid from'],
    [{ to: '2026-11-20T24:00:00Z' }, 'field-invalid to'],
    [{ from: '2026-11-20', to: '2026-11-20' }, 'field-invalid to'],
    [{ appendedFrom: '2026-11-21', appendedTo: '2026-11-20' }, 'field-invalid appendedTo'],
    [{ text: 'a' }, 'field-invalid text'],
    [{ text: 'a'.repeat(257) }, 'field-invalid text'],
  ];
  for (const [input, wanted] of refused) assert.equal(refusal(input), wanted, JSON.stringify(input));
});

it('reads a described filter as the same', () => {
  fc.assert(
    fc.property(filters, (filter) => {
      const { from, to } = filter;
      fc.pre(from === undefined || to === undefined || from < to);
      fc.pre(filter.appendedFrom === undefined || filter.appendedTo !== 1n);
      assert.deepEqual(checkFilter(describeFilter(filter)), { ...filter });
    }),
  );
});

it('reads an instant of every year as PostgreSQL and JavaScript do', () => {
  fc.assert(
    fc.property(
      fc.date({
        min: new Date('0001-01-01T00:00:00Z'),
        max: new Date('9999-12-31T23:59:59.999Z'),
        noInvalidDate: true,
      }),
      (date) => {
        const us = BigInt(date.getTime()) * 1_000n;
        assert.equal(checkFilter({ from: date.toISOString() }).from, us);
      },
    ),
  );
});
