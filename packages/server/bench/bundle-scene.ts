/** A bundle of many records in a folder: what an export of a whole tenant gives. Made once, and checked again and again. */

import { createHash } from 'node:crypto';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { concatBytes, encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { headId } from '@evident/core/derived-id.ts';
import { formatKeysFile } from '@evident/core/evidence/bundle-files.ts';
import {
  FIXTURE_NAME,
  FixtureTree,
  fixtureKey,
  verifierKeyOf,
} from '@evident/core/evidence/bundle-fixture.ts';
import { headPaths, treeFolder } from '@evident/core/evidence/bundle-layout.ts';
import { formatHeadBody } from '@evident/core/evidence/head-body.ts';
import {
  type BundleFile,
  type BundleTree,
  compareText,
  formatManifest,
} from '@evident/core/evidence/manifest.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { listTiles, tilePath, tileRoot } from '@evident/core/merkle/tile.ts';
import { CompactRange, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { formatVkey, signNote } from '@evident/core/note.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { makeEvent } from './events.ts';

const PARTITIONS = 4;
const BEGIN_US = 1_795_168_800_000_000n;
const TILE_BYTES = 256 * HASH_BYTES;

export interface BundleScene {
  readonly folder: string;
  readonly vkey: string;
  /** Bytes of all leaf lines. */
  readonly leafBytes: number;
  remove(): void;
}

interface SealedTree {
  readonly tree: BundleTree;
  readonly note: Uint8Array;
  readonly root: Uint8Array;
}

export async function makeBundleScene(records: number): Promise<BundleScene> {
  const folder = mkdtempSync(join(tmpdir(), 'evident-bundle-'));
  const files: BundleFile[] = [];
  const put = (path: string, bytes: Uint8Array): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
    files.push({
      path,
      size: BigInt(bytes.length),
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  };
  const key = fixtureKey(1);
  const heads = new FixtureTree('heads', 0, key);
  const { trees, size, sha256 } = await writeRecords(join(folder, 'records.ndjson'), records, put);
  files.push({ path: 'records.ndjson', size: BigInt(size), sha256 });
  for (const { tree, root } of trees) listHead(heads, { origin: tree.origin, size: tree.size, root });
  const headSize = heads.leaves.length;
  for (const [position, { tree, note }] of trees.entries()) {
    const paths = headPaths(tree.origin, tree.size);
    put(paths.checkpoint, note);
    put(paths.leaf, heads.leaves[position]);
    put(paths.proof, await heads.proof(position, headSize));
  }
  put(headPaths(heads.origin, BigInt(headSize)).checkpoint, heads.head(headSize));
  const origins = [heads.origin, ...trees.map(({ tree }) => tree.origin)].sort(compareText);
  const keys = origins.map((origin) => ({
    origin,
    vkey: formatVkey(verifierKeyOf(origin, key)),
    from: 0n,
    to: null,
  }));
  put('keys.json', formatKeysFile({ keys, rotations: 0 }));
  put('README.txt', encodeUtf8('A bundle to measure with.\n'));
  const manifest = formatManifest({
    name: FIXTURE_NAME,
    head: { origin: heads.origin, size: BigInt(headSize) },
    scope: { kind: 'selection', filter: { tenant: 'acme' } },
    records: BigInt(records),
    proofs: 'tiles',
    trees: trees.map(({ tree }) => tree),
    files: files.sort((a, b) => compareText(a.path, b.path)),
  });
  writeFileSync(join(folder, 'manifest.json'), manifest);
  const vkey = formatVkey(verifierKeyOf(heads.origin, key));
  return { folder, vkey, leafBytes: size, remove: () => rmSync(folder, { recursive: true }) };
}

function listHead(heads: FixtureTree, head: { origin: string; size: bigint; root: Uint8Array }): void {
  heads.append({
    id: headId(head.origin, head.size, toBase64(head.root)),
    appendedAt: BEGIN_US,
    tenant: '_system',
    source: 'evident',
    sourceSeq: null,
    type: 'head',
    schema: 0,
    key: '_system',
    meta: null,
    body: { form: 'json', bytes: formatHeadBody(head) },
  });
}

async function writeRecords(
  path: string,
  records: number,
  put: (path: string, bytes: Uint8Array) => void,
): Promise<{ trees: SealedTree[]; size: number; sha256: string }> {
  const out = createWriteStream(path, { highWaterMark: 1 << 22 });
  const hash = createHash('sha256');
  const trees: SealedTree[] = [];
  let size = 0;
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const count =
      Math.floor((records * (partition + 1)) / PARTITIONS) - Math.floor((records * partition) / PARTITIONS);
    const hashes = new Uint8Array(count * HASH_BYTES);
    for (let position = 0; position < count; position++) {
      const leaf = makeLeaf(partition, position);
      hashes.set(hashLeaf(leaf), position * HASH_BYTES);
      const line = concatBytes([leaf, Uint8Array.of(0x0a)]);
      hash.update(line);
      size += line.length;
      if (!out.write(line)) await new Promise((resolve) => out.once('drain', resolve));
    }
    trees.push(sealTree(partition, hashes, put));
  }
  out.end();
  await finished(out);
  return { trees, size, sha256: hash.digest('hex') };
}

function makeLeaf(partition: number, position: number): Uint8Array {
  const { id, key, body } = makeEvent();
  return leafOf({
    log: 'audit',
    partition,
    position: BigInt(position),
    appendedAt: BEGIN_US + BigInt(position >> 5),
    id,
    tenant: 'acme',
    source: 'outbox:bank',
    sourceSeq: `1.${position}`,
    type: 'audit.event',
    schema: 1,
    key,
    meta: null,
    body: { form: 'json', bytes: encodeUtf8(body) },
  });
}

/** Writes the whole static layout of one tree, without entries. */
function sealTree(
  partition: number,
  hashes: Uint8Array,
  put: (path: string, bytes: Uint8Array) => void,
): SealedTree {
  const size = BigInt(hashes.length / HASH_BYTES);
  const levels = [hashes];
  while (levels.at(-1)!.length >= TILE_BYTES) levels.push(tileRoots(levels.at(-1)!));
  const folder = treeFolder('audit', partition, 0);
  for (const tile of listTiles(0n, size)) {
    const from = Number(tile.index) * TILE_BYTES;
    put(folder + tilePath(tile), levels[tile.level].subarray(from, from + tile.width * HASH_BYTES));
  }
  const range = new CompactRange();
  range.appendMany(hashes);
  const root = range.root();
  const origin = epochOrigin(FIXTURE_NAME, 'audit', partition, 0);
  const key = fixtureKey(1);
  const signer = { name: origin, keyId: verifierKeyOf(origin, key).keyId, sign: key.sign };
  const note = signNote(formatTreeHead({ origin, size, root }), [signer]);
  put(`${folder}checkpoint`, note);
  return { tree: { origin, log: 'audit', partition, epoch: 0, size }, note, root };
}

function tileRoots(level: Uint8Array): Uint8Array {
  const full = Math.floor(level.length / TILE_BYTES);
  return concatBytes(
    Array.from({ length: full }, (_, i) => tileRoot(level.subarray(i * TILE_BYTES, (i + 1) * TILE_BYTES))),
  );
}
