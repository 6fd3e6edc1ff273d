import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 as nodeCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { concatBytes, encodeUtf8, equalBytes } from '../bytes.ts';
import { FixtureInstallation, fixtureSignatures } from './bundle-fixture.ts';
import { checkBundle } from './check-bundle.ts';
import { crc32 } from './crc32.ts';
import { makeBundle, vkeyOf } from './make-bundle-fixture.ts';
import {
  dataDescriptor,
  directoryEntry,
  endRecords,
  localHeader,
  parseDirectoryEntry,
  parseEnd,
} from './zip-format.ts';
import { openZip, type ReadRange } from './zip-reader.ts';
import { writeZip, type ZipFile } from './zip-writer.ts';

async function* inPieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function zipped(files: Iterable<ZipFile>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of writeZip(files)) pieces.push(piece.slice());
  return concatBytes(pieces);
}

const rangeOf =
  (bytes: Uint8Array): ReadRange =>
  async (from, to) =>
    bytes.subarray(Math.max(0, from), Math.max(0, to));

async function unzipped(bytes: Uint8Array): Promise<Map<string, Uint8Array>> {
  const zip = await openZip(rangeOf(bytes), bytes.length);
  assert.ok(zip.ok, zip.ok ? '' : zip.reason);
  const files = new Map<string, Uint8Array>();
  for (const { path } of await zip.value.list()) {
    const pieces: Uint8Array[] = [];
    for await (const piece of zip.value.read(path)) pieces.push(piece.slice());
    files.set(path, concatBytes(pieces));
  }
  return files;
}

const FILES: ZipFile[] = [
  { path: 'records.ndjson', bytes: encodeUtf8('{"a":1}\n{"b":2}\n') },
  { path: 'bodies/empty', bytes: new Uint8Array(0) },
];

/** Files anew each time: a stream is read once. */
const someFiles = (): ZipFile[] => [
  ...FILES,
  { path: 'streamed', bytes: inPieces(new Uint8Array(3_000_000).fill(7), 70_001) },
  { path: 'streamed-empty', bytes: inPieces(new Uint8Array(0), 1) },
];

test('the checksum is that of zlib, in any pieces', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
      assert.equal(crc32(bytes, 0), nodeCrc32(bytes));
      assert.equal(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut), 0)), nodeCrc32(bytes));
    }),
  );
});

test('a zip gives back what was put in, and the same files give the same bytes', async () => {
  const bytes = await zipped(someFiles());
  assert.ok(equalBytes(bytes, await zipped(someFiles())));
  const files = await unzipped(bytes);
  assert.deepEqual([...files.keys()], ['records.ndjson', 'bodies/empty', 'streamed', 'streamed-empty']);
  assert.deepEqual(files.get('records.ndjson'), FILES[0]!.bytes);
  assert.deepEqual(files.get('streamed'), new Uint8Array(3_000_000).fill(7));
  assert.equal((await unzipped(await zipped([]))).size, 0);
});

test('another implementation reads it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'evident-zip-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'bundle.zip');
  writeFileSync(path, await zipped(someFiles()));
  const script = `import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    z.extractall(sys.argv[2])
    print(','.join(z.namelist()))`;
  let names: string;
  try {
    names = execFileSync('python3', ['-c', script, path, folder], { encoding: 'utf8' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return t.skip('there is no python3');
    throw error;
  }
  assert.equal(names.trim(), 'records.ndjson,bodies/empty,streamed,streamed-empty');
  assert.ok(equalBytes(readFileSync(join(folder, 'streamed')), new Uint8Array(3_000_000).fill(7)));
});

test('a path twice, or one that is none, is refused', async () => {
  const one = { path: 'a', bytes: new Uint8Array(1) };
  await assert.rejects(zipped([one, one]), RangeError);
  await assert.rejects(zipped([{ ...one, path: 'a b' }]), RangeError);
  await assert.rejects(zipped([{ ...one, path: '' }]), RangeError);
});

test('every byte is accounted for: whichever is changed, cut or added, the zip is refused or the file is', async () => {
  const bytes = await zipped([...FILES, { path: 'streamed', bytes: inPieces(encodeUtf8('some bytes'), 3) }]);
  const good = await unzipped(bytes);
  assert.equal(good.size, 3);
  const readsTheSame = async (changed: Uint8Array): Promise<boolean> => {
    try {
      const zip = await openZip(rangeOf(changed), changed.length);
      if (!zip.ok) return false;
      const files = await unzipped(changed);
      // A changed name, told by the directory and its header alike, is a changed zip: the manifest finds that.
      return [...files].every(([path, content]) => good.has(path) && equalBytes(content, good.get(path)!));
    } catch {
      return false;
    }
  };
  assert.equal(await readsTheSame(bytes), true);
  for (let at = 0; at < bytes.length; at++) {
    for (const bit of [0, 4, 7]) {
      const changed = bytes.slice();
      changed[at]! ^= 1 << bit;
      assert.equal(await readsTheSame(changed), false, `bit ${bit} of byte ${at}`);
    }
    assert.equal(await readsTheSame(bytes.slice(0, at)), false, `cut at ${at}`);
  }
  assert.equal(await readsTheSame(concatBytes([bytes, Uint8Array.of(0)])), false);
  assert.equal(await readsTheSame(concatBytes([Uint8Array.of(0), bytes])), false);
  assert.equal(await readsTheSame(concatBytes([bytes, bytes])), false);
});

test('numbers that do not fit 32 bits go to zip64, and only those', () => {
  const large = { path: 'records.ndjson', size: 2 ** 32 + 5, crc: 7, offset: 2 ** 33, isStreamed: true };
  assert.equal(dataDescriptor(large).length, 24);
  assert.equal(localHeader(large).length, 30 + 14);
  for (const entry of [
    large,
    { ...large, size: 9 },
    { ...large, offset: 9 },
    { ...large, size: 9, offset: 9 },
  ]) {
    const bytes = directoryEntry(entry);
    assert.deepEqual(parseDirectoryEntry(bytes, 0), { entry, end: bytes.length });
    const extra = bytes.length - 46 - 14;
    assert.equal(extra, [0, 12, 20, 28][(entry.size > 9 ? 2 : 0) + (entry.offset > 9 ? 1 : 0)]);
  }
  for (const [count, size, offset] of [
    [3, 100, 200],
    [65_535, 100, 200],
    [3, 100, 2 ** 34],
  ] as const) {
    const end = endRecords(count, size, offset);
    assert.equal(end.length, count === 3 && offset === 200 ? 22 : 98);
    assert.deepEqual(parseEnd(end, offset + size + end.length), { count, size, offset });
    assert.equal(parseEnd(end, offset + size + end.length + 1), null);
  }
});

test('a bundle in a zip is checked like one in a folder; a spoiled zip is not verified', async () => {
  const log = new FixtureInstallation();
  const scope = { kind: 'selection', filter: { tenant: 'acme' } } as const;
  const { files } = await makeBundle(log, { scope, proofs: 'each' });
  const bytes = await zipped([...files].map(([path, content]) => ({ path, bytes: content })));
  const options = { vkey: vkeyOf(log), signatures: fixtureSignatures };
  const verdictOf = async (zip: Uint8Array): Promise<string> => {
    const opened = await openZip(rangeOf(zip), zip.length);
    return opened.ok ? (await checkBundle(opened.value, options)).verdict : 'refused';
  };
  assert.equal(await verdictOf(bytes), 'verified');
  for (let at = 3; at < bytes.length; at += 401) {
    const changed = bytes.slice();
    changed[at]! ^= 8;
    assert.notEqual(await verdictOf(changed), 'verified', `byte ${at}`);
  }
});
