import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import Type from 'typebox';
import { openTestServer } from './http-fixture.ts';
import { compileValidator } from './validation.ts';

/** Names that every object seems to have. */
const INHERITED = ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf', '__defineGetter__'];
const Asked = Type.Object(
  { limit: Type.Optional(Type.Integer()), name: Type.Optional(Type.String()) },
  { additionalProperties: false },
);

/** As a query string or JSON makes it: the name is a member of its own. */
function objectWith(name: string, value: unknown): object {
  return JSON.parse(`{${JSON.stringify(name)}:${JSON.stringify(value)}}`);
}

describe('compileValidator', () => {
  it('refuses a member that is not declared by its name, also where every object inherits one of that name', () => {
    for (const httpPart of ['querystring', 'params', 'headers', 'body']) {
      const check = compileValidator({ schema: Asked, httpPart });
      for (const name of [...INHERITED, 'other']) {
        const found = check(objectWith(name, '1'));
        assert.ok('error' in found, `${httpPart} ${name}`);
        assert.match(found.error.message, /there is no such field here/);
      }
    }
  });

  it('converts what a query string says to the declared type, and leaves what it was given as it is', () => {
    const check = compileValidator({ schema: Asked, httpPart: 'querystring' });
    const given = { limit: '7', name: '7' };
    const found = check(given);
    assert.ok('value' in found);
    assert.deepEqual({ ...(found.value as object) }, { limit: 7, name: '7' });
    assert.deepEqual(given, { limit: '7', name: '7' });
  });

  it('gives nothing that was not sent', () => {
    const found = compileValidator({ schema: Asked, httpPart: 'querystring' })({});
    assert.ok('value' in found);
    for (const name of INHERITED)
      assert.equal((found.value as Record<string, unknown>)[name], undefined, name);
  });
});

describe('a request', () => {
  it('with a parameter or member that is called like what objects inherit is refused, and that is named', async (test) => {
    const server = await openTestServer(test);
    const headers = { 'content-type': 'application/json' };
    for (const name of INHERITED) {
      const asked = await server.send('auditor', { url: `/v1/events?${name}=1` });
      assert.deepEqual(
        [asked.statusCode, asked.json().code, asked.json().field],
        [400, 'field-unknown', name],
      );
      const payload = `{"role":"auditor","${name}":"x"}`;
      const made = await server.send('admin', { method: 'POST', url: '/v1/api-keys', headers, payload });
      assert.deepEqual([made.statusCode, made.json().code, made.json().field], [400, 'field-unknown', name]);
      const filter = `{"filter":{"${name}":"x"}}`;
      const saved = await server.send('admin:acme', {
        method: 'PUT',
        url: '/v1/saved-searches/n',
        headers,
        payload: filter,
      });
      assert.deepEqual(
        [saved.statusCode, saved.json().code, saved.json().field],
        [400, 'field-unknown', name],
      );
      const format = await server.send('writer:acme', {
        method: 'POST',
        url: `/v1/imports/${name}`,
        headers: { 'content-type': 'application/octet-stream' },
        payload: '{}\n',
      });
      assert.ok([400, 404].includes(format.statusCode), `${name}: ${format.statusCode}`);
      const item = `[{"id":"0198c5a0-0000-7000-8000-000000000001","type":"note","key":"acme/x","schema":0,"body":{},"${name}":1}]`;
      const taken = await server.send('writer:acme', {
        method: 'POST',
        url: '/v1/logs/audit/records',
        headers,
        payload: item,
      });
      assert.equal(taken.statusCode, 400, taken.body);
    }
    assert.equal((await server.send('auditor', { url: '/v1/events?limit=1' })).statusCode, 200);
  });
});
