/** The log `heads`: one signed head over it covers every partition of every log (design §5). */

import { encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { headId } from '@evident/core/derived-id.ts';
import { SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Log, Proposal } from '../log/log.ts';
import type { HeadStore } from './ports.ts';
import type { SealedHead } from './seal.ts';

/**
 * Lists heads in the log `heads`. The id follows from the head, so that listing again after a crash is a repeat.
 *
 * If we die between append and mark, the head is listed but its row may be thinned after 24 hours: the record
 * still holds size and root, and listing at the next start marks it.
 */
export async function listHeads(
  headsLog: Log,
  store: HeadStore,
  heads: readonly SealedHead[],
): Promise<void> {
  if (heads.length === 0) return;
  await headsLog.appendOnce(heads.map(proposeHead));
  for (const log of new Set(heads.map((head) => head.log))) {
    await store.markListed(
      log,
      heads.filter((head) => head.log === log),
    );
  }
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
