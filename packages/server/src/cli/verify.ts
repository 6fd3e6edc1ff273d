import { readFileSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { NOTE_BYTES_MAX } from '@evident/core/note.ts';
import type { ConfigInput } from '../config.ts';
import { describeFinding, EXIT_OF_VERDICT, type Finding, Findings, type Verdict } from '../verify/finding.ts';
import { checkKeptHead, KEPT_HEADS_MAX, type KeptHead, type KeptHeadReport } from '../verify/kept-heads.ts';
import { describeTiers, type TierStanding, tierJson } from '../verify/tiers.ts';
import { type VerifyReport, verify } from '../verify/verify.ts';
import { type AnchorsReport, verifyAnchors } from '../verify/verify-anchors.ts';
import { verifySpan } from '../verify/verify-span.ts';
import { type ViewReport, verifyView } from '../verify/verify-view.ts';
import type { CommandDeps, OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { countOf } from './wording.ts';

export interface VerifyOptions {
  readonly log?: string;
  readonly view?: string;
  readonly from?: string;
  readonly to?: string;
  /** Files of signed heads that were kept elsewhere. */
  readonly heads?: readonly string[];
  /** Tokens and cosignatures that are stored are checked anew. */
  readonly timestamps?: boolean;
}

/** What was verified: the log, views against it, or both. */
interface Verified {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly tampered: number;
  readonly notChecked: number;
  /** Null when only a view was asked for. */
  readonly partitions: VerifyReport['partitions'] | null;
  /** How far windows of each log reach; none where they were not verified. */
  readonly windows: VerifyReport['windows'];
  readonly views: readonly ViewReport[];
  /** Heads that were kept elsewhere, and how the log stands to each. */
  readonly keptHeads: readonly KeptHeadReport[];
  /** Null where they were not asked for. */
  readonly anchors: AnchorsReport | null;
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
  const others = options.heads !== undefined || options.timestamps === true;
  if (options.view !== undefined && others)
    throw new EvidentError(
      'usage-invalid',
      '--view: heads and timestamps are about the log; leave out one of them',
    );
  if (options.view !== undefined && (span || options.log !== undefined))
    throw new EvidentError(
      'usage-invalid',
      '--view: a view is verified whole, against every log that it reads',
    );
  // Before anything is opened: a log that grows from here on is no shorter than what was kept.
  const kept = readKept(options.heads ?? []);
  const data = await deps.open(input, { alone: false });
  const bar = new ProgressBar('verifying');
  try {
    if (options.log !== undefined && !data.logs.has(options.log))
      throw new EvidentError('log-unknown', `there is no log ${options.log}`);
    if (options.view !== undefined && !data.views.projections.has(options.view))
      throw new EvidentError('not-found', `--view: there is no view ${options.view}`);
    const onProgress = ({ done, total }: { done: bigint; total: bigint }) =>
      bar.update(Number(done), Number(total), 'records');
    const verified = await verifyAll(data, options, kept, onProgress);
    const tiers = await tiersOf(data);
    bar.end();
    const isWhole = !span && options.log === undefined && options.view === undefined;
    await tell(data.alerts, verified, isWhole);
    print(verified, tiers, span, output);
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
  kept: readonly KeptHead[],
  onProgress: (progress: { done: bigint; total: bigint }) => void,
): Promise<Verified> {
  const span = options.from !== undefined || options.to !== undefined;
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
  const keptHeads: KeptHeadReport[] = [];
  for (const one of kept) keptHeads.push(await checkKeptHead(data.trust.keptHeads, one, findings));
  const anchors = options.timestamps === true ? await verifyAnchors(data.trust.anchors, findings) : null;
  const views: ViewReport[] = [];
  const viewsBegun = performance.now();
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
    windows: log?.windows ?? [],
    views,
    keptHeads,
    anchors,
    seconds: { log: (logDone - begun) / 1_000, views: (performance.now() - viewsBegun) / 1_000 },
  };
}

function worst(...verdicts: readonly Verdict[]): Verdict {
  if (verdicts.includes('tampered')) return 'tampered';
  return verdicts.includes('not checked') ? 'not checked' : 'verified';
}

const rateOf = (records: number, seconds: number): string =>
  `${seconds.toFixed(1)} s (${Math.round(records / Math.max(seconds, 0.001)).toLocaleString('en')} records/s)`;

function print(
  verified: Verified,
  tiers: readonly TierStanding[] | null,
  span: boolean,
  output: Output,
): void {
  const { verdict, partitions, windows, views, findings, seconds } = verified;
  output.result({ ...verified, partitions: partitions ?? [], tiers: tiers?.map(tierJson) ?? null });
  output.line(`${verdict}${span ? ' (the span asked for)' : ''}`);
  output.line();
  if (partitions !== null) {
    const records = partitions.reduce((sum, one) => sum + one.records, 0);
    const heads = partitions.reduce((sum, one) => sum + one.heads, 0);
    output.line(
      `  ${countOf(records, 'record')} and ${countOf(heads, 'signed head')} in ${countOf(partitions.length, 'partition')}, ${rateOf(records, seconds.log)}`,
    );
  }
  for (const one of windows.filter(({ hours }) => hours > 0))
    output.line(
      `  windows of ${one.log}: ${countOf(one.windows, 'window')} in ${countOf(one.hours, 'hour')}, through ${one.through}`,
    );
  for (const { view, generation, records, rows, deadLetters, behind } of views) {
    const rest = behind === 0n ? '' : `; ${countOf(behind, 'record is', 'records are')} not in the view yet`;
    output.line(
      `  view ${view}, generation ${generation}: ${countOf(records, 'record')} mapped again, ${countOf(rows, 'row')}, ${countOf(deadLetters, 'dead letter')}, ${rateOf(records, seconds.views)}${rest}`,
    );
  }
  printOthers(verified, output);
  for (const finding of findings.slice(0, PRINTED_MAX)) output.line(`  ${describeFinding(finding)}`);
  const more = verified.tampered + verified.notChecked - Math.min(findings.length, PRINTED_MAX);
  if (more > 0)
    output.line(`  … and ${countOf(more, 'more finding')} (--json lists up to 1,000 each of log and views)`);
  if (verdict === 'verified' && partitions !== null)
    output.line(
      '  Every leaf was derived from its bytes again; tiles, chain and signed heads agree with it.',
    );
  if (verdict === 'verified' && views.length > 0)
    output.line('  Every record was mapped again; the views show what comes out, and nothing else.');
  output.line();
  if (tiers === null) output.line('  Tiers in force could not be read.');
  else for (const line of describeTiers(tiers)) output.line(`  ${line}`);
}

/** What others keep and say. */
function printOthers({ keptHeads, anchors }: Verified, output: Output): void {
  for (const { label, origin, size, storedSize, answer } of keptHeads)
    if (answer === 'consistent')
      output.line(
        `  ${label}: the head of ${origin} of size ${size} is a beginning of what is stored (${storedSize})`,
      );
  if (anchors === null) return;
  const { timestamps, cosignatures, records, newest } = anchors;
  output.line(
    `  ${countOf(timestamps, 'token')} and ${countOf(cosignatures, 'cosignature')} good, ${countOf(records, 'record')} in heads/0 that tell of them`,
  );
  for (const { kind, by, size, at } of newest)
    output.line(`    newest ${kind} of ${by}: over the head of size ${size}, ${formatInstant(at)}`);
}

/** Null where they can't be read: the verdict stands all the same. */
async function tiersOf({ trust }: OpenedData): Promise<readonly TierStanding[] | null> {
  try {
    return await trust.tiers();
  } catch {
    return null;
  }
}

function readKept(files: readonly string[]): KeptHead[] {
  if (files.length > KEPT_HEADS_MAX)
    throw new EvidentError('usage-invalid', `--head: at most ${KEPT_HEADS_MAX} files`);
  return files.map((label) => {
    try {
      const note = readFileSync(label);
      if (note.length <= NOTE_BYTES_MAX) return { label, note: new Uint8Array(note) };
    } catch (cause) {
      throw new EvidentError('usage-invalid', `--head: ${(cause as Error).message}`, { cause });
    }
    throw new EvidentError('usage-invalid', `--head: ${label} has more than ${NOTE_BYTES_MAX} bytes`);
  });
}
