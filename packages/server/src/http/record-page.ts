/** Pages of leaf lines, as an auditor is shown them. */

import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import type { Log } from '../log/log.ts';
import type { HttpLimits } from './limits.ts';

const LINE_FEED = Uint8Array.of(0x0a);

export interface RecordPage {
  /** Leaf lines, each with a line feed. */
  readonly bytes: Buffer;
  /** Where the next page begins: behind everything that was looked at, shown or not. */
  readonly next: bigint;
  /** Number of the lines. */
  readonly records: number;
}

interface PageRequest {
  readonly partition: number;
  readonly from: bigint;
  readonly limit: number;
  /** Whose records are shown; null shows all. */
  readonly tenant: string | null;
}

/** A position that the log no longer holds is refused: an answer that passed over it would look complete. */
export function refuseTrimmed(log: string, partition: number, from: bigint, first: bigint): void {
  if (from >= first) return;
  throw new EvidentError('position-trimmed', `from: ${log}/${partition} begins at position ${first} now`, {
    context: { field: 'from', log, partition, position: from },
  });
}

/** @param from position in decimal, or undefined for the first that the log holds */
export async function pageFrom(
  log: Log,
  asked: Omit<PageRequest, 'from'>,
  from: string | undefined,
  limits: HttpLimits,
): Promise<RecordPage> {
  const { first } = await log.head(asked.partition);
  const position = from === undefined ? first : BigInt(from);
  refuseTrimmed(log.name, asked.partition, position, first);
  return readPage(log, { ...asked, from: position }, limits);
}

/**
 * Reads records in small steps until the page is full by number or bytes, or the log ends, or (for one tenant among
 * many) enough positions were looked at.
 */
async function readPage(log: Log, asked: PageRequest, limits: HttpLimits): Promise<RecordPage> {
  const { partition, tenant } = asked;
  const scanEnd = asked.from + BigInt(limits.scanPositionsMax);
  const lines: Uint8Array[] = [];
  let shown = 0;
  let bytes = 0;
  let next = asked.from;
  const isFull = () => shown >= asked.limit || bytes >= limits.pageBytesMax || next >= scanEnd;
  while (!isFull()) {
    const records = await log.read(
      partition,
      next,
      Math.min(limits.readRecordsMax, tenant === null ? asked.limit - shown : limits.readRecordsMax),
    );
    if (records.length === 0) break;
    for (const record of records) {
      if (isFull()) break;
      next = record.position + 1n;
      if (tenant !== null && record.tenant !== tenant) continue;
      const leaf = leafOf(record);
      lines.push(leaf, LINE_FEED);
      shown++;
      bytes += leaf.length + 1;
    }
  }
  return { bytes: Buffer.concat(lines), next, records: shown };
}
