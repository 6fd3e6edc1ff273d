/**
 * Shows that a bank and its audit trail agree, to the row, while everything dies: a service that uses the SDK moves
 * money under load; it, its PostgreSQL and Evident are killed in turn, and the relay changes the way it reads.
 *
 *   npm run demo                     about a minute of load
 *   node demo/bank.ts 10             10 seconds of it
 *   node demo/bank.ts 10 --careless  with a bank that records after the commit: the comparison has to find it
 *
 * Exit code 0 only if every row has its event, every event its row, and the log verifies; 1 otherwise; 64 for a usage
 * mistake.
 */

import { type Agreement, judge } from './bank/agreement.ts';
import { BankScene } from './bank/bank-scene.ts';
import { Clients } from './bank/clients.ts';
import { agrees } from './bank/compare.ts';
import { type Disturbance, type Disturbances, disturb } from './bank/disturb.ts';
import { readBank, readLog } from './bank/records.ts';
import { number, say, sayLabelled, sayTable, styled } from './print.ts';

const SECONDS = { least: 5, usual: 60, most: 3_600 } as const;
const CLIENTS = 12;
const INTENTS_SHOWN = 3;
const EXIT = { agrees: 0, differs: 1, usage: 64 } as const;

interface Settings {
  readonly seconds: number;
  readonly isCareless: boolean;
}

interface Verdict {
  readonly verdict: string;
  readonly records: number;
  readonly openIntents: number;
}

const inSeconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

async function runDemo(scene: BankScene, { seconds, isCareless }: Settings): Promise<number> {
  const begun = performance.now();
  say(styled('bold', 'A bank and its audit trail, while everything around them dies.'));
  say();
  await scene.start(isCareless ? 'careless' : 'careful');
  say(
    `Evident, the bank and its PostgreSQL run after ${inSeconds(performance.now() - begun)}, in ${scene.folder}`,
  );
  if (isCareless) say(styled('yellow', 'This bank is careless: it records after the commit.'));
  const clients = new Clients(() => scene.bank.url);
  await clients.openAccounts();
  say(`${clients.journal.accounts.size} accounts; ${CLIENTS} clients move money for ${seconds} s`);
  say();
  const loadBegun = performance.now();
  const disturbances = await underLoad(scene, clients, seconds);
  const loadMs = performance.now() - loadBegun;
  await scene.closeBank();
  const tables = await scene.asOwner(readBank);
  const drainBegun = performance.now();
  await scene.drain();
  say(`  The outbox was drained ${inSeconds(performance.now() - drainBegun)} after the bank had ended.`);
  const records = await readLog(scene);
  const verdict = await askEvident(scene);
  const agreement = judge(tables, records, clients.journal, scene.bank.unwritten);
  sayLoad(clients, disturbances, loadMs);
  sayAgreement(agreement, verdict, clients);
  const complaints = [...agreement.complaints, ...complaintsAbout(verdict, agreement)];
  say();
  for (const complaint of complaints) sayLabelled('DIFFERS', complaint, 'red');
  const time = inSeconds(performance.now() - begun);
  if (complaints.length === 0)
    say(styled('green', `The bank and the log agree, to the row. ${time} in all.`));
  else say(styled('red', `The bank and the log do not agree. ${time} in all.`));
  return complaints.length === 0 ? EXIT.agrees : EXIT.differs;
}

/** The clients work until all disturbances are over. Whatever fails first ends the demo. */
async function underLoad(scene: BankScene, clients: Clients, seconds: number): Promise<Disturbances> {
  const begun = performance.now();
  const load = clients.run(CLIENTS);
  const tell = ({ what, until, ms }: Disturbance) => {
    const at = inSeconds(performance.now() - begun - ms).padStart(8);
    say(`${at}  ${what.padEnd(36)}${until.padEnd(18)}${inSeconds(ms).padStart(6)}`);
  };
  const done = disturb(scene, seconds, tell).finally(() => clients.finish());
  try {
    const all = Promise.all([done, load]);
    return (await Promise.race([all, scene.bank.crashed]))[0];
  } catch (error) {
    clients.abandon();
    throw error;
  }
}

/** The server ends cleanly, and its own commands look at what it left. */
async function askEvident(scene: BankScene): Promise<Verdict> {
  await scene.evident.stop();
  const report = JSON.parse((await scene.command(['verify', '--json'])).stdout) as {
    verdict: string;
    partitions: { records: number }[];
  };
  const intents = JSON.parse((await scene.command(['intents', '--older-than', '0', '--json'])).stdout) as {
    intents: unknown[];
  };
  return {
    verdict: report.verdict,
    records: report.partitions.reduce((sum, { records }) => sum + records, 0),
    openIntents: intents.intents.length,
  };
}

function sayLoad({ journal }: Clients, { kills, switches }: Disturbances, ms: number): void {
  const booked = journal.transfers.size + journal.payouts.size + journal.planChanges.size + journal.reads;
  const answered = booked + journal.denied.size + journal.failed.size;
  say();
  sayLabelled(
    'clients',
    `${number(answered)} answers in ${inSeconds(ms)}; ${number(journal.repeated)} attempts got none and were sent again`,
  );
  const killed = [...kills].map(([victim, times]) => `${victim} ${times} ×`).join(', ');
  sayLabelled('killed', `${killed}; the relay went over ${switches} ×`);
}

function sayAgreement(agreement: Agreement, verdict: Verdict, { journal }: Clients): void {
  const { kinds, denied, failed, openIntents, intents } = agreement;
  say();
  const rows = kinds.map((kind) => {
    const counts = [kind.rows, kind.events].map(number);
    const faults = [kind.missing, kind.orphans, kind.twice, kind.different].map(({ length }) =>
      number(length),
    );
    return [kind.name, ...counts, ...faults, agrees(kind) ? 'yes' : 'NO'];
  });
  sayTable(['rows', 'bank', 'log', 'no event', 'no row', 'twice', 'differ', 'agree'], rows);
  say();
  sayLabelled(
    'denied',
    `${number(denied.answered)} answers, ${number(denied.events)} events${excuse(denied.excused)}`,
  );
  sayLabelled(
    'failed',
    `${number(failed.answered)} answers, ${number(failed.events)} events${excuse(failed.excused)}`,
  );
  sayLabelled(
    '',
    'Written after the rollback, best effort: a client of a bank that died has no answer,',
    'dim',
  );
  sayLabelled('', 'and an event whose database was gone is told on standard error.', 'dim');
  sayLabelled(
    'intents',
    `${number(intents)}, ${number(openIntents.length)} without an outcome: begun, and nobody said how they ended`,
  );
  for (const { action, resource, actor } of openIntents.slice(0, INTENTS_SHOWN))
    sayLabelled('', `${action} ${resource.id} by ${actor.id}`, 'dim');
  if (openIntents.length > INTENTS_SHOWN)
    sayLabelled('', `… and ${openIntents.length - INTENTS_SHOWN} more`, 'dim');
  sayLabelled('money', agreement.isMoneyRight ? 'conserved; the log alone gives every balance' : 'see below');
  sayLabelled('promises', `${number(journal.transfers.size)} transfers were answered as booked`);
  sayLabelled(
    'verify',
    `${verdict.verdict}, ${number(verdict.records)} records`,
    verdict.verdict === 'verified' ? 'green' : 'red',
  );
}

const excuse = (count: number) => (count === 0 ? '' : `; ${number(count)} have none, and why is known`);

function complaintsAbout({ verdict, openIntents }: Verdict, agreement: Agreement): string[] {
  return [
    ...(verdict === 'verified' ? [] : [`evident verify says ${verdict}`]),
    ...(openIntents === agreement.openIntents.length
      ? []
      : [`evident intents lists ${openIntents}, the records show ${agreement.openIntents.length}`]),
  ];
}

function parseSettings(args: readonly string[]): Settings | null {
  const isCareless = args.includes('--careless');
  const rest = args.filter((arg) => arg !== '--careless');
  if (rest.length > 1) return null;
  const seconds = rest.length === 0 ? SECONDS.usual : Number(rest[0]);
  const isInRange = Number.isInteger(seconds) && seconds >= SECONDS.least && seconds <= SECONDS.most;
  return isInRange ? { seconds, isCareless } : null;
}

const settings = parseSettings(process.argv.slice(2));
if (settings === null) {
  process.stderr.write(
    `usage: node demo/bank.ts [SECONDS] [--careless], ${SECONDS.least} to ${SECONDS.most}; default ${SECONDS.usual}\n`,
  );
  process.exitCode = EXIT.usage;
} else {
  const scene = new BankScene();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void scene.end().finally(() => process.kill(process.pid, signal)));
  }
  try {
    process.exitCode = await runDemo(scene, settings);
  } catch (error) {
    // After a signal everything fails, and nobody asks why.
    if (scene.isEnding) await scene.end();
    else {
      process.stderr.write(`${(error as Error).stack}\n`);
      process.exitCode = EXIT.differs;
    }
  } finally {
    await scene.end();
  }
}
