/** `evident start` and the other commands as an operator meets them: real processes, exit codes, files, modes. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startEngine } from '../src/stores/postgres/embedded/engine-fixture.ts';
import {
  type CommandResult,
  makeFolder,
  makeServer,
  runCommand,
  ServerProcess,
  until,
} from './server-process.ts';

const LINES = 400;
const modeOf = (path: string): number => statSync(path).mode & 0o777;

function accessLog(): string {
  const line = (index: number): string =>
    `192.0.2.${index % 250} - - [20/Nov/2026:10:00:00 +0000] "GET /page/${index} HTTP/1.1" 200 ${index}\n`;
  return Array.from({ length: LINES }, (_, index) => line(index)).join('');
}

function assertExit({ code, stdout, stderr }: CommandResult, wanted: number): void {
  assert.equal(code, wanted, `it printed:\n${stdout}\n${stderr}`);
}

async function runJson(args: readonly string[], wanted = 0): Promise<Record<string, unknown>> {
  const done = await runCommand([...args, '--json']);
  assertExit(done, wanted);
  return JSON.parse(done.stdout) as Record<string, unknown>;
}

interface ShownPartition {
  readonly log: string;
  readonly partition: number;
  readonly next: string;
  readonly sealed: string;
}

async function statusOf(data: readonly string[]): Promise<ShownPartition[]> {
  return (await runJson(['status', ...data])).partitions as ShownPartition[];
}

/** One byte, where it stands: every read is recorded, so the file may grow at any moment. */
function flipByte(file: string, at: number): void {
  const handle = openSync(file, 'r+');
  const byte = Buffer.alloc(1);
  readSync(handle, byte, 0, 1, at);
  byte[0] ^= 1;
  writeSync(handle, byte, 0, 1, at);
  closeSync(handle);
}

describe('a data directory from its first start on', () => {
  const undo: (() => unknown)[] = [];
  const t = { after: (step?: unknown) => void undo.push(step as () => unknown) };
  let server: ServerProcess;
  let data: readonly string[];
  let file: string;

  before(async () => {
    server = makeServer(t, { isText: true });
    data = ['--data', server.dataDir];
    const folder = makeFolder(t);
    file = join(folder, 'access.log');
    writeFileSync(file, accessLog());
    await server.start();
  });
  after(async () => {
    for (const step of undo) await step();
  });

  const untilSealed = () =>
    until('it is sealed', async () => (await statusOf(data)).every(({ next, sealed }) => next === sealed));

  /** Reads that work beside a server, and without one. */
  async function readEverything(): Promise<void> {
    const partitions = (await statusOf(data)).filter(({ log }) => log === 'audit');
    assert.equal(partitions.length, 8);
    assert.ok(partitions.every(({ next, sealed }) => next === sealed && next !== '0'));
    const shown = await runJson(['show', 'audit/3/0', ...data]);
    assert.equal(shown.verdict, 'verified');
    assert.match(String(shown.leaf), /^\{"v":1,"log":"audit","partition":3,"position":"0",/);
    const out = join(makeFolder(t), 'out');
    const tiles = await runJson(['tiles', '--out', out, '--partition', '3', ...data]);
    assert.equal(tiles.size, partitions[3].sealed);
    assert.match(readFileSync(join(out, 'checkpoint'), 'utf8'), /\/audit\/3\n/);
    const verified = await runCommand(['verify', ...data]);
    assertExit(verified, 0);
    assert.match(verified.stdout, /^verified/);
  }

  function writeNote(): string {
    const path = `${file}.ndjson`;
    writeFileSync(path, '{"n": 1}\n');
    return path;
  }

  it('prints address, K, where the admin key lies, and what to do next', () => {
    const { vkey, url } = server.ready;
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal(readFileSync(join(server.dataDir, 'evident.vkey'), 'utf8'), `${vkey}\n`);
    assert.match(vkey, /^evident\.invalid\/[0-9a-f]{16}\/heads\/0\+[0-9a-f]{8}\+/);
    assert.ok(server.stdout.includes(`in ${join(server.dataDir, 'admin.key')}`));
    for (const command of ['import', 'tail', 'verify', 'api-key create'])
      assert.ok(server.stdout.includes(`npx evident ${command}`), command);
    assert.ok(!server.stdout.includes(server.adminKey), 'the key itself is not printed');
  });

  it('keeps secrets readable by their owner alone, and K by everybody', () => {
    for (const name of ['admin.key', 'server.json', 'metrics.token', 'signer/key', 'postgres.password'])
      assert.equal(modeOf(join(server.dataDir, name)), 0o600, name);
    assert.equal(modeOf(join(server.dataDir, 'evident.vkey')), 0o644);
    assert.equal(modeOf(server.dataDir), process.getuid?.() === 0 ? 0o711 : 0o700);
    const left = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as object;
    assert.partialDeepStrictEqual(left, { pid: server.pid, url: server.url });
  });

  it('refuses a second start with data-locked, and the first goes on', async () => {
    const second = await runCommand(['start', ...data, '--port', '0', '--json']);
    assertExit(second, 70);
    const { code, detail } = JSON.parse(second.stderr) as { code: string; detail: string };
    assert.equal(code, 'data-locked');
    assert.ok(detail.includes(`pid ${server.pid}`), detail);
    assert.ok(await server.isReady());
    assert.ok(existsSync(join(server.dataDir, 'server.json')));
  });

  it('ends a start whose port is taken, names it, and leaves nothing running', async (t) => {
    const other = makeServer(t);
    const port = new URL(server.url).port;
    const done = await runCommand(['start', '--data', other.dataDir, '--port', port, '--json']);
    assertExit(done, 64);
    const refusal = done.stderr.trim().split('\n').at(-1) as string;
    assert.partialDeepStrictEqual(JSON.parse(refusal), { code: 'usage-invalid' });
    assert.ok(refusal.includes(`port ${port} of 127.0.0.1: another program listens there`), refusal);
    assert.equal(other.engineCount, 0);
    assert.doesNotMatch(done.stderr, /Cannot use a pool/);
  });

  it('imports, shows and verifies beside the server', async () => {
    const done = await runJson(['import', 'apache', file, '--tenant', 'acme', ...data]);
    assert.partialDeepStrictEqual(done, { files: 1, counts: { taken: LINES, repeated: 0 }, failed: [] });
    await untilSealed();
    await readEverything();
    const made = await runJson(['api-key', 'create', '--role', 'writer', '--tenant', 'acme', ...data]);
    const listed = await runCommand(['api-key', 'list', ...data]);
    assert.ok(listed.stdout.includes(`${String(made.id)}  writer`), listed.stdout);
    const next = await runJson(['api-key', 'rotate', String(made.id), '--grace', '0', ...data]);
    assert.partialDeepStrictEqual(next, { role: 'writer', tenant: 'acme', revoked_at: null });
    assert.match(String(next.key), /^evident_/);
    await runJson(['api-key', 'revoke', String(next.id), ...data]);
    const ended = await runCommand(['api-key', 'list', ...data]);
    assert.ok(ended.stdout.includes(`rotated to ${String(next.id)}`), ended.stdout);
    assert.match(ended.stdout, new RegExp(`${String(next.id)}  writer .* revoked `));
  });

  it('follows what is appended', async () => {
    const tail = runCommand(['tail', '--limit', '1', ...data]);
    await until('a tail is open', async () => /^evident_http_tails 1$/m.test(await server.metrics()));
    const done = await runCommand(['import', 'ndjson', writeNote(), ...data]);
    assertExit(done, 0);
    const followed = await tail;
    assertExit(followed, 0);
    assert.match(followed.stdout, /"type":"ndjson".*"body":\{"n": 1\}\}\n$/);
  });

  it('answers verify with 1 and the place for a changed tile, with 2 for one that cannot be read', async () => {
    const tile = join(server.dataDir, 'tiles', 'audit', '3', '0-00000000');
    await untilSealed();
    flipByte(tile, 5 * 32);
    const tampered = await runCommand(['verify', ...data]);
    assertExit(tampered, 1);
    assert.match(tampered.stdout, /^tampered\n[\s\S]*tampered: audit\/3\/5 /);
    renameSync(tile, `${tile}.aside`);
    mkdirSync(tile);
    const unreadable = await runCommand(['verify', ...data]);
    assertExit(unreadable, 2);
    assert.match(unreadable.stdout, /^not checked\n[\s\S]*not checked: audit\/3/);
    rmSync(tile, { recursive: true });
    renameSync(`${tile}.aside`, tile);
    flipByte(tile, 5 * 32);
    assertExit(await runCommand(['verify', ...data]), 0);
  });

  it('does the same without a server', async () => {
    assert.equal((await server.stop()).code, 0, server.stderr);
    assert.ok(!existsSync(join(server.dataDir, 'server.json')));
    await readEverything();
    const done = await runJson(['import', 'apache', file, '--tenant', 'acme', ...data]);
    assert.partialDeepStrictEqual(done, { counts: { taken: 0, repeated: LINES } });
    const key = await runCommand(['api-key', 'list', ...data]);
    assertExit(key, 64);
    assert.match(key.stderr, /no server holds/);
  });

  it('says with --json what a program needs, and no secret', async () => {
    const again = new ServerProcess(server.dataDir);
    t.after(() => again.killBoth());
    await again.start();
    const names = ['ready', 'url', 'vkey', 'key_file', 'data', 'tier', 'breaks'];
    assert.deepEqual(Object.keys(JSON.parse(again.stdout) as object), names);
    assert.equal(again.ready.vkey, server.ready.vkey, 'K stays');
    assert.equal((await again.stop()).code, 0);
  });
});

describe('what is wrong is refused with 64, and named', () => {
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['no command', [], /Usage: evident/],
    ['an unknown command', ['frobnicate'], /unknown command 'frobnicate'/],
    ['an unknown option', ['start', '--frob'], /unknown option '--frob'/],
    ['a port beyond 65535', ['start', '--port', '65536'], /port/],
    ['a port that is no number', ['start', '--port', 'http'], /port.*http/],
    ['a log name with capitals', ['start', '--logs', 'Clicks'], /log/],
    ['an unknown role', ['start', '--roles', 'king'], /roles: king/],
    ['an unknown format', ['import', 'morse', 'file'], /morse.*cloudtrail, apache, k8s, fhir, ndjson, csv/],
    ['a missing file', ['import', 'apache', '/nowhere/access.log'], /\/nowhere\/access\.log/],
    ['a log that may not be written to', ['import', 'apache', process.execPath, '--log', 'heads'], /log/],
    ['a limit that is no number', ['tail', '--limit', 'few'], /--limit/],
    ['a partition that is no number', ['tiles', '--out', 'o', '--partition', 'x'], /--partition/],
    ['a place that is none', ['show', 'audit'], /audit\/3\/1234/],
    ['a directory without a log', ['verify'], /--data: .*holds no log/],
    ['a configuration file that is not there', ['start', '--config', '/nowhere.json'], /\/nowhere\.json/],
  ];
  for (const [what, args, named] of cases) {
    it(what, async (t) => {
      const dataDir = join(makeFolder(t), 'data');
      const given = args.length < 2 && args[0] !== 'verify' ? args : [...args, '--data', dataDir];
      const done = await runCommand(given);
      assertExit(done, 64);
      assert.match(done.stderr, named);
      assert.ok(!existsSync(dataDir), 'nothing was made');
    });
  }
});

it('reads a configuration file, and lets the command line win', async (t) => {
  const config = join(makeFolder(t), 'evident.json');
  writeFileSync(config, JSON.stringify({ port: 1, name: 'log.example', logs: { clicks: 2 } }));
  const server = makeServer(t, { args: ['--config', config] });
  await server.start();
  assert.match(server.ready.vkey, /^log\.example\/heads\/0\+/);
  const partitions = await statusOf(['--data', server.dataDir]);
  assert.deepEqual(
    partitions.filter(({ log }) => log === 'clicks').map(({ partition }) => partition),
    [0, 1],
  );
  assert.equal((await server.stop()).code, 0);
  writeFileSync(config, '{"prot":7373}');
  const done = await runCommand(['start', '--data', server.dataDir, '--config', config]);
  assertExit(done, 64);
  assert.match(done.stderr, /prot: there is no such setting/);
});

it('leaves no PostgreSQL when it is stopped while it starts', async (t) => {
  const server = makeServer(t);
  server.launch();
  await until('PostgreSQL is being started', () => server.postmasterPid() !== undefined);
  const { code } = await server.stop();
  assert.ok(code === 70 || code === 0, `exit code ${code}`);
  await until('PostgreSQL is gone', () => server.engineCount === 0, 15_000);
  await server.start();
  assert.equal((await server.stop()).code, 0);
});

it('tells a tail that the server ended it', async (t) => {
  const server = makeServer(t);
  await server.start();
  const tail = runCommand(['tail', '--json', '--data', server.dataDir]);
  await until('a tail is open', async () => /^evident_http_tails 1$/m.test(await server.metrics()));
  await server.stop();
  const done = await tail;
  assertExit(done, 70);
  assert.match(done.stderr, /"code":"log-unavailable".*ended the stream/);
});

it('removes the address that a killed server left before it serves', async (t) => {
  const server = makeServer(t);
  await server.start();
  await server.killBoth();
  const left = join(server.dataDir, 'server.json');
  assert.ok(existsSync(left));
  server.launch();
  await until('the old address is gone', () => !existsSync(left) || server.urlOrNull !== null);
  await server.untilReady();
  assert.equal((JSON.parse(readFileSync(left, 'utf8')) as { url: string }).url, server.url);
});

it('runs on a PostgreSQL that somebody else runs', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'external'), { transport: 'tcp' });
  const { host, port, user, password, database } = engine.connection();
  const environment = { EVIDENT_POSTGRES: `postgres://${user}:${password}@${host}:${port}/${database}` };
  const server = makeServer(t, { environment });
  await server.start();
  assert.ok(!existsSync(join(server.dataDir, 'postgres')), 'it starts none of its own');
  assert.ok(!server.stdout.includes(password));
  const data = ['--data', server.dataDir];
  const file = join(makeFolder(t), 'access.log');
  writeFileSync(file, accessLog());
  assertExit(await runCommand(['import', 'apache', file, ...data]), 0);
  assertExit(await runCommand(['verify', ...data]), 0);
  assert.equal((await server.stop()).code, 0, server.stderr);
  const verified = await runCommand(['verify', ...data, '--json'], { environment });
  assertExit(verified, 0);
  const report = JSON.parse(verified.stdout) as { partitions: { records: number }[] };
  assert.ok(report.partitions.reduce((sum, { records }) => sum + records, 0) >= LINES);
});

/** A Node on the path, or in the usual places, that is older than the one we run on. */
function findOlderNode(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  return folders
    .map((folder) => join(folder, 'node'))
    .filter((node) => existsSync(node))
    .find(
      (node) => Number(/^v(\d+)/.exec(execFileSync(node, ['--version'], { encoding: 'utf8' }))?.[1]) < 26,
    );
}

const older = findOlderNode();
it('starts from an older Node', { skip: older === undefined && 'no older Node is installed' }, async (t) => {
  const server = makeServer(t, { node: older });
  await server.start();
  assertExit(await runCommand(['verify', '--data', server.dataDir], { node: older }), 0);
  const { code } = await server.stop();
  assert.equal(code, 0, server.stderr);
  assert.equal(server.engineCount, 0);
});
