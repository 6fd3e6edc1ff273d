/** The log `heads`: one signed head over it covers every partition of every log (design §5). */

import { encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { headId } from '@evident/core/derived-id.ts';
import { type LogRecord, SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { type Log, type Proposal, READ_RECORDS_MAX } from '../log/log.ts';
import type { HeadStore } from './ports.ts';
import type { SealedHead } from './seal.ts';

/**
 * Lists heads in the log `heads`. The id follows from the head, so that listing again after a crash is a repeat.
 *
 * If we die between append and mark, the head is listed and its row does not say so: it would be thinned after 24 hours,
 * and evidence would lean on an earlier head. `markListedAgain` marks it at the next start.
 */
export async function listHeads(
  headsLog: Log,
  store: HeadStore,
  heads: readonly SealedHead[],
): Promise<void> {
  if (heads.length === 0) return;
  const outcomes = await headsLog.appendOnce(heads.map(proposeHead));
  const listed = heads.map((head, index) => ({ ...head, position: outcomes[index].position }));
  await mark(store, listed);
}

type ListedHead = Pick<SealedHead, 'log' | 'partition' | 'size'> & { readonly position: bigint };

async function mark(store: HeadStore, heads: readonly ListedHead[]): Promise<void> {
  for (const log of new Set(heads.map((head) => head.log))) {
    await store.markListed(
      log,
      heads.filter((head) => head.log === log),
    );
  }
}

/**
 * Marks what the end of the log `heads` lists: the heads of a listing that was appended before a crash, and not marked.
 * One listing holds each tree once, so its records are among the last ones.
 *
 * @param trees the tree of each origin that goes on now; heads of others are left as they are
 */
export async function markListedAgain(
  headsLog: Log,
  store: HeadStore,
  trees: ReadonlyMap<string, { readonly log: string; readonly partition: number }>,
): Promise<void> {
  const { first, next } = await headsLog.head(0);
  const count = Math.min(2 * trees.size + LAST_RECORDS_SPARE, READ_RECORDS_MAX);
  const from = next - BigInt(count) > first ? next - BigInt(count) : first;
  if (from >= next) return;
  const listed: ListedHead[] = [];
  for (const record of await headsLog.read(0, from, count)) {
    const head = readListed(record);
    const tree = head === null ? undefined : trees.get(head.origin);
    if (head !== null && tree !== undefined)
      listed.push({ ...tree, size: head.size, position: record.position });
  }
  await mark(store, listed);
}

/** Records of the log `heads` that list nothing: hours, anchors, keys. */
const LAST_RECORDS_SPARE = 64;

function readListed({ type, source, body }: LogRecord): { origin: string; size: bigint } | null {
  if (type !== 'head' || source !== SYSTEM_SOURCE || body.form !== 'json') return null;
  const { origin, size } = JSON.parse(new TextDecoder().decode(body.bytes)) as {
    origin: string;
    size: string;
  };
  return { origin, size: BigInt(size) };
}

function proposeHead({ origin, size, root }: SealedHead): Proposal {
  const bytes = encodeUtf8(JSON.stringify({ origin, size: size.toString(), root: toBase64(root) }));
  return {
    bodyHash: sha256(bytes),
    reused: 'refuse',
    record: {
      id: headId(origin, size, toBase64(root)),
      tenant: SYSTEM_TENANT,
      source: SYSTEM_SOURCE,
      sourceSeq: null,
      type: 'head',
      schema: 0,
      key: SYSTEM_TENANT,
      meta: null,
      body: { form: 'json', bytes },
    },
  };
}
