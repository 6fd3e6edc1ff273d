import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { envelope, openTestServer, type TestServer } from './http-fixture.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

interface Letter {
  view: string;
  log: string;
  partition: number;
  position: string;
  tenant: string;
  resolution: string | null;
}

/** A server with two faulty records of acme, one of another tenant, and a poisonous one. */
async function open(test: TestContext): Promise<TestServer> {
  const server = await openTestServer(test);
  await server.append(
    [1, 2, 3, 4].map((n) => envelope({ body: { n, ...(n < 3 ? { text: 'faulty' } : {}) } })),
  );
  await server.append([envelope({ type: 'poison', body: 'faulty' })]);
  await server.append([envelope({ key: 'other/usr_1', body: 'faulty' })], 'writer:other');
  await server.letters.projectLetters();
  return server;
}

async function list(server: TestServer, as = 'admin', query = ''): Promise<Letter[]> {
  const response = await server.send(as, { url: `/v1/dead-letters${query}` });
  assert.equal(response.statusCode, 200, response.body);
  return response.json().dead_letters;
}

const pathOf = ({ view, log, partition, position }: Letter): string =>
  `/v1/dead-letters/${view}/${log}/${partition}/${position}`;

describe('dead letters over HTTP', () => {
  it('are listed by filter and page, each reader those of its tenant', async (test) => {
    const server = await open(test);
    assert.equal((await list(server)).length, 4);
    assert.deepEqual(
      (await list(server, 'investigator:acme')).map(({ tenant }) => tenant),
      ['acme', 'acme', 'acme'],
    );
    assert.equal((await list(server, 'admin', '?tenant=other')).length, 1);
    assert.equal((await list(server, 'admin', '?class=poison')).length, 1);
    assert.equal((await list(server, 'admin', '?state=resolved')).length, 0);
    const forbidden = await server.send('auditor:acme', { url: '/v1/dead-letters?tenant=other' });
    assert.equal(forbidden.json().code, 'tenant-forbidden');
    const paged: Letter[] = [];
    for (let next: string | null = ''; next !== null; ) {
      const query: string = next === '' ? '' : `&after=${encodeURIComponent(next)}`;
      const page = (await server.send('admin', { url: `/v1/dead-letters?limit=1${query}` })).json();
      paged.push(...page.dead_letters);
      next = page.next;
    }
    assert.deepEqual(paged, await list(server));
    for (const bad of [
      '?after=x',
      '?limit=0',
      '?limit=1001',
      '?class=other',
      '?state=x',
      '?view=A',
      '?unknown=1',
    ])
      assert.equal((await server.send('admin', { url: `/v1/dead-letters${bad}` })).statusCode, 400, bad);
  });

  it('are listed only when that is recorded; a page without any says nothing', async (test) => {
    const server = await open(test);
    await list(server, 'auditor:acme');
    await list(server, 'auditor:acme', '?state=resolved');
    assert.deepEqual(
      server.reads.notes.map(({ reader, tenant, resource, details }) => [
        reader.tenant,
        tenant,
        resource.type,
        details.returned,
      ]),
      [['acme', 'acme', 'dead_letters', 3]],
    );
    server.reads.isRefusing = true;
    const refused = await server.send('auditor:acme', { url: '/v1/dead-letters' });
    assert.deepEqual([refused.statusCode, refused.json().code], [503, 'read-unrecorded']);
  });

  it('are shown with their record, which is recorded; those of another tenant do not exist', async (test) => {
    const server = await open(test);
    const [letter] = await list(server, 'auditor:acme');
    const shown = await server.send('auditor:acme', { url: pathOf(letter) });
    assert.equal(shown.statusCode, 200, shown.body);
    assert.match(shown.json().leaf, /^\{"v":1,"log":"audit"/);
    assert.match(shown.json().body_head, /faulty/);
    assert.equal(shown.json().stack, 'at a test');
    const [event] = server.recorded.filter(({ action }) => action === 'audit.read');
    assert.deepEqual(event.resource, {
      type: 'dead_letter',
      id: pathOf(letter).slice('/v1/dead-letters/'.length),
    });
    const [other] = await list(server, 'admin', '?tenant=other');
    for (const [method, suffix] of [
      ['GET', ''],
      ['POST', '/replay'],
      ['POST', '/discard'],
      ['POST', '/resolve'],
    ] as const) {
      const request = {
        method,
        url: `${pathOf(other)}${suffix}`,
        ...(suffix === '/discard' || suffix === '/resolve'
          ? { headers: JSON_TYPE, payload: '{"reason":"x"}' }
          : {}),
      };
      assert.equal((await server.send('admin:acme', request)).statusCode, 404, suffix);
    }
    assert.equal((await list(server, 'admin', '?tenant=other'))[0].resolution, null);
  });

  it('are not shown when that can not be recorded', async (test) => {
    const server = await openTestServer(test, { recordOwn: () => Promise.reject(new Error('a test')) });
    await server.append([envelope({ body: 'faulty' })]);
    await server.letters.projectLetters();
    const [letter] = await list(server);
    const refused = await server.send('admin', { url: pathOf(letter) });
    assert.deepEqual([refused.statusCode, refused.json().code], [503, 'read-unrecorded']);
    assert.doesNotMatch(refused.body, /faulty/);
  });

  it('are replayed, discarded and resolved for a reason, once', async (test) => {
    const server = await open(test);
    const [first, second] = await list(server, 'compliance:acme', '?class=validation');
    const replay = () => server.send('compliance:acme', { method: 'POST', url: `${pathOf(first)}/replay` });
    assert.equal((await replay()).json().outcome, 'failed');
    server.letters.mapper.isFixed = true;
    assert.equal((await replay()).json().outcome, 'resolved');
    assert.equal((await replay()).json().outcome, 'already');
    const discard = (payload: string) =>
      server.send('compliance:acme', {
        method: 'POST',
        url: `${pathOf(second)}/discard`,
        headers: JSON_TYPE,
        payload,
      });
    for (const bad of [
      '{}',
      '{"reason":""}',
      '{"reason":"  "}',
      '{"reason":1}',
      '{"reason":"x","more":1}',
      '[]',
    ])
      assert.equal((await discard(bad)).statusCode, 400, bad);
    const done = (await discard('{"reason":"a test line"}')).json();
    assert.deepEqual(
      [done.outcome, done.dead_letter.resolution, done.dead_letter.reason],
      ['resolved', 'discarded', 'a test line'],
    );
    const compliance = server.keys['compliance:acme'].split('_')[1];
    assert.equal(done.dead_letter.resolved_by, `key:${compliance}`);
    assert.match(server.content(), new RegExp(done.dead_letter.event_id));
  });

  it('are replayed many at a time, but for poison, which no server maps', async (test) => {
    const server = await open(test);
    server.letters.mapper.isFixed = true;
    const [poison] = await list(server, 'admin', '?class=poison');
    const refused = await server.send('admin', { method: 'POST', url: `${pathOf(poison)}/replay` });
    assert.deepEqual([refused.statusCode, refused.json().code], [409, 'replay-refused']);
    const many = await server.send('admin:acme', {
      method: 'POST',
      url: '/v1/dead-letters/replay',
      headers: JSON_TYPE,
      payload: '{}',
    });
    assert.deepEqual(many.json(), { replayed: 2, failed: 0, already: 0, next: null });
    const left = await list(server);
    assert.deepEqual(left.map(({ tenant }) => tenant).sort(), ['acme', 'other']);
  });
});

describe('GET /v1/views', () => {
  it('says how views stand, with the open dead letters of the tenant', async (test) => {
    const server = await open(test);
    const all = (await server.send('auditor', { url: '/v1/views' })).json();
    assert.deepEqual(all.views[0].open_dead_letters, { validation: 3, poison: 1 });
    const own = (await server.send('auditor:acme', { url: '/v1/views' })).json();
    assert.deepEqual(own.views[0].open_dead_letters, { validation: 2, poison: 1 });
    assert.equal(own.views[0].current, true);
  });
});
