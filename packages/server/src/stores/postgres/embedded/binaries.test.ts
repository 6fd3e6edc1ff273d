import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { findBinaries } from './binaries.ts';

test('finds the programs of this platform', async () => {
  const found = await findBinaries();
  assert.ok(existsSync(found.initdb) && existsSync(found.postgres));
});

test('names the package that a platform lacks', async () => {
  const absent = process.platform === 'darwin' ? 'linux-arm64' : 'darwin-arm64';
  await assert.rejects(findBinaries(absent), { code: 'engine-missing', message: new RegExp(absent) });
  await assert.rejects(findBinaries('sunos-sparc'), { code: 'engine-missing' });
});
