/** The command line: names, options, and which command runs. */

import { Command, InvalidArgumentError, Option } from 'commander';
import type { ConfigInput } from '../config.ts';
import { addAlertCommands, type RunAction } from './alert-commands.ts';
import { runApiKeyCreate, runApiKeyList, runApiKeyRevoke, runApiKeyRotate } from './api-key.ts';
import { addCheckCommand } from './check.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { runImportCommand } from './import.ts';
import { runIntents } from './intents.ts';
import { addKeyCommands } from './key.ts';
import { runMapCommand } from './map.ts';
import { type Action, type Options, type Run, withData, withServer, withStorage } from './options.ts';
import { runOutboxCheck, runOutboxInit } from './outbox.ts';
import { runOutboxAdd, runOutboxList, runOutboxMode } from './outbox-sources.ts';
import { makeOutput } from './output.ts';
import { addProofCommand } from './proof.ts';
import { addQueryCommands } from './query-commands.ts';
import { runRecover } from './recover.ts';
import { reportFailure } from './report-failure.ts';
import { addSignerCommand } from './signer.ts';
import { runStart } from './start.ts';
import { runStatus } from './status.ts';
import { runTiles } from './tiles.ts';
import { runVerify } from './verify.ts';
import { addViewCommands } from './view-commands.ts';
import { addWitnessCommand } from './witness.ts';

/** Runs one command. @returns its exit code; nothing is thrown */
export async function runProgram(
  deps: CommandDeps,
  args: readonly string[],
  readConfig: (path: string) => ConfigInput,
): Promise<number> {
  let code: number = EXIT.success;
  const run =
    (action: Action) =>
    async (...given: unknown[]) => {
      const command = given.at(-1) as Command;
      const options = command.opts<Options>();
      const { config, data, port, host, roles, postgres, name, signer, logs, ...rest } =
        options as Options & {
          logs?: string;
        };
      const file = config === undefined ? {} : readConfig(config);
      const own: ConfigInput = { data, port, host, roles, postgres, name, signer, logs: logs?.split(',') };
      const input = {
        ...file,
        ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)),
      };
      code = await action(input, makeOutput(options.json === true), rest as Options, command.args);
    };
  const isJson = args.includes('--json');
  const program = makeProgram(deps, run, isJson);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    return reportFailure(error, isJson, deps.environment.EVIDENT_DEBUG === '1');
  }
}

/** Also for tests, which walk over its commands. */
export function makeProgram(deps: CommandDeps, run: Run, isJson = false): Command {
  const program = new Command('evident')
    .description('Evident: a tamper-evident event log')
    .exitOverride()
    .configureOutput(isJson ? { writeErr: () => undefined } : {})
    .showHelpAfterError();
  addServerCommands(deps, program, run);
  addEvidenceCommands(deps, program, run);
  addOperatorCommands(deps, program, run);
  addQueryCommands(deps, program, run);
  addApiKeyCommands(deps, program, run);
  addOutboxCommands(deps, program, run);
  addAlertCommands(deps, program, run as RunAction);
  addViewCommands(deps, program, run);
  addProofCommand(deps, program, run);
  addCheckCommand(() => deps.check(), program, run);
  addKeyCommands(deps, program, run);
  addSignerCommand(deps, program, run);
  addWitnessCommand(deps, program, run);
  return program;
}

function addServerCommands(deps: CommandDeps, program: Command, run: Run): void {
  withStorage(program.command('start').description('run the server'))
    .option('--port <n>', 'port; 0 picks a free one (default: 7373)')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--roles <list>', 'api,relay,seal,project')
    .option('--name <name>', 'name of the installation, fixed at first start')
    .option('--logs <list>', 'logs to make, such as clicks:32,ledger')
    .action(run((input, output) => runStart(deps, input, output)));
  const formats = 'real logs in: cloudtrail, apache, k8s, fhir, ndjson, csv';
  withServer(withStorage(program.command('import <format> <files...>').description(formats)))
    .option('--tenant <tenant>', 'whose records they are', 'default')
    .option('--log <log>', 'the log they go into', 'audit')
    .action(
      run((input, output, { url, keyFile, tenant, log }, [format, ...files]) => {
        const options = { url, keyFile, tenant: tenant as string, log: log as string };
        return runImportCommand(deps, input, format, files, options, output);
      }),
    );
  withData(
    program.command('map <format> <files...>').description('rows that files would give; stores nothing'),
  )
    .option('--mapping <file>', 'this mapping file, instead of those in <data>/mappings')
    .addOption(new Option('--limit <n>', 'show this many rows').default('10').argParser(recordCount))
    .action(
      run((input, output, { mapping, limit }, [format, ...files]) =>
        runMapCommand(input, format, files, { mapping: mapping ?? null, limit: Number(limit) }, output),
      ),
    );
}

function addEvidenceCommands(deps: CommandDeps, program: Command, run: Run): void {
  const answers = 'derive everything from bytes again; exit code 0 verified, 1 tampered, 2 not checked';
  withStorage(program.command('verify').description(answers))
    .option('--log <log>', 'this log only')
    .option('--view <view>', 'this view only, against the log')
    .option('--from <time>', 'records appended at or after this time')
    .option('--to <time>', 'records appended before this time')
    .option('--head <file...>', 'signed heads that were kept elsewhere: the log must not contradict them')
    .option('--timestamps', 'check stored tokens and cosignatures, and the records that tell of them, anew')
    .action(
      run((input, output, options) => {
        const { log, view, from, to } = options;
        const { head, timestamps } = options as { head?: unknown; timestamps?: unknown };
        const others = {
          ...(Array.isArray(head) ? { heads: head as string[] } : {}),
          timestamps: timestamps === true,
        };
        return runVerify(deps, input, { log, view, from, to, ...others }, output);
      }),
    );
  withStorage(program.command('tiles').description('write the static C2SP layout of one tree'))
    .requiredOption('--out <dir>', 'a new or empty folder')
    .option('--log <log>', 'which log', 'audit')
    .addOption(new Option('--partition <n>', 'which partition').default('0').argParser(partitionNumber))
    .action(
      run((input, output, { out, log, partition }) => {
        const options = { out: out as string, log: log as string, partition: Number(partition) };
        return runTiles(deps, input, options, output);
      }),
    );
}

function addOperatorCommands(deps: CommandDeps, program: Command, run: Run): void {
  withStorage(program.command('status').description('how far partitions are sealed, and views have read'))
    .option('--no-digest', 'with --json: leave out the digests of views, which read every row')
    .action(run((input, output, { digest }) => runStatus(deps, input, digest !== false, output)));
  withStorage(program.command('intents').description('critical actions of which nobody said how they ended'))
    .option('--log <log>', 'which log', 'audit')
    .addOption(new Option('--older-than <s>', 'seconds').default('60').argParser(wholeNumber))
    .action(
      run((input, output, { log, olderThan }) =>
        runIntents(deps, input, { log: log as string, olderThan: Number(olderThan) }, output),
      ),
    );
  const recover = 'after a break: record seal.recovery and go on (server stopped)';
  withStorage(program.command('recover').description(recover))
    .requiredOption('--log <log>', 'which log')
    .addOption(
      new Option('--partition <n>', 'which partition').makeOptionMandatory().argParser(partitionNumber),
    )
    .requiredOption('--reason <text>', 'why; it is recorded')
    .action(
      run((input, output, { log, partition, reason }) => {
        const options = { log: log as string, partition: Number(partition), reason: reason as string };
        return runRecover(deps, input, options, output);
      }),
    );
}

function addApiKeyCommands(deps: CommandDeps, program: Command, run: Run): void {
  const keys = program.command('api-key').description('API keys of the server');
  const command = (name: string, description: string): Command =>
    withServer(withData(keys.command(name).description(description)));
  command('create', 'make a key; it is shown once')
    .requiredOption('--role <role>', 'writer, investigator, auditor, compliance or admin')
    .option('--tenant <tenant>', 'whom it speaks for; a writer needs one')
    .option('--note <text>', 'what it is for')
    .addOption(new Option('--lifetime <s>', 'seconds after which it ends by itself').argParser(wholeNumber))
    .action(
      run((input, output, { url, keyFile, role, tenant, note, lifetime }) => {
        const options = { url, keyFile, role: role as string, tenant, note, lifetime };
        return runApiKeyCreate(deps, input, options, output);
      }),
    );
  command('list', 'all keys, revoked ones among them').action(
    run((input, output, { url, keyFile }) => runApiKeyList(deps, input, { url, keyFile }, output)),
  );
  command('rotate <id>', 'make the key that takes its place; it is shown once')
    .addOption(
      new Option('--grace <s>', 'seconds that the old key goes on; 0 ends it now (default: 86400)').argParser(
        wholeNumber,
      ),
    )
    .action(
      run((input, output, { url, keyFile, grace }, [id]) =>
        runApiKeyRotate(deps, input, id, { url, keyFile, grace }, output),
      ),
    );
  command('revoke <id>', 'end a key at once').action(
    run((input, output, { url, keyFile }, [id]) =>
      runApiKeyRevoke(deps, input, id, { url, keyFile }, output),
    ),
  );
}

function addOutboxCommands(deps: CommandDeps, program: Command, run: Run): void {
  const outbox = program.command('outbox').description('the outboxes of applications');
  const command = (name: string, description: string): Command =>
    outbox
      .command(name)
      .description(description)
      .exitOverride()
      .option('--database <url>', "the application's database (better: EVIDENT_OUTBOX_POSTGRES)")
      .option('--json', 'machine-readable output');
  command('init', 'make the outbox in a database, or put it right; rows stay as they are')
    .addOption(new Option('--slots <n>', 'slots of a new ring (default: 16)').argParser(wholeNumber))
    .addOption(new Option('--slot-seconds <s>', 'seconds of each slot (default: 60)').argParser(wholeNumber))
    .option('--writer <role>', 'the role of the application')
    .option('--relay <role>', 'the role that the relay connects as')
    .action(
      run((_input, output, { database, slots, slotSeconds, writer, relay }) =>
        runOutboxInit(deps, { database, slots, slotSeconds, writer, relay }, output),
      ),
    );
  command('check', 'whether the outbox is as init made it; exit code 0 yes, 1 no').action(
    run((_input, output, { database }) => runOutboxCheck(deps, database, output)),
  );
  addSourceCommands(deps, outbox, run);
}

/** What Evident knows of outboxes, beside what their databases hold. */
function addSourceCommands(deps: CommandDeps, outbox: Command, run: Run): void {
  const command = (name: string, description: string): Command =>
    withData(outbox.command(name).description(description)).option(
      '--config <file>',
      'JSON file of settings',
    );
  command('add <name>', 'bring an outbox into the log from now on, or change how')
    .option('--database <url>', "where it is (better: EVIDENT_OUTBOX_POSTGRES), or 'embedded'")
    .option('--tenants <list>', "for whom it may write: names with commas, or '*'")
    .option('--log <log>', 'the log it goes into, for ever', 'audit')
    .option('--mode <mode>', 'polling, or wal: from the write-ahead log', 'polling')
    .action(
      run((input, output, { database, tenants, log, mode }, [name]) => {
        const options = { database, tenants, log: log as string, mode: mode as string };
        return runOutboxAdd(deps, input, name, options, output);
      }),
    );
  command('mode <name> <mode>', 'read it by polling, or by wal: from the write-ahead log').action(
    run((input, output, _options, [name, mode]) => runOutboxMode(deps, input, name, mode, output)),
  );
  command('list', 'the outboxes that are relayed, and how they stand').action(
    run((input, output) => runOutboxList(deps, input, output)),
  );
}

function wholeNumber(text: string): string {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('A whole number is expected.');
  return text;
}

function recordCount(text: string): string {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 is expected.');
  return text;
}

function partitionNumber(text: string): string {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('A partition is a number.');
  return text;
}
