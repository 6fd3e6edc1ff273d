import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { EXIT_OF_VERDICT, type Finding } from '../verify/finding.ts';
import { type VerifyReport, verify } from '../verify/verify.ts';
import { verifySpan } from '../verify/verify-span.ts';
import type { CommandDeps } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';

export interface VerifyOptions {
  readonly log?: string;
  readonly from?: string;
  readonly to?: string;
}

/** Findings that are printed in full; all are counted, and --json gives up to 1,000. */
const PRINTED_MAX = 20;

/** @returns 0 verified, 1 tampered, 2 not checked */
export async function runVerify(
  deps: CommandDeps,
  input: ConfigInput,
  options: VerifyOptions,
  output: Output,
): Promise<number> {
  const data = await deps.open(input, { alone: false });
  if (options.log !== undefined && !data.logs.has(options.log)) {
    await data.close();
    throw new EvidentError('log-unknown', `there is no log ${options.log}`);
  }
  const bar = new ProgressBar('verifying');
  try {
    const onProgress = ({ done, total }: { done: bigint; total: bigint }) =>
      bar.update(Number(done), Number(total), 'records');
    const begun = performance.now();
    const span = options.from !== undefined || options.to !== undefined;
    const report = span
      ? await verifySpan(
          data.verify,
          { log: options.log ?? null, from: options.from ?? null, to: options.to ?? null },
          onProgress,
        )
      : await verify(data.verify, options.log ?? null, onProgress);
    bar.end();
    print(report, span, (performance.now() - begun) / 1_000, output);
    return EXIT_OF_VERDICT[report.verdict];
  } finally {
    bar.end();
    await data.close();
  }
}

function print(report: VerifyReport, span: boolean, seconds: number, output: Output): void {
  output.result(report);
  const records = report.partitions.reduce((sum, one) => sum + one.records, 0);
  const heads = report.partitions.reduce((sum, one) => sum + one.heads, 0);
  output.line(`${report.verdict}${span ? ' (the span asked for)' : ''}`);
  output.line();
  const rate = Math.round(records / Math.max(seconds, 0.001)).toLocaleString('en');
  output.line(
    `  ${records.toLocaleString('en')} records and ${heads.toLocaleString('en')} signed heads in ${report.partitions.length} partitions, ${seconds.toFixed(1)} s (${rate} records/s)`,
  );
  for (const finding of report.findings.slice(0, PRINTED_MAX)) output.line(`  ${describeFinding(finding)}`);
  const more = report.tampered + report.notChecked - Math.min(report.findings.length, PRINTED_MAX);
  if (more > 0) output.line(`  … and ${more.toLocaleString('en')} more findings (--json lists up to 1,000)`);
  if (report.verdict === 'verified') {
    output.line(
      '  Every leaf was derived from its bytes again; tiles, chain and signed heads agree with it.',
    );
    output.line(
      '  Tier T0: this holds unless somebody with this machine has replaced log and heads together.',
    );
  }
}

/** One finding, in a line: verdict, place, id, check, detail. */
export function describeFinding({ verdict, log, partition, from, to, id, check, detail }: Finding): string {
  let place = `${log}/${partition}`;
  if (from !== null) place += `/${from}`;
  if (from !== null && to !== null && to - from > 1n) place += `..${to - 1n}`;
  return `${verdict}: ${place}${id === null ? '' : ` (id ${id})`} [${check}] ${detail}`;
}
