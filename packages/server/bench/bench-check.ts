/** `evident check` of a bundle of a million records: nothing but the check runs. */

import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import { checkDeps } from '../src/check-deps.ts';
import { type BundleScene, makeBundleScene } from './bundle-scene.ts';
import type { Benchmark, Sample } from './measure.ts';

const RECORDS = Number(process.env.EVIDENT_BENCH_RECORDS ?? 1_000_000);
const SAMPLE_MS = 20;

let scene: Promise<BundleScene> | undefined;

export async function closeCheckBench(): Promise<void> {
  (await scene)?.remove();
  scene = undefined;
}

async function checkRun(): Promise<Sample> {
  scene ??= makeBundleScene(RECORDS);
  const { folder, vkey, leafBytes } = await scene;
  const deps = checkDeps();
  const { source, close } = await deps.openBundle(folder);
  const { rss } = process.memoryUsage;
  const before = rss();
  let most = before;
  const sampler = setInterval(() => {
    most = Math.max(most, rss());
  }, SAMPLE_MS);
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const { verdict, findings } = await checkBundle(source, {
    vkey,
    signatures: deps.signatures,
    makeHash: deps.makeHash,
    onProgress: () => {
      most = Math.max(most, rss());
    },
  });
  const seconds = (performance.now() - begun) / 1_000;
  clearInterval(sampler);
  await close();
  if (verdict !== 'verified') throw new Error(`check says ${verdict}: ${findings[0]?.detail}`);
  const used = process.cpuUsage(cpu);
  return {
    value: seconds,
    cpu: { node: (used.user + used.system) / RECORDS },
    more: {
      records: RECORDS,
      'records/s': RECORDS / seconds,
      'bytes of a leaf': leafBytes / RECORDS,
      'MiB above the start': (most - before) / 2 ** 20,
    },
  };
}

export const CHECK_BENCHMARKS: Benchmark[] = [
  {
    name: 'check, a bundle of 1,000,000 records',
    unit: 's',
    goal: { text: '< 10 s', most: 10 },
    runs: 3,
    run: checkRun,
  },
];
