import { readFileSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import type { CommandDeps, FoundServer } from './command-deps.ts';

export interface TargetOptions {
  /** Talk to this server. The key comes from --key-file or EVIDENT_API_KEY. */
  readonly url?: string;
  readonly keyFile?: string;
}

/** The server that a command talks to: the one of --url, or the one that holds the data directory; null: none. */
export async function findTarget(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
): Promise<FoundServer | null> {
  if (options.url === undefined) return deps.findServer(input.data ?? './evident-data');
  const key = options.keyFile === undefined ? deps.environment.EVIDENT_API_KEY : readKey(options.keyFile);
  if (key === undefined || key === '')
    throw new EvidentError(
      'usage-invalid',
      'with --url a key is needed: --key-file FILE, or EVIDENT_API_KEY',
    );
  return { url: options.url.replace(/\/$/, ''), key };
}

function readKey(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new EvidentError(
      'usage-invalid',
      `the key file ${file} can't be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** As `findTarget`, for commands that only a server can serve. */
export async function requireTarget(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
): Promise<FoundServer> {
  const server = await findTarget(deps, input, options);
  if (server === null) {
    throw new EvidentError(
      'usage-invalid',
      `no server holds ${input.data ?? './evident-data'}: start one with evident start, or name one with --url`,
    );
  }
  return server;
}
