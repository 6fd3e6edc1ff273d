/**
 * Checks an evidence bundle with nothing but the platform: the same in Node, in a browser and in a worker. `evident check`
 * and the page that checks bundles in a browser run this code.
 */

import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import type { CheckReport } from '@evident/core/evidence/check-report.ts';
import { webCryptoSignatures } from './signatures.ts';
import { timestampCheck } from './timestamp.ts';

/** What a verifier holds: the key it was given, and whom else it believes. */
export interface VerifierTerms {
  /** K: the vkey of `<name>/heads/0`, from somebody who is not the sender of the bundle. */
  readonly vkey: string;
  /** Root certificates (PEM, or one in DER) of time stamp authorities. Without them tokens are passed over, which is said. */
  readonly roots?: Uint8Array | undefined;
  /** Vkeys of witnesses whose cosignatures count. */
  readonly witnesses?: readonly string[] | undefined;
  /** How many of the witnesses must have cosigned; all, if none is given. */
  readonly quorum?: number | undefined;
  /** A signed head of heads/0 that the verifier has from elsewhere. */
  readonly knownHead?: Uint8Array | undefined;
  readonly onProgress?: ((records: bigint, total: bigint) => void) | undefined;
}

/**
 * @returns the report; its `verdict` is `verified`, `tampered` or `not checked`, and nothing else means that all is well
 * @throws usage-invalid for terms that are none: a key that is no key, no root, a quorum that can't be reached
 */
export async function verifyBundle(
  source: BundleSource,
  { roots, witnesses, ...terms }: VerifierTerms,
): Promise<CheckReport> {
  return checkBundle(source, {
    ...terms,
    signatures: webCryptoSignatures,
    timestamps: roots === undefined ? undefined : timestampCheck(roots),
    witnesses: witnesses?.map((vkey) => ({ vkey })),
  });
}
