/**
 * Ingest: batches of envelopes into the log (design §4). One request is one transaction; each item has a result
 * of its own; an item that is refused leaves no trace, and the others are taken.
 *
 * What a crash leaves: objects of large bodies that no record names (the same body finds them there), and
 * records whose acknowledgement was lost: sent again with the same ids they are answered as repeats.
 */

import { type ErrorCode, EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { Log, Outcome, Proposal } from '../log/log.ts';
import { type ObjectStore, propose } from '../log/propose.ts';
import {
  type Envelope,
  type ItemSpan,
  knownJsonForm,
  readEnvelope,
  splitJson,
  splitNdjson,
} from './envelope.ts';

export interface IngestDeps {
  readonly log: Log;
  readonly objects: ObjectStore;
}

export interface IngestRequest {
  readonly format: 'json' | 'ndjson';
  readonly bytes: Uint8Array;
  /** Whom the credential speaks for. */
  readonly tenant: string;
  /** API key id; becomes the records' source. */
  readonly source: string;
}

/** What became of one item, in the order of the request. */
export type ItemResult =
  | {
      readonly status: 'appended';
      readonly id: string;
      readonly partition: number;
      readonly position: string;
      readonly appended_at: string;
    }
  | { readonly status: 'repeat'; readonly id: string; readonly partition: number; readonly position: string }
  | {
      readonly status: 'refused';
      readonly id: string | null;
      readonly code: ErrorCode;
      readonly detail: string;
      readonly field: string | null;
    };

/**
 * @throws what concerns the whole request: json-invalid, batch-too-large, log-unavailable, outcome-unknown, …
 */
export async function ingest(deps: IngestDeps, request: IngestRequest): Promise<ItemResult[]> {
  const spans = request.format === 'json' ? splitJson(request.bytes) : splitNdjson(request.bytes);
  const items = spans.map((span) => readItem(request, span));
  const envelopes = items.filter((item): item is Envelope => 'body' in item);
  const proposals: Proposal[] = [];
  for (const envelope of envelopes) {
    proposals.push(await propose(deps.objects, envelope, knownJsonForm(envelope.body), request, 'refuse'));
  }
  const outcomes = proposals.length === 0 ? [] : await deps.log.appendOnce(proposals);
  let next = 0;
  return items.map((item) => ('body' in item ? resultOf(item.id, outcomes[next++], deps.log.name) : item));
}

function readItem(request: IngestRequest, span: ItemSpan): Envelope | ItemResult {
  try {
    return readEnvelope(request.bytes, span, request.tenant);
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    const field = typeof error.context.field === 'string' ? error.context.field : null;
    return { status: 'refused', id: null, code: error.code, detail: error.message, field };
  }
}

function resultOf(id: string, outcome: Outcome, log: string): ItemResult {
  const { partition } = outcome;
  const position = outcome.position.toString();
  switch (outcome.kind) {
    case 'appended':
      return { status: 'appended', id, partition, position, appended_at: formatInstant(outcome.appendedAt) };
    case 'repeat':
      return { status: 'repeat', id, partition, position };
    case 'reused': {
      const detail = `id: ${id} is at ${log}/${partition}/${position} already, with another body`;
      return { status: 'refused', id, code: 'id-reused', detail, field: 'id' };
    }
  }
}

/** Whether a batch as a whole was taken, was there, or was refused in part: decides the HTTP status. */
export function summarise(results: readonly ItemResult[]): {
  appended: number;
  repeats: number;
  refused: number;
} {
  const count = (status: ItemResult['status']) => results.filter((result) => result.status === status).length;
  return { appended: count('appended'), repeats: count('repeat'), refused: count('refused') };
}

/** A request without a single item is a mistake that the caller wants to hear of. */
export function refuseEmpty(results: readonly ItemResult[]): void {
  if (results.length === 0)
    throw new EvidentError('field-invalid', 'records: the request holds none', {
      context: { field: 'records' },
    });
}
