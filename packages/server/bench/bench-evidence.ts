/** Evidence: proofs of single records, bundles, and what of a bundle is proof. One log is filled once, sealed and projected. */

import { crc32 } from 'node:zlib';
import { writeZip, type ZipFile } from '@evident/core/evidence/zip-writer.ts';
import { sealDepsOf } from '../src/compose.ts';
import { bundleFiles } from '../src/evidence/bundle.ts';
import type { BundleRequest } from '../src/evidence/bundle-plan.ts';
import type { EvidenceDeps } from '../src/evidence/ports.ts';
import { proveRecord } from '../src/evidence/prove-record.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import { listHeads } from '../src/seal/list-heads.ts';
import { openSealer, sealRound } from '../src/seal/seal.ts';
import { makeProposals } from './events.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, type Sample } from './measure.ts';

const RECORDS = Number(process.env.EVIDENT_BENCH_RECORDS ?? 400_000);
const CHUNK = 5_000;
const PROOFS = 4_000;
/** Callers who ask for proofs at once. */
const CALLERS = 8;
const READER = { actor: { id: 'bench', role: 'auditor' }, tenant: null };

interface Scene {
  readonly one: Opened;
  readonly deps: EvidenceDeps;
}

let scene: Promise<Scene> | undefined;
export async function closeEvidenceBench(): Promise<void> {
  await (await scene)?.one.close();
  scene = undefined;
}

async function openScene(): Promise<Scene> {
  const one = await openInstallation();
  const { storage } = one;
  const log = storage.logs.get('audit');
  const heads = storage.logs.get('heads');
  if (log === undefined || heads === undefined) throw new Error('there is no log audit, or no log heads');
  for (let done = 0; done < RECORDS; done += CHUNK) await log.appendOnce(makeProposals(CHUNK));
  for (const each of [log, heads]) {
    const { sealer } = await openSealer(sealDepsOf(storage), each);
    for (let more = true; more; ) {
      const round = await sealRound(sealDepsOf(storage), sealer);
      more = round.more;
      if (each === log && !more) await listHeads(heads, storage.heads, round.sealed);
    }
  }
  await projectPending(storage);
  return { one, deps: evidenceDepsOf(storage, queryDepsOf(storage)) };
}

function sceneOf(): Promise<Scene> {
  scene ??= openScene();
  return scene;
}

/** Proofs of records all over the log, each recorded, for callers who wait for theirs. */
async function proofRun(): Promise<Sample> {
  const { deps } = await sceneOf();
  const log = deps.logs.get('audit');
  const heads = (await log?.heads()) ?? [];
  let asked = 0;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (let number = asked++; number < PROOFS; number = asked++) {
        const { partition } = heads[number % heads.length];
        const sealed = (await deps.heads.listed('audit', partition, 1n << 62n))?.size ?? 1n;
        const position = (BigInt(number) * 7_919n) % sealed;
        await proveRecord(deps, READER, { log: 'audit', partition, position });
      }
    }),
  );
  return { value: PROOFS / ((performance.now() - begun) / 1_000) };
}

type Counts = Record<'lines' | 'proofs' | 'files' | 'records', number>;

/** Counts the bytes of a bundle by what they are. */
async function* measured(files: AsyncIterable<ZipFile>, counts: Counts): AsyncGenerator<ZipFile> {
  async function* pieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      counts.lines += piece.length;
      for (let at = piece.indexOf(0x0a); at >= 0; at = piece.indexOf(0x0a, at + 1)) counts.records++;
      yield piece;
    }
  }
  for await (const { path, bytes } of files) {
    counts.files++;
    if (!(bytes instanceof Uint8Array)) yield { path, bytes: pieces(bytes) };
    else {
      if (/^(?:tlog|proofs)\//.test(path)) counts.proofs += bytes.length;
      yield { path, bytes };
    }
  }
}

async function exportRun(request: BundleRequest): Promise<Sample> {
  const { one, deps } = await sceneOf();
  const counts: Counts = { lines: 0, proofs: 0, files: 0, records: 0 };
  let zip = 0;
  let peak = 0;
  const before = process.memoryUsage.rss();
  const cpu = process.cpuUsage();
  const postgres = cpuOfTree(one.postgresPid);
  const begun = performance.now();
  for await (const piece of writeZip(measured(bundleFiles(deps, READER, request), counts), crc32)) {
    zip += piece.length;
    peak = Math.max(peak, process.memoryUsage.rss());
  }
  const seconds = (performance.now() - begun) / 1_000;
  const used = process.cpuUsage(cpu);
  const { records, lines, proofs, files } = counts;
  return {
    value: records / seconds,
    cpu: {
      node: (used.user + used.system) / records,
      postgres: (cpuOfTree(one.postgresPid) - postgres) / records,
    },
    more: {
      records,
      files,
      'leaf line, bytes a record': lines / records,
      'proofs and tiles, bytes a record': proofs / records,
      'whole zip, bytes a record': zip / records,
      'resident memory that it added, MiB': (peak - before) / 1_048_576,
    },
  };
}

const everything: BundleRequest = {
  scope: { kind: 'selection', filter: { log: 'audit', type: 'audit.event' } },
  head: null,
  proofs: 'tiles',
};
/** One record in 2,000. */
const sparse: BundleRequest = {
  scope: { kind: 'selection', filter: { log: 'audit', actor: 'usr_7' } },
  head: null,
  proofs: 'tiles',
};

export const EVIDENCE_BENCHMARKS: Benchmark[] = [
  { name: 'evidence: proofs of single records', unit: 'proofs/s', goal: null, runs: 3, run: proofRun },
  {
    name: 'evidence: bundle of all records, hash tiles',
    unit: 'records/s',
    goal: null,
    runs: 3,
    run: () => exportRun(everything),
  },
  {
    name: 'evidence: bundle of one record in 2,000, hash tiles',
    unit: 'records/s',
    goal: null,
    runs: 3,
    run: () => exportRun(sparse),
  },
  {
    name: 'evidence: bundle of one record in 2,000, a proof each',
    unit: 'records/s',
    goal: null,
    runs: 3,
    run: () => exportRun({ ...sparse, proofs: 'each' }),
  },
];
