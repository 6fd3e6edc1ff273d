/** What every middleware promises, asked of the real framework over a socket of 127.0.0.1. */

import assert from 'node:assert/strict';
import { AsyncResource } from 'node:async_hooks';
import { once } from 'node:events';
import { type IncomingHttpHeaders, type Server, request as send } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { Readable, Transform } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { isEvidentError } from '@evident/core/errors.ts';
import { type AuditContext, currentContext, setActor } from '../../context/context.ts';
import {
  evident,
  OWN_PATHS,
  SharedThings,
  type Sighting,
  sequence,
  walk,
} from '../../context/paths-fixture.ts';
import type { ContextOptions } from '../arrival.ts';

export type Json = (body: unknown) => unknown;

/** Routes that the framework has to serve: by GET and POST as JSON, and one as a stream. */
export interface Routes {
  readonly json: Readonly<Record<string, Json>>;
  readonly stream: () => Readable;
}

export interface Framework<Request> {
  /** A server that serves the routes behind the middleware, not listening yet. */
  build(options: ContextOptions<Request>, routes: Routes): Promise<Server>;
  headerOf(request: Request, name: string): string | undefined;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const REQUESTS = 200;

/** Waits, a turn of the event loop at a time, for what must come. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `waited too long for: ${what}`);
    await turn();
  }
}

/** What `currentContext` says: the context, or the code of its error. */
function look(): AuditContext | string | null {
  try {
    return currentContext();
  } catch (error) {
    if (isEvidentError(error)) return error.code;
    throw error;
  }
}

/** A look as some callback would take it that Node runs later in the context of now. */
function lookLater(): () => AuditContext | string | null {
  return AsyncResource.bind(look);
}

export function describeMiddleware<Request>(name: string, framework: Framework<Request>): void {
  let server: Server | null = null;
  let port = 0;

  const start = async (options: ContextOptions<Request>, routes: Partial<Routes> = {}): Promise<void> => {
    server = await framework.build(options, {
      json: { '/who': look, ...routes.json },
      stream: routes.stream ?? (() => Readable.from(['nothing'])),
    });
    if (!server.listening) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    port = (server.address() as AddressInfo).port;
  };

  const get = async (path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> => {
    const request = send({
      host: '127.0.0.1',
      port,
      path,
      method: body === undefined ? 'GET' : 'POST',
      headers,
    });
    request.end(body);
    const [response] = await once(request, 'response');
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  };
  const who = async (headers: Record<string, string> = {}): Promise<AuditContext> =>
    JSON.parse((await get('/who', headers)).body);

  const actor = (request: Request) => {
    const id = framework.headerOf(request, 'x-user');
    return id === undefined ? null : { id, type: 'user' as const };
  };

  describe(name, () => {
    afterEach(async () => {
      server?.closeAllConnections();
      if (server?.listening) await new Promise((resolve) => server?.close(resolve));
      server = null;
    });

    it('gives each request a fresh id, in its context and in the header of its response', async () => {
      await start({});
      const answer = await get('/who', { 'x-request-id': 'chosen-by-a-stranger' });
      const { context } = JSON.parse(answer.body) as AuditContext;
      assert.match(context?.request_id ?? '', UUID);
      assert.equal(answer.headers['x-request-id'], context?.request_id);
      assert.notEqual((await who()).context?.request_id, context?.request_id);
    });

    it('takes the id of a trusted proxy if it is well-formed, and a fresh one otherwise', async () => {
      await start({ trustRequestId: true });
      const answer = await get('/who', { 'x-request-id': 'edge-1/42' });
      assert.equal((JSON.parse(answer.body) as AuditContext).context?.request_id, 'edge-1/42');
      assert.equal(answer.headers['x-request-id'], 'edge-1/42');
      assert.equal((await who({ 'x-request-id': 'x'.repeat(256) })).context?.request_id, 'x'.repeat(256));
      for (const bad of ['x'.repeat(257), 'two words', 'a\tb', 'caf\u00e9', '']) {
        assert.match(
          (await who({ 'x-request-id': bad })).context?.request_id ?? '',
          UUID,
          JSON.stringify(bad),
        );
      }
    });

    it('takes a traceparent of version 00, and drops any other', async () => {
      await start({});
      assert.equal((await who({ traceparent: TRACEPARENT })).context?.traceparent, TRACEPARENT);
      for (const bad of [
        TRACEPARENT.toUpperCase(),
        TRACEPARENT.replace(/^00/, 'ff'),
        TRACEPARENT.replace(/^00/, '01'),
        `${TRACEPARENT}-extra`,
        '00-00000000000000000000000000000000-b7ad6b7169203331-01',
        '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01',
        `${TRACEPARENT}, ${TRACEPARENT}`,
      ]) {
        assert.equal((await who({ traceparent: bad })).context?.traceparent, undefined, bad);
      }
    });

    it('takes session and correlation id from its options, and drops what is none', async () => {
      const from = (header: string) => (request: Request) => framework.headerOf(request, header);
      await start({ session: from('x-session'), correlation: from('x-correlation') });
      const { context } = await who({ 'x-session': 'ses_1', 'x-correlation': 'order 7' });
      assert.equal(context?.session_id, 'ses_1');
      assert.equal(context?.correlation_id, 'order 7');
      const bad = await who({ 'x-session': 's'.repeat(257), 'x-correlation': 'a\u0085b' });
      assert.deepEqual(Object.keys(bad.context ?? {}), ['request_id']);
    });

    it('takes actor and tenant from its options, at once or after waiting', async () => {
      await start({
        actor: async (request) => {
          await sleep(1);
          return actor(request);
        },
        tenant: () => 'acme',
      });
      const seen = await who({ 'x-user': 'usr_1' });
      assert.deepEqual(seen.actor, { id: 'usr_1', type: 'user' });
      assert.equal(seen.tenant, 'acme');
      const anonymous = await who();
      assert.equal(anonymous.actor, undefined);
      assert.equal(anonymous.tenant, 'acme');
    });

    it('takes the actor that is set after authentication, with what was seen of the client', async () => {
      const json = {
        '/login': async () => {
          await sleep(1);
          setActor({ id: 'usr_2', type: 'user' }, 'acme');
          return look();
        },
      };
      await start({ client: true }, { json });
      const headers = {
        'user-agent': 'test/1 \u0085\u0086x',
        'x-forwarded-for': '203.0.113.9',
        forwarded: 'for=203.0.113.9',
      };
      const answer = await get('/login', headers);
      assert.deepEqual(JSON.parse(answer.body).actor, {
        ip_address: '127.0.0.1',
        user_agent: 'test/1 \ufffdx',
        id: 'usr_2',
        type: 'user',
      });
      await get('/login', { 'user-agent': 'long'.repeat(1_000) }).then(({ body }) =>
        assert.equal(JSON.parse(body).actor.user_agent, 'long'.repeat(256)),
      );
    });

    it('keeps network address and user agent out unless it is asked for them', async () => {
      await start({ actor });
      assert.deepEqual((await who({ 'x-user': 'usr_1' })).actor, { id: 'usr_1', type: 'user' });
    });

    it('does not run the handler when the actor cannot be told, or is none', async () => {
      let runs = 0;
      const json = { '/count': () => (runs += 1) };
      await start(
        {
          actor(request) {
            const kind = framework.headerOf(request, 'x-kind');
            if (kind === 'throws') throw new Error('the token is forged');
            if (kind === 'rejects') return Promise.reject(new Error('the token is forged'));
            return kind === 'malformed' ? ({ id: 'usr_1', type: 'robot' } as never) : null;
          },
          tenant: (request) => framework.headerOf(request, 'x-tenant'),
          session(request) {
            if (framework.headerOf(request, 'x-kind') === 'session')
              throw new Error('the cookie is malformed');
            return null;
          },
        },
        { json },
      );
      const wrong = [
        { 'x-kind': 'throws' },
        { 'x-kind': 'rejects' },
        { 'x-kind': 'malformed' },
        { 'x-kind': 'session' },
        { 'x-tenant': '_system' },
      ];
      for (const headers of wrong) {
        assert.equal((await get('/count', headers as never)).status, 500, JSON.stringify(headers));
      }
      assert.equal(runs, 0);
      assert.equal((await get('/count')).status, 200);
      assert.equal(runs, 1);
    });

    it('still knows the request after its body was read', async () => {
      await start({ actor }, { json: { '/echo': (body) => ({ body, seen: look() }) } });
      const body = JSON.stringify({ text: 'x'.repeat(90_000) });
      const headers = {
        'x-user': 'usr_3',
        'content-type': 'application/json',
        'content-length': `${body.length}`,
      };
      const answer = JSON.parse((await get('/echo', headers, body)).body);
      assert.equal(answer.body.text.length, 90_000);
      assert.equal(answer.seen.actor.id, 'usr_3');
    });

    it(`shows ${REQUESTS} requests at once to themselves alone`, async () => {
      const shared = new SharedThings();
      const random = sequence(7);
      const json = { '/walk': () => walk(OWN_PATHS, evident, shared, random) };
      await start({ actor, tenant: () => 'acme' }, { json });
      try {
        const users = Array.from({ length: REQUESTS }, (_, index) => `usr_${index}`);
        const wrong = await Promise.all(
          users.map(async (user) => {
            const sightings = JSON.parse((await get('/walk', { 'x-user': user })).body) as Sighting[];
            assert.ok(sightings.length >= Object.keys(OWN_PATHS).length);
            return sightings.filter(({ seen }) => seen !== user).map((sighting) => ({ user, ...sighting }));
          }),
        );
        assert.deepEqual(wrong.flat(), []);
      } finally {
        await shared.close();
      }
    });

    it('ends the context with the response', async () => {
      const late: (() => AuditContext | string | null)[] = [];
      await start({ actor }, { json: { '/late': () => late.push(lookLater()) } });
      await get('/late', { 'x-user': 'usr_4' });
      await until(() => late[0]?.() === 'context-ended', 'the end of the context');
      assert.equal(late[0]?.(), 'context-ended');
    });

    it('keeps the context while the body of the response is being read, and ends it then', async () => {
      const seen: unknown[] = [];
      const gate = Promise.withResolvers<void>();
      let late = () => look();
      const stream = () => {
        late = lookLater();
        const source = async function* () {
          yield 'first ';
          await gate.promise;
          yield 'last';
        };
        const looking = new Transform({
          transform(chunk, _encoding, done) {
            seen.push(look());
            done(null, chunk);
          },
        });
        return Readable.from(source()).pipe(looking);
      };
      await start({ actor }, { stream });
      const request = send({
        host: '127.0.0.1',
        port,
        path: '/stream',
        headers: { 'x-user': 'usr_5' },
      }).end();
      const [response] = await once(request, 'response');
      await once(response, 'readable');
      assert.equal((late() as AuditContext).actor?.id, 'usr_5');
      gate.resolve();
      assert.equal(await text(response), 'first last');
      assert.deepEqual(
        seen.map((each) => (each as AuditContext).actor?.id),
        ['usr_5', 'usr_5'],
      );
      await until(() => late() === 'context-ended', 'the end of the context');
    });

    /** A client that hangs up while the handler works; what does the handler see afterwards? */
    const hangUp = async (options: ContextOptions<Request>) => {
      const arrived = Promise.withResolvers<void>();
      const gone = Promise.withResolvers<void>();
      const seen = Promise.withResolvers<ReturnType<typeof look>>();
      let late = () => look();
      const json = {
        '/slow': async () => {
          late = lookLater();
          arrived.resolve();
          await gone.promise;
          for (let turns = 0; turns < 5; turns += 1) await turn();
          seen.resolve(look());
          return 'nobody reads this';
        },
      };
      await start({ actor, ...options }, { json });
      server?.on('connection', (socket) => socket.on('close', () => gone.resolve()));
      const client = connect(port, '127.0.0.1');
      client.write('GET /slow HTTP/1.1\r\nHost: localhost\r\nX-User: usr_6\r\n\r\n');
      await arrived.promise;
      client.destroy();
      return { seen: await seen.promise, late: () => late() };
    };

    it('lets who hangs up early not escape the record of what he does', async () => {
      const { seen, late } = await hangUp({});
      assert.equal((seen as AuditContext).actor?.id, 'usr_6');
      await until(() => late() === 'context-ended', 'the end of the context once the handler has answered');
    });

    it('ends the context of an abandoned request after the grace that is set', async () => {
      assert.equal((await hangUp({ abortedGraceMs: 0 })).seen, 'context-ended');
    });
  });
}
