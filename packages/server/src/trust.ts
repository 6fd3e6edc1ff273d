/** Whom this installation believes: the places of signer, authorities and witnesses, as settings say, and what that needs. */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { formatCosignerVkey } from '@evident/core/cosignature.ts';
import type { TimestampCheck } from '@evident/core/evidence/check-anchors.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import type { Storage } from './compose.ts';
import type { Config, ConfigInput } from './config.ts';
import type { SignerTarget } from './signer/address.ts';
import { PostgresAnchorReader } from './stores/postgres/anchor-reader.ts';
import { PostgresAnchorStore } from './stores/postgres/anchor-store.ts';
import type { AnchorChecks } from './verify/check-anchor.ts';
import type { KeptHeadDeps } from './verify/kept-heads.ts';
import { readTierFacts } from './verify/read-tier-facts.ts';
import { type SignerPlace, type Tier, type TierStanding, tiersInForce } from './verify/tiers.ts';
import type { VerifyAnchorsDeps } from './verify/verify-anchors.ts';

export type TrustSettings = Pick<Config, 'signer' | 'timestamps' | 'witnesses'>;

/** What a running server tells commands of its settings. */
type LeftSettings = TrustSettings & Pick<Config, 'selfAuditRate'>;

/** Bytes of a file of root certificates. */
const ROOTS_BYTES_MAX = 1024 * 1024;

/**
 * A socket in the file system, or an address of this very machine, is another process and no more, unless the settings say
 * that it leads elsewhere, as through a tunnel.
 */
export function signerPlaceOf(signer: SignerTarget | null): SignerPlace {
  if (signer === null) return 'data directory';
  const { address } = signer;
  if (signer.elsewhere === true) return 'elsewhere';
  return address.kind === 'tls' && !isLoopback(address.host) ? 'elsewhere' : 'another process';
}

function isLoopback(host: string): boolean {
  return /^(?:localhost\.?|.*\.localhost\.?|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/i.test(host);
}

/** Checks of what others say, by the keys and roots that are declared. Files of roots are read when they are first needed. */
export function anchorChecksOf({ timestamps, witnesses }: TrustSettings): AnchorChecks {
  const checks = (timestamps?.authorities ?? []).map(
    ({ name, roots }) => [name, checkWithRoots(roots)] as const,
  );
  return { timestamps: new Map(checks), witnesses, signatures: webCryptoSignatures };
}

function checkWithRoots(file: string): TimestampCheck {
  let loaded: Promise<TimestampCheck> | undefined;
  return async (reply, data) => {
    try {
      loaded ??= loadCheck(file);
      return await (await loaded)(reply, data);
    } catch (error) {
      loaded = undefined;
      return {
        ok: false,
        verdict: 'not checked',
        reason: `the roots in ${file}: ${(error as Error).message}`,
      };
    }
  };
}

async function loadCheck(file: string): Promise<TimestampCheck> {
  // Certificates take a library that is large: loaded by whoever has tokens.
  const { timestampCheck } = await import('@evident/sdk/verify/timestamp');
  const bytes = readFileSync(file);
  if (bytes.length > ROOTS_BYTES_MAX) throw new RangeError(`more than ${ROOTS_BYTES_MAX} bytes`);
  return timestampCheck(new Uint8Array(bytes));
}

/** What of trust a command needs. */
export interface Trust {
  /** Which tiers are in force now. @throws log-unavailable */
  readonly tiers: () => Promise<readonly TierStanding[]>;
  readonly anchors: VerifyAnchorsDeps;
  readonly keptHeads: KeptHeadDeps;
}

/** @param clock microseconds since the Unix epoch */
export function trustOf(storage: Storage, settings: TrustSettings, clock: () => bigint): Trust {
  const { name, pool, logs, tiles, records, verifierOf } = storage;
  const checks = anchorChecksOf(settings);
  const heads = logs.get('heads');
  if (heads === undefined) throw new Error('there is no log heads, which every start makes');
  const tree = { name, tiles, heads: records, verifierOf };
  const facts = {
    ...tree,
    checks,
    clock,
    signerPlace: signerPlaceOf(settings.signer),
    anchors: new PostgresAnchorStore(pool),
  };
  return {
    tiers: async () => tiersInForce(await readTierFacts(facts)),
    anchors: { ...tree, checks, log: heads, anchors: new PostgresAnchorReader(pool) },
    keptHeads: { ...tree, logs: [...logs.values()] },
  };
}

/** Tiers that are in force now, by name. */
export async function tiersNow(
  storage: Storage,
  settings: TrustSettings,
  clock: () => bigint,
): Promise<Tier[]> {
  const standings = await trustOf(storage, settings, clock).tiers();
  return standings.filter(({ isInForce }) => isInForce).map(({ tier }) => tier);
}

/** The part of the settings that a running server leaves in its directory for commands: JSON, with whole paths. */
export function trustToLeave({ signer, timestamps, witnesses, selfAuditRate }: LeftSettings) {
  return {
    signer,
    selfAuditRate,
    timestamps:
      timestamps === null
        ? null
        : {
            ...timestamps,
            authorities: timestamps.authorities.map((one) => ({ ...one, roots: resolve(one.roots) })),
          },
    witnesses:
      witnesses === null
        ? null
        : {
            ...witnesses,
            list: witnesses.list.map(({ url, key, runByOthers }) => ({
              url,
              vkey: formatCosignerVkey(key),
              runByOthers,
            })),
          },
  };
}

/** What `trustToLeave` has left, as settings to read. */
export function trustLeft(left: {
  readonly timestamps?: ConfigInput['timestamps'] | null;
  readonly witnesses?: ConfigInput['witnesses'] | null;
  readonly selfAuditRate?: number;
}): Pick<ConfigInput, 'timestamps' | 'witnesses' | 'selfAuditRate'> {
  const { timestamps, witnesses, selfAuditRate } = left;
  return {
    ...(timestamps === undefined || timestamps === null ? {} : { timestamps }),
    ...(witnesses === undefined || witnesses === null ? {} : { witnesses }),
    ...(selfAuditRate === undefined ? {} : { selfAuditRate }),
  };
}
