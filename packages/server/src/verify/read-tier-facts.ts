/** The facts that tiers follow from, looked at and not believed: signatures, tokens and cosignatures are verified. */

import { openTreeHead } from '@evident/core/checkpoint.ts';
import type { Verifier } from '@evident/core/note.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { AnchorStore } from '../anchor/ports.ts';
import { type AnchorChecks, checkAnchor } from './check-anchor.ts';
import type { HeadReader } from './ports.ts';
import type { SignerPlace, TierFacts, TimestampFact, WitnessFact } from './tiers.ts';

export interface TierDeps {
  /** Name of the installation. */
  readonly name: string;
  readonly signerPlace: SignerPlace;
  readonly heads: HeadReader;
  readonly anchors: Pick<AnchorStore, 'newest' | 'of' | 'newestWith'>;
  readonly checks: AnchorChecks;
  readonly verifierOf: (origin: string, size: bigint) => Verifier;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
}

/** @throws log-unavailable */
export async function readTierFacts(deps: TierDeps): Promise<TierFacts> {
  const seal = await deps.heads.readSeal('heads', 0);
  const epoch = seal?.epoch ?? 0;
  const isSigned = seal !== null && seal.size > 0n && (await noteOf(deps, epoch, seal.size)) !== null;
  const timestamp = await newestTimestamp(deps, epoch);
  const witnesses = await newestQuorum(deps, epoch);
  return {
    signer: deps.signerPlace,
    headSize: isSigned ? seal.size : null,
    timestamp: typeof timestamp === 'string' ? null : timestamp,
    timestampLack: typeof timestamp === 'string' ? timestamp : null,
    witnesses: typeof witnesses === 'string' ? null : witnesses,
    witnessLack: typeof witnesses === 'string' ? witnesses : null,
    now: deps.clock(),
  };
}

/** The stored note of a head of heads/0 whose signature is good, or null. */
async function noteOf(
  { heads, name, verifierOf }: TierDeps,
  epoch: number,
  size: bigint,
): Promise<Uint8Array | null> {
  const [row] = await heads.readHeads('heads', 0, epoch, size - 1n, 1);
  if (row === undefined || row.size !== size) return null;
  const origin = epochOrigin(name, 'heads', 0, epoch);
  const opened = openTreeHead(row.note, [verifierOf(origin, size)], origin);
  return opened.ok && opened.value.head.size === size ? row.note : null;
}

/** The newest token of each declared authority is looked at; the best good one, or why there is none. */
async function newestTimestamp(deps: TierDeps, epoch: number): Promise<TimestampFact | string | null> {
  const { anchors, checks } = deps;
  let best: TimestampFact | null = null;
  const lacks: string[] = [];
  for (const authority of checks.timestamps.keys()) {
    const newest = await anchors.newest(epoch, 'timestamp', authority);
    if (newest === null) {
      lacks.push(`${authority} has not answered with a token yet`);
      continue;
    }
    const { size } = newest;
    const verdict = await checkStored(deps, epoch, size, 'timestamp', authority);
    if (typeof verdict === 'string')
      lacks.push(`the newest token of ${authority}, over size ${size}: ${verdict}`);
    else if (best === null || size > best.size) best = { authority, size, at: verdict.at };
  }
  return best ?? (lacks.length === 0 ? null : lacks.join('; '));
}

async function checkStored(
  deps: TierDeps,
  epoch: number,
  size: bigint,
  kind: 'timestamp' | 'cosignature',
  by: string,
): Promise<{ readonly at: bigint } | string> {
  const note = await noteOf(deps, epoch, size);
  if (note === null) return 'the head that it is over is not stored with a good signature';
  const anchor = (await deps.anchors.of(epoch, size)).find((one) => one.kind === kind && one.by === by);
  if (anchor === undefined) return 'it is not stored';
  const verdict = await checkAnchor(deps.checks, anchor, note);
  return verdict.ok ? verdict : verdict.reason;
}

/** The newest head that the quorum, run by others, has cosigned; or why there is none. */
async function newestQuorum(deps: TierDeps, epoch: number): Promise<WitnessFact | string | null> {
  const { witnesses } = deps.checks;
  if (witnesses === null) return null;
  const { quorum, list } = witnesses;
  const others = list.filter(({ runByOthers }) => runByOthers).map(({ key }) => key.name);
  if (others.length < quorum)
    return `${others.length} of the witnesses are declared as run by others, and the quorum is ${quorum}`;
  const wanted = others.map((by) => ({ kind: 'cosignature' as const, by }));
  const size = await deps.anchors.newestWith(epoch, wanted, quorum);
  if (size === null) return `no head is cosigned by ${quorum} of ${others.join(', ')}`;
  const good: { name: string; at: bigint }[] = [];
  const lacks: string[] = [];
  for (const name of others) {
    const verdict = await checkStored(deps, epoch, size, 'cosignature', name);
    if (typeof verdict === 'string') lacks.push(`${name}: ${verdict}`);
    else good.push({ name, at: verdict.at });
  }
  if (good.length < quorum)
    return `of the cosignatures over the head of size ${size} ${good.length} are good, and the quorum is ${quorum} (${lacks.join('; ')})`;
  good.sort((a, b) => (a.at < b.at ? 1 : -1));
  return { names: good.map(({ name }) => name).sort(), size, at: good[quorum - 1].at };
}
