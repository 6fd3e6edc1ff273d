import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { flushOnExit } from './exit-flush.ts';
import { FakeLog } from './fake-log-fixture.ts';

function open() {
  const calls: string[] = [];
  const process = Object.assign(new EventEmitter(), {
    pid: 7,
    kill: (pid: number, signal: string) => calls.push(`kill ${pid} ${signal}`),
  });
  let end: () => void = () => undefined;
  const done = (what: string) => (options?: object) => {
    calls.push(`${what} ${JSON.stringify(options)}`);
    return new Promise<{ flushed: boolean; waiting: number }>((resolve) => {
      end = () => resolve({ flushed: true, waiting: 0 });
    });
  };
  const client = { flush: done('flush'), close: done('close') };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { calls, process, client, turn, end: () => end() };
}

it('closes on a signal within its bound, and only then lets the process end as it would have', async () => {
  const { calls, client, end, process, turn } = open();
  flushOnExit(client, process, { timeoutMs: 5 });
  process.emit('SIGTERM');
  await turn();
  assert.deepEqual(calls, ['close {"timeoutMs":5}']);
  end();
  await turn();
  assert.deepEqual(calls, ['close {"timeoutMs":5}', 'kill 7 SIGTERM']);
  assert.deepEqual(process.eventNames(), [], 'a second signal meets no listener of ours');
});

it('leaves the end of the process to a handler of the application', async () => {
  const { calls, client, end, process, turn } = open();
  process.on('SIGTERM', () => calls.push('the application'));
  flushOnExit(client, process, { timeoutMs: 5 });
  process.emit('SIGTERM');
  end();
  await turn();
  assert.deepEqual(calls, ['the application', 'close {"timeoutMs":5}']);
});

it('flushes when there is nothing else to do, and can be taken back', () => {
  const { calls, client, process } = open();
  const stop = flushOnExit(client, process, { signals: ['SIGUSR2'] });
  assert.deepEqual(process.eventNames(), ['SIGUSR2', 'beforeExit']);
  process.emit('beforeExit');
  assert.deepEqual(calls, ['flush {}']);
  stop();
  process.emit('SIGUSR2');
  assert.equal(calls.length, 1);
});

it('takes the process itself', () => {
  const { client } = open();
  flushOnExit(client, process)();
  assert.equal(process.listenerCount('SIGTERM'), 0);
});

/** Runs a program that has a client of this address, until it ends. */
function runProgram(url: string, buffer: string, rest: string) {
  const client = new URL('./client.ts', import.meta.url).href;
  const program = `
    import { randomUUID } from 'node:crypto';
    import { createHttpClient } from '${client}';
    const options = { url: '${url}', key: 'k', retry: { firstMs: 5, maxMs: 60_000 }, onProblem: () => undefined };
    const client = createHttpClient({ ...options, buffer: ${buffer} });
    const send = () => client.send({ id: randomUUID(), type: 'note', key: 'k', schema: 0, body: {} });
    ${rest}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { child, ended: once(child, 'close') as Promise<[number | null, string | null]> };
}

/** A server that takes events only after `open` was called. */
async function serveLate(t: TestContext) {
  const log = new FakeLog();
  let isOpen = false;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (!isOpen) {
      response.writeHead(503, { 'content-type': 'application/problem+json' }).end('{"code":"overloaded"}');
      return;
    }
    const body = new Uint8Array(Buffer.concat(chunks));
    const init = {
      method: 'POST',
      headers: {},
      body,
      signal: AbortSignal.timeout(10_000),
      redirect: 'manual' as const,
    };
    const answer = (await log.fetch(request.url!, init)) as Response;
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const open = () => {
    isOpen = true;
  };
  return { log, open, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

it('brings what waits to the log when a real process is told to stop, and the process ends by that signal', {
  timeout: 30_000,
}, async (t) => {
  const { log, open, url } = await serveLate(t);
  const { child, ended } = runProgram(
    url,
    "{ kind: 'memory' }",
    `client.flushOnExit(process, { timeoutMs: 20_000 });
     for (let n = 0; n < 5; n++) void send();
     console.log('sent');`,
  );
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  open();
  assert.deepEqual(await ended, [null, 'SIGTERM']);
  assert.equal(log.order.length, 5);
});

it('does not hold a process that has its events on disk, and nothing else to do', {
  timeout: 30_000,
}, async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'evident-buffer-exit-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const { log, open, url } = await serveLate(t);
  const buffer = `{ kind: 'disk', folder: ${JSON.stringify(root)} }`;
  assert.deepEqual(await runProgram(url, buffer, 'await send();').ended, [0, null]);
  assert.equal(log.order.length, 0);
  open();
  // Only a start: delivery of what lies there begins by itself, and `beforeExit` waits for it.
  assert.deepEqual(await runProgram(url, buffer, 'client.flushOnExit(process);').ended, [0, null]);
  assert.equal(log.order.length, 1);
});
