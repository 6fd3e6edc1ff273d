import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { EXIT_OF_VERDICT, type Finding, Findings, type Verdict } from '../verify/finding.ts';
import { type VerifyReport, verify } from '../verify/verify.ts';
import { verifySpan } from '../verify/verify-span.ts';
import { type ViewReport, verifyView } from '../verify/verify-view.ts';
import type { CommandDeps, OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';

export interface VerifyOptions {
  readonly log?: string;
  readonly view?: string;
  readonly from?: string;
  readonly to?: string;
}

/** What was verified: the log, views against it, or both. */
interface Verified {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly tampered: number;
  readonly notChecked: number;
  /** Null when only a view was asked for. */
  readonly partitions: VerifyReport['partitions'] | null;
  readonly views: readonly ViewReport[];
  readonly seconds: { readonly log: number; readonly views: number };
}

/** Characters of the first finding that an alert tells. */
const DETAIL_LENGTH_MAX = 1_000;
/** Findings that are printed in full; all are counted, and --json gives up to 1,000. */
const PRINTED_MAX = 20;

/** @returns 0 verified, 1 tampered, 2 not checked */
export async function runVerify(
  deps: CommandDeps,
  input: ConfigInput,
  options: VerifyOptions,
  output: Output,
): Promise<number> {
  const span = options.from !== undefined || options.to !== undefined;
  if (options.view !== undefined && (span || options.log !== undefined))
    throw new EvidentError(
      'usage-invalid',
      '--view: a view is verified whole, against every log that it reads',
    );
  const data = await deps.open(input, { alone: false });
  const bar = new ProgressBar('verifying');
  try {
    if (options.log !== undefined && !data.logs.has(options.log))
      throw new EvidentError('log-unknown', `there is no log ${options.log}`);
    if (options.view !== undefined && !data.views.projections.has(options.view))
      throw new EvidentError('usage-invalid', `--view: there is no view ${options.view}`);
    const onProgress = ({ done, total }: { done: bigint; total: bigint }) =>
      bar.update(Number(done), Number(total), 'records');
    const verified = await verifyAll(data, options, span, onProgress);
    bar.end();
    const isWhole = !span && options.log === undefined && options.view === undefined;
    await tell(data.alerts, verified, isWhole);
    print(verified, span, output);
    return EXIT_OF_VERDICT[verified.verdict];
  } finally {
    bar.end();
    await data.close();
  }
}

/**
 * Findings are an alert until everything was verified. What can't be stored is said, and changes no verdict: the database
 * may be what was tampered with.
 */
async function tell(
  alerts: OpenedData['alerts'],
  { verdict, findings }: Verified,
  isWhole: boolean,
): Promise<void> {
  const key = 'verification';
  try {
    if (verdict === 'verified') {
      if (isWhole) for (const one of [key, `${key}:incomplete`]) await alerts.settle(one);
      return;
    }
    const severity = verdict === 'tampered' ? 'critical' : 'medium';
    const [first] = findings;
    const detail = first === undefined ? verdict : describeFinding(first).slice(0, DETAIL_LENGTH_MAX);
    const name = `verification: ${verdict}`;
    // Two keys: that something is missing must not hide that something was changed.
    const own = verdict === 'tampered' ? key : `${key}:incomplete`;
    await alerts.raise({ key: own, tenant: null, name, severity, subject: null, detail });
  } catch (error) {
    process.stderr.write(`evident: no alert could be stored of this: ${(error as Error).message}\n`);
  }
}

/** The log first: what the views are held against. A part of the log, or a span, leaves views out. */
async function verifyAll(
  data: OpenedData,
  options: VerifyOptions,
  span: boolean,
  onProgress: (progress: { done: bigint; total: bigint }) => void,
): Promise<Verified> {
  const begun = performance.now();
  const range = { log: options.log ?? null, from: options.from ?? null, to: options.to ?? null };
  const log =
    options.view !== undefined
      ? null
      : span
        ? await verifySpan(data.verify, range, onProgress)
        : await verify(data.verify, options.log ?? null, onProgress);
  const logDone = performance.now();
  const names =
    options.view !== undefined
      ? [options.view]
      : span || options.log !== undefined
        ? []
        : [...data.views.projections.keys()];
  const findings = new Findings();
  const views: ViewReport[] = [];
  for (const name of names) {
    const report = await verifyView(data.views.verify, name, findings, onProgress);
    if (report !== null) views.push(report);
  }
  const { tampered, notChecked } = findings.count;
  return {
    verdict: worst(log?.verdict ?? 'verified', findings.verdict),
    findings: [...(log?.findings ?? []), ...findings.list],
    tampered: (log?.tampered ?? 0) + tampered,
    notChecked: (log?.notChecked ?? 0) + notChecked,
    partitions: log?.partitions ?? null,
    views,
    seconds: { log: (logDone - begun) / 1_000, views: (performance.now() - logDone) / 1_000 },
  };
}

function worst(...verdicts: readonly Verdict[]): Verdict {
  if (verdicts.includes('tampered')) return 'tampered';
  return verdicts.includes('not checked') ? 'not checked' : 'verified';
}

const rateOf = (records: number, seconds: number): string =>
  `${seconds.toFixed(1)} s (${Math.round(records / Math.max(seconds, 0.001)).toLocaleString('en')} records/s)`;

function print(verified: Verified, span: boolean, output: Output): void {
  const { verdict, partitions, views, findings, seconds } = verified;
  output.result({ ...verified, partitions: partitions ?? [] });
  output.line(`${verdict}${span ? ' (the span asked for)' : ''}`);
  output.line();
  if (partitions !== null) {
    const records = partitions.reduce((sum, one) => sum + one.records, 0);
    const heads = partitions.reduce((sum, one) => sum + one.heads, 0);
    output.line(
      `  ${records.toLocaleString('en')} records and ${heads.toLocaleString('en')} signed heads in ${partitions.length} partitions, ${rateOf(records, seconds.log)}`,
    );
  }
  for (const { view, generation, records, rows, deadLetters, behind } of views) {
    const rest = behind === 0n ? '' : `; ${behind.toLocaleString('en')} records are not in the view yet`;
    output.line(
      `  view ${view}, generation ${generation}: ${records.toLocaleString('en')} records mapped again, ${rows.toLocaleString('en')} rows, ${deadLetters.toLocaleString('en')} dead letters, ${rateOf(records, seconds.views)}${rest}`,
    );
  }
  for (const finding of findings.slice(0, PRINTED_MAX)) output.line(`  ${describeFinding(finding)}`);
  const more = verified.tampered + verified.notChecked - Math.min(findings.length, PRINTED_MAX);
  if (more > 0)
    output.line(
      `  … and ${more.toLocaleString('en')} more findings (--json lists up to 1,000 each of log and views)`,
    );
  if (verdict !== 'verified') return;
  if (partitions !== null) {
    output.line(
      '  Every leaf was derived from its bytes again; tiles, chain and signed heads agree with it.',
    );
    output.line(
      '  Tier T0: this holds unless somebody with this machine has replaced log and heads together.',
    );
  }
  if (views.length > 0)
    output.line('  Every record was mapped again; the views show what comes out, and nothing else.');
}

/** One finding, in a line: verdict, place, id, check, detail. */
export function describeFinding({ verdict, log, partition, from, to, id, check, detail }: Finding): string {
  let place = `${log}/${partition}`;
  if (from !== null) place += `/${from}`;
  if (from !== null && to !== null && to - from > 1n) place += `..${to - 1n}`;
  return `${verdict}: ${place}${id === null ? '' : ` (id ${id})`} [${check}] ${detail}`;
}
