import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder } from './engine-fixture.ts';
import { LogFile } from './log-file.ts';

test('keeps two files of bounded size', (t) => {
  const path = join(makeFolder(t), 'x.log');
  const log = new LogFile(path, 10);
  for (const line of ['first....\n', 'second...\n', 'third\n']) log.write(Buffer.from(line));
  log.close();
  assert.equal(readFileSync(`${path}.1`, 'utf8'), 'second...\n');
  assert.equal(readFileSync(path, 'utf8'), 'third\n');
  assert.equal(existsSync(`${path}.2`), false);
});

test('remembers the last lines, also of a line in pieces, and where nothing can be written', (t) => {
  const log = new LogFile(join(makeFolder(t), 'missing', 'x.log'));
  log.write(Buffer.from('one\ntw'));
  log.write(Buffer.from('o\nthree'));
  assert.deepEqual(log.tail(), ['one', 'two', 'three']);
  log.forget();
  assert.deepEqual(log.tail(), []);
  for (let n = 0; n < 100; n++) log.write(Buffer.from(`${n}\n`));
  assert.equal(log.tail().length, 40);
  assert.equal(log.tail().at(-1), '99');
});
