import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { apacheMapper } from './apache.ts';
import { at, bytesOf, recordOf, refusal, told } from './mapping-fixture.ts';

const line =
  '203.0.113.9 - ann [17/May/2015:12:05:03 +0200] "GET /a/b?q=1 HTTP/1.1" 200 1234 "http://r/\\"x\\"" "Agent"';
const map = (text: string) => apacheMapper.map(recordOf('apache'), bytesOf(text));

describe('apache', () => {
  it('gives user, method, path without its query, result, address and time', () => {
    const expected = {
      eventTime: at('2015-05-17T10:05:03Z'),
      actorId: 'ann',
      actorType: 'user',
      action: 'GET',
      resourceType: 'path',
      resourceId: '/a/b',
      result: 'success',
      correlationId: null,
      ip: '203.0.113.9',
      corrects: null,
      mapper: 'apache/1',
    };
    assert.deepEqual(map(line), expected);
    assert.deepEqual(map(`${line}\r`), expected);
    assert.deepEqual(map(line.slice(0, line.indexOf(' "http'))), expected);
  });

  it('has no actor where nobody signed in: an address is none', () => {
    assert.equal(map(line.replace('ann', '-'))?.actorId, null);
    assert.equal(map(line.replace('ann', 'Ann Lee'))?.actorId, 'Ann Lee');
  });

  it('tells denied from failed by the status', () => {
    const results = [200, 304, 401, 403, 404, 499, 500].map(
      (status) => map(line.replace('" 200', `" ${status}`))?.result,
    );
    assert.deepEqual(results, ['success', 'success', 'denied', 'denied', 'failure', 'failure', 'failure']);
  });

  it('has neither method nor path where there is no request of HTTP', () => {
    for (const request of ['-', '', '\\x16\\x03\\x01', 'GET', '\\x01 /a HTTP/1.1']) {
      const row = told(map(line.replace('GET /a/b?q=1 HTTP/1.1', request)));
      assert.deepEqual([row.action, row.resourceId], [undefined, undefined], request);
    }
    assert.equal(map(line.replace(' HTTP/1.1', ''))?.resourceId, '/a/b');
  });

  it('has no time where the day is not in the calendar, and cuts a path of any length', () => {
    assert.equal(map(line.replace('17/May', '31/Feb'))?.eventTime, null);
    assert.equal(map(line.replace('17/May', '17/Foo'))?.eventTime, null);
    assert.equal(map(line.replace('/a/b', `/${'x'.repeat(99_999)}`))?.resourceId, `/${'x'.repeat(511)}`);
  });

  it('refuses what is no line of the log, and names the line and the field', () => {
    const record = recordOf('apache', { meta: '{"file":"access.log","format":"apache","line":8899}' });
    assert.throws(
      () => apacheMapper.map(record, bytesOf(line.slice(0, -1))),
      refusal(/^line 8899 of access\.log: the user agent that begins at byte \d+ is not complete$/),
    );
    assert.throws(() => map(''), refusal(/the host that begins at byte 0/));
    assert.throws(() => map(`${line} 17`), refusal(/something follows/));
  });
});
