import type { ConfigInput } from '../config.ts';
import { viewStatuses } from '../project/view-status.ts';
import { type AuditStanding, auditJson } from '../verify/self-audit-state.ts';
import { describeTiers, tierJson } from '../verify/tiers.ts';
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
    const tiers = await data.trust.tiers();
    const selfAudit = await data.selfAudit();
    output.result({
      name: data.name,
      tiers: tiers.map(tierJson),
      partitions,
      views,
      self_audit: selfAudit === null ? null : { ...auditJson(selfAudit), newest: selfAudit.newest },
    });
    output.line(data.name);
    for (const line of describeTiers(tiers)) output.line(`  ${line}`);
    for (const line of describeAudit(selfAudit)) output.line(`  ${line}`);
    for (const { log, partition, next, sealed, stopped } of partitions) {
      output.line(
        `  ${`${log}/${partition}`.padEnd(16)} ${next.toString().padStart(12)} ${next === 1n ? 'record ' : 'records'}  ${sealed.toString().padStart(12)} sealed${stopped === null ? '' : `  STOPPED: ${stopped}`}`,
      );
    }
    printViews(views, output);
    return EXIT.success;
  } finally {
    await data.close();
  }
}

/** How long a change can stay unseen, and what the self-audit found. */
function describeAudit(standing: AuditStanding | null): string[] {
  if (standing === null) return ['self-audit: none has run yet'];
  const { recordsPerSecond, ageSeconds, passSeconds, unseenSecondsMax, tampered, newest, isIncomplete } =
    standing;
  const { progress } = standing;
  const now = progress === null ? '' : `; the next is at ${Math.floor(progress * 100)} %`;
  const last =
    ageSeconds === null || passSeconds === null || unseenSecondsMax === null
      ? 'no full pass has ended yet'
      : `the last full pass took ${seconds(passSeconds)} and ended ${seconds(ageSeconds)} ago; a change of a sealed record stays unseen for ${seconds(unseenSecondsMax)} at most while it runs`;
  return [
    `self-audit at ${recordsPerSecond.toLocaleString('en')} records/s: ${last}${now}`,
    ...(isIncomplete ? ['self-audit: something could not be read'] : []),
    ...(tampered > 0 ? [`self-audit: ${tampered} findings, the newest: ${newest}`] : []),
  ];
}

function seconds(value: number): string {
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 7_200 ? `${Math.round(value / 60)} min` : `${(value / 3_600).toFixed(1)} h`;
}
