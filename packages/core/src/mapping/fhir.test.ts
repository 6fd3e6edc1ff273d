import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fhirMapper } from './fhir.ts';
import { at, bytesOf, recordOf, refusal, told } from './mapping-fixture.ts';

const map = (body: unknown) => fhirMapper.map(recordOf('fhir'), bytesOf(body));
const r4 = {
  resourceType: 'AuditEvent',
  type: { system: 'http://terminology.hl7.org/CodeSystem/audit-event-type', code: 'rest' },
  subtype: [{ system: 'http://hl7.org/fhir/restful-interaction', code: 'vread' }],
  action: 'R',
  recorded: '2012-10-25T22:04:27+11:00',
  outcome: '0',
  agent: [
    { who: { identifier: { value: 'app-1' } }, requestor: false },
    {
      who: { reference: 'Practitioner/p7', display: 'Dr. A' },
      requestor: true,
      network: { address: '203.0.113.5', type: '2' },
    },
  ],
  entity: [
    { what: { identifier: { value: 'req-77' } }, type: { code: 'XrequestId' } },
    { what: { reference: 'Patient/example/_history/1' }, type: { code: '1' } },
  ],
};
const r5 = {
  resourceType: 'AuditEvent',
  category: [{ coding: [{ code: 'rest' }] }],
  code: { coding: [{ code: 'update' }] },
  occurredDateTime: '2026-11-20T10:00:00Z',
  recorded: '2026-11-20T10:00:05Z',
  outcome: { code: { code: 'error' }, detail: [{ coding: [{ code: 'forbidden' }] }] },
  agent: [{ who: { identifier: { value: 'u-1' }, type: 'Practitioner' }, networkString: '198.51.100.1' }],
  entity: [{ what: { reference: 'https://h/fhir/Observation/o1' } }],
};

describe('fhir', () => {
  it('gives the row of an AuditEvent of R4', () => {
    assert.deepEqual(map(r4), {
      eventTime: at('2012-10-25T11:04:27Z'),
      actorId: 'Practitioner/p7',
      actorType: 'Practitioner',
      action: 'vread',
      resourceType: 'Patient',
      resourceId: 'Patient/example',
      result: 'success',
      correlationId: 'req-77',
      ip: '203.0.113.5',
      corrects: null,
      mapper: 'fhir/1',
    });
  });

  it('gives the row of an AuditEvent of R5', () => {
    assert.deepEqual(map(r5), {
      eventTime: at('2026-11-20T10:00:00Z'),
      actorId: 'u-1',
      actorType: 'Practitioner',
      action: 'update',
      resourceType: 'Observation',
      resourceId: 'https://h/fhir/Observation/o1',
      result: 'denied',
      correlationId: null,
      ip: '198.51.100.1',
      corrects: null,
      mapper: 'fhir/1',
    });
  });

  it('tells how it ended', () => {
    const ends: [unknown, string | null][] = [
      ['0', 'success'],
      ['4', 'failure'],
      ['12', 'failure'],
      ['99', null],
      [{ code: { code: 'success' } }, 'success'],
      [{ code: { code: 'warning' } }, 'success'],
      [{ code: { code: 'fatal' } }, 'failure'],
      [{ code: { code: 'error' }, detail: 'x' }, 'failure'],
      [{ code: { code: 'toString' } }, null],
      [undefined, null],
    ];
    for (const [outcome, result] of ends) assert.equal(map({ ...r4, outcome })?.result, result);
  });

  it('takes the first agent where none asked, his other id where he has no reference, and never a name', () => {
    const row = told(
      map({ ...r4, agent: [{ altId: 'a1', name: 'Ann', type: { coding: [{ code: 'humanuser' }] } }] }),
    );
    assert.deepEqual([row.actorId, row.actorType], ['a1', 'humanuser']);
    const named = told(map({ ...r4, agent: [{ name: 'Ann', who: { display: 'Ann' } }, null, 5] }));
    assert.equal(named.actorId, undefined);
  });

  it('falls back to what the event still says', () => {
    assert.equal(map({ ...r4, subtype: undefined })?.action, 'rest');
    assert.equal(map({ ...r4, subtype: 7, type: [] })?.action, 'R');
    assert.equal(map({ ...r5, occurredDateTime: '2026-11-20' })?.eventTime, at('2026-11-20T10:00:05Z'));
    assert.equal(
      map({ ...r4, period: { start: '2012-10-25T10:00:00Z' } })?.eventTime,
      at('2012-10-25T10:00:00Z'),
    );
  });

  it('refuses another resource', () => {
    assert.throws(() => map({ resourceType: 'Patient' }), refusal(/resourceType AuditEvent is expected/));
    assert.throws(() => map({}), refusal(/resourceType/));
  });
});
