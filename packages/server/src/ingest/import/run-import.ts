/**
 * Runs an import: files of a foreign format into the log, one record a piece. Running it again appends nothing
 * that is there: ids follow from the content.
 *
 * What a crash leaves: the batches that were appended. The same import, run again, counts them as repeated.
 */

import { jsonBodyForm } from '@evident/core/json/scan.ts';
import { serialiseMeta } from '@evident/core/record.ts';
import { propose } from '../../log/propose.ts';
import type { IngestDeps } from '../ingest.ts';
import {
  type ImportBatch,
  type ImportCounts,
  type ImportDependencies,
  type ImportInput,
  importRecords,
  isUnparsed,
  noImportCounts,
  type RefusedPiece,
} from './import-records.ts';

export interface ImportReport {
  readonly counts: ImportCounts;
  /** The first pieces that were too large to be records. */
  readonly refused: RefusedPiece[];
}

/** Most refused pieces that a report names; all are counted. */
const REFUSED_NAMED_MAX = 100;

/**
 * @param runId names this run in the records' source
 * @param onProgress called after each batch
 */
export async function runImport(
  deps: IngestDeps & ImportDependencies,
  input: ImportInput & { readonly runId: string },
  onProgress: (counts: ImportCounts) => void = () => undefined,
): Promise<ImportReport> {
  const counts = noImportCounts();
  const refused: RefusedPiece[] = [];
  for await (const batch of importRecords(deps, input)) {
    await appendBatch(deps, input, batch, counts);
    counts.refused += batch.refused.length;
    refused.push(...batch.refused.slice(0, REFUSED_NAMED_MAX - refused.length));
    onProgress(counts);
  }
  return { counts, refused };
}

async function appendBatch(
  deps: IngestDeps,
  input: ImportInput & { runId: string },
  { items }: ImportBatch,
  counts: ImportCounts,
): Promise<void> {
  const from = { tenant: input.tenant, source: `import:${input.runId}` };
  const proposals = [];
  for (const item of items) {
    const envelope = { ...item, meta: serialiseMeta(item.meta) };
    proposals.push(await propose(deps.objects, envelope, jsonBodyForm(item.body), from, 'take'));
    if (isUnparsed(item)) counts.unparsed++;
  }
  for (const outcome of proposals.length === 0 ? [] : await deps.log.appendOnce(proposals)) {
    if (outcome.kind === 'appended') counts.taken++;
    else if (outcome.kind === 'repeat') counts.repeated++;
    else counts.reused++;
  }
}
