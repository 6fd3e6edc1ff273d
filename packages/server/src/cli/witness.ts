import { existsSync, readFileSync, statSync } from 'node:fs';
import { COSIGNATURE_ALGORITHMS, type CosignatureAlgorithm } from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { type Command, Option } from 'commander';
import { parseWitnessAddress } from '../witness/serve.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Options, Run } from './options.ts';
import type { Output } from './output.ts';
import { untilSignal } from './start.ts';

/** A vkey of Ed25519 has 200 characters, one of ML-DSA-44 some 2,000. */
const VKEY_FILE_BYTES_MAX = 8 * 1024;

export function addWitnessCommand(deps: CommandDeps, program: Command, run: Run): void {
  program
    .command('witness')
    .description(
      'cosign the heads of logs, each only if it follows from all heads before (C2SP tlog-witness)',
    )
    .exitOverride()
    .requiredOption('--state <dir>', 'folder of its key and memory, held by this process alone')
    .requiredOption(
      '--listen <address>',
      'host:port (port 0 picks a free one); TLS is up to a proxy in front',
    )
    .requiredOption('--name <name>', 'what its key is called: a host name and path without scheme, for ever')
    .requiredOption('--log <vkey...>', 'a log to follow: its vkey of heads/0, or a file that holds it')
    .addOption(
      new Option('--algorithm <name>', 'of its key, for ever')
        .choices(Object.keys(COSIGNATURE_ALGORITHMS))
        .default('ed25519'),
    )
    .option('--json', 'machine-readable output')
    .action(run((input, output, options) => runWitness(deps, input.name as string, options, output)));
}

/** @param name `--name`, which is also a setting of the server: whoever runs commands has put it aside */
async function runWitness(
  deps: CommandDeps,
  name: string,
  options: Options,
  output: Output,
): Promise<number> {
  const stopped = untilSignal();
  const witness = await deps.startWitness({
    stateDir: options.state as string,
    listen: parseWitnessAddress(options.listen as string, '--listen'),
    name,
    logs: (options.log as unknown as string[]).map(readVkey),
    algorithm: options.algorithm as CosignatureAlgorithm,
    clock: deps.clock,
    onEvent: ({ error, ...event }) => {
      const reason = error instanceof Error ? { reason: error.message } : {};
      process.stderr.write(`${JSON.stringify({ ...event, ...reason })}\n`);
    },
  });
  const { url, vkey, ownerKeyFile, logs } = witness;
  output.result({ ready: true, url, vkey, owner_key_file: ownerKeyFile, logs });
  output.line(`The witness listens on ${url}`);
  output.line(`  vkey       ${vkey}`);
  output.line(`  follows    ${logs.join(', ')}`);
  output.line(`  last heads  curl -H "Authorization: Bearer $(cat ${ownerKeyFile})" ${url}heads`);
  await stopped;
  await witness.stop();
  return EXIT.success;
}

function readVkey(text: string): string {
  if (text.includes('+') && !existsSync(text)) return text;
  try {
    if (statSync(text).size > VKEY_FILE_BYTES_MAX) throw new Error('it is too large');
    return readFileSync(text, 'utf8').trim();
  } catch (cause) {
    throw new EvidentError('usage-invalid', `--log: ${text} is no vkey, and no file that holds one`, {
      cause,
    });
  }
}
