/** Filters on the command line: one option a member. */

import type { Command } from 'commander';

/** Names as a filter has them outside; the option of `actor_type` is `--actor-type`. */
const MEMBERS: readonly (readonly [name: string, value: string, description: string])[] = [
  ['tenant', 'tenant', 'only this tenant'],
  ['type', 'type', 'type of the record, such as cloudtrail'],
  ['actor', 'id', 'who did it'],
  ['actor_type', 'type', 'what the actor is'],
  ['action', 'action', 'the whole action'],
  ['action_prefix', 'text', 'actions that begin with this'],
  ['resource_type', 'type', 'what was acted on'],
  ['resource', 'id', 'what was acted on, by its id'],
  ['result', 'result', 'success, failure or denied'],
  ['correlation_id', 'id', 'what ties events of one request together'],
  ['ip', 'address', 'network address that it came from'],
  ['from', 'time', 'when it happened, at or after: RFC 3339 or a date'],
  ['to', 'time', 'when it happened, before'],
  ['appended_from', 'time', 'when it was appended, at or after'],
  ['appended_to', 'time', 'when it was appended, before'],
  ['text', 'words', 'what the body holds; searches need --from and --to beside it'],
];

function camelCase(name: string): string {
  return name.replaceAll(/_[a-z]/g, (match) => match[1].toUpperCase());
}

/** Adds the options of a filter; `--log` is added by the command, which may need one. */
export function withFilter(command: Command): Command {
  for (const [name, value, description] of MEMBERS)
    command.option(`--${name.replaceAll('_', '-')} <${value}>`, description);
  return command;
}

/** What was given, by names of outside. Checked by whoever searches. */
export function filterOfOptions(options: Readonly<Record<string, unknown>>): Record<string, string> {
  const given: Record<string, string> = {};
  for (const name of ['log', ...MEMBERS.map(([name]) => name)]) {
    const value = options[camelCase(name)];
    if (typeof value === 'string') given[name] = value;
  }
  return given;
}
