/** The demo keeps its word: under the same kills, the bank that uses the SDK agrees with its log, and the careless one does not. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';

const DEMO = join(import.meta.dirname, 'bank.ts');
/** Seconds of load; kills and switches take the time that they need beside it. */
const SECONDS = '5';
const DEMO_MS_MAX = 240_000;

interface Run {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param heard sees what was printed so far, and the way to end it */
async function runDemo(
  t: TestContext,
  args: readonly string[],
  heard: (stdout: string, interrupt: () => void) => void = () => undefined,
): Promise<Run> {
  const child = spawn(process.execPath, [DEMO, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
    timeout: DEMO_MS_MAX,
  });
  t.after(() => child.kill('SIGTERM'));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => heard((stdout += String(chunk)), () => child.kill('SIGINT')));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const [status, signal] = await once(child, 'close');
  return { status, signal, stdout, stderr };
}

const folderOf = (stdout: string): string => /run after .* in (\S+)/.exec(stdout)?.[1] ?? '';

/** The cells of a row of the comparison: rows, events, no event, no row, twice, differ, agree. */
function cellsOf(stdout: string, name: string): string[] {
  const line = stdout.split('\n').find((one) => one.startsWith(`  ${name} `));
  return (
    line
      ?.trim()
      .split(/\s{2,}/)
      .slice(1) ?? []
  );
}

const numberOf = (cell: string): number => Number(cell.replaceAll(',', ''));

it('shows that bank and log agree, whatever dies, and cleans up', async (t) => {
  const { status, stdout, stderr } = await runDemo(t, [SECONDS]);
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  for (const name of ['accounts', 'transfers', 'payouts', 'plan changes']) {
    const [rows, events, ...faults] = cellsOf(stdout, name);
    assert.equal(rows, events, name);
    assert.ok(numberOf(rows) > 0, `${name}: there are some`);
    assert.deepEqual(faults, ['0', '0', '0', '0', 'yes'], name);
  }
  for (const victim of ['the bank', "the bank's PostgreSQL", 'Evident'])
    assert.match(stdout, new RegExp(`kill -9 ${victim} +works again`));
  assert.match(stdout, /the relay reads the write-ahead log +went over/);
  assert.match(stdout, /the relay polls again +went over/);
  assert.match(stdout, /verify +verified, /);
  assert.match(stdout, /The bank and the log agree, to the row\./);
  assert.ok(folderOf(stdout) !== '' && !existsSync(folderOf(stdout)), 'its folder is removed');
});

it('finds what a bank lost that records after the commit', async (t) => {
  const { status, stdout, stderr } = await runDemo(t, [SECONDS, '--careless']);
  assert.equal(status, 1, `${stdout}\n${stderr}`);
  const [, , missing, , , , agree] = cellsOf(stdout, 'transfers');
  assert.ok(numberOf(missing) > 0, stdout);
  assert.equal(agree, 'NO');
  assert.match(stdout, /DIFFERS +transfers without an event: \d+/);
  assert.match(stdout, /The bank and the log do not agree\./);
});

it('ends all that it started when it is interrupted', async (t) => {
  let isInterrupted = false;
  const { signal, stdout, stderr } = await runDemo(t, [SECONDS], (printed, interrupt) => {
    if (isInterrupted || !printed.includes('kill -9')) return;
    isInterrupted = true;
    interrupt();
  });
  assert.equal(signal, 'SIGINT', stderr);
  assert.equal(stderr, '');
  assert.ok(folderOf(stdout) !== '' && !existsSync(folderOf(stdout)), 'its folder is removed');
});

it('refuses a time in which nothing can be shown', async (t) => {
  for (const args of [['1'], ['many'], ['5', '6'], ['--quick']])
    assert.equal((await runDemo(t, args)).status, 64, args.join(' '));
});
