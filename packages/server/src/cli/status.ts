import type { ConfigInput } from '../config.ts';
import { viewStatuses } from '../project/view-status.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { printViews } from './views.ts';

/**
 * Logs and partitions: how far each reaches, how far it is sealed, and what is stopped; views, and how far they have read.
 * @param withDigest with --json: the digest of every generation, for which every row is read
 */
export async function runStatus(
  deps: CommandDeps,
  input: ConfigInput,
  withDigest: boolean,
  output: Output,
): Promise<number> {
  const data = await deps.open(input, { alone: false });
  try {
    const partitions = [];
    for (const log of data.logs.values()) {
      for (const { partition, next, stopped } of await log.heads()) {
        const sealed = (await data.heads.readSeal(log.name, partition))?.size ?? 0n;
        partitions.push({ log: log.name, partition, next, sealed, stopped });
      }
    }
    const views = await viewStatuses(
      { ...data.views, letters: data.views.letters.letters, logs: data.logs },
      null,
      output.json && withDigest,
    );
    output.result({ name: data.name, tier: 'T0', partitions, views });
    output.line(`${data.name}   tier T0`);
    for (const { log, partition, next, sealed, stopped } of partitions) {
      output.line(
        `  ${`${log}/${partition}`.padEnd(16)} ${next.toString().padStart(12)} records  ${sealed.toString().padStart(12)} sealed${stopped === null ? '' : `  STOPPED: ${stopped}`}`,
      );
    }
    printViews(views, output);
    return EXIT.success;
  } finally {
    await data.close();
  }
}
