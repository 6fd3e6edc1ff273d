/** Sealing and verifying what is in the log: nothing else runs. */

import { sealDepsOf, verifyDepsOf } from '../src/compose.ts';
import { openSealer, sealRound } from '../src/seal/seal.ts';
import { verify } from '../src/verify/verify.ts';
import { makeProposals } from './events.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, type Sample } from './measure.ts';

const RECORDS = Number(process.env.EVIDENT_BENCH_RECORDS ?? 400_000);
const CHUNK = 5_000;

let opened: Promise<Opened> | undefined;
export async function closeSealBench(): Promise<void> {
  await (await opened)?.close();
  opened = undefined;
}

async function fill({ storage }: Opened): Promise<void> {
  const log = storage.logs.get('audit');
  for (let done = 0; done < RECORDS; done += CHUNK) await log?.appendOnce(makeProposals(CHUNK));
}

/** Seals `RECORDS` new records. The rate per core is what one core of Node's CPU time would do. */
async function sealRun(): Promise<Sample> {
  opened ??= openInstallation();
  const one = await opened;
  await fill(one);
  const log = one.storage.logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit');
  const { sealer } = await openSealer(sealDepsOf(one.storage), log);
  const cpu = process.cpuUsage();
  const postgres = cpuOfTree(one.postgresPid);
  const begun = performance.now();
  let leaves = 0;
  for (let more = true; more; ) {
    const round = await sealRound(sealDepsOf(one.storage), sealer);
    leaves += round.leaves;
    more = round.more;
  }
  const seconds = (performance.now() - begun) / 1_000;
  return perCore(leaves, seconds, process.cpuUsage(cpu), cpuOfTree(one.postgresPid) - postgres);
}

async function verifyRun(): Promise<Sample> {
  opened ??= openInstallation();
  const one = await opened;
  const cpu = process.cpuUsage();
  const postgres = cpuOfTree(one.postgresPid);
  const begun = performance.now();
  const report = await verify(verifyDepsOf(one.storage), null, () => undefined);
  const seconds = (performance.now() - begun) / 1_000;
  if (report.verdict !== 'verified')
    throw new Error(`verify says ${report.verdict}: ${report.findings[0]?.detail}`);
  const records = report.partitions.reduce((sum, partition) => sum + partition.records, 0);
  return perCore(records, seconds, process.cpuUsage(cpu), cpuOfTree(one.postgresPid) - postgres);
}

function perCore(records: number, seconds: number, used: NodeJS.CpuUsage, postgresUs: number): Sample {
  const node = (used.user + used.system) / records;
  const postgres = postgresUs / records;
  return {
    value: 1_000_000 / (node + postgres),
    cpu: { node, postgres },
    more: {
      'records/s elapsed, both cores': records / seconds,
      'records/s per core of Node alone': 1_000_000 / node,
      records,
    },
  };
}

export const SEAL_BENCHMARKS: Benchmark[] = [
  {
    name: 'seal, per core (Node and PostgreSQL together)',
    unit: 'records/s',
    goal: { text: '≥ 150,000/s per core', least: 150_000 },
    runs: 3,
    run: sealRun,
  },
  {
    name: 'verify, per core (Node and PostgreSQL together)',
    unit: 'records/s',
    goal: { text: '≥ 250,000/s per core', least: 250_000 },
    runs: 3,
    run: verifyRun,
  },
];
