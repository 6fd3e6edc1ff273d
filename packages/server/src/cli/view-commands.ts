/** Commands about views: dead letters, rebuilds. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CommandDeps } from './command-deps.ts';
import { runDlqList, runDlqReplay, runDlqResolve, runDlqShow } from './dead-letters.ts';
import { type Options, type Run, withData, withServer, withStorage } from './options.ts';
import { runDiff, runPromote, runRebuild, runResetBreaker } from './views.ts';

export function addViewCommands(deps: CommandDeps, program: Command, run: Run): void {
  addDeadLetterCommands(deps, program, run);
  addRebuildCommands(deps, program, run);
}

function addDeadLetterCommands(deps: CommandDeps, program: Command, run: Run): void {
  const dlq = program.command('dlq').description('dead letters: records that a view could not take');
  const command = (name: string, description: string): Command =>
    withServer(withStorage(dlq.command(name).description(description)));
  withFilter(command('list', 'which records, and why'))
    .option('--state <state>', 'open, resolved or all', 'open')
    .addOption(new Option('--limit <n>', 'at most so many').default('100').argParser(wholeNumber))
    .option('--after <place>', 'go on behind this one')
    .action(
      run((input, output, options) => {
        const { state, limit, after } = options;
        const list = { ...filterOf(options), state: state as string, limit: Number(limit), after };
        return runDlqList(deps, input, list, output);
      }),
    );
  command('show <place>', 'one, with its record: VIEW/LOG/PARTITION/POSITION').action(
    run((input, output, { url, keyFile }, [place]) =>
      runDlqShow(deps, input, place, { url, keyFile }, output),
    ),
  );
  withFilter(
    command('replay [places...]', "map again with today's mappers; exit code 1 when some fail again"),
  )
    .option('--all', 'every open one that the filter finds')
    .action(
      run((input, output, options, places) => {
        const all = (options as { all?: unknown }).all === true;
        return runDlqReplay(deps, input, places, { ...filterOf(options), all }, output);
      }),
    );
  for (const [name, description, resolution] of [
    ['discard', 'leave the record out of the view for good', 'discarded'],
    ['resolve', 'note that it was dealt with by hand', 'manual'],
  ] as const) {
    command(`${name} <place>`, description)
      .requiredOption('--reason <text>', 'why; it is recorded')
      .action(
        run((input, output, { url, keyFile, reason }, [place]) => {
          const how = { url, keyFile, resolution, reason: reason as string };
          return runDlqResolve(deps, input, place, how, output);
        }),
      );
  }
}

function withFilter(command: Command): Command {
  return command
    .option('--view <view>', 'of which view', 'hot')
    .option('--log <log>', 'records of this log')
    .option('--tenant <tenant>', 'records of this tenant')
    .option('--type <type>', 'records of this type')
    .option('--class <class>', 'validation or poison');
}

function filterOf({ view, log, tenant, type, class: kind, url, keyFile }: Options) {
  return { view: view as string, log, tenant, type, class: kind, url, keyFile };
}

function addRebuildCommands(deps: CommandDeps, program: Command, run: Run): void {
  const allow = (): Option =>
    new Option('--allow <n>', 'dead letters that were looked at: they do not stop the build')
      .default('0')
      .argParser(wholeNumber);
  withStorage(program.command('rebuild <view>').description('build a view anew beside the one that is shown'))
    .option('--anew', 'give up what is half built')
    .option('--promote', 'show it when it is built')
    .addOption(allow())
    .action(
      run((input, output, options, [view]) => {
        const { anew, promote } = options as { anew?: unknown; promote?: unknown };
        const build = { anew: anew === true, promote: promote === true, allow: Number(options.allow) };
        return runRebuild(deps, input, view, build, output);
      }),
    );
  withStorage(
    program
      .command('diff <view>')
      .description('what is built against what is shown; exit code 0 equal, 1 not'),
  ).action(run((input, output, _options, [view]) => runDiff(deps, input, view, output)));
  withServer(
    withData(
      program
        .command('reset-breaker <view>')
        .description('let a view of the running server go on that stands still'),
    ),
  )
    .requiredOption('--reason <text>', 'why; it is recorded')
    .addOption(
      new Option('--allow <n>', 'dead letters that were looked at: so many pass uncounted')
        .default('0')
        .argParser(wholeNumber),
    )
    .action(
      run((input, output, { url, keyFile, allow, reason }, [view]) => {
        const options = { url, keyFile, allow: Number(allow), reason: reason as string };
        return runResetBreaker(deps, input, view, options, output);
      }),
    );
  withStorage(program.command('promote <view>').description('show what was built'))
    .addOption(allow())
    .action(
      run((input, output, options, [view]) =>
        runPromote(deps, input, view, { allow: Number(options.allow) }, output),
      ),
    );
}

function wholeNumber(text: string): string {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('A whole number is expected.');
  return text;
}
