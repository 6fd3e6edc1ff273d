/** Wiring of the witnesses that the setting `witnesses` names. */

import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import type { Anchorer, AnchorStore, NewestHead } from './anchor/ports.ts';
import { witnessAnchorer } from './anchor/witness-anchorer.ts';
import type { WitnessPolicy } from './anchor/witness-policy.ts';
import type { Storage } from './compose.ts';
import { WitnessHttp } from './stores/witness-http/ask.ts';

export interface WitnessingDeps {
  readonly tiles: Storage['tiles'];
  readonly newestHead: NewestHead;
  readonly store: Pick<AnchorStore, 'newest'>;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
}

/** One anchorer a witness. Connections that are idle keep no process alive. */
export function witnessAnchorers(
  { tiles, newestHead, store, clock }: WitnessingDeps,
  { list, everySeconds }: WitnessPolicy,
): Anchorer[] {
  const connections = new WitnessHttp();
  const deps = {
    ask: connections.ask.bind(connections),
    tiles,
    newestHead,
    cosigned: async (epoch: number, by: string) => (await store.newest(epoch, 'cosignature', by))?.size ?? 0n,
    signatures: webCryptoSignatures,
    clock,
  };
  return list.map((witness) => witnessAnchorer(deps, witness, everySeconds));
}
