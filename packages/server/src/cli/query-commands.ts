/** Commands that find and look: search, show, tail, export, saved, investigate. */

import { EvidentError } from '@evident/core/errors.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { DIMENSIONS, INTERVALS } from '../query/count.ts';
import { EXPORT_FORMATS } from '../query/export.ts';
import { PAGE_EVENTS_MAX } from '../query/ports.ts';
import { runBundle } from './bundle.ts';
import type { CommandDeps } from './command-deps.ts';
import { runExport } from './export.ts';
import { filterOfOptions, withFilter } from './filter-options.ts';
import { runInvestigate } from './investigate.ts';
import { type Options, type Run, withData, withServer, withStorage } from './options.ts';
import { runSavedDrop, runSavedList, runSavedPut } from './saved.ts';
import { runSearch } from './search.ts';
import { runShow } from './show.ts';
import { runTail } from './tail.ts';

const WHY = ['--why <text>', 'why you look; it is recorded with what you ask'] as const;

export function addQueryCommands(deps: CommandDeps, program: Command, run: Run): void {
  addSearch(deps, program, run);
  addShow(deps, program, run);
  addTail(deps, program, run);
  addExport(deps, program, run);
  addSaved(deps, program, run);
  addInvestigate(deps, program, run);
}

/** The filter of a command that may go on from a saved search. */
function filterOf(options: Options): Record<string, string> {
  const { saved } = options;
  return { ...filterOfOptions(options), ...(saved === undefined ? {} : { saved }) };
}

function withSearch(command: Command): Command {
  return withFilter(withServer(withStorage(command)).option('--log <log>', 'only this log')).option(
    '--saved <name>',
    'go on from this saved search',
  );
}

function addSearch(deps: CommandDeps, program: Command, run: Run): void {
  withSearch(program.command('search').description('events, newest first; every search is recorded'))
    .addOption(
      new Option('--limit <n>', `events of a page, or values of a count; at most ${PAGE_EVENTS_MAX}`)
        .default('50')
        .argParser(pageLimit),
    )
    .option('--cursor <cursor>', 'go on where the page before ended')
    .addOption(new Option('--count-by <what>', 'how many there are, by').choices(DIMENSIONS))
    .addOption(new Option('--histogram <length>', 'how many there are, over time').choices(INTERVALS))
    .option(...WHY)
    .action(
      run((input, output, options) => {
        const { url, keyFile, why, limit, cursor, countBy, histogram } = options;
        const filter = filterOf(options);
        const asked = { url, keyFile, why, filter, limit: Number(limit), cursor, countBy, histogram };
        return runSearch(deps, input, asked, output);
      }),
    );
}

function addShow(deps: CommandDeps, program: Command, run: Run): void {
  const description = 'an event with its record and its proof, by id or place (LOG/PARTITION/POSITION)';
  withServer(withStorage(program.command('show <id|place>').description(description)))
    .option('--tenant <tenant>', 'whose event, where an id stands in several')
    .option(...WHY)
    .action(
      run((input, output, { url, keyFile, why, tenant }, [what]) =>
        runShow(deps, input, what, { url, keyFile, why, tenant }, output),
      ),
    );
}

function addTail(deps: CommandDeps, program: Command, run: Run): void {
  const description = 'follow a log: leaf lines as they are appended';
  withFilter(withServer(withData(program.command('tail').description(description))))
    .option('--log <log>', 'which', 'audit')
    .addOption(new Option('--limit <n>', 'end after this many records').argParser(recordCount))
    .option(...WHY)
    .action(
      run((input, output, options) => {
        const { url, keyFile, why, log, limit } = options;
        const most = limit === undefined ? undefined : Number(limit);
        const asked = {
          url,
          keyFile,
          why,
          log: log as string,
          filter: filterOfOptions(options),
          limit: most,
        };
        return runTail(deps, input, asked, output);
      }),
    );
}

function addExport(deps: CommandDeps, program: Command, run: Run): void {
  withSearch(program.command('export').description('everything that a filter finds, as a file'))
    .addOption(
      new Option('--format <format>', 'how; bundle: evidence that evident check checks')
        .choices([...EXPORT_FORMATS, 'bundle'])
        .default('csv'),
    )
    .option(
      '--out <file>',
      'a new file (default: standard output); of a bundle a new folder, or a new file.zip',
    )
    .option(
      '--hours <from..to>',
      'of a bundle: all records of --tenant in these hours, 2026-11-20T10..2026-11-20T12',
    )
    .option(
      '--head <size|with-anchor>',
      'of a bundle: the head of heads/0 that it ends in (default: the newest, once it covers what is in the log now); with-anchor: the newest with a timestamp and cosignatures',
    )
    .addOption(
      new Option(
        '--proofs <how>',
        'of a bundle: a proof each (default up to 1,000 records), or hash tiles',
      ).choices(['each', 'tiles']),
    )
    .option('--allow-empty', 'of a bundle: write it also if no record matches')
    .option(...WHY)
    .action(
      run((input, output, options) => {
        const { url, keyFile, why, format, out } = options;
        const { hours, head, proofs } = options;
        const allowEmpty = (options as { allowEmpty?: boolean }).allowEmpty;
        const asked = { url, keyFile, why, filter: filterOf(options), format: format as string, out };
        if (format === 'bundle')
          return runBundle(deps, input, { ...asked, hours, head, proofs, allowEmpty, out }, output);
        for (const [name, value] of Object.entries({ hours, head, proofs, 'allow-empty': allowEmpty }))
          if (value !== undefined)
            throw new EvidentError('usage-invalid', `--${name}: it goes with --format bundle`);
        return runExport(deps, input, asked, output);
      }),
    );
}

function addSaved(deps: CommandDeps, program: Command, run: Run): void {
  const saved = program.command('saved').description('searches that are kept by name');
  const command = (name: string, description: string): Command =>
    withServer(withStorage(saved.command(name).description(description)));
  const owner = ['--of <tenant>', 'whose searches; without it those of readers of all tenants'] as const;
  command('list', 'all of them')
    .option(...owner)
    .action(
      run((input, output, { url, keyFile, of }) =>
        runSavedList(deps, input, { url, keyFile, tenant: of }, output),
      ),
    );
  withFilter(command('put <name>', 'keep a filter, or replace the one of this name'))
    .option('--log <log>', 'only this log')
    .option(...owner)
    .action(
      run((input, output, options, [name]) => {
        const { url, keyFile, of } = options;
        const asked = { url, keyFile, tenant: of };
        return runSavedPut(deps, input, name, filterOfOptions(options), asked, output);
      }),
    );
  command('drop <name>', 'remove one')
    .option(...owner)
    .action(
      run((input, output, { url, keyFile, of }, [name]) =>
        runSavedDrop(deps, input, name, { url, keyFile, tenant: of }, output),
      ),
    );
}

function addInvestigate(deps: CommandDeps, program: Command, run: Run): void {
  const description =
    'after a finding: what is missing or changed, where copies may be; keeps evidence, repairs nothing';
  withStorage(program.command('investigate [place]').description(description))
    .requiredOption('--out <dir>', 'a new or empty folder for what is preserved')
    .option(...WHY)
    .action(
      run((input, output, { out, why }, [place]) =>
        runInvestigate(deps, input, place, { out: out as string, why }, output),
      ),
    );
}

function pageLimit(text: string): string {
  if (!/^[1-9]\d{0,3}$/.test(text) || Number(text) > PAGE_EVENTS_MAX)
    throw new InvalidArgumentError(`A whole number from 1 to ${PAGE_EVENTS_MAX} is expected.`);
  return text;
}

function recordCount(text: string): string {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 is expected.');
  return text;
}
