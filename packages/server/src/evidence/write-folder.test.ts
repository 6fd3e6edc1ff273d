/** What a server sends is written below the folder that was named, and nowhere else. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { writeFolder } from './write-folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'evident-write-'));
after(() => rmSync(folder, { recursive: true }));

async function* filesOf(...paths: readonly string[]) {
  for (const path of paths) yield { path, bytes: Uint8Array.of(1) };
}

it('writes the files of a bundle', async () => {
  const out = join(folder, 'good');
  await writeFolder(filesOf('records.ndjson', 'tlog/audit/0/tile/0/000', 'manifest.json'), out);
  assert.deepEqual(readdirSync(out).sort(), ['manifest.json', 'records.ndjson', 'tlog']);
  assert.deepEqual(readFileSync(join(out, 'tlog/audit/0/tile/0/000')), Buffer.of(1));
});

it('writes no path that a bundle does not have, in or beside the folder', async () => {
  for (const path of [
    '../stolen',
    '/stolen',
    '..',
    'bodies/../../stolen',
    'heads/../../stolen.7.checkpoint',
    'heads/..%2Fstolen.7.checkpoint/../../../stolen',
    'tlog/audit/0/tile/0/../../../../../stolen',
    'notes.txt',
    'records.ndjson\0',
  ]) {
    const before = readdirSync(folder).sort();
    const out = join(folder, 'bad');
    await assert.rejects(
      writeFolder(filesOf('records.ndjson', path), out),
      { code: 'log-unavailable' },
      path,
    );
    assert.ok(!existsSync(out));
    assert.deepEqual(readdirSync(folder).sort(), before, path);
  }
});
