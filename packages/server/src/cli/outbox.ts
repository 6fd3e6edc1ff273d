/** `evident outbox init | check`: the outbox in an application's database. */

import { type CommandDeps, EXIT, type OutboxDeviation } from './command-deps.ts';
import type { Output } from './output.ts';

export interface OutboxInitCommand {
  readonly database?: string;
  readonly slots?: string;
  readonly slotSeconds?: string;
  readonly writer?: string;
  readonly relay?: string;
}

/** Makes an outbox, or puts one right that is there. Rows stay as they are. */
export async function runOutboxInit(
  deps: CommandDeps,
  options: OutboxInitCommand,
  output: Output,
): Promise<number> {
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const report = await deps.initOutbox(options.database, {
    slots: number(options.slots),
    slotSeconds: number(options.slotSeconds),
    writer: options.writer,
    relay: options.relay,
  });
  const { database, made, slots, slotSeconds, healed, granted, warnings } = report;
  output.result({ database, made, slots, slot_seconds: slotSeconds, healed, granted, warnings });
  const ring = `${slots} slots of ${slotSeconds} s`;
  if (made) output.line(`The database ${database} has an outbox now: ${ring}.`);
  else if (healed.length === 0) output.line(`The outbox of ${database} is as it should be: ${ring}.`);
  else output.line(`The outbox of ${database} (${ring}) was put right; no row was touched:`);
  showDeviations(healed, output);
  for (const grant of granted) output.line(`  granted ${grant}`);
  for (const warning of warnings) output.line(`Note: ${warning}`);
  output.line();
  output.line('Next:');
  if (options.writer === undefined) {
    output.line('  Let the role that your application connects as write to it:');
    output.line('    evident outbox init --writer ROLE');
  }
  output.line('  Tell Evident to bring it into the log, and for which tenants it may write:');
  output.line('    evident outbox add NAME --database URL --tenants TENANT,…');
  return EXIT.success;
}

/** Says everything that differs from what init makes. @returns 0 when nothing does, 1 otherwise */
export async function runOutboxCheck(
  deps: CommandDeps,
  database: string | undefined,
  output: Output,
): Promise<number> {
  const deviations = await deps.checkOutbox(database);
  output.result({ deviations });
  if (deviations.length === 0) {
    output.line('The outbox is as evident outbox init made it.');
    return EXIT.success;
  }
  output.line(`The outbox differs from what evident outbox init makes (${deviations.length}):`);
  showDeviations(deviations, output);
  const advice = new Set(deviations.map(({ heal }) => heal));
  output.line();
  for (const one of advice) output.line(`Next: ${one}.`);
  return EXIT.differs;
}

function showDeviations(deviations: readonly OutboxDeviation[], output: Output): void {
  for (const { object, what } of deviations) output.line(`  ${object}: ${what}`);
}
