/**
 * Against whom what verification answers holds (design §5): which tiers are in force, up to where, and what they don't
 * cover. Derived from facts that were looked at; a setting alone is no tier.
 */

export type Tier = 'T0' | 'T1' | 'T2' | 'T3' | 'T4';

/** Where the signing key is: in the data directory; in another process, maybe of this machine; on another machine. */
export type SignerPlace = 'data directory' | 'another process' | 'elsewhere';

/** The newest token that was looked at and is good. */
export interface TimestampFact {
  readonly authority: string;
  /** Of the head of heads/0 that it is over. */
  readonly size: bigint;
  /** Microseconds since the Unix epoch, by the clock of the authority. */
  readonly at: bigint;
}

/** The newest head that enough witnesses run by others have cosigned, each cosignature looked at and good. */
export interface WitnessFact {
  readonly names: readonly string[];
  readonly size: bigint;
  /** The oldest of the cosignatures that make the quorum; microseconds since the Unix epoch. */
  readonly at: bigint;
}

export interface TierFacts {
  readonly signer: SignerPlace;
  /** Size of the newest head of heads/0; null: there is none, or its signature is not good. */
  readonly headSize: bigint | null;
  readonly timestamp: TimestampFact | null;
  /** Why there is none, when tokens are wanted or stored; null: nobody was asked for one. */
  readonly timestampLack: string | null;
  readonly witnesses: WitnessFact | null;
  readonly witnessLack: string | null;
  /** Microseconds since the Unix epoch. */
  readonly now: bigint;
}

export interface TierStanding {
  readonly tier: Tier;
  readonly isInForce: boolean;
  /** It covers what heads/0 lists below this size; null: nothing. */
  readonly coversTo: bigint | null;
  /** What it stands on, or why it is not in force. */
  readonly basis: string;
  readonly resists: string;
  readonly cannot: string;
}

/** The table of design §5, as every interface tells it. */
export const TIERS: Readonly<Record<Tier, { readonly resists: string; readonly cannot: string }>> = {
  T0: { resists: 'accidents and partial edits', cannot: 'whoever owns the machine' },
  T1: { resists: 'a stolen data node that rewrites history', cannot: 'false new records' },
  T2: { resists: 'an administrator, within the lock', cannot: 'the storage provider' },
  T3: { resists: 'backdating', cannot: 'omission' },
  T4: { resists: 'forks that are shown to some', cannot: "readers who don't demand them" },
};

const SIGNERS: Readonly<Record<SignerPlace, string>> = {
  'data directory': 'the signing key lies in the data directory',
  'another process':
    'another process signs; nothing tells that it is on another machine, so that whoever owns this one may own the key',
  elsewhere: 'the signer is on another machine, as its address or the settings say',
};

/** @returns all five, in their order */
export function tiersInForce(facts: TierFacts): TierStanding[] {
  const { headSize, timestamp, witnesses } = facts;
  const isElsewhere = facts.signer === 'elsewhere';
  const of = (tier: Tier, coversTo: bigint | null, basis: string): TierStanding => {
    // What the tree has not reached is not there to be covered: the database may be an older copy.
    const covered = coversTo === null || headSize === null ? null : coversTo < headSize ? coversTo : headSize;
    return { tier, isInForce: tier === 'T0' || covered !== null, coversTo: covered, basis, ...TIERS[tier] };
  };
  return [
    of(
      'T0',
      headSize,
      headSize === null ? 'no signed head of heads/0 yet' : 'hashes and signed heads beside the data',
    ),
    of('T1', isElsewhere ? headSize : null, SIGNERS[facts.signer]),
    of('T2', null, 'this version has no archive under Object Lock'),
    of('T3', timestamp?.size ?? null, timestampBasis(facts)),
    of('T4', witnesses?.size ?? null, witnessBasis(facts)),
  ];
}

function timestampBasis({ timestamp, timestampLack, headSize, now }: TierFacts): string {
  if (timestamp === null) return timestampLack ?? 'no time stamp authority is declared in the settings';
  if (headSize === null) return 'a token is stored, and no signed head of heads/0';
  const { authority, size, at } = timestamp;
  return `token of ${authority} over the head of size ${size}, ${ageOf(at, now)}`;
}

function witnessBasis({ witnesses, witnessLack, headSize, now }: TierFacts): string {
  if (witnesses === null) return witnessLack ?? 'no witness is declared in the settings';
  if (headSize === null) return 'cosignatures are stored, and no signed head of heads/0';
  const { names, size, at } = witnesses;
  return `${names.join(', ')}, declared as run by others, cosigned the head of size ${size}, ${ageOf(at, now)}`;
}

const UNITS: readonly (readonly [seconds: bigint, name: string])[] = [
  [86_400n, 'd'],
  [3_600n, 'h'],
  [60n, 'min'],
  [1n, 's'],
];

/** How long ago something was, in its largest unit of which there are two. */
function ageOf(at: bigint, now: bigint): string {
  const seconds = (now - at) / 1_000_000n;
  // Clocks differ: a second or so ahead is no lie.
  if (seconds < 1n) return 'just now';
  const [size, name] = UNITS.find(([unit]) => seconds >= 2n * unit) ?? [1n, 's'];
  return `${seconds / size} ${name} ago`;
}

/** Lines for people: tiers in force first with what they don't cover, then why the others are not. */
export function describeTiers(standings: readonly TierStanding[]): string[] {
  const inForce = standings.filter(({ isInForce }) => isInForce);
  const others = standings.filter(({ isInForce }) => !isInForce);
  return [
    `tiers in force: ${inForce.map(({ tier }) => tier).join(', ')}`,
    ...inForce.map(({ tier, coversTo, basis, resists, cannot }) => {
      const covers =
        coversTo === null ? 'covers nothing yet' : `covers what heads/0 lists below size ${coversTo}`;
      return `${tier}  ${basis}; ${covers}. Resists ${resists}; not: ${cannot}`;
    }),
    ...others.map(({ tier, basis, resists }) => `${tier}  not in force (would resist ${resists}): ${basis}`),
  ];
}

/** A standing as JSON gives it. */
export interface TierJson {
  readonly tier: Tier;
  readonly in_force: boolean;
  readonly covers_to: string | null;
  readonly basis: string;
  readonly resists: string;
  readonly cannot: string;
}

export function tierJson({ tier, isInForce, coversTo, basis, resists, cannot }: TierStanding): TierJson {
  return { tier, in_force: isInForce, covers_to: coversTo?.toString() ?? null, basis, resists, cannot };
}
