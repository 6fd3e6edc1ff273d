/** `evident dlq` with --url does at a server what it does in a directory, with the rights of the key that it is given. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { makeFolder, makeServer, runCommand, until } from './server-process.ts';

const LINES = 3;

it('lists, shows, replays, discards and resolves at the server that --url names', async (t) => {
  const server = makeServer(t);
  await server.start();
  const folder = makeFolder(t);
  const file = join(folder, 'access.log');
  writeFileSync(file, Array.from({ length: LINES }, (_, at) => `no line of Apache, ${at}\n`).join(''));
  const here = ['--data', server.dataDir];
  const imported = await runCommand(['import', 'apache', file, '--tenant', 'acme', ...here]);
  assert.equal(imported.code, 0, imported.stderr);

  const keyOf = async (role: string) => {
    const made = await runCommand(['api-key', 'create', '--role', role, '--json', ...here]);
    const path = join(folder, `${role}.key`);
    writeFileSync(path, (JSON.parse(made.stdout) as { key: string }).key);
    return ['--url', server.url, '--key-file', path];
  };
  const there = await keyOf('compliance');
  const dlq = async (args: readonly string[], code: number, target = there) => {
    const done = await runCommand(['dlq', ...args, ...target, '--json']);
    assert.equal(done.code, code, `${args.join(' ')}\n${done.stdout}\n${done.stderr}`);
    return JSON.parse(code === 70 ? done.stderr : done.stdout);
  };
  await until('they are dead letters', async () => (await dlq(['list'], 0)).deadLetters.length === LINES);

  const list = await dlq(['list'], 0);
  assert.deepEqual(list, await dlq(['list'], 0, here));
  assert.deepEqual(list.open, { validation: LINES, poison: 0 });
  const page = await dlq(['list', '--limit', '1'], 0);
  const rest = await dlq(['list', '--after', page.next], 0);
  assert.deepEqual([...page.deadLetters, ...rest.deadLetters], list.deadLetters);
  assert.equal((await dlq(['list', '--tenant', 'other'], 0)).open, null);

  const [first, second, third] = list.deadLetters.map(({ place }: { place: string }) => place);
  assert.deepEqual(await dlq(['show', first], 0), await dlq(['show', first], 0, here));
  const replayed = await dlq(['replay', first], 1);
  assert.equal(replayed.results[0].outcome, 'failed');
  assert.deepEqual(await dlq(['replay', '--all'], 1), { replayed: 0, failed: LINES, already: 0 });
  const reason = ['--reason', 'a test'];
  assert.equal((await dlq(['discard', first, ...reason], 0)).results[0].deadLetter.resolution, 'discarded');
  assert.equal((await dlq(['resolve', second, ...reason], 0)).results[0].deadLetter.resolution, 'manual');
  assert.equal((await dlq(['discard', first, ...reason], 0)).results[0].outcome, 'already');
  const left = await dlq(['list'], 0);
  assert.deepEqual(
    left.deadLetters.map(({ place }: { place: string }) => place),
    [third],
  );

  // A key that may look and not resolve is refused there; beside the directory nobody asks for one.
  const looking = await keyOf('investigator');
  assert.equal((await dlq(['list'], 0, looking)).deadLetters.length, 1);
  assert.equal((await dlq(['discard', third, ...reason], 70, looking)).code, 'forbidden');
  const text = await runCommand(['dlq', 'list', ...looking]);
  assert.match(
    text.stdout,
    /^hot: 1 open as validation, 0 as poison\n {2}hot\/audit\/\d\/\d+ {2}acme {2}apache /,
  );
});
