import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';
import { Compile } from 'typebox/schema';
import { formatErrorReference } from './error-reference.ts';
import { type Document, type Operation, openTestServer } from './http-fixture.ts';
import { problemOf, STATUS_OF } from './problem.ts';

async function open(test: Parameters<typeof openTestServer>[0]) {
  const server = await openTestServer(test);
  const document: Document = (await server.send(null, { url: '/openapi.json' })).json();
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return { server, document, operations };
}

/** Every schema of an operation. */
function schemasOf({ parameters = [], requestBody, responses }: Operation): object[] {
  const media = [requestBody?.content, ...Object.values(responses).map(({ content }) => content)];
  const bodies = media.flatMap((content) => Object.values(content ?? {}).map(({ schema }) => schema));
  return [...parameters.map(({ schema }) => schema ?? assert.fail('a parameter has a schema')), ...bodies];
}

describe('/openapi.json', () => {
  it('is OpenAPI 3.1 in structure: version, info, paths, unique operation ids, path parameters, responses', async (test) => {
    const { document, operations } = await open(test);
    assert.equal(document.openapi, '3.1.0');
    const { info } = document as unknown as { info: { title: string; version: string } };
    assert.ok(info.title !== '' && info.version !== '');
    const ids = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, operations.length);
    for (const { path, method, operation } of operations) {
      const where = `${method} ${path}`;
      assert.match(method, /^(get|put|post|delete|options|head|patch|trace)$/);
      assert.ok(path.startsWith('/') && operation.summary, where);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      assert.deepEqual(declared.map(({ name }) => name).sort(), named.sort(), where);
      for (const parameter of operation.parameters ?? []) {
        assert.match(parameter.in, /^(path|query|header|cookie)$/);
        if (parameter.in === 'path') assert.equal(parameter.required, true, where);
      }
      assert.ok(Object.keys(operation.responses).length > 0, where);
      for (const [status, { description }] of Object.entries(operation.responses)) {
        assert.match(status, /^[1-5][0-9][0-9]$/);
        assert.equal(typeof description, 'string', `${where} ${status}`);
      }
      for (const requirement of operation.security ?? []) {
        for (const scheme of Object.keys(requirement))
          assert.ok(document.components.securitySchemes[scheme], where);
      }
    }
  });

  it('holds only JSON Schemas that compile, and references that lead somewhere', async (test) => {
    const { document, operations } = await open(test);
    const local = (value: unknown) =>
      JSON.parse(JSON.stringify(value).replaceAll('#/components/schemas/', '#/$defs/'));
    const $defs = local(document.components.schemas);
    for (const { operation } of operations)
      for (const schema of schemasOf(operation)) Compile({ ...local(schema), $defs });
    for (const [, name] of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
      assert.ok(document.components.schemas[name], name);
    }
    assert.doesNotMatch(JSON.stringify(document), /"\$ref":"(?!#\/components\/schemas\/)/);
  });

  it('names every registered route, and no other', async (test) => {
    const { server, operations } = await open(test);
    for (const { path, method } of operations) {
      const url = path.replace('{tile}', '*').replaceAll(/\{(\w+)\}/g, ':$1');
      assert.ok(server.app.hasRoute({ method: method.toUpperCase() as 'GET', url }), `${method} ${path}`);
    }
    // The router prints one line a path segment; the methods in brackets are those of a route. Of routes that end in any
    // path it prints one alone.
    const printed = server.app.printRoutes({ commonPrefix: false }).replaceAll(/── \*.*/g, '');
    const registered = [...printed.matchAll(/\(([A-Z, ]+)\)/g)].flatMap(([, methods]) => methods.split(', '));
    const shown = operations.filter(({ path }) => !path.endsWith('/{tile}'));
    // A HEAD is what its GET is, without the body.
    assert.equal(registered.filter((method) => method !== 'HEAD').length, shown.length);
  });

  it('says on every route that needs a key what happens without one', async (test) => {
    const { operations } = await open(test);
    for (const { path, operation } of operations) {
      if (operation.security === undefined) continue;
      for (const status of ['401', '403', '503', '500'])
        assert.ok(operation.responses[status], `${path} ${status}`);
    }
  });
});

describe('problem documents', () => {
  it('have the members of RFC 9457 and of the catalogue, for every code', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const problem = problemOf(code, 'what happened', 'a.b');
      const { sentence, retryable, action } = ERRORS[code];
      assert.deepEqual(
        { ...problem, detail: '' },
        {
          type: `/errors/${code}`,
          title: sentence,
          status: STATUS_OF[code],
          code,
          detail: '',
          field: 'a.b',
          retryable,
          action,
        },
      );
      assert.ok(problem.status >= 400 && problem.status <= 599);
    }
  });

  it('cut what the caller sent, and stay well-formed', () => {
    const { detail, field } = problemOf(
      'field-unknown',
      '\u{1f511}'.repeat(10_000),
      `x${'\u{1f511}'.repeat(1_000)}`,
    );
    assert.ok(detail.length <= 501 && detail.isWellFormed());
    assert.ok((field as string).length <= 201 && field?.isWellFormed());
  });

  it('say of a fault of ours what it is, and not what the driver said', () => {
    assert.doesNotMatch(problemOf('log-unavailable', 'connect ECONNREFUSED 10.0.0.1').detail, /ECONNREFUSED/);
  });
});

describe('docs/reference/errors.md', () => {
  it('is what the catalogue and the table of statuses say', () => {
    const page = readFileSync(new URL('../../../../docs/reference/errors.md', import.meta.url), 'utf8');
    assert.equal(page, formatErrorReference(), 'run: node scripts/write-error-reference.ts');
    assert.deepEqual(Object.keys(STATUS_OF).sort(), Object.keys(ERRORS).sort());
    const listed = [...page.matchAll(/^\| `([a-z-]+)` \| (\d+) \|/gm)].map(([, code, status]) => [
      code,
      Number(status),
    ]);
    assert.deepEqual(
      listed,
      (Object.keys(ERRORS) as ErrorCode[]).map((code) => [code, STATUS_OF[code]]),
    );
  });
});
