import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FORMATS, isImportFormatName } from './formats.ts';

const cloudtrail = (text: string) => FORMATS.cloudtrail.describe(Buffer.from(text));
const apache = (text: string) => FORMATS.apache.describe(Buffer.from(text, 'latin1'));
const ndjson = (text: string) => FORMATS.ndjson.describe(Buffer.from(text, 'latin1'));

describe('cloudtrail', () => {
  it('takes eventID as the own id of an event, if it is a string that meta can hold', () => {
    assert.deepEqual(cloudtrail('{"x":{"eventID":"no"},"eventID":"a-\\u0062"}'), {
      parsed: true,
      formatId: 'a-b',
    });
    for (const id of [
      '1',
      '""',
      '"a\\nb"',
      '"\\ud800"',
      'null',
      `"${'x'.repeat(201)}"`,
      `"${'x'.repeat(9_999)}"`,
    ]) {
      assert.deepEqual(cloudtrail(`{"eventID":${id}}`), { parsed: true }, id);
    }
    assert.deepEqual(cloudtrail('{"eventid":"a"}'), { parsed: true });
  });

  it('says why an element is no event', () => {
    assert.deepEqual(cloudtrail('[]'), { parsed: false, reason: 'byte 0: an object is expected here' });
    assert.match(JSON.stringify(cloudtrail('{"a":1,}')), /byte 7: a member name/);
  });
});

describe('ndjson', () => {
  it('parses any strict JSON value, and says why another line is none', () => {
    for (const text of ['{}', '1', ' null\r', '"\\ud800"', '{"a":1,"a":2}'])
      assert.deepEqual(ndjson(text), { parsed: true });
    for (const text of ['', '\r', '{', '{} {}', '"\xff"']) assert.equal(ndjson(text).parsed, false, text);
  });
});

describe('apache', () => {
  const line = String.raw`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1234 "http://a/\"b\"" "Agent \\ \x22"`;

  it('parses the combined format and the common one, with escapes, a CR, no size, and a user name with a space', () => {
    for (const text of [
      line,
      `${line}\r`,
      line.replace('1234', '-'),
      line.replace('- -', '- Ann Lee'),
      line.replace('GET', '\xff'),
      line.slice(0, line.indexOf(' "http')),
    ]) {
      assert.deepEqual(apache(text), { parsed: true }, text);
    }
    assert.deepEqual(apache(line.replace(/"[^"]*"$/, '""')), { parsed: true });
  });

  it('names the field that is missing or not complete', () => {
    const reasons: [string, RegExp][] = [
      ['', /host that begins at byte 0/],
      ['a b', /user are expected/],
      [line.replace('17/May', '7/May'), /time .* not complete/],
      [line.replace('200', '20'), /status/],
      [line.replace('1234', '12k'), /referer are expected/],
      [line.slice(0, -1), /user agent that begins at byte \d+ is not complete/],
      [`${line.slice(0, line.indexOf(' "http'))} `, /referer .* not complete/],
      [`${line} 17`, /something follows/],
    ];
    for (const [text, reason] of reasons) {
      const described = apache(text);
      assert.ok(!described.parsed, text);
      assert.match(described.reason, reason);
    }
  });
});

const describes = (format: 'k8s' | 'fhir' | 'csv', text: string) =>
  FORMATS[format].describe(Buffer.from(text));

it('knows an event of Kubernetes and of FHIR by what it says it is', () => {
  assert.deepEqual(describes('k8s', '{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a"}'), {
    parsed: true,
  });
  assert.deepEqual(describes('fhir', '{"resourceType":"Audit\\u0045vent","id":"a"}'), { parsed: true });
  for (const text of [
    '{"kind":"Event"}',
    '{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}',
    '{}',
    '[]',
    '{"kind"',
  ])
    assert.equal(describes('k8s', text).parsed, false, text);
  for (const text of [
    '{"resourceType":"Patient"}',
    '{"resourceType":["AuditEvent"]}',
    '{"resourceType":"AuditEvent","resourceType":1}',
  ])
    assert.equal(describes('fhir', text).parsed, false, text);
});

it('says why a line is no record of CSV', () => {
  assert.deepEqual(describes('csv', 'a,"b\nc"\r'), { parsed: true });
  assert.deepEqual(describes('csv', 'a,b"'), {
    parsed: false,
    reason: 'field 2 holds a quote and is not quoted',
  });
});

it('knows its formats by name and no others', () => {
  assert.deepEqual(Object.keys(FORMATS).filter(isImportFormatName), [
    'cloudtrail',
    'apache',
    'k8s',
    'fhir',
    'ndjson',
    'csv',
  ]);
  assert.equal(isImportFormatName('toString'), false);
});
