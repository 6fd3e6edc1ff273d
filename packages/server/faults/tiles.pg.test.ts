/** The static layout that `evident tiles` writes, accepted by an implementation that is not ours (golang.org/x/mod/sumdb). */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { CommandDeps, OpenedData } from '../src/cli/command-deps.ts';
import { makeOutput } from '../src/cli/output.ts';
import { runTiles } from '../src/cli/tiles.ts';
import { type Installation, makeInstallation } from './installation.ts';

const FOLDER = fileURLToPath(new URL('independent/', import.meta.url));
const hasGo = spawnSync('go', ['version']).status === 0;
const skip = hasGo ? false : 'Go is not installed: install it to let golang.org/x/mod/sumdb check the tiles';

async function writeTiles(one: Installation, out: string): Promise<void> {
  const { logs, tiles, records } = one.storage;
  // Noted beside the log: a record more would make another tree.
  const notes: unknown[] = [];
  const query = { recorder: { record: async (_reader: unknown, note: unknown) => void notes.push(note) } };
  const data = { logs, tiles, heads: records, query, close: async () => undefined } as unknown as OpenedData;
  const deps = { open: async () => data } as unknown as CommandDeps;
  const silent = { write: () => true } as unknown as NodeJS.WritableStream;
  assert.equal(await runTiles(deps, {}, { out, log: 'audit', partition: 0 }, makeOutput(true, silent)), 0);
  assert.equal(notes.length, 1, 'that somebody took the records is recorded');
}

describe('evident tiles', { skip }, () => {
  const undo: (() => void | Promise<void>)[] = [];
  let one: Installation;
  let checker: string;
  let appended = 0;

  before(async () => {
    one = await makeInstallation({ after: (fn) => void undo.push(fn as () => Promise<void>) }, 1);
    checker = one.path('checker');
    execFileSync('go', ['build', '-o', checker, '.'], { cwd: FOLDER, stdio: 'inherit' });
  });
  after(async () => {
    for (const step of undo) await step();
  });

  // 256 fills a tile, 65,536 one of the level above: `npm run prove` goes beyond both.
  const last = process.env.EVIDENT_PROVE === '1' ? [65_800, 1_000_000] : [1_000];
  for (const size of [1, 255, 256, 257, ...last]) {
    it(`of a tree of ${size} records: every record is proven, the root recomputed`, async () => {
      await one.append(size - appended, (index) => `{"n":${index}}`);
      appended = size;
      await one.seal();
      const out = one.path(`out-${size}`);
      await writeTiles(one, out);
      const vkey = one.storage.vkeyOf(`${one.storage.name}/audit/0`);
      assert.match(execFileSync(checker, [out, vkey], { encoding: 'utf8' }), new RegExp(`^${size} `));
      const bundle = join(out, 'tile', 'entries', size >= 256 ? '000' : `000.p/${size}`);
      const bytes = readFileSync(bundle);
      bytes[bytes.length - 2] ^= 1;
      writeFileSync(bundle, bytes);
      assert.notEqual(spawnSync(checker, [out, vkey]).status, 0, 'one flipped bit of an entry is refused');
    });
  }
});
