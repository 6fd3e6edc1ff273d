/** Anchors as records of the log `heads`: `seal.timestamp` and `seal.cosignature` (design §5). */

import { encodeUtf8, toHex } from '@evident/core/bytes.ts';
import { derivedId } from '@evident/core/derived-id.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { type LogRecord, SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Log, Proposal } from '../log/log.ts';
import type { AnchorKind, AnchorStore, StoredAnchor } from './ports.ts';

/** Type of the record by kind of anchor. */
export const ANCHOR_TYPES: Readonly<Record<AnchorKind, string>> = {
  timestamp: 'seal.timestamp',
  cosignature: 'seal.cosignature',
};
/** Anchors logged by one append. */
const LOGGED_AT_ONCE = 100;

/** Whether a record is one that only says that somebody vouched for a head. */
export function isAnchorRecord({ type, source }: Pick<LogRecord, 'type' | 'source'>): boolean {
  return source === SYSTEM_SOURCE && Object.values(ANCHOR_TYPES).includes(type);
}

export interface LogAnchorDeps {
  /** Name of the installation. */
  readonly name: string;
  readonly store: Pick<AnchorStore, 'unlogged' | 'markLogged'>;
  /** The log `heads`. */
  readonly heads: Pick<Log, 'appendOnce'>;
}

/**
 * Writes a record for each stored anchor that has none. What exists if the process dies between the steps:
 *
 *   1 the anchor is stored     an anchor without a record: the next call, at the latest at the next start, logs it
 *   2 its record is appended   the same; the id follows from the anchor, so that the next call meets a repeat
 *   3 it is marked as logged   nothing is left to do
 *
 * @throws partition-stopped, log-unavailable, outcome-unknown: nothing is lost, and it is done at the next call
 */
export async function logAnchors({ name, store, heads }: LogAnchorDeps): Promise<void> {
  for (;;) {
    const anchors = await store.unlogged(LOGGED_AT_ONCE);
    if (anchors.length === 0) return;
    const outcomes = await heads.appendOnce(anchors.map((anchor) => proposeAnchor(name, anchor)));
    for (const [index, anchor] of anchors.entries()) {
      const { kind, position } = outcomes[index];
      if (kind === 'reused') throw contradiction(anchor, position);
      await store.markLogged(anchor, position);
    }
    if (anchors.length < LOGGED_AT_ONCE) return;
  }
}

/** The id holds the hash of the anchor: another record under it was not written by us. */
function contradiction({ kind, by, size }: StoredAnchor, position: bigint): EvidentError {
  const detail = `position ${position} of heads/0 holds another record under the id of the ${kind} of ${by} over size ${size}`;
  return new EvidentError('evidence-broken', detail, { context: { log: 'heads', partition: 0, position } });
}

function proposeAnchor(name: string, { epoch, size, kind, by, bytes, at }: StoredAnchor): Proposal {
  const origin = epochOrigin(name, 'heads', 0, epoch);
  const digest = toHex(sha256(bytes));
  const body = encodeUtf8(
    JSON.stringify({ origin, size: size.toString(), by, at: formatInstant(at), sha256: digest }),
  );
  return {
    bodyHash: sha256(body),
    reused: 'refuse',
    record: {
      id: derivedId(`${ANCHOR_TYPES[kind]}:${origin}:${size}:${by}:${digest}`),
      tenant: SYSTEM_TENANT,
      source: SYSTEM_SOURCE,
      sourceSeq: null,
      type: ANCHOR_TYPES[kind],
      schema: 0,
      key: SYSTEM_TENANT,
      meta: null,
      body: { form: 'json', bytes: body },
    },
  };
}
