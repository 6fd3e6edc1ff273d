/** The report of a check, in words: what holds, and what a bundle does not show. */

import { formatInstant } from '../leaf.ts';
import type { CheckedHead } from './check-heads.ts';
import type { CheckedCosignature, CheckedTimestamp, CheckFindings, CheckReport } from './check-report.ts';
import type { BundleManifest } from './manifest.ts';
import { undecidedMembers } from './record-rules.ts';

/** How far a check came, and what it found to be good. */
export interface Outcome {
  manifest: BundleManifest | null;
  records: bigint;
  bodies: number;
  /** Whether K was replaced by another key, below the head of the bundle. */
  isRotated: boolean;
  head: CheckedHead | null;
  /** Size of the head that the verifier holds from elsewhere, if the two are of one log. */
  knownSize: bigint | null;
  anchors: {
    readonly timestamps: { readonly good: CheckedTimestamp[]; readonly present: number };
    readonly cosignatures: { readonly good: CheckedCosignature[]; readonly present: number };
  } | null;
  readonly options: { readonly timestamps?: unknown };
}

export function describeCheck(outcome: Outcome, findings: CheckFindings): CheckReport {
  const { head, records, anchors } = outcome;
  const { verdict, list, count } = findings;
  const timestamps = anchors?.timestamps.good ?? [];
  const cosignatures = anchors?.cosignatures.good ?? [];
  return {
    verdict,
    findings: list,
    ...count,
    shown: verdict === 'verified' ? shownBy(outcome) : [],
    notShown: notShownBy(outcome),
    records,
    head: head === null ? null : { origin: head.origin, size: head.size, root: head.root },
    tiers: [
      ...(timestamps.length > 0 ? ['T3' as const] : []),
      ...(cosignatures.length > 0 ? ['T4' as const] : []),
    ],
    timestamps,
    cosignatures,
  };
}

const counted = (count: bigint | number, noun: string): string =>
  `${count} ${noun}${BigInt(count) === 1n ? '' : 's'}`;

/** The last second of the year 9999: what a witness says beyond has no name in a calendar. */
const CALENDAR_END_S = 253_402_300_799n;

function timeOf(seconds: bigint): string {
  if (seconds > CALENDAR_END_S) return `second ${seconds} after 1970`;
  return `${formatInstant(seconds * 1_000_000n).slice(0, 19)}Z`;
}

function shownBy({ manifest, records, bodies, head, knownSize, anchors }: Outcome): string[] {
  if (manifest === null || head === null) return [];
  const { scope, trees, name } = manifest;
  const shown = [
    `${counted(records, 'record')}, byte for byte, stood in the log of ${name} when it signed the head of size ${head.size} of ${head.origin}`,
    `the key that you hold, or one that it handed over to, signed that head and the heads of ${counted(trees.length, 'tree')} below it`,
  ];
  if (scope.kind === 'tenant-hours') {
    shown.push(
      `this equals the ${counted(records, 'record')} that the log committed to for ${scope.tenant} in ${scope.log}, append hours ${scope.from} to ${scope.to}`,
    );
  }
  if (bodies > 0)
    shown.push(
      `${counted(bodies, 'body').replace('bodys', 'bodies')} beside the leaves: those that the leaves name`,
    );
  for (const { authority, at } of anchors?.timestamps.good ?? []) {
    shown.push(`${authority} says that the head existed at ${formatInstant(at)}`);
  }
  for (const { witness, at } of anchors?.cosignatures.good ?? []) {
    shown.push(`${witness} says that at ${timeOf(at)} it had seen no head that this one contradicts`);
  }
  if (knownSize !== null) shown.push(comparedHeads(knownSize, head.size));
  return shown;
}

function comparedHeads(known: bigint, size: bigint): string {
  if (known === size) return 'the head is the one that you hold';
  if (known < size)
    return `the head follows from the one of size ${known} that you hold: it is of the same log`;
  return `the log has a newer head, the one of size ${known} that you hold: it follows from the head of the bundle`;
}

function notShownBy(outcome: Outcome): string[] {
  const { manifest, anchors, options } = outcome;
  const notShown = [
    'that what a record says is true, or that the application captured everything',
    'what README.txt says: nothing signs it',
  ];
  const scope = manifest?.scope;
  if (scope?.kind === 'tenant-hours') {
    notShown.push(
      `that the operator's window holds every leaf of ${scope.tenant}: who sees all leaves can check that (evident verify)`,
    );
  } else if (scope?.kind === 'selection') {
    notShown.push(
      'this is a selection: it does not show that nothing was left out',
      'that the search was no narrower than the manifest says: nothing signs the manifest',
    );
    const undecided = undecidedMembers(scope);
    if (undecided.length > 0) {
      notShown.push(`that each record matches ${undecided.join(', ')}: a leaf alone does not decide that`);
    }
  } else if (scope?.kind === 'record') notShown.push('that the log holds no further record of this id');
  const timestamps = anchors?.timestamps;
  if (options.timestamps === undefined && (timestamps?.present ?? 0) > 0) {
    notShown.push(
      `what ${counted(timestamps!.present, 'token')} beside the head ${timestamps!.present === 1 ? 'says' : 'say'}: no root certificate was given, so none was checked`,
    );
  }
  if ((timestamps?.good.length ?? 0) === 0) {
    notShown.push("when the head was signed: times in records and heads are those of the log's own clock");
  }
  const anew = (manifest?.trees ?? []).filter(({ epoch }) => epoch > 0);
  if (anew.length > 0)
    notShown.push(
      `why ${counted(anew.length, 'tree')} began anew (${anew[0]!.origin}), and that what stood in the tree before is in it`,
    );
  const cosignatures = anchors?.cosignatures;
  const unchecked = (cosignatures?.present ?? 0) - (cosignatures?.good.length ?? 0);
  if (unchecked > 0)
    notShown.push(
      `what ${counted(unchecked, 'further cosignature')} ${unchecked === 1 ? 'says' : 'say'}: of witnesses that were not named`,
    );
  if ((cosignatures?.good.length ?? 0) === 0) {
    notShown.push(
      'that others were shown the same log: no cosignature of a witness that you named stands on the head',
    );
  } else
    notShown.push(
      'that the witnesses are run by others than the operator: that is for you to know (tier T4)',
    );
  notShown.push(...notShownOfLog(outcome));
  return notShown;
}

/** What no bundle shows of the log behind it. */
function notShownOfLog({ isRotated, head, knownSize }: Outcome): string[] {
  const isNewer = head !== null && knownSize !== null && knownSize > head.size;
  return [
    ...(isRotated
      ? ['that no key that was rotated away was stolen: its holder could have signed another history']
      : []),
    'where the key is kept, and what storage would refuse to change (tiers T1, T2)',
    `that the log has no newer head${isNewer ? ` than that of size ${knownSize}` : ''}`,
  ];
}
