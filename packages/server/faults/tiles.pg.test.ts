/** The static layout that `evident tiles` writes, accepted by an implementation that is not ours (golang.org/x/mod/sumdb). */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { CommandDeps, OpenedData } from '../src/cli/command-deps.ts';
import { makeOutput } from '../src/cli/output.ts';
import { runTiles } from '../src/cli/tiles.ts';
import { leafAt, proveConsistency, proveLeaf } from '../src/evidence/inclusion.ts';
import { newestHead } from '../src/evidence/static-layout.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import { queryDepsOf } from '../src/queries.ts';
import { type Installation, makeInstallation } from './installation.ts';

const FOLDER = fileURLToPath(new URL('independent/', import.meta.url));
const hasGo = spawnSync('go', ['version']).status === 0;
const skip = hasGo ? false : 'Go is not installed: install it to let golang.org/x/mod/sumdb check the tiles';

async function writeTiles(one: Installation, out: string): Promise<void> {
  const { logs } = one.storage;
  // Noted beside the log: a record more would make another tree.
  const notes: unknown[] = [];
  const recorder = { record: async (_reader: unknown, note: unknown) => void notes.push(note) };
  const query = { ...queryDepsOf(one.storage), recorder };
  const evidence = evidenceDepsOf(one.storage, query);
  const data = { logs, evidence, query, close: async () => undefined } as unknown as OpenedData;
  const deps = { open: async () => data } as unknown as CommandDeps;
  const silent = { write: () => true } as unknown as NodeJS.WritableStream;
  assert.equal(await runTiles(deps, {}, { out, log: 'audit', partition: 0 }, makeOutput(true, silent)), 0);
  assert.equal(notes.length, 1, 'that somebody took the records is recorded');
}

/** Our own proofs of some records and of some sizes, as files that the checker reads. */
async function writeProofs(one: Installation, out: string, size: number, sizes: number[]): Promise<void> {
  const deps = evidenceDepsOf(one.storage, queryDepsOf(one.storage));
  const tree = { log: 'audit', partition: 0, epoch: 0 };
  const head = await newestHead(deps, tree);
  assert.equal(head.size, BigInt(size));
  const positions = new Set([0, 1, 127, 128, 255, 256, 257, 65_535, 65_536, size >> 1, size - 2, size - 1]);
  mkdirSync(join(out, 'inclusion'));
  for (const position of positions) {
    if (position < 0 || position >= size) continue;
    const leaf = await leafAt(deps, 'audit', 0, BigInt(position));
    const proof = await proveLeaf(deps, tree, head, BigInt(position), leaf);
    writeFileSync(join(out, 'inclusion', String(position)), proof);
    writeFileSync(join(out, 'inclusion', `${position}.leaf`), leaf);
  }
  mkdirSync(join(out, 'consistency'));
  for (const from of sizes) {
    const { root1, proof } = await proveConsistency(deps, tree, BigInt(from), BigInt(size));
    const lines = [root1, ...proof].map((hash) => Buffer.from(hash).toString('base64'));
    writeFileSync(join(out, 'consistency', String(from)), `${lines.join('\n')}\n`);
  }
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

  // 256 fills a tile, 65,536 one of the level above: `npm run prove` goes far beyond.
  const sizes = [1, 255, 256, 257, 65_536, ...(process.env.EVIDENT_PROVE === '1' ? [65_800, 1_000_000] : [])];
  for (const size of sizes) {
    it(`of a tree of ${size} records: records are proven, the root recomputed, our own proofs accepted`, async () => {
      await one.append(size - appended, (index) => `{"n":${index}}`);
      appended = size;
      await one.seal();
      const out = one.path(`out-${size}`);
      await writeTiles(one, out);
      await writeProofs(
        one,
        out,
        size,
        sizes.filter((smaller) => smaller <= size),
      );
      const vkey = one.storage.vkeyOf(`${one.storage.name}/audit/0`, 0n);
      assert.match(execFileSync(checker, [out, vkey], { encoding: 'utf8' }), new RegExp(`^${size} `));
      // A large tree takes seconds each time, and would show nothing else.
      if (size > 257) return;
      refusesFlipped(join(out, 'tile', 'entries', size >= 256 ? '000' : `000.p/${size}`), -2, out, vkey);
      refusesFlipped(join(out, 'inclusion', '0.leaf'), 20, out, vkey);
      if (size > 1) refusesFlipped(join(out, 'inclusion', '0'), 45, out, vkey);
      if (size > 1) refusesFlipped(join(out, 'consistency', '1'), 50, out, vkey);
    });
  }

  function refusesFlipped(file: string, at: number, out: string, vkey: string): void {
    const bytes = readFileSync(file);
    const flipped = Buffer.from(bytes);
    flipped[at < 0 ? bytes.length + at : at] ^= 1;
    writeFileSync(file, flipped);
    assert.notEqual(spawnSync(checker, [out, vkey]).status, 0, `one flipped bit of ${file} is refused`);
    writeFileSync(file, bytes);
  }
});
