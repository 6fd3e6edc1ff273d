/**
 * Every command, called wrongly in every way there is: its exit code (64 usage, 70 what else fails), and that what it
 * says names what, where and what to do, without a stack.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { makeProgram } from '../src/cli/program.ts';
import { commandDeps } from '../src/main.ts';
import type { CommandAnswer } from './command-lines.ts';
import { makeFolder, makeServer, PROGRAM, type ServerProcess } from './server-process.ts';

const RUNNER = fileURLToPath(new URL('./command-lines.ts', import.meta.url));
const [USAGE, FAILED] = [64, 70];
const ID = '00000000-0000-4000-8000-00000000dead';

interface Sample {
  /** Arguments and options that the command needs, right as far as can be told without a log. */
  readonly needs: readonly string[];
  /** What names a thing that there is not, its exit code, and what the message says of it. */
  readonly unknown: readonly (readonly [args: readonly string[], code: number, says: RegExp])[];
  /** It takes no --data, or makes the directory. */
  readonly noDirectory?: true;
  /** What it asks a server for is given to anybody. */
  readonly isPublic?: true;
}

const NO_VKEY = 'log.example/heads/0+00000000+AAAA';
const reason = ['--reason', 'a test'];
const noView = [['nope'], FAILED, /no view nope/] as const;
const noLog = [['--log', 'nope'], FAILED, /no log nope/] as const;
const noPlace = (...more: string[]) =>
  [
    [['hot/audit/0/999999', ...more], FAILED, /no dead letter hot\/audit\/0\/999999/],
    [['nowhere', ...more], USAGE, /nowhere is not the place/],
  ] as const;
const noId = (what: string, ...more: string[]) =>
  [
    [[ID, ...more], FAILED, new RegExp(`no ${what} ${ID}`)],
    [['nobody', ...more], USAGE, /id/],
  ] as const;

/** By command; a command that is missing here fails the test below. `FILE` stands for a file of one record. */
const SAMPLES: Readonly<Record<string, Sample>> = {
  start: { needs: [], unknown: [[['--roles', 'king'], USAGE, /king/]], noDirectory: true },
  signer: {
    needs: ['--state', '/nowhere/state', '--listen', 'unix:/nowhere/socket'],
    unknown: [[['--state', '/nowhere/state', '--listen', 'morse'], USAGE, /--listen/]],
    noDirectory: true,
  },
  witness: {
    needs: ['--state', '/nowhere/state', '--listen', 'morse', '--name', 'w.example', '--log', NO_VKEY],
    unknown: [
      [
        ['--state', '/nowhere/state', '--listen', '127.0.0.1:0', '--name', 'w', '--log', '/nowhere/key'],
        USAGE,
        /\/nowhere\/key/,
      ],
    ],
    noDirectory: true,
  },
  'key list': { needs: [], unknown: [], isPublic: true },
  'key rotate': { needs: reason, unknown: [] },
  import: {
    needs: ['ndjson', 'FILE'],
    unknown: [
      [['morse', 'FILE'], USAGE, /no format morse/],
      [['ndjson', '/nowhere/file'], USAGE, /\/nowhere\/file/],
      [['ndjson', 'FILE', '--log', 'nope'], FAILED, /nope/],
    ],
    noDirectory: true,
  },
  map: { needs: ['ndjson', 'FILE'], unknown: [[['morse', 'FILE'], USAGE, /morse/]], noDirectory: true },
  verify: {
    needs: [],
    unknown: [noLog, [['--view', 'nope'], FAILED, /no view nope/], [['--from', 'x'], USAGE, /from/]],
  },
  tiles: {
    needs: ['--out', '/nowhere/out'],
    unknown: [
      [['--out', '/nowhere/out', ...noLog[0]], FAILED, noLog[2]],
      [['--out', '/nowhere/out', '--partition', '999'], FAILED, /999/],
    ],
  },
  status: { needs: [], unknown: [] },
  intents: { needs: [], unknown: [noLog] },
  recover: {
    needs: ['--log', 'audit', '--partition', '0', ...reason],
    unknown: [[['--log', 'audit', '--partition', '0', ...reason], FAILED, /a server holds/]],
  },
  search: {
    needs: [],
    unknown: [
      [['--cursor', 'x'], USAGE, /cursor/],
      [['--result', 'perhaps'], USAGE, /result/],
      [['--saved', 'nope'], FAILED, /nope/],
    ],
  },
  show: {
    needs: [ID],
    unknown: [
      [[ID], FAILED, new RegExp(ID)],
      [['audit/0/999999'], FAILED, /audit\/0\/999999/],
      [['nope/0/1'], FAILED, /nope/],
      [['nothing'], USAGE, /nothing is neither/],
    ],
  },
  proof: {
    needs: [ID],
    unknown: [
      [[ID], FAILED, new RegExp(ID)],
      [['nope/0/1'], FAILED, /nope/],
      [['nothing'], USAGE, /nothing/],
    ],
  },
  check: {
    needs: ['/nowhere/bundle', '--vkey', NO_VKEY],
    unknown: [
      [['/nowhere/bundle', '--vkey', NO_VKEY], USAGE, /\/nowhere\/bundle/],
      [['FILE', '--vkey', '/nowhere/key'], USAGE, /\/nowhere\/key/],
      [['FILE', '--vkey', NO_VKEY], USAGE, /vkey/],
    ],
    noDirectory: true,
  },
  tail: { needs: [], unknown: [[['--log', 'nope'], FAILED, /nope/]] },
  export: {
    needs: [],
    unknown: [
      [['--format', 'morse'], USAGE, /morse/],
      [['--out', '/nowhere/file'], USAGE, /\/nowhere\/file/],
    ],
  },
  'saved list': { needs: [], unknown: [] },
  'saved put': { needs: ['mine'], unknown: [[['mine', '--ip', 'x'], USAGE, /ip/]] },
  'saved drop': { needs: ['mine'], unknown: [[['nope'], FAILED, /nope/]] },
  investigate: {
    needs: ['audit/0/0', '--out', '/nowhere/out'],
    unknown: [
      [['nope/0/1', '--out', '/nowhere/out'], FAILED, /no log nope/],
      [['nothing', '--out', '/nowhere/out'], USAGE, /nothing is not a place/],
    ],
  },
  'api-key create': { needs: ['--role', 'admin'], unknown: [[['--role', 'king'], USAGE, /role/]] },
  'api-key list': { needs: [], unknown: [] },
  'api-key rotate': { needs: ['nobody'], unknown: [[['0000000000000000'], FAILED, /0000000000000000/]] },
  'api-key revoke': { needs: ['nobody'], unknown: [[['0000000000000000'], FAILED, /0000000000000000/]] },
  'outbox init': {
    needs: ['--database', 'postgres://127.0.0.1:1/x'],
    unknown: [
      [['--database', 'postgres://127.0.0.1:1/x'], FAILED, /127\.0\.0\.1:1/],
      [[], USAGE, /--database/],
    ],
    noDirectory: true,
  },
  'outbox check': {
    needs: ['--database', 'postgres://127.0.0.1:1/x'],
    unknown: [[['--database', 'postgres://127.0.0.1:1/x'], FAILED, /127\.0\.0\.1:1/]],
    noDirectory: true,
  },
  'outbox add': {
    needs: ['bank', '--database', 'embedded', '--tenants', '*'],
    unknown: [
      [['BANK', '--database', 'embedded', '--tenants', '*'], USAGE, /source/],
      [['bank', '--database', 'embedded'], USAGE, /--tenants/],
    ],
  },
  'outbox mode': {
    needs: ['bank', 'wal'],
    unknown: [
      [['nope', 'wal'], FAILED, /no source nope/],
      [['bank', 'morse'], USAGE, /morse/],
    ],
  },
  'outbox list': { needs: [], unknown: [] },
  'alerts list': { needs: [], unknown: [] },
  'alerts ack': { needs: [ID], unknown: noId('alert') },
  'alert-rules list': { needs: [], unknown: [] },
  'alert-rules add': {
    needs: ['r', '--window', '60'],
    unknown: [
      [['r', '--window', '60', '--where', 'colour=red'], USAGE, /colour/],
      [['r', '--window', '60', '--severity', 'dire'], USAGE, /severity/],
    ],
  },
  'alert-rules change': { needs: [ID, '--threshold', '2'], unknown: noId('alert rule', '--threshold', '2') },
  'alert-rules remove': { needs: [ID], unknown: noId('alert rule') },
  'webhooks list': { needs: [], unknown: [] },
  'webhooks add': {
    needs: ['w', 'https://example.com/'],
    unknown: [[['w', 'ftp://example.com/'], USAGE, /url/]],
  },
  'webhooks remove': { needs: [ID], unknown: noId('webhook') },
  'webhooks retry': { needs: [ID], unknown: noId('webhook') },
  'dlq list': {
    needs: [],
    unknown: [
      [['--view', 'nope'], FAILED, /no view nope/],
      [['--state', 'nope'], USAGE, /--state/],
    ],
  },
  'dlq show': { needs: ['hot/audit/0/1'], unknown: noPlace() },
  'dlq replay': { needs: ['hot/audit/0/1'], unknown: [...noPlace(), [[], USAGE, /--all/]] },
  'dlq discard': { needs: ['hot/audit/0/1', ...reason], unknown: noPlace(...reason) },
  'dlq resolve': { needs: ['hot/audit/0/1', ...reason], unknown: noPlace(...reason) },
  rebuild: { needs: ['hot'], unknown: [noView] },
  diff: { needs: ['hot'], unknown: [noView, [['hot'], FAILED, /no generation of hot is being built/]] },
  promote: { needs: ['hot'], unknown: [noView] },
  'reset-breaker': { needs: ['hot', ...reason], unknown: [[['nope', ...reason], FAILED, /no view nope/]] },
};

/** Of a command that was not thought of here one test fails, not all. */
const sampleOf = (name: string): Sample => SAMPLES[name] ?? { needs: [], unknown: [], noDirectory: true };

/** Commands that do something, by what is typed. */
function leavesOf(command: Command, path: readonly string[] = []): [string, Command][] {
  const own = command.commands.filter((one) => one.name() !== 'help');
  return own.length === 0
    ? [[path.join(' '), command]]
    : own.flatMap((one) => leavesOf(one, [...path, one.name()]));
}

const LEAVES = leavesOf(makeProgram(commandDeps(), () => async () => undefined));

async function runAll(lines: readonly (readonly string[])[]): Promise<CommandAnswer[]> {
  const { EVIDENT_OUTBOX_POSTGRES: _, ...environment } = process.env;
  const child = spawn(process.execPath, [RUNNER], {
    stdio: ['pipe', 'inherit', 'inherit', 'pipe'],
    env: environment,
  });
  child.stdin?.end(JSON.stringify(lines));
  const answers = (await text(child.stdio[3] as NodeJS.ReadableStream)).trim().split('\n');
  return answers.map((line) => JSON.parse(line) as CommandAnswer);
}

/** That a person, and with --json a program, learns what, where and what to do. */
function assertSaid(args: readonly string[], answer: CommandAnswer, code: number, says: RegExp): void {
  const told = `${args.join(' ')}\n${answer.stdout}\n${answer.stderr}`;
  assert.equal(answer.code, code, told);
  assert.match(answer.stderr, says, told);
  assert.doesNotMatch(answer.stderr, /^\s+at .+:\d+/m, told);
  if (!args.includes('--json')) {
    assert.match(
      answer.stderr,
      /^evident: .+\n {2}[A-Z].+\. ?.*\([a-z-]+\)\n$|^error: .+[\s\S]*Usage: evident/m,
      told,
    );
    return;
  }
  assert.match(answer.stderr, /^\{.*\}\n$/, told);
  const said = JSON.parse(answer.stderr) as Record<string, unknown>;
  assert.deepEqual(Object.keys(said), ['code', 'detail', 'action', 'retryable'], told);
  assert.ok(String(said.detail).length > 5 && /^[A-Z]/.test(String(said.action)), told);
}

async function assertAll(cases: readonly (readonly [args: string[], code: number, says: RegExp])[]) {
  assert.ok(cases.length > 0);
  const both = cases.flatMap(([args, ...rest]) => [
    [args, ...rest] as const,
    [[...args, '--json'], ...rest] as const,
  ]);
  const answers = await runAll(both.map(([args]) => args));
  assert.equal(answers.length, both.length, 'the runner ended early');
  for (const [at, [args, code, says]] of both.entries()) assertSaid(args, answers[at], code, says);
}

describe('commands that are called wrongly', () => {
  const undo: (() => unknown)[] = [];
  const t = { after: (step?: unknown) => void undo.push(step as () => unknown) };
  let server: ServerProcess;
  let file: string;
  let missing: string;
  const fill = (args: readonly string[]) => args.map((arg) => (arg === 'FILE' ? file : arg));

  before(async () => {
    const folder = makeFolder(t);
    file = join(folder, 'one.ndjson');
    missing = join(folder, 'missing');
    writeFileSync(file, '{"n":1}\n');
    server = makeServer(t);
    await server.start();
  });
  after(async () => {
    for (const step of undo.reverse()) await step();
  });

  it('are all looked at', () => {
    assert.deepEqual(LEAVES.map(([name]) => name).sort(), Object.keys(SAMPLES).sort());
  });

  it('refuse an option that there is not', () =>
    assertAll(
      LEAVES.map(([name]) => [
        [...name.split(' '), ...fill(sampleOf(name).needs), '--frob'],
        USAGE,
        /unknown option '--frob'/,
      ]),
    ));

  it('refuse to run without an argument or an option that they need', () =>
    assertAll(
      LEAVES.flatMap(([name, command]) => {
        const needed = command.options.filter(({ mandatory }) => mandatory);
        return command.registeredArguments.some(({ required }) => required) || needed.length > 0
          ? [[name.split(' '), USAGE, /missing required argument|required option/] as const]
          : [];
      }).map(([args, ...rest]) => [args, ...rest]),
    ));

  it('refuse a directory that holds no log, name it, and make none', async () => {
    const wanted = new RegExp(missing);
    await assertAll(
      LEAVES.filter(([name]) => sampleOf(name).noDirectory === undefined).map(([name]) => [
        [...name.split(' '), ...fill(sampleOf(name).needs), '--data', missing],
        USAGE,
        wanted,
      ]),
    );
    assert.ok(!existsSync(missing));
  });

  it('name the thing that there is not', () =>
    assertAll(
      LEAVES.flatMap(([name]) =>
        sampleOf(name).unknown.map(([args, code, says]): [string[], number, RegExp] => {
          const data = ['outbox init', 'outbox check', 'signer', 'check', 'witness'].includes(name)
            ? []
            : ['--data', server.dataDir];
          return [[...name.split(' '), ...fill(args), ...data], code, says];
        }),
      ),
    ));

  it('say which address does not answer, and which key is not known', () =>
    assertAll(
      LEAVES.filter(([name]) => name in SAMPLES)
        .filter(([, command]) => command.options.some(({ long }) => long === '--key-file'))
        .flatMap(([name]): [string[], number, RegExp][] => {
          const args = [...name.split(' '), ...fill(sampleOf(name).needs)];
          const refused: [string[], number, RegExp] = [
            [...args, '--url', server.url, '--key-file', file],
            FAILED,
            /does not know the key/,
          ];
          return [
            [[...args, '--url', 'http://127.0.0.1:1', '--key-file', file], FAILED, /127\.0\.0\.1:1/],
            ...(sampleOf(name).isPublic === true ? [] : [refused]),
            [[...args, '--url', server.url, '--key-file', '/nowhere.key'], USAGE, /\/nowhere\.key/],
          ];
        }),
    ));
});

it('ends without a trace when whoever reads its output has gone', async (t) => {
  const file = join(makeFolder(t), 'many.ndjson');
  writeFileSync(file, '{"n":1}\n'.repeat(20_000));
  const child = spawn(process.execPath, [PROGRAM, 'map', 'ndjson', file, '--limit', '10000'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const [stderr, code] = await Promise.all([
    text(child.stderr),
    new Promise((resolve) => child.once('exit', resolve)),
  ]);
  assert.deepEqual([stderr, code], ['', FAILED]);
});
