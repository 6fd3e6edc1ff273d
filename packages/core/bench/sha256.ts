/**
 * Rates of SHA-256 on one core: node:crypto one by one against the batches of `packages/core/src`.
 * Run: `node packages/core/bench/sha256.ts`. Medians of 5 runs of 300 ms each, best run beside them; the cases take
 * turns within a run, so that a slow moment of the machine meets all of them.
 */
import { hash, randomBytes } from 'node:crypto';
import { LeafBatch } from '../src/leaf-batch.ts';
import { chainMarks, Hasher } from '../src/sha256.ts';
import { defaultEngine } from '../src/sha256-engine.ts';
import { plainEngine } from '../src/sha256-plain.ts';

const runs = 5;
const runMs = 300;
const leavesMax = 2048;
const source = randomBytes(65_536);

interface Case {
  name: string;
  /** Hashes made by one call of `body`. */
  count: number;
  body: () => void;
}

const started = performance.now();
const make = defaultEngine();
console.log(`module generated, compiled and checked in ${(performance.now() - started).toFixed(0)} ms`);
const hasher = new Hasher(make);
const plain = new Hasher(plainEngine);

function oneByOne(name: string, size: number, one: (data: Uint8Array) => unknown): Case {
  const data = source.subarray(0, size);
  const body = (): void => {
    for (let i = 0; i < 256; i++) one(data);
  };
  return { name: `${name}, ${size} bytes`, count: 256, body };
}

/** Leaves of the given lengths; `write` includes copying each into the batch, as a caller who builds them would. */
function leaves(name: string, length: () => number, write: boolean): Case {
  const batch = new LeafBatch(leavesMax * 1024 * 2, leavesMax, make);
  const data = Array.from({ length: leavesMax }, () => source.subarray(0, length()));
  const out = new Uint8Array(32 * leavesMax);
  const fill = (): void => {
    batch.reset();
    for (const leaf of data) if (!batch.add(leaf)) throw new Error('the batch is too small');
  };
  fill();
  const body = (): void => {
    if (write) fill();
    batch.hash(out);
  };
  return { name: `LeafBatch, ${name}${write ? ', written each time' : ''}`, count: leavesMax, body };
}

const uniform = (): number => 500 + Math.floor(Math.random() * 401);
const logNormal = (): number => {
  const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Math.max(100, Math.min(65_535, Math.round(600 * Math.exp(0.5 * normal))));
};

function cases(): Case[] {
  const children = new Uint8Array(randomBytes(64 * 4096));
  const parents = new Uint8Array(32 * 4096);
  const chains = Array.from({ length: 4 }, (_, i) => ({
    chain: new Uint8Array(32),
    leafHashes: children.subarray(32 * 2048 * i, 32 * 2048 * (i + 1)),
    start: 0,
    marks: new Uint8Array(32 * chainMarks(0, 2048)),
  }));
  const one = chains[0]!;
  return [
    oneByOne('node:crypto hash', 65, (data) => hash('sha256', data, 'buffer')),
    oneByOne('node:crypto hash', 600, (data) => hash('sha256', data, 'buffer')),
    oneByOne('sha256', 65, (data) => hasher.sha256(data)),
    oneByOne('sha256', 600, (data) => hasher.sha256(data)),
    oneByOne('sha256 without WebAssembly', 65, (data) => plain.sha256(data)),
    oneByOne('sha256 without WebAssembly', 600, (data) => plain.sha256(data)),
    { name: 'hashPairs', count: 4096, body: () => hasher.hashPairs(children, parents) },
    leaves('600 bytes', () => 600, false),
    leaves('600 bytes', () => 600, true),
    leaves('uniform 500 to 900', uniform, false),
    leaves('uniform 500 to 900', uniform, true),
    leaves('log-normal around 600', logNormal, false),
    leaves('log-normal around 600', logNormal, true),
    {
      name: 'chainMany',
      count: 2048,
      body: () => void hasher.chainMany(one.chain, one.leafHashes, 0, one.marks),
    },
    { name: 'chainEach, four chains', count: 8192, body: () => hasher.chainEach(chains) },
  ];
}

function rate({ count, body }: Case): number {
  const from = performance.now();
  let done = 0;
  let now = from;
  do {
    body();
    done += count;
    now = performance.now();
  } while (now - from < runMs);
  return (done / (now - from)) * 1000;
}

const all = cases();
for (const each of all) rate(each); // compiles what is hot
const results = all.map((): number[] => []);
for (let run = 0; run < runs; run++) for (const [i, each] of all.entries()) results[i]!.push(rate(each));
console.log(`${''.padEnd(52)}${'median'.padStart(12)}${'best'.padStart(12)}  hashes/s`);
for (const [i, each] of all.entries()) {
  const sorted = results[i]!.sort((a, b) => a - b);
  const format = (value: number): string => Math.round(value).toLocaleString('en').padStart(12);
  console.log(`${each.name.padEnd(52)}${format(sorted[runs >> 1]!)}${format(sorted.at(-1)!)}`);
}
