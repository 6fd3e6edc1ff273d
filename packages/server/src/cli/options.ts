/** Options that many commands share, and how commands are run. */

import type { Command } from 'commander';
import type { ConfigInput } from '../config.ts';
import type { Output } from './output.ts';

export type Options = Record<string, string | undefined> & {
  json?: boolean;
  /** Of `--no-digest`. */
  digest?: boolean;
};
export type Action = (
  input: ConfigInput,
  output: Output,
  options: Options,
  args: string[],
) => Promise<number>;

/** Makes of an action what commander calls. */
export type Run = (action: Action) => (...given: unknown[]) => Promise<void>;

export function withData(command: Command): Command {
  return command
    .exitOverride()
    .option('--data <dir>', 'data directory (default: ./evident-data)')
    .option('--json', 'machine-readable output');
}

export function withStorage(command: Command): Command {
  return withData(command)
    .option('--postgres <url>', 'an external PostgreSQL 16 or later (better: EVIDENT_POSTGRES)')
    .option(
      '--signer <address>',
      'the signer of this log, where it lies elsewhere: unix:/path (tls: by --config)',
    )
    .option('--config <file>', 'JSON file of settings');
}

export function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'talk to this server')
    .option('--key-file <file>', 'API key for --url (or EVIDENT_API_KEY)');
}
