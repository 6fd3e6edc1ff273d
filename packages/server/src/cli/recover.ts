import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { countOf } from './wording.ts';

export interface RecoverOptions {
  readonly log: string;
  readonly partition: number;
  readonly reason: string;
}

/** Recovers a stopped partition, with the server stopped, and records why. */
export async function runRecover(
  deps: CommandDeps,
  input: ConfigInput,
  options: RecoverOptions,
  output: Output,
): Promise<number> {
  if (options.reason.trim() === '')
    throw new EvidentError('usage-invalid', '--reason: a reason is recorded with every recovery');
  const data = await deps.open(input, { alone: true, mustExist: true });
  try {
    const log = data.logs.get(options.log);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${options.log}`);
    const { id, position, epoch, lost, misplaced } = await data.recover(
      log,
      options.partition,
      options.reason,
    );
    output.result({ recovery: id, position, epoch, lost, moved: misplaced.length });
    output.line(`Recovery ${id} is recorded at ${options.log}/${options.partition}/${position}.`);
    for (const { from, to } of lost)
      output.line(
        `  positions ${from} to ${to - 1n} are lost; they verify as «not checked (lost, recovery ${id})»`,
      );
    if (misplaced.length > 0)
      output.line(
        `  ${countOf(misplaced.length, 'record')} stood at sealed positions, and moved behind position ${position}`,
      );
    if (epoch > 0)
      output.line(
        `  the tiles of the last signed head are gone: sealing goes on in tree ${epoch} under a new origin`,
      );
    output.line('Start the server: sealing goes on.');
    return EXIT.success;
  } finally {
    await data.close();
  }
}
