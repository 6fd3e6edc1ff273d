/**
 * The digest of a generation: one SHA-256 that two builds of the same records under the same definition share, whatever
 * the size of their batches and the order in which partitions were read (I6).
 *
 *   evident view digest 1\n
 *   ["row", log, partition, "position", "appended_at", id, tenant, type, mapper, "event_time", timed, actor id,
 *    actor type, action, resource type, resource id, result, correlation id, corrects]\n        one line a row
 *   ["dead letter", log, partition, "position", class]\n        those that were replayed excepted: their row is there
 *
 * JSON without spaces as JSON.stringify writes it; rows, then dead letters, each in (log, partition, position) order;
 * times in microseconds since the Unix epoch, decimal. The address that an event came from is personal and not in it.
 */

import { createHash, type Hash } from 'node:crypto';
import type { DeadLetterMark, ViewRow, ViewSnapshot } from './view-snapshot.ts';

export interface ViewDigest {
  /** 64 lower-case hex digits. */
  readonly digest: string;
  readonly rows: number;
  /** Dead letters that count: open, discarded and manual ones. */
  readonly deadLetters: number;
}

const HEADER = 'evident view digest 1\n';

/** The line that stands for a row. */
export function rowLine(row: ViewRow): string {
  return `${JSON.stringify([
    'row',
    row.log,
    row.partition,
    row.position.toString(),
    row.appendedAt.toString(),
    row.id,
    row.tenant,
    row.type,
    row.mapper,
    row.eventTime.toString(),
    row.timed,
    row.actorId,
    row.actorType,
    row.action,
    row.resourceType,
    row.resourceId,
    row.result,
    row.correlationId,
    row.corrects,
  ])}\n`;
}

function deadLetterLine({ log, partition, position, class: kind }: DeadLetterMark): string {
  return `${JSON.stringify(['dead letter', log, partition, position.toString(), kind])}\n`;
}

/** Takes rows, then dead letters, each in order. */
export class Digester {
  readonly #hash: Hash = createHash('sha256').update(HEADER);
  #rows = 0;
  #deadLetters = 0;

  addRow(row: ViewRow): void {
    this.#hash.update(rowLine(row));
    this.#rows++;
  }

  addDeadLetter(letter: DeadLetterMark): void {
    if (letter.resolution === 'replayed') return;
    this.#hash.update(deadLetterLine(letter));
    this.#deadLetters++;
  }

  finish(): ViewDigest {
    return { digest: this.#hash.digest('hex'), rows: this.#rows, deadLetters: this.#deadLetters };
  }
}

/** The digest of all that a generation holds. Memory: one batch. */
export async function digestGeneration(snapshot: ViewSnapshot, generation: number): Promise<ViewDigest> {
  const digester = new Digester();
  for await (const rows of snapshot.rows(generation)) for (const row of rows) digester.addRow(row);
  for await (const letters of snapshot.deadLetters(generation))
    for (const letter of letters) digester.addDeadLetter(letter);
  return digester.finish();
}
