import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { printComplete, printCounts, printEvents } from './event-table.ts';
import type { Output } from './output.ts';
import { type GivenFilter, openQuerySource, type QueryOptions, type QuerySource } from './query-source.ts';
import { countOf } from './wording.ts';

export interface SearchOptions extends QueryOptions {
  readonly filter: GivenFilter;
  readonly limit: number;
  readonly cursor?: string;
  readonly countBy?: string;
  readonly histogram?: string;
}

/** Prints events, newest first; with --count-by or --histogram how many there are instead. */
export async function runSearch(
  deps: CommandDeps,
  input: ConfigInput,
  options: SearchOptions,
  output: Output,
): Promise<number> {
  const source = await openQuerySource(deps, input, options);
  try {
    if (options.countBy !== undefined) await count(source, options, options.countBy, output);
    else if (options.histogram !== undefined) await overTime(source, options, options.histogram, output);
    else await page(source, options, output);
    return EXIT.success;
  } finally {
    await source.close();
  }
}

async function page(
  source: QuerySource,
  { filter, limit, cursor }: SearchOptions,
  output: Output,
): Promise<void> {
  const found = await source.search(filter, { limit, ...(cursor === undefined ? {} : { cursor }) });
  output.result(found);
  printEvents(found.events, output);
  if (found.events.length > 0) output.line();
  const number = found.events.length;
  output.line(`${countOf(number, 'event')}${found.cursor === null ? '' : ', and more behind:'}`);
  if (found.cursor !== null) output.line(`  --cursor ${found.cursor}`);
  printComplete(found.complete, found.scan, output);
}

async function count(
  source: QuerySource,
  { filter, limit }: SearchOptions,
  by: string,
  output: Output,
): Promise<void> {
  const { counts, complete, ...rest } = await source.count(filter, by, limit);
  output.result({ ...rest, counts, complete });
  printCounts(
    by,
    counts.map(({ value, count }) => ({
      label: by === 'hour' || by === 'day' ? instant(value, by) : value,
      count,
    })),
    output,
  );
  output.line();
  if (counts.length === limit) output.line(`the ${limit} most frequent; --limit gives more`);
  printComplete(complete, null, output);
}

async function overTime(
  source: QuerySource,
  { filter }: SearchOptions,
  interval: string,
  output: Output,
): Promise<void> {
  const { buckets, complete, ...rest } = await source.histogram(filter, interval);
  output.result({ ...rest, buckets, complete });
  printCounts(
    `${interval} (UTC)`,
    buckets.map(({ start, count }) => ({ label: instant(start, interval), count })),
    output,
  );
  output.line();
  printComplete(complete, null, output);
}

/** `2026-11-20`, or `2026-11-20 10:00` */
function instant(value: string | null, length: string): string | null {
  return value?.slice(0, length === 'day' ? 10 : 16).replace('T', ' ') ?? null;
}
