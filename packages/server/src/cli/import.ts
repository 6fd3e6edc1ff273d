import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { type ErrorCode, EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { checkTenant, checkWritableLog } from '@evident/core/record.ts';
import type { ConfigInput } from '../config.ts';
import { FORMATS, isImportFormatName } from '../ingest/import/formats.ts';
import { gunzipIfPacked } from '../ingest/import/gunzip.ts';
import { type ImportCounts, noImportCounts } from '../ingest/import/import-records.ts';
import { runImport } from '../ingest/import/run-import.ts';
import { type CommandDeps, EXIT, type FoundServer } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { requestServer } from './request.ts';
import { findTarget, type TargetOptions } from './target.ts';
import { countOf } from './wording.ts';

export interface ImportOptions extends TargetOptions {
  readonly tenant: string;
  readonly log: string;
}

/** Failures of the first file that are not the file's: nothing was taken. */
const OF_THE_COMMAND: readonly ErrorCode[] = [
  'log-unavailable',
  'log-unknown',
  'unauthenticated',
  'credential-expired',
  'forbidden',
  'tenant-forbidden',
  'rate-limited',
];

interface FileResult {
  readonly file: string;
  readonly counts: ImportCounts;
  readonly error: string | null;
}

/**
 * Imports files, each as a stream. One that fails is named; the others are still imported.
 * @returns 0 when every file was taken whole
 */
export async function runImportCommand(
  deps: CommandDeps,
  input: ConfigInput,
  format: string,
  files: readonly string[],
  options: ImportOptions,
  output: Output,
): Promise<number> {
  if (!isImportFormatName(format)) {
    throw new EvidentError(
      'usage-invalid',
      `there is no format ${format}; known are ${Object.keys(FORMATS).join(', ')}`,
    );
  }
  checkTenant(options.tenant);
  checkWritableLog(options.log);
  if (files.length === 0) throw new EvidentError('usage-invalid', 'no file is given');
  for (const file of files) checkReadable(file);
  const server = await findTarget(deps, input, options);
  const bar = new ProgressBar(`importing ${format}`);
  const results =
    server === null
      ? await importHere(deps, input, format, files, options, bar)
      : await importThere(server, format, files, options, bar);
  bar.end();
  return report(results, format, options, output);
}

/** @throws usage-invalid when it is not a file, or can't be looked at */
export function checkReadable(file: string): void {
  try {
    if (!statSync(file).isFile()) throw new EvidentError('usage-invalid', `${file} is not a file`);
  } catch (error) {
    if (error instanceof EvidentError) throw error;
    throw new EvidentError('usage-invalid', `${file} can't be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function importHere(
  deps: CommandDeps,
  input: ConfigInput,
  format: string,
  files: readonly string[],
  { tenant, log }: ImportOptions,
  bar: ProgressBar,
): Promise<FileResult[]> {
  if (!isImportFormatName(format)) return [];
  const data = await deps.open(input, { alone: true });
  try {
    const target = data.logs.get(log);
    if (target === undefined) throw new EvidentError('log-unknown', `there is no log ${log}`);
    const importDeps = { ...(await data.importDeps(tenant)), log: target, objects: data.objects };
    const results: FileResult[] = [];
    for (const file of files) {
      const source = gunzipIfPacked(createReadStream(file), file);
      let counts = noImportCounts();
      try {
        const done = await runImport(
          importDeps,
          { format, tenant, source, fileName: basename(file), runId: deps.randomId() },
          (now) => {
            counts = now;
            bar.update(totalOf(results) + now.taken + now.repeated, null, 'records');
          },
        );
        results.push({ file, counts: done.counts, error: null });
      } catch (error) {
        results.push({ file, counts, error: (error as Error).message });
      }
    }
    await data.seal();
    return results;
  } finally {
    await data.close();
  }
}

function totalOf(results: readonly FileResult[]): number {
  return results.reduce((sum, { counts }) => sum + counts.taken + counts.repeated, 0);
}

async function importThere(
  server: FoundServer,
  format: string,
  files: readonly string[],
  { tenant, log }: ImportOptions,
  bar: ProgressBar,
): Promise<FileResult[]> {
  const results: FileResult[] = [];
  for (const file of files) {
    const query = new URLSearchParams({ tenant, log, file: basename(file) });
    try {
      // Small files whole: most exports are many small files, and a stream costs more than they do.
      const body = statSync(file).size < 8 * 1024 * 1024 ? await readFile(file) : createReadStream(file);
      const answer = await requestServer(server, `/v1/imports/${format}?${query}`, {
        method: 'POST',
        body,
        type: 'application/octet-stream',
      });
      const { counts } = (await answer.json()) as { counts: ImportCounts };
      results.push({ file, counts, error: null });
    } catch (error) {
      // Of the command, not of a file: the others would fail alike.
      if (results.length === 0 && isEvidentError(error) && OF_THE_COMMAND.includes(error.code)) throw error;
      results.push({ file, counts: noImportCounts(), error: (error as Error).message });
    }
    bar.update(totalOf(results), null, 'records');
  }
  return results;
}

function report(
  results: readonly FileResult[],
  format: string,
  { tenant, log }: ImportOptions,
  output: Output,
): number {
  const sum = noImportCounts();
  for (const { counts } of results)
    for (const name of Object.keys(sum) as (keyof ImportCounts)[]) sum[name] += counts[name];
  const failed = results.filter(({ error }) => error !== null);
  output.result({ format, tenant, log, files: results.length, counts: sum, failed });
  // The number ends at the tenth column, whatever noun is behind it.
  const number = (value: number, one: string, many?: string) => {
    const text = countOf(value, one, many);
    return ' '.repeat(Math.max(0, 10 - text.indexOf(' '))) + text;
  };
  output.line(`${number(results.length, 'file')} of ${format} into the log ${log}, tenant ${tenant}`);
  output.line(`${number(sum.taken, 'record')} taken`);
  output.line(`${number(sum.repeated, 'repeat')}: in the log already, with the same bytes`);
  if (sum.reused > 0) output.line(`${number(sum.reused, 'id')} used again with other bytes`);
  if (sum.unparsed > 0)
    output.line(
      `${number(sum.unparsed, 'of all is', 'of all are')} not what ${format} says: taken byte for byte`,
    );
  if (sum.refused > 0) output.line(`${number(sum.refused, 'refused', 'refused')}: larger than 16 MiB`);
  for (const { file, error } of failed) output.line(`FAILED ${file}: ${error}`);
  if (failed.length > 0)
    output.line(
      'What was appended before a failure stays; the same import again takes the rest and counts repeats.',
    );
  return failed.length > 0 || sum.refused > 0 ? EXIT.failed : EXIT.success;
}
