import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bodyPath,
  decodeSegment,
  encodeSegment,
  headPaths,
  parseBundlePath,
  recordProofPath,
  rotationPaths,
  timestampPath,
  treeFolder,
  treeTilePath,
  windowProofPath,
} from './bundle-layout.ts';

const ORIGIN = 'log.example/evident/audit/3';
const ID = '0198c0de-0000-7000-8000-000000000001';

test('names are encoded into one segment and back, and have no second spelling', () => {
  assert.equal(encodeSegment(ORIGIN), 'log.example%2Fevident%2Faudit%2F3');
  assert.equal(encodeSegment('Zeit ä'), 'Zeit%20%C3%A4');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), (name) => {
      const segment = encodeSegment(name);
      assert.match(segment, /^[A-Za-z0-9._%-]+$/);
      assert.equal(decodeSegment(segment), name);
    }),
  );
  for (const bad of ['', '%', '%2', '%2f', '%41', '%FF', 'a/b', 'a b', 'ä'])
    assert.equal(decodeSegment(bad), null, bad);
});

test('every path that is written is read for what it is', () => {
  const { checkpoint, cosignatures, leaf, proof } = headPaths(ORIGIN, 700n);
  const tile = { level: 1, index: 1_234_067n, width: 17 };
  const folder = treeFolder('audit', 3, 2);
  const expected: [string, object][] = [
    ['manifest.json', { kind: 'manifest' }],
    ['records.ndjson', { kind: 'records' }],
    [bodyPath('a'.repeat(64)), { kind: 'body', sha256: 'a'.repeat(64) }],
    [recordProofPath(ID, 1), { kind: 'record-proof', id: ID, nth: 1 }],
    [recordProofPath(ID, 12), { kind: 'record-proof', id: ID, nth: 12 }],
    [windowProofPath(9n), { kind: 'window-proof', position: 9n }],
    [checkpoint, { kind: 'checkpoint', origin: ORIGIN, size: 700n }],
    [cosignatures, { kind: 'cosignatures', origin: ORIGIN, size: 700n }],
    [leaf, { kind: 'head-leaf', origin: ORIGIN, size: 700n }],
    [proof, { kind: 'head-proof', origin: ORIGIN, size: 700n }],
    [timestampPath('Zeit ä', 7n), { kind: 'timestamp', authority: 'Zeit ä', size: 7n }],
    [rotationPaths(3).leaf, { kind: 'rotation-leaf', nth: 3 }],
    [rotationPaths(3).proof, { kind: 'rotation-proof', nth: 3 }],
    [`${folder}checkpoint`, { kind: 'tree-checkpoint', folder: 'tlog/audit.r2/3/' }],
    [treeTilePath(folder, tile), { kind: 'tile', folder: 'tlog/audit.r2/3/', tile }],
  ];
  for (const [path, meaning] of expected) assert.deepEqual(parseBundlePath(path), meaning, path);
});

test('no other path is one of a bundle', () => {
  const bad = [
    '',
    'Manifest.json',
    './manifest.json',
    '/manifest.json',
    'x/../manifest.json',
    'constructor',
    `bodies/${'A'.repeat(64)}`,
    `bodies/${'a'.repeat(63)}`,
    `proofs/${ID}.1.tlog-proof`,
    `proofs/${ID}.02.tlog-proof`,
    `proofs/${ID.toUpperCase()}.tlog-proof`,
    'proofs/windows/07.tlog-proof',
    'heads/log.example/audit/3.7.checkpoint',
    'heads/log%2fexample.7.checkpoint',
    'heads/log.07.checkpoint',
    'heads/log.9223372036854775808.checkpoint',
    'heads/log.7.tsr',
    'timestamps/log.7.checkpoint',
    'keys/rotation.0.leaf',
    'tlog/audit.r0/3/checkpoint',
    'tlog/audit/03/checkpoint',
    'tlog/audit/3/tile/entries/000',
    'tlog/audit/3/tile/0/x000/001',
    'tlog/audit/3/tile/0/000.p/256',
    `tlog/${'a'.repeat(33)}/3/checkpoint`,
  ];
  for (const path of bad) assert.equal(parseBundlePath(path), null, path);
});
