/**
 * Shows what tampering Evident makes evident, and what not: a real log in a temporary folder, attacked in ten ways.
 *
 *   npm run demo:tampering  20,000 events
 *   node demo/demo.ts 1000  fewer
 *
 * Exit code 0 only if every attack that has to be found was found where it was made, and every one that is said not
 * to be found was not; 1 otherwise; 64 for a usage mistake.
 */

import type { VerifyReport } from '../packages/server/src/verify/verify.ts';
import type { Attack, Caught, Expectation, KeptHeads } from './attack.ts';
import { checkKeptHead, type KeptHead, keepHeads } from './kept-heads.ts';
import { MACHINE_ATTACKS, OLDER } from './machine-attacks.ts';
import { headsOf, number, placeOf, recordsOf, say, sayLabelled, sayTable, sayText, styled } from './print.ts';
import { LAST_ATTACKS, RECORD_ATTACKS } from './record-attacks.ts';
import { Scene } from './scene.ts';

const EVENTS_DEFAULT = 20_000;
const EVENTS_MIN = 1_000;
const EVENTS_MAX = 1_000_000;
/** Records of each imported file, beside the events. */
const IMPORTED_PART = 0.1;
const GOOD = 'good';
const EXIT = { asSaid: 0, notAsSaid: 1, usage: 64 } as const;
const ATTACKS: readonly Attack[] = [...RECORD_ATTACKS, ...MACHINE_ATTACKS, ...LAST_ATTACKS];

interface Outcome {
  readonly attack: Attack;
  readonly report: VerifyReport;
  readonly check: string;
  readonly kept: { readonly earlier: Caught; readonly later: Caught } | null;
  readonly asSaid: boolean;
}

function seconds(begun: number): string {
  return `${((performance.now() - begun) / 1_000).toFixed(1)} s`;
}

/** Fills the log, keeps heads and copies on the way, and verifies. */
async function prepare(scene: Scene, count: number): Promise<{ vkey: string; kept: KeptHeads }> {
  const imported = Math.round(count * IMPORTED_PART);
  let begun = performance.now();
  await scene.one.start();
  say(`Embedded PostgreSQL ready after ${seconds(begun)}, in ${scene.folder}`);
  begun = performance.now();
  const half = Math.floor(count / 2);
  const first = await scene.fill(half);
  const cloudTrail = await scene.importCloudTrail(imported);
  await scene.seal();
  const earlier = await keepHeads(scene.vkey, scene.one.storage);
  await scene.copyMachine(OLDER);
  const second = await scene.fill(count - half);
  const apache = await scene.importApache(imported);
  await scene.seal();
  const later = await keepHeads(scene.vkey, scene.one.storage);
  say(
    `${number(first + second)} generated events through ingest, ${number(cloudTrail.taken)} CloudTrail events and ${number(apache.taken)} Apache lines`,
  );
  say(
    `imported (${number(apache.unparsed)} lines are not of their format, and were taken as the bytes they are), sealed: ${seconds(begun)}`,
  );
  const vkey = scene.vkey;
  begun = performance.now();
  const report = await scene.one.verify();
  sayVerified(report, seconds(begun), vkey);
  if (report.verdict !== 'verified') throw new Error('the untouched log does not verify');
  sayKept(earlier, later);
  await scene.copyMachine(GOOD);
  return { vkey, kept: { earlier, later } };
}

function sayVerified(report: VerifyReport, time: string, vkey: string): void {
  say();
  sayLabelled('verify', report.verdict, 'green');
  sayLabelled(
    '',
    `${number(recordsOf(report))} records and ${number(headsOf(report))} signed heads in ${report.partitions.length} partitions, ${time}`,
  );
  sayLabelled('K', vkey);
}

function sayKept(earlier: readonly KeptHead[], later: readonly KeptHead[]): void {
  say();
  say(
    'Somebody outside, whom no attacker here reaches, wrote down K and these heads (size, root), at two times:',
  );
  for (const [when, heads] of [
    ['earlier', earlier],
    ['later', later],
  ] as const) {
    for (const { log, partition, head } of heads)
      sayLabelled(
        when,
        `${`${log}/${partition}`.padEnd(8)} ${number(head.size).padStart(9)}  ${Buffer.from(head.root).toString('base64')}`,
      );
  }
}

async function runAttack(scene: Scene, attack: Attack, vkey: string, kept: KeptHeads): Promise<Outcome> {
  say();
  say(styled('bold', `(${attack.letter}) ${attack.title}`));
  await scene.putBack(GOOD);
  const { did, expected } = await attack.run(scene);
  sayLabelled('attacker', did);
  const report = await scene.one.verify();
  const found = findingFor(report, expected);
  const text =
    found === undefined
      ? describeVerified(report)
      : `${report.verdict}: ${placeOf(found)} [${found.check}] ${found.detail}`;
  sayLabelled('verify', text, report.verdict === 'verified' ? 'yellow' : 'green');
  const keepers = attack.kept === null ? null : await askKeepers(scene, vkey, kept);
  if (attack.remark !== undefined) sayLabelled('', attack.remark, 'dim');
  const keptAsSaid = keepers?.earlier === attack.kept?.earlier && keepers?.later === attack.kept?.later;
  const asSaid =
    keptAsSaid &&
    report.verdict === expected.verdict &&
    (expected.check === undefined || found !== undefined);
  if (!asSaid) sayLabelled('NOT AS SAID', describeAll(report), 'red');
  return {
    attack,
    report,
    check: found === undefined ? '' : `${found.check} at ${placeOf(found)}`,
    kept: keepers,
    asSaid,
  };
}

function findingFor({ findings }: VerifyReport, { check, log, partition, position }: Expectation) {
  return findings.find(
    (one) =>
      one.verdict === 'tampered' &&
      one.check === check &&
      one.log === log &&
      one.partition === partition &&
      (position === undefined ||
        (one.from !== null && one.to !== null && one.from <= position && position < one.to)),
  );
}

function describeVerified(report: VerifyReport): string {
  return `${report.verdict} (${number(recordsOf(report))} records): this machine alone can't tell`;
}

function describeAll({ verdict, findings }: VerifyReport): string {
  return `${verdict}; ${findings.map((one) => `${placeOf(one)} [${one.check}] ${one.detail}`).join('; ') || 'no findings'}`;
}

async function askKeepers(
  scene: Scene,
  vkey: string,
  kept: KeptHeads,
): Promise<{ earlier: Caught; later: Caught }> {
  const ask = async (when: string, heads: readonly KeptHead[]): Promise<Caught> => {
    const contradictions: string[] = [];
    for (const head of heads) {
      const answer = await checkKeptHead(vkey, scene.one.storage, head);
      if (answer.kind === 'contradicted') contradictions.push(answer.detail);
    }
    if (contradictions.length === 0)
      sayLabelled(`${when} head`, 'consistent with the log of now: not caught', 'yellow');
    else
      sayLabelled(
        `${when} head`,
        `CAUGHT in ${contradictions.length} of ${heads.length} trees. ${contradictions[0]}`,
        'green',
      );
    return contradictions.length === 0 ? 'no' : 'caught';
  };
  return { earlier: await ask('earlier', kept.earlier), later: await ask('later', kept.later) };
}

function saySummary(outcomes: readonly Outcome[]): void {
  const rows = outcomes.map(({ attack, report, check, kept, asSaid }) => {
    const isCaught = report.verdict === 'tampered';
    const { letter, title, t1, t3 } = attack;
    const heads = [kept?.earlier ?? '', kept?.later ?? ''];
    return [
      `(${letter})`,
      title,
      isCaught ? 'caught' : 'NO',
      check,
      ...heads,
      t1,
      t3,
      asSaid ? 'yes' : 'NOT',
    ];
  });
  say();
  say(styled('bold', 'What catches it'));
  say();
  sayTable(['', 'attack', 'verify', 'check and place', 'earlier', 'later', 'T1 *', 'T3 *', 'as said'], rows);
  say();
  sayText(`verify: run on the attacked machine itself, tier T0. earlier, later: a signed head that was kept outside, held
    against the log of now; empty where verify has found it already.`);
  sayText(`* By design, not run here: this version has neither a signer elsewhere (T1) nor timestamps (T3). T1 holds as
    long as the attacker has not got that machine, too. T3: forged heads carry new timestamps only, which tells whoever
    demands old ones for old records; in part: of events that do not claim to be old, it says nothing.`);
  say();
  sayText(`What this shows: while key and memory of the signer were out of reach, each of these changes to sealed records
    was found, and placed.`);
  sayText(`What it does not: that records are true, or that everything was recorded. Whoever owns the whole machine (T0)
    is caught only by something outside of it: keep heads elsewhere. And what is not sealed yet is covered by nothing
    here.`);
}

async function runDemo(scene: Scene, count: number): Promise<number> {
  const begun = performance.now();
  say(
    styled(
      'bold',
      'Evident is a tamper-evident log: it prevents no change, it makes one contradict something that was signed.',
    ),
  );
  say();
  const { vkey, kept } = await prepare(scene, count);
  say();
  say('Now the attacks. Each begins with the good state, put back.');
  const outcomes: Outcome[] = [];
  for (const attack of ATTACKS) outcomes.push(await runAttack(scene, attack, vkey, kept));
  saySummary(outcomes);
  const wrong = outcomes.filter(({ asSaid }) => !asSaid).length;
  say();
  say(
    `${outcomes.length} attacks, ${outcomes.length - wrong} as said, ${wrong} not as said, ${seconds(begun)} in all.`,
  );
  return wrong === 0 ? EXIT.asSaid : EXIT.notAsSaid;
}

function parseCount(args: readonly string[]): number | null {
  if (args.length === 0) return EVENTS_DEFAULT;
  const count = Number(args[0]);
  return args.length === 1 && Number.isInteger(count) && count >= EVENTS_MIN && count <= EVENTS_MAX
    ? count
    : null;
}

const count = parseCount(process.argv.slice(2));
if (count === null) {
  process.stderr.write(
    `usage: node demo/demo.ts [EVENTS], ${EVENTS_MIN} to ${EVENTS_MAX}; default ${EVENTS_DEFAULT}\n`,
  );
  process.exitCode = EXIT.usage;
} else {
  const scene = new Scene();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void scene.remove().finally(() => process.kill(process.pid, signal)));
  }
  try {
    process.exitCode = await runDemo(scene, count);
  } finally {
    await scene.remove();
  }
}
