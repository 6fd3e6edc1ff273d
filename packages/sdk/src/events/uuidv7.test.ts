import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkId } from '@evident/core/record.ts';
import { createUuidv7 } from './uuidv7.ts';

test('ids are UUIDs of version 7 that carry the time', () => {
  const id = createUuidv7(() => 0x0198c0de1234)();
  assert.equal(checkId(id), id);
  assert.match(id, /^0198c0de-1234-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('ids of a later millisecond stand behind those of an earlier one', () => {
  let ms = 1_000_000;
  const next = createUuidv7(() => ms++);
  const ids = Array.from({ length: 5_000 }, next);
  assert.deepEqual(ids.toSorted(), ids);
});

test('every one of the 74 random bits differs between ids of one millisecond', () => {
  const next = createUuidv7(() => 1);
  const ids = Array.from({ length: 2_000 }, () => BigInt(`0x${next().replaceAll('-', '')}`));
  assert.equal(new Set(ids).size, ids.length);
  const random = (0xfffn << 64n) | ((1n << 62n) - 1n);
  let everSet = 0n;
  let everClear = 0n;
  for (const id of ids) {
    everSet |= id & random;
    everClear |= ~id & random;
  }
  assert.equal(everSet, random);
  assert.equal(everClear, random);
});
