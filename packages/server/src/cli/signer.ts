import { toBase64 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { isName } from '@evident/core/origin.ts';
import { type Command, Option } from 'commander';
import type { ConfigInput } from '../config.ts';
import { parseSignerAddress, type TlsFiles } from '../signer/address.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Options, Run } from './options.ts';
import type { Output } from './output.ts';
import { untilSignal } from './start.ts';

export function addSignerCommand(deps: CommandDeps, program: Command, run: Run): void {
  program
    .command('signer')
    .description('sign tree heads for a server on another machine or account')
    .exitOverride()
    .requiredOption('--state <dir>', 'folder of its key and memory, held by this process alone')
    .requiredOption('--listen <address>', 'unix:/path, or tls:host:port (port 0 picks a free one)')
    .option('--name <name>', 'the installation that it signs for (default: the first that asks)')
    .option('--cert <file>', 'with tls: certificate of this signer, PEM')
    .option('--key <file>', 'with tls: its private key, PEM')
    .option('--ca <file>', 'with tls: who signs the certificates of servers, PEM')
    .addOption(
      new Option('--begin-anew <origins>', 'trees that may begin anew under these origins, with commas'),
    )
    .option('--json', 'machine-readable output')
    .action(run((input, output, options) => runSigner(deps, input, options, output)));
}

async function runSigner(
  deps: CommandDeps,
  input: ConfigInput,
  options: Options,
  output: Output,
): Promise<number> {
  const stopped = untilSignal();
  const signer = await deps.startSigner({
    stateDir: options.state as string,
    name: nameOf(input),
    listen: parseSignerAddress(options.listen, '--listen'),
    tls: tlsOf(options),
    beginAnew: options.beginAnew?.split(',') ?? [],
    onEvent: ({ what, from, error }) => {
      const reason = error instanceof Error ? error.message : '';
      process.stderr.write(`${JSON.stringify({ what, from, reason })}\n`);
    },
  });
  const { address, publicKeys, inception } = signer;
  const key = toBase64(publicKeys[0]);
  output.result({
    ready: true,
    address,
    key,
    name: inception?.name ?? null,
    begun_at: inception?.begunAt ?? null,
  });
  output.line(`The signer listens on ${address}.`);
  output.line(`  public key  ${key}`);
  output.line(
    inception === null
      ? `  signs for   ${input.name ?? 'the first log that asks'}, and for no other from then on`
      : `  signs for   ${inception.name}, begun at ${inception.begunAt}`,
  );
  await stopped;
  await signer.stop();
  return EXIT.success;
}

function nameOf({ name }: ConfigInput): string | null {
  if (name === undefined) return null;
  if (isName(name)) return name;
  throw new EvidentError('usage-invalid', '--name: this is no name of an installation');
}

function tlsOf({ cert, key, ca }: Options): TlsFiles | null {
  if (cert === undefined && key === undefined && ca === undefined) return null;
  if (cert !== undefined && key !== undefined && ca !== undefined) return { cert, key, ca };
  throw new EvidentError('usage-invalid', '--cert, --key and --ca: all three are needed, or none');
}
