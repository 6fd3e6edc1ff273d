/** What is told beside a bundle, as headers of an answer: the bundle itself stays the same bytes. */

import { parseDecimal } from '@evident/core/checkpoint.ts';
import type { PlannedBundle } from './bundle.ts';

/** Names of the headers, lower case, and what each says. */
export const PLANNED_HEADERS = {
  'evident-head-size': 'Size of the head of heads/0 that the bundle ends in',
  'evident-newer-records':
    'Records that match, stood in the log when the bundle was asked for, and that this head does not cover: they are not in it',
  'evident-head-lacks':
    'With head=with-anchor: kinds of anchors that the configuration wants and this head lacks, such as cosignature; empty: none',
} as const;

const KINDS = ['timestamp', 'cosignature'] as const;

export function headersOfPlanned({
  headSize,
  newer,
  lacks,
}: PlannedBundle): Record<keyof typeof PLANNED_HEADERS, string> {
  return {
    'evident-head-size': headSize.toString(),
    'evident-newer-records': String(newer),
    'evident-head-lacks': lacks.join(', '),
  };
}

/** @returns null: an older server, or something between, did not say it */
export function plannedOfHeaders(headers: Pick<Headers, 'get'>): PlannedBundle | null {
  const headSize = parseDecimal(headers.get('evident-head-size') ?? '');
  const newer = parseDecimal(headers.get('evident-newer-records') ?? '');
  if (headSize === null || newer === null || newer > BigInt(Number.MAX_SAFE_INTEGER)) return null;
  const named = (headers.get('evident-head-lacks') ?? '').split(', ');
  return { headSize, newer: Number(newer), lacks: KINDS.filter((kind) => named.includes(kind)) };
}
