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

  it('parses the combined format, with escapes, a CR, no size, and a user name with a space', () => {
    for (const text of [
      line,
      `${line}\r`,
      line.replace('1234', '-'),
      line.replace('- -', '- Ann Lee'),
      line.replace('GET', '\xff'),
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
      [line.slice(0, line.indexOf(' "http')), /referer are expected/],
      [`${line} 17`, /something follows/],
    ];
    for (const [text, reason] of reasons) {
      const described = apache(text);
      assert.ok(!described.parsed, text);
      assert.match(described.reason, reason);
    }
  });
});

it('knows its formats by name and no others', () => {
  assert.deepEqual(Object.keys(FORMATS).filter(isImportFormatName), ['cloudtrail', 'apache', 'ndjson']);
  assert.equal(isImportFormatName('toString'), false);
});
