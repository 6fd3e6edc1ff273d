/** The command line: names, options, and which command runs. */

import { Command, CommanderError, Option } from 'commander';
import { ERRORS, isEvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { runApiKeyCreate, runApiKeyList, runApiKeyRevoke } from './api-key.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { runImportCommand } from './import.ts';
import { makeOutput, type Output } from './output.ts';
import { runRecover } from './recover.ts';
import { runShow } from './show.ts';
import { runStart } from './start.ts';
import { runStatus } from './status.ts';
import { runTail } from './tail.ts';
import { runTiles } from './tiles.ts';
import { runVerify } from './verify.ts';

type Options = Record<string, string | undefined> & { json?: boolean };
type Action = (input: ConfigInput, output: Output, options: Options, args: string[]) => Promise<number>;

/** Runs one command. @returns its exit code; nothing is thrown */
export async function runProgram(deps: CommandDeps, args: readonly string[], readConfig: (path: string) => ConfigInput): Promise<number> {
  let code: number = EXIT.success;
  const run = (action: Action) => async (...given: unknown[]) => {
    const command = given.at(-1) as Command;
    const options = command.opts<Options>();
    const { config, data, port, host, roles, postgres, name, logs, ...rest } = options as Options & { logs?: string };
    const file = config === undefined ? {} : readConfig(config);
    const own: ConfigInput = { data, port, host, roles, postgres, name, logs: logs?.split(',') };
    const input = { ...file, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)) };
    code = await action(input, makeOutput(options.json === true), rest as Options, command.args);
  };
  const program = makeProgram(deps, run);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    return reportFailure(error, args.includes('--json'));
  }
}

/** Errors say what, where and what to do; with --json as one object on standard error. */
function reportFailure(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.success : EXIT.usage;
  if (!isEvidentError(error)) {
    process.stderr.write(`evident: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return EXIT.failed;
  }
  const { action, retryable } = ERRORS[error.code];
  if (json) process.stderr.write(`${JSON.stringify({ code: error.code, detail: error.message, action, retryable })}\n`);
  else process.stderr.write(`evident: ${error.message}\n  ${action} (${error.code})\n`);
  return error.code === 'usage-invalid' || error.code === 'field-invalid' || error.code === 'field-reserved' ? EXIT.usage : EXIT.failed;
}

function makeProgram(deps: CommandDeps, run: (action: Action) => (...given: unknown[]) => Promise<void>): Command {
  const program = new Command('evident').description('Evident: a tamper-evident event log').exitOverride().showHelpAfterError();
  const command = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .exitOverride()
      .option('--data <dir>', 'data directory (default: ./evident-data)')
      .option('--json', 'machine-readable output');
  const storage = (one: Command): Command =>
    one.option('--postgres <url>', 'an external PostgreSQL 16 or later (better: EVIDENT_POSTGRES)').option('--config <file>', 'JSON file of settings');
  const remote = (one: Command): Command =>
    one.option('--url <url>', 'talk to this server').option('--key-file <file>', 'API key for --url (or EVIDENT_API_KEY)');
  storage(command('start', 'run the server'))
    .option('--port <n>', 'port; 0 picks a free one (default: 7373)')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--roles <list>', 'api,seal')
    .option('--name <name>', 'name of the installation, fixed at first start')
    .option('--logs <list>', 'logs to make, such as clicks:32,ledger')
    .action(run((input, output) => runStart(deps, input, output)));
  remote(storage(command('import <format> <files...>', 'real logs in: cloudtrail, apache, ndjson')))
    .option('--tenant <tenant>', 'whose records they are', 'default')
    .option('--log <log>', 'the log they go into', 'audit')
    .action(run((input, output, options, [format, ...files]) => runImportCommand(deps, input, format, files, { url: options.url, keyFile: options.keyFile, tenant: options.tenant as string, log: options.log as string }, output)));
  storage(command('verify', 'derive everything from bytes again; exit code 0 verified, 1 tampered, 2 not checked'))
    .option('--log <log>', 'this log only')
    .option('--from <time>', 'records appended at or after this time')
    .option('--to <time>', 'records appended before this time')
    .action(run((input, output, { log, from, to }) => runVerify(deps, input, { log, from, to }, output)));
  storage(command('show <place>', 'a record with its proof: LOG/PARTITION/POSITION')).action(run((input, output, _options, [place]) => runShow(deps, input, place, output)));
  remote(command('tail', 'follow a log'))
    .option('--log <log>', 'which', 'audit')
    .option('--limit <n>', 'end after this many records')
    .action(run((input, output, options) => runTail(deps, input, { url: options.url, keyFile: options.keyFile, log: options.log as string, limit: options.limit === undefined ? undefined : Number(options.limit) }, output)));
  storage(command('tiles', 'write the static C2SP layout of one tree'))
    .requiredOption('--out <dir>', 'a new or empty folder')
    .option('--log <log>', 'which log', 'audit')
    .addOption(new Option('--partition <n>', 'which partition').default('0').argParser(partitionNumber))
    .action(run((input, output, options) => runTiles(deps, input, { out: options.out as string, log: options.log as string, partition: Number(options.partition) }, output)));
  storage(command('status', 'how far each partition reaches and is sealed')).action(run((input, output) => runStatus(deps, input, output)));
  storage(command('recover', 'after a break: record seal.recovery and go on (server stopped)'))
    .requiredOption('--log <log>', 'which log')
    .addOption(new Option('--partition <n>', 'which partition').makeOptionMandatory().argParser(partitionNumber))
    .requiredOption('--reason <text>', 'why; it is recorded')
    .action(run((input, output, options) => runRecover(deps, input, { log: options.log as string, partition: Number(options.partition), reason: options.reason as string }, output)));
  addApiKeyCommands(deps, program, run, remote);
  return program;
}

function addApiKeyCommands(deps: CommandDeps, program: Command, run: (action: Action) => (...given: unknown[]) => Promise<void>, remote: (one: Command) => Command): void {
  const keys = program.command('api-key').description('API keys of the server');
  const command = (name: string, description: string): Command =>
    remote(keys.command(name).description(description).exitOverride().option('--data <dir>', 'data directory (default: ./evident-data)').option('--json', 'machine-readable output'));
  command('create', 'make a key; it is shown once')
    .requiredOption('--role <role>', 'writer, auditor or admin')
    .option('--tenant <tenant>', 'whom it speaks for; a writer needs one')
    .option('--note <text>', 'what it is for')
    .action(run((input, output, options) => runApiKeyCreate(deps, input, { url: options.url, keyFile: options.keyFile, role: options.role as string, tenant: options.tenant, note: options.note }, output)));
  command('list', 'all keys, revoked ones among them').action(run((input, output, options) => runApiKeyList(deps, input, { url: options.url, keyFile: options.keyFile }, output)));
  command('revoke <id>', 'end a key at once').action(run((input, output, options, [id]) => runApiKeyRevoke(deps, input, id, { url: options.url, keyFile: options.keyFile }, output)));
}

function partitionNumber(text: string): string {
  if (!/^\d{1,4}$/.test(text)) throw new CommanderError(EXIT.usage, 'usage', `a partition is a number, not ${text}`);
  return text;
}
