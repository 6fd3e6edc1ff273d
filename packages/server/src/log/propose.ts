/** From what a writer sends to what the log takes: every way into the log proposes its records here. */

import { hash } from 'node:crypto';
import { type Body, bodyInlineBytesMax } from '@evident/core/record.ts';
import type { Proposal } from './log.ts';

/** Bodies that do not fit into a leaf. */
export interface ObjectStore {
  /** Resolves when the body is durable under its hash. */
  put(tenant: string, sha256: Uint8Array, body: Uint8Array): Promise<void>;
}

/** What a writer says of one record. */
export interface ProposedItem {
  readonly id: string;
  readonly type: string;
  readonly key: string;
  readonly schema: number;
  readonly meta: string | null;
  readonly body: Uint8Array;
  readonly sourceSeq?: string;
}

/**
 * Makes the proposal of a record. A body that does not fit into the leaf is durable in the object store before the
 * record that names it exists.
 */
export async function propose(
  objects: ObjectStore,
  item: ProposedItem,
  form: 'json' | 'base64',
  from: { tenant: string; source: string },
  reused: Proposal['reused'],
): Promise<Proposal> {
  const bodyHash = hash('sha256', item.body, 'buffer');
  let body: Body = { form, bytes: item.body };
  if (item.body.length > bodyInlineBytesMax(form)) {
    await objects.put(from.tenant, bodyHash, item.body);
    body = { form: 'object', sha256: bodyHash, size: BigInt(item.body.length) };
  }
  return {
    bodyHash,
    reused,
    record: {
      id: item.id,
      tenant: from.tenant,
      source: from.source,
      sourceSeq: item.sourceSeq ?? null,
      type: item.type,
      schema: item.schema,
      key: item.key,
      meta: item.meta,
      body,
    },
  };
}
