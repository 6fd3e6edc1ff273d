/**
 * Verdicts on proofs that others published (transparency-dev/merkle; see PROVENANCE.md beside them). They are no part
 * of the repository: without them these tests are skipped and say so.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  isSubtree,
  type ProofVerdict,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
} from './proof.ts';
import { TREE_SIZE_MAX } from './tree.ts';

const vectors = new URL('../../../../../shared/data/vectors/merkle/', import.meta.url);
const skip = existsSync(vectors)
  ? false
  : `NO MERKLE VECTORS: ${vectors.pathname} is absent, 518 probes were not run`;

interface Probe {
  name: string;
  wantErr: boolean;
  number(field: string): bigint;
  bytes(field: string): Uint8Array;
  proof: Uint8Array[];
}

function loadProbes(kind: string): Probe[] {
  const folder = new URL(`${kind}/`, vectors);
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.json'),
  );
  return names.map((name) => {
    const text = readFileSync(new URL(name.split('/').map(encodeURIComponent).join('/'), folder), 'utf8');
    // Some numbers are beyond 2^53: they are taken from the text.
    const probe = JSON.parse(text.replace(/": (\d+)/g, '": "$1"'));
    return {
      name: `${kind}/${name}`,
      wantErr: probe.wantErr,
      number: (field: string) => BigInt(probe[field]),
      bytes: (field: string) => new Uint8Array(Buffer.from(probe[field] ?? '', 'base64')),
      proof: (probe.proof ?? []).map((hash: string) => new Uint8Array(Buffer.from(hash, 'base64'))),
    };
  });
}

/** Runs all probes of a kind; `stricter` lists those that the publisher accepts and we refuse, all for one reason. */
function checkProbes(
  kind: string,
  count: number,
  verify: (probe: Probe) => ProofVerdict,
  stricter: string[] = [],
) {
  const probes = loadProbes(kind);
  assert.equal(probes.length, count);
  const refused: string[] = [];
  for (const probe of probes) {
    const verdict = verify(probe);
    if (probe.wantErr) assert.notEqual(verdict, 'ok', probe.name);
    else if (verdict === 'hash-invalid') refused.push(probe.name.split('/').at(-1)!);
    else assert.equal(verdict, 'ok', probe.name);
  }
  assert.deepEqual(refused.sort(), stricter);
}

function consistencyOf(probe: Probe): ProofVerdict {
  const [root1, root2] = [probe.bytes('root1'), probe.bytes('root2')];
  return verifyConsistency({
    size1: probe.number('size1'),
    size2: probe.number('size2'),
    root1,
    root2,
    proof: probe.proof,
  });
}

function inclusionOf(probe: Probe, start: bigint, end: bigint): ProofVerdict {
  const [leafHash, root] = [probe.bytes('leafHash'), probe.bytes('root')];
  return verifyInclusion({
    index: probe.number('leafIdx') - start,
    size: end - start,
    leafHash,
    root,
    proof: probe.proof,
  });
}

test('the 98 published inclusion verdicts are ours', { skip }, () => {
  checkProbes('inclusion', 98, (probe) => inclusionOf(probe, 0n, probe.number('treeSize')));
});

test('the 98 published consistency verdicts are ours, but for equal roots of 12 bytes, which no tree has', {
  skip,
}, () => {
  checkProbes('consistency', 98, consistencyOf, ['sizes-are-equal-one-and-proof-is-empty.json']);
});

test('the 204 published verdicts on inclusion in subtrees are ours', { skip }, () => {
  checkProbes('subtreeinclusion', 204, (probe) => {
    const [start, end] = [probe.number('start'), probe.number('end')];
    return end > TREE_SIZE_MAX || !isSubtree(start, end) ? 'range-invalid' : inclusionOf(probe, start, end);
  });
});

test('the 118 published verdicts on subtree consistency are ours, but for roots that are not 32 bytes', {
  skip,
}, () => {
  const verify = (probe: Probe) =>
    verifySubtreeConsistency({
      start: probe.number('start'),
      end: probe.number('end'),
      size: probe.number('size'),
      root1: probe.bytes('root1'),
      root2: probe.bytes('root2'),
      proof: probe.proof,
    });
  checkProbes('subtreeconsistency', 118, verify, [
    'sizes-are-equal-one-and-proof-is-empty.json',
    'subtree-is-empty-sizes-are-equal-one-subtree-root-valid-tree-root-random-proof-is-empty.json',
    'subtree-is-empty-sizes-are-equal-zero-subtree-root-valid-tree-root-random-proof-is-empty.json',
  ]);
});
