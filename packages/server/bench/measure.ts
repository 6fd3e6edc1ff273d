/** Medians, spread, CPU by process tree, and where it was measured. */

import { readdirSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';

export interface Sample {
  /** What the goal is about, such as records per second. */
  readonly value: number;
  /** CPU microseconds per record by part. */
  readonly cpu?: Readonly<Record<string, number>>;
  /** Further figures of this run. */
  readonly more?: Readonly<Record<string, number>>;
}

export interface Benchmark {
  readonly name: string;
  readonly unit: string;
  /** As design §10 states it, or null. */
  readonly goal: { readonly text: string; readonly least?: number; readonly most?: number } | null;
  readonly runs: number;
  run(): Promise<Sample>;
}

export interface Result {
  readonly name: string;
  readonly unit: string;
  readonly goal: string | null;
  readonly reached: boolean | null;
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly runs: number;
  readonly cpu: Readonly<Record<string, number>>;
  readonly more: Readonly<Record<string, number>>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The value below which this share of all lies (nearest rank from below), as it was measured: nothing is interpolated.
 * @param values in any order; NaN of none
 * @param share 0.99 for the p99
 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
}

export async function runBenchmark(benchmark: Benchmark): Promise<Result> {
  const samples: Sample[] = [];
  for (let run = 0; run < benchmark.runs; run++) samples.push(await benchmark.run());
  const values = samples.map(({ value }) => value);
  const { goal } = benchmark;
  const middle = median(values);
  const reached =
    goal === null
      ? null
      : (goal.least === undefined || middle >= goal.least) &&
        (goal.most === undefined || middle <= goal.most);
  return {
    name: benchmark.name,
    unit: benchmark.unit,
    goal: goal?.text ?? null,
    reached,
    median: middle,
    least: Math.min(...values),
    most: Math.max(...values),
    runs: samples.length,
    cpu: mediansOf(samples.map(({ cpu }) => cpu ?? {})),
    more: mediansOf(samples.map(({ more }) => more ?? {})),
  };
}

function mediansOf(list: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const names = new Set(list.flatMap((one) => Object.keys(one)));
  return Object.fromEntries([...names].map((name) => [name, median(list.map((one) => one[name] ?? 0))]));
}

/** Clock ticks of /proc are hundredths of a second on every Linux that Node runs on. */
const TICK_US = 10_000;

interface ProcessTimes {
  readonly parent: number;
  /** User and system time of the process, in ticks. */
  readonly own: number;
  /** … and of its children that have ended. */
  readonly ended: number;
}

function processTimes(pid: number | string): ProcessTimes | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    const at = (index: number) => Number(fields[index]);
    return { parent: at(1), own: at(11) + at(12), ended: at(13) + at(14) };
  } catch {
    return null;
  }
}

/** CPU microseconds of a process and all below it, ended ones included. Linux only; 0 elsewhere. */
export function cpuOfTree(pid: number): number {
  const all = new Map<number, ProcessTimes>();
  let names: string[] = [];
  try {
    names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return 0;
  }
  for (const name of names) {
    const times = processTimes(Number(name));
    if (times !== null) all.set(Number(name), times);
  }
  const sum = (root: number): number => {
    const times = all.get(root);
    if (times === undefined) return 0;
    let ticks = times.own + times.ended;
    for (const [child, { parent }] of all) if (parent === root) ticks += sum(child);
    return ticks;
  };
  return sum(pid) * TICK_US;
}

/** CPU microseconds of one process alone. */
export function cpuOfProcess(pid: number): number {
  return (processTimes(pid)?.own ?? 0) * TICK_US;
}

/** … and of its children that have ended, which no other process can be asked for. */
export function cpuOfEnded(pid: number): number {
  return (processTimes(pid)?.ended ?? 0) * TICK_US;
}

/**
 * CPU microseconds of the threads of a process by name: Node gives its main thread and its workers theirs, and those
 * of V8 and libuv go by the names that they have. Linux only; empty elsewhere.
 */
export function cpuOfThreads(pid: number): Map<string, number> {
  const byName = new Map<string, number>();
  let tasks: string[] = [];
  try {
    tasks = readdirSync(`/proc/${pid}/task`);
  } catch {
    return byName;
  }
  for (const task of tasks) {
    const place = `${pid}/task/${task}`;
    const times = processTimes(place);
    if (times === null) continue;
    const name = readFileSync(`/proc/${place}/comm`, 'utf8').trim();
    byName.set(name, (byName.get(name) ?? 0) + times.own * TICK_US);
  }
  return byName;
}

export function describeMachine(versions: Readonly<Record<string, string>>): string {
  const models = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  const named = Object.entries({ node: process.version, ...versions }).map(
    ([name, version]) => `${name} ${version}`,
  );
  return `${models.length} cores ${models[0]?.model.trim() ?? '?'}, ${memory} GiB, ${process.platform}; ${named.join(', ')}; fsync, full_page_writes and synchronous_commit on`;
}

export function formatTable(results: readonly Result[]): string {
  const number = (value: number): string =>
    value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
  const figures = (values: Readonly<Record<string, number>>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${number(value)}`)
      .join(', ');
  const rows = results.map(({ name, unit, goal, reached, median: middle, least, most, cpu, more }) => [
    name,
    `${number(middle)} ${unit}`,
    `${number(least)} to ${number(most)}`,
    goal ?? '',
    reached === null ? '' : reached ? 'reached' : 'missed',
    figures(cpu),
    figures(more),
  ]);
  const head = ['what', 'median', 'spread', 'goal', '', 'CPU µs per record', 'beside it'];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
