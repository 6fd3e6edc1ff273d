import { EvidentError } from '@evident/core/errors.ts';
import type { BundleKey } from '@evident/core/evidence/bundle-files.ts';
import type { Command } from 'commander';
import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { type Run, withServer, withStorage } from './options.ts';
import type { Output } from './output.ts';
import { requestServer } from './request.ts';
import { findTarget, type TargetOptions } from './target.ts';

export function addKeyCommands(deps: CommandDeps, program: Command, run: Run): void {
  const key = program.command('key').description('the key that signs tree heads').exitOverride();
  const list = 'the keys of every tree, and the sizes of heads that each signs';
  withServer(withStorage(key.command('list').description(list))).action(
    run((input, output, { url, keyFile }) => runKeyList(deps, input, { url, keyFile }, output)),
  );
  const rotate = 'let the signer make a new key, and hand over to it by a record in heads/0';
  withServer(withStorage(key.command('rotate').description(rotate)))
    .requiredOption('--reason <text>', 'why; recorded')
    .action(
      run((input, output, { url, keyFile, reason }) =>
        runKeyRotate(deps, input, { url, keyFile, reason: reason as string }, output),
      ),
    );
}

interface ListedKey {
  readonly origin: string;
  readonly vkey: string;
  readonly from: string;
  readonly to: string | null;
}

async function listKeys(deps: CommandDeps, input: ConfigInput, options: TargetOptions): Promise<ListedKey[]> {
  const server = await findTarget(deps, input, options);
  if (server !== null)
    return ((await (await requestServer(server, '/v1/keys')).json()) as { keys: ListedKey[] }).keys;
  const data = await deps.open(input, { alone: true, mustExist: true });
  try {
    return (await data.keys()).map(textOf);
  } finally {
    await data.close();
  }
}

function textOf({ origin, vkey, from, to }: BundleKey): ListedKey {
  return { origin, vkey, from: from.toString(), to: to?.toString() ?? null };
}

async function runKeyList(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
  output: Output,
): Promise<number> {
  const keys = await listKeys(deps, input, options);
  output.result({ keys });
  for (const { origin, vkey, from, to } of keys)
    output.line(`${origin}  sizes ${from} to ${to ?? '…, in use'}\n  ${vkey}`);
  return EXIT.success;
}

async function runKeyRotate(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions & { readonly reason: string },
  output: Output,
): Promise<number> {
  const reason = options.reason.trim();
  if (reason === '')
    throw new EvidentError('usage-invalid', '--reason: a reason is recorded with every rotation');
  const { number, position } = await rotateAt(deps, input, options, reason);
  const keys = await listKeys(deps, input, options);
  const current = keys.find(({ origin, to }) => /(^|[^/]\/)heads\/0$/.test(origin) && to === null);
  const vkey = current?.vkey ?? null;
  output.result({ rotation: number, position, vkey });
  output.line(`Rotation ${number} is recorded at heads/0/${position}. The old key is destroyed.`);
  if (vkey !== null) output.line(`  new key  ${vkey}`);
  output.line('Whoever holds the first key goes on with it; witnesses have to be given the new one.');
  return EXIT.success;
}

async function rotateAt(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
  reason: string,
): Promise<{ number: number; position: string }> {
  const server = await findTarget(deps, input, options);
  if (server !== null) {
    const body = JSON.stringify({ reason });
    const answer = await requestServer(server, '/v1/keys/rotate', {
      method: 'POST',
      type: 'application/json',
      body,
    });
    return (await answer.json()) as { number: number; position: string };
  }
  const data = await deps.open(input, { alone: true, mustExist: true });
  try {
    const { number, position } = await data.rotateKey(reason);
    return { number, position: position.toString() };
  } finally {
    await data.close();
  }
}
