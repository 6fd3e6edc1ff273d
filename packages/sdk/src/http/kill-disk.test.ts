import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createHttpClient } from './client.ts';
import { eventually, FakeLog } from './fake-log-fixture.ts';

const CHILD = fileURLToPath(new URL('./kill-disk-child-fixture.ts', import.meta.url));
const KILLS = 8;

/** The fake log behind a real socket, which breaks some answers off after the events were taken, and some before. */
async function serve(t: TestContext, log: FakeLog): Promise<string> {
  let requests = 0;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const kind = requests++ % 5;
    if (kind === 3) log.script.push('break');
    if (kind === 4) log.script.push('take and break');
    const init = {
      method: 'POST',
      headers: {},
      body: new Uint8Array(Buffer.concat(chunks)),
      signal: AbortSignal.timeout(60_000),
      redirect: 'manual' as const,
    };
    try {
      const answer = (await log.fetch(request.url!, init)) as Response;
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
    } catch {
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Runs the child until it has been told of `least` more events, and kills it. @returns what it was told */
async function runAndKill(t: TestContext, url: string, folder: string, least: number): Promise<string[]> {
  const child = spawn(process.execPath, [CHILD, url, folder], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const closed = new Promise((resolve) => child.on('close', resolve));
  await eventually('the child sends', () => {
    assert.equal(child.exitCode, null, stderr);
    return stdout.split('\n').length > least;
  });
  child.kill('SIGKILL');
  await closed;
  return stdout.split('\n').slice(0, -1);
}

it('what send resolved is in the log exactly once, however often the process is killed', {
  timeout: 120_000,
}, async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'evident-buffer-kill-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const folder = join(root, 'buffer');
  const log = new FakeLog();
  const url = await serve(t, log);
  const resolved: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    resolved.push(...(await runAndKill(t, url, folder, 40 + ((kill * 137) % 400))));
  }
  const client = createHttpClient({
    url,
    key: 'evident_key',
    buffer: { kind: 'disk', folder },
    retry: { firstMs: 1, maxMs: 4 },
    onProblem: () => undefined,
  });
  const waited = client.metrics().waitingEvents;
  assert.deepEqual(await client.flush({ timeoutMs: 60_000 }), { flushed: true, waiting: 0 });
  await client.close();
  const held = new Set(log.order);
  assert.equal(held.size, log.order.length);
  assert.deepEqual(
    resolved.filter((id) => !held.has(id)),
    [],
    'resolved, and not in the log',
  );
  // One write may be on disk whose answer the kill came before; four writers, eight kills.
  assert.ok(held.size - resolved.length <= KILLS * 8, `${held.size} in the log, ${resolved.length} resolved`);
  const sent = log.requests.flat().length;
  t.diagnostic(`${resolved.length} resolved, ${waited} waited at the end, ${sent - held.size} sent again`);
  assert.ok(sent > held.size, 'some answers were lost, and the events sent again');
});
