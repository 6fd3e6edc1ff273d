import { createWriteStream, existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { EXPORT_FORMATS, type ExportFormat } from '../query/export.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { type GivenFilter, openQuerySource, type QueryOptions } from './query-source.ts';
import { countOf } from './wording.ts';

export interface ExportOptions extends QueryOptions {
  readonly filter: GivenFilter;
  readonly format: string;
  /** Absent: standard output. */
  readonly out?: string;
}

/** Writes everything that a filter finds, to a file that is there whole or not at all, or to standard output. */
export async function runExport(
  deps: CommandDeps,
  input: ConfigInput,
  options: ExportOptions,
  output: Output,
): Promise<number> {
  const format = EXPORT_FORMATS.find((one) => one === options.format);
  if (format === undefined)
    throw new EvidentError('usage-invalid', `--format: it is one of ${EXPORT_FORMATS.join(', ')}`);
  if (options.out !== undefined && existsSync(options.out))
    throw new EvidentError('usage-invalid', `--out: ${options.out} is there already; name another file`);
  const source = await openQuerySource(deps, input, options);
  const bar = new ProgressBar('exporting');
  let bytes = 0;
  let lines = 0;
  async function* counted(pieces: AsyncIterable<Uint8Array>) {
    for await (const piece of pieces) {
      bytes += piece.length;
      lines += countLines(piece);
      bar.update(lines, null, 'lines');
      yield piece;
    }
  }
  try {
    const pieces = Readable.from(counted(source.export(options.filter, format)), {
      objectMode: true,
      highWaterMark: 1,
    });
    if (options.out === undefined) await pipeline(pieces, process.stdout, { end: false });
    else await writeWhole(options.out, pieces);
    bar.end();
    if (options.out !== undefined) report(options.out, format, lines, bytes, output);
    return EXIT.success;
  } catch (error) {
    // Whoever read standard output has gone, as head does. The server has it on record that it ended early.
    if (options.out === undefined && (error as NodeJS.ErrnoException).code === 'EPIPE') return EXIT.failed;
    throw error;
  } finally {
    bar.end();
    await source.close();
  }
}

/** Beside its name first: what stands under the name is complete. */
async function writeWhole(file: string, pieces: Readable): Promise<void> {
  const partial = `${file}.part`;
  try {
    await pipeline(pieces, createWriteStream(partial, { flags: 'wx', mode: 0o600 }));
    await rename(partial, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' || code === 'ENOENT' || code === 'EACCES')
      throw new EvidentError('usage-invalid', `--out: ${(error as Error).message}`, { cause: error });
    await rm(partial, { force: true });
    throw error;
  }
}

function countLines(piece: Uint8Array): number {
  let lines = 0;
  for (let at = piece.indexOf(0x0a); at >= 0; at = piece.indexOf(0x0a, at + 1)) lines++;
  return lines;
}

function report(file: string, format: ExportFormat, lines: number, bytes: number, output: Output): void {
  // A cell of a CSV file may hold a line break of its own, so its lines are no number of events.
  output.result({ file, format, lines, bytes });
  output.line(`${file}: ${countOf(bytes, 'byte')} of ${format}, ${countOf(lines, 'line')}, complete`);
}
