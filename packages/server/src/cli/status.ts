import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';

/** Logs and partitions: how far each reaches, how far it is sealed, and what is stopped. */
export async function runStatus(deps: CommandDeps, input: ConfigInput, output: Output): Promise<number> {
  const data = await deps.open(input, { alone: false });
  try {
    const partitions = [];
    for (const log of data.logs.values()) {
      for (const { partition, next, stopped } of await log.heads()) {
        const sealed = (await data.heads.readSeal(log.name, partition))?.size ?? 0n;
        partitions.push({ log: log.name, partition, next, sealed, stopped });
      }
    }
    output.result({ name: data.name, tier: 'T0', partitions });
    output.line(`${data.name}   tier T0`);
    for (const { log, partition, next, sealed, stopped } of partitions) {
      output.line(
        `  ${`${log}/${partition}`.padEnd(16)} ${next.toString().padStart(12)} records  ${sealed.toString().padStart(12)} sealed${stopped === null ? '' : `  STOPPED: ${stopped}`}`,
      );
    }
    return EXIT.success;
  } finally {
    await data.close();
  }
}
