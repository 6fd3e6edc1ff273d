/** `evident check`: an evidence bundle, held against one key. No data directory, no network, no database. */

import { existsSync, readFileSync } from 'node:fs';
import { toBase64 } from '@evident/core/bytes.ts';
import type { CosignatureFunctions } from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import type { TimestampCheck } from '@evident/core/evidence/check-anchors.ts';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import type { CheckFinding, CheckReport } from '@evident/core/evidence/check-report.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { HashStream } from '@evident/core/sha256-stream.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT_OF_VERDICT } from '../verify/finding.ts';
import { printable } from './event-table.ts';
import type { Run } from './options.ts';
import { type Output, ProgressBar } from './output.ts';
import { countOf } from './wording.ts';

/** What a check needs of the platform: no store, no server. */
export interface CheckDeps {
  readonly signatures: CosignatureFunctions;
  readonly makeHash: () => HashStream;
  /** @throws the error of the file system if there is no such path, or it may not be read */
  openBundle(path: string): Promise<{ readonly source: BundleSource; close(): Promise<void> }>;
  /** A check of tokens under the root certificates of a file, PEM or one in DER. @throws usage-invalid for no root */
  timestampCheck(roots: Uint8Array): Promise<TimestampCheck>;
}

export interface CheckCommandOptions {
  /** A vkey, or the name of a file that holds one. */
  readonly vkey: string;
  /** A file of certificates (PEM). */
  readonly roots: string | undefined;
  /** Vkeys of witnesses, or names of files that hold one each. */
  readonly witnesses: readonly string[];
  readonly quorum: number | undefined;
  /** A file that holds a signed head of heads/0. */
  readonly head: string | undefined;
  /** A file that holds the consistency proof between that head and the bundle's. */
  readonly consistency: string | undefined;
}

/** Findings that are printed in full; all are counted, and --json gives up to 1,000. */
const PRINTED_MAX = 20;
/** No key, head or certificate file is larger. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export function addCheckCommand(deps: () => CheckDeps, program: Command, run: Run): void {
  program
    .command('check <bundle>')
    .description('check an evidence bundle, offline; exit code 0 verified, 1 tampered, 2 not checked')
    .exitOverride()
    .requiredOption('--vkey <key>', 'the key that you hold (evident.vkey of the installation), or its file')
    .option('--roots <file>', 'root certificates (PEM) of time stamp authorities: tokens are checked')
    .option('--witness <vkey...>', 'a witness whose cosignature counts, or a file with its key')
    .addOption(
      new Option('--quorum <k>', 'how many of the witnesses must have cosigned (default: all)').argParser(
        countOfWitnesses,
      ),
    )
    .option('--head <file>', 'a signed head of heads/0 that you hold: the bundle must not contradict it')
    .option(
      '--consistency <file>',
      'if it has another size: the answer of /v1/logs/heads/partitions/0/consistency',
    )
    .option('--json', 'machine-readable output')
    .action(
      run((_input, output, options, [bundle]) => {
        const { vkey, roots, quorum, head, consistency } = options;
        const given = (options as { witness?: unknown }).witness;
        const asked: CheckCommandOptions = {
          vkey: vkey as string,
          roots,
          witnesses: Array.isArray(given) ? (given as string[]) : [],
          quorum: quorum === undefined ? undefined : Number(quorum),
          head,
          consistency,
        };
        return runCheck(deps(), bundle, asked, output);
      }),
    );
}

function countOfWitnesses(text: string): string {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError('A whole number is expected.');
  return text;
}

/** @returns 0 verified, 1 tampered, 2 not checked */
export async function runCheck(
  deps: CheckDeps,
  bundle: string,
  options: CheckCommandOptions,
  output: Output,
): Promise<number> {
  if (options.consistency !== undefined && options.head === undefined)
    throw new EvidentError(
      'usage-invalid',
      '--consistency: it says how two heads follow each other; --head is missing',
    );
  if (!existsSync(bundle)) throw new EvidentError('usage-invalid', `there is no ${bundle}`);
  const { vkey, roots, witnesses, quorum, head, consistency } = options;
  const timestamps = roots === undefined ? undefined : await deps.timestampCheck(readGiven('--roots', roots));
  const opened = await deps.openBundle(bundle);
  const bar = new ProgressBar('checking');
  const begun = performance.now();
  try {
    const report = await checkBundle(opened.source, {
      vkey: keyOf('--vkey', vkey),
      signatures: deps.signatures,
      makeHash: deps.makeHash,
      timestamps,
      witnesses: witnesses.map((witness) => ({ vkey: keyOf('--witness', witness) })),
      quorum,
      knownHead: head === undefined ? undefined : readGiven('--head', head),
      consistency: consistency === undefined ? undefined : readGiven('--consistency', consistency),
      onProgress: (records, total) => bar.update(Number(records), Number(total), 'records'),
    });
    bar.end();
    const seconds = (performance.now() - begun) / 1_000;
    output.result(jsonOf(report));
    print(report, seconds, output);
    return EXIT_OF_VERDICT[report.verdict];
  } finally {
    bar.end();
    await opened.close();
  }
}

/** A key as it is given: in full, or by the name of a file that holds nothing else. */
function keyOf(option: string, given: string): string {
  // White space, a byte order mark and CR come from editors and the mail: no key has any around it.
  if (/^\s*[^+]+\+[0-9a-f]{8}\+/u.test(given)) return given.trim();
  const text = readGiven(option, given).toString('utf8').trim();
  if (text === '' || text.includes('\n'))
    throw new EvidentError('usage-invalid', `${option}: ${given} does not hold one key`);
  return text;
}

function readGiven(option: string, path: string): Buffer {
  try {
    const bytes = readFileSync(path);
    if (bytes.length <= FILE_BYTES_MAX) return bytes;
  } catch (cause) {
    throw new EvidentError('usage-invalid', `${option}: ${(cause as Error).message}`, { cause });
  }
  throw new EvidentError('usage-invalid', `${option}: ${path} is larger than ${FILE_BYTES_MAX} bytes`);
}

function jsonOf({ head, timestamps, ...report }: CheckReport): unknown {
  return {
    ...report,
    head: head === null ? null : { ...head, root: toBase64(head.root) },
    timestamps: timestamps.map(({ authority, at }) => ({ authority, at: formatInstant(at) })),
  };
}

function print(report: CheckReport, seconds: number, output: Output): void {
  const { verdict, findings, shown, notShown, records, tampered, notChecked } = report;
  output.line(verdict);
  output.line();
  for (const line of shown) output.line(`  ${line}`);
  for (const finding of findings.slice(0, PRINTED_MAX)) output.line(`  ${describe(finding)}`);
  const more = tampered + notChecked - Math.min(findings.length, PRINTED_MAX);
  if (more > 0) output.line(`  … and ${countOf(more, 'finding')} more`);
  output.line();
  output.line('not shown:');
  for (const line of notShown) output.line(`  ${line}`);
  output.line();
  const rate = Math.round(Number(records) / Math.max(seconds, 0.001)).toLocaleString('en');
  output.line(`${countOf(records, 'record')} read in ${seconds.toFixed(1)} s (${rate}/s)`);
}

function describe({ verdict, path, check, detail, record }: CheckFinding): string {
  const place = record === undefined ? '' : ` ${record.log}/${record.partition}/${record.position}`;
  // Names of files and details are a stranger's: one could clear the screen and write another verdict.
  return `${verdict}: ${path === '' ? '' : `${printable(path)} `}[${check}]${place} ${printable(detail)}`;
}
