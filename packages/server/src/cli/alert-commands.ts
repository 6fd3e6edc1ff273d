/** The commands `alerts`, `alert-rules` and `webhooks`: names and options. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ConfigInput } from '../config.ts';
import {
  type AlertCommand,
  type RuleOptions,
  runAlertAck,
  runAlertList,
  runRuleAdd,
  runRuleChange,
  runRuleList,
  runRuleRemove,
  runWebhookAdd,
  runWebhookList,
  runWebhookRemove,
  runWebhookRetry,
} from './alerts.ts';
import type { CommandDeps } from './command-deps.ts';
import type { Output } from './output.ts';

type Options = Record<string, unknown>;
/** As program.ts runs every command. */
export type RunAction = (
  action: (input: ConfigInput, output: Output, options: Options, args: string[]) => Promise<number>,
) => (...given: unknown[]) => Promise<void>;
type Work = (command: AlertCommand, args: string[], options: Options) => Promise<number>;

export function addAlertCommands(deps: CommandDeps, program: Command, run: RunAction): void {
  const add = (parent: Command, text: string, description: string, work: Work): Command =>
    parent
      .command(text)
      .description(description)
      .exitOverride()
      .option('--data <dir>', 'data directory (default: ./evident-data)')
      .option('--url <url>', 'talk to this server')
      .option('--key-file <file>', 'API key for --url (or EVIDENT_API_KEY)')
      .option('--json', 'machine-readable output')
      .action(
        run((input, output, options, args) => {
          const { url, keyFile, tenant } = options as Record<string, string | undefined>;
          return work({ deps, input, options: { url, keyFile, tenant }, output }, args, options);
        }),
      );
  addAlerts(program.command('alerts').description('what was raised'), add);
  addRules(program.command('alert-rules').description('which events raise an alert'), add);
  addWebhooks(program.command('webhooks').description('where alerts are sent'), add);
}

type Add = (parent: Command, text: string, description: string, work: Work) => Command;

function addAlerts(alerts: Command, add: Add): void {
  add(alerts, 'list', 'newest first', (command, _args, { open, limit }) =>
    runAlertList(command, { isOpen: open === true, limit: String(limit) }),
  )
    .option('--tenant <tenant>', 'of this tenant only')
    .option('--open', 'only what nobody has acknowledged')
    .addOption(new Option('--limit <n>', 'at most').default('100').argParser(wholeNumber));
  add(
    alerts,
    'ack <id>',
    'say that somebody has seen to it; the first to say so stays',
    (command, [id], { note }) => runAlertAck(command, id, note as string | undefined),
  ).option('--note <text>', 'what was found');
}

function withRuleOptions(command: Command): Command {
  return command
    .option('--where <member=value...>', 'members of a filter, such as result=denied action_prefix=iam:')
    .addOption(
      new Option('--drift-over <ms>', 'only events whose own time is so far from their append').argParser(
        wholeNumber,
      ),
    )
    .addOption(new Option('--threshold <n>', 'so many events').argParser(wholeNumber))
    .addOption(new Option('--window <s>', 'in so many seconds').argParser(wholeNumber))
    .option('--group-by <what>', 'actor, resource, ip, source or none')
    .option('--severity <s>', 'low, medium, high or critical')
    .option('--enable', 'switch it on')
    .option('--disable', 'switch it off');
}

function addRules(rules: Command, add: Add): void {
  add(rules, 'list', 'rules as they are now', (command) => runRuleList(command)).option(
    '--tenant <tenant>',
    'of this tenant only',
  );
  withRuleOptions(
    add(
      rules,
      'add <name>',
      'make a rule; it sees what is appended from then on',
      (command, [name], options) => runRuleAdd(command, name, options as RuleOptions),
    ).option(
      '--tenant <tenant>',
      'whose events; with a key for all, without it: everybody’s, each by itself',
    ),
  );
  withRuleOptions(
    add(rules, 'change <id>', 'change what is given', (command, [id], options) =>
      runRuleChange(command, id, options as RuleOptions),
    ),
  );
  add(rules, 'remove <id>', 'end a rule', (command, [id]) => runRuleRemove(command, id));
}

function addWebhooks(webhooks: Command, add: Add): void {
  add(webhooks, 'list', 'webhooks, and how what is sent to them stands', (command) =>
    runWebhookList(command),
  ).option('--tenant <tenant>', 'of this tenant only');
  add(
    webhooks,
    'add <name> <url>',
    'have alerts sent somewhere; the secret is shown once',
    (command, [name, url], { payload }) => runWebhookAdd(command, name, url, payload as string),
  )
    .option('--tenant <tenant>', 'alerts of this tenant; with a key for all, without it: of all')
    .option('--payload <what>', 'alert, or the events: cloudevents, ocsf', 'alert');
  add(webhooks, 'remove <id>', 'send nothing there any more', (command, [id]) =>
    runWebhookRemove(command, id),
  );
  add(webhooks, 'retry <id>', 'send again what was given up', (command, [id]) =>
    runWebhookRetry(command, id),
  );
}

function wholeNumber(text: string): string {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('A whole number is expected.');
  return text;
}
