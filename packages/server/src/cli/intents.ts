/** `evident intents`: critical actions of which nobody said how they ended. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { findOpenIntents } from '../audit/open-intents.ts';
import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { countOf } from './wording.ts';

/** Exit code when there are some: a monitor needs no parsing. */
const FOUND = 1;

/** @param olderThan seconds; what is younger may still be running */
export async function runIntents(
  deps: CommandDeps,
  input: ConfigInput,
  options: { log: string; olderThan: number },
  output: Output,
): Promise<number> {
  const data = await deps.open(input, { alone: false });
  try {
    const log = data.logs.get(options.log);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${options.log}`);
    const before = deps.clock() - BigInt(options.olderThan) * 1_000_000n;
    const intents = await findOpenIntents(log, before);
    output.result({
      log: options.log,
      intents: intents.map((intent) => ({ ...intent, appendedAt: formatInstant(intent.appendedAt) })),
    });
    if (intents.length === 0)
      output.line(`no intent older than ${options.olderThan} s is without its outcome`);
    else
      output.line(
        `${countOf(intents.length, 'critical action')} began and nobody said how ${intents.length === 1 ? 'it' : 'they'} ended:`,
      );
    for (const { appendedAt, tenant, actor, action, resource, id, partition, position } of intents) {
      output.line(
        `  ${formatInstant(appendedAt)}  ${tenant}  ${actor ?? '?'}  ${action ?? '?'}  ${resource ?? '?'}`,
      );
      output.line(`    intent ${id} at ${options.log}/${partition}/${position}`);
    }
    return intents.length === 0 ? EXIT.success : FOUND;
  } finally {
    await data.close();
  }
}
