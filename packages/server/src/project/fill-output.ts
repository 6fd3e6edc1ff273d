/** Records into rows and dead letters: everything of a batch that is not storing it. */

import { hash } from 'node:crypto';
import { equalBytes } from '@evident/core/bytes.ts';
import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import { type LogRecord, SYSTEM_SOURCE } from '@evident/core/record.ts';
import type { Breaker } from './breaker.ts';
import type { BodyReader, DeadLetter, Output, Span, Suspect } from './ports.ts';
import type { Projection } from './projection.ts';

/** Consecutive records of one partition, and the span of positions that they stand for. */
export interface Part {
  readonly tree: number;
  readonly from: bigint;
  readonly to: bigint;
  readonly records: readonly LogRecord[];
}

/** What is committed of a part. */
export function spanOf({ tree, from, to, records }: Part): Span {
  return { tree, from, to, last: records.at(-1) ?? null };
}

/** Drift between an event's own time and the log's that is worth counting. */
const DRIFT_US = 1_000_000n;
/** Sources of which a batch counts the drift. */
const DRIFT_SOURCES_MAX = 100;
/** A record that ended or stalled the worker so often is isolated. */
export const POISON_ATTEMPTS = 3;

export interface Drift {
  events: number;
  /** The largest, in microseconds: negative when the event says a later time than the log. */
  mostUs: bigint;
}

/** What a batch came to. */
export interface Tally {
  records: number;
  rows: number;
  validation: number;
  poison: number;
  /** Events whose own time and the log's lie over a second apart, by source; imports are late by nature, and left out. */
  readonly drift: Map<string, Drift>;
}

export const newTally = (): Tally => ({ records: 0, rows: 0, validation: 0, poison: 0, drift: new Map() });

export interface FillDeps {
  readonly projection: Projection;
  readonly bodies: BodyReader;
  /** Notes which record is worked on, for whoever watches from outside; null: none. */
  readonly touch: (tree: number, position: bigint) => void;
  readonly untouch: () => void;
  readonly breaker: Breaker;
  /** Records that the store refused to take the rows of. */
  readonly refused: ReadonlyMap<LogRecord, Error>;
  /** What is known of a record that ended or stalled a worker before. */
  readonly suspectAt: (tree: number, position: bigint) => Suspect | undefined;
  /** Keys that wait for a dead letter, as `<tree> <key>`; a dead letter of a projection that halts keys is added. */
  readonly haltedKeys: Set<string>;
}

/** @returns the parts as they are to be committed: a partition that halts ends before its dead letter */
export async function fillOutput(
  deps: FillDeps,
  parts: readonly Part[],
  output: Output,
  tally: Tally,
): Promise<Part[]> {
  const filled: Part[] = [];
  try {
    for (const part of parts) filled.push(await fillPart(deps, part, output, tally));
  } finally {
    deps.untouch();
  }
  return filled;
}

async function fillPart(deps: FillDeps, part: Part, output: Output, tally: Tally): Promise<Part> {
  const { projection, breaker } = deps;
  const { tree } = part;
  for (const record of part.records) {
    let made = mapRecord(deps, tree, record);
    if (made === 'elsewhere') {
      deps.untouch();
      const body = await readBody(deps.bodies, record);
      deps.touch(tree, record.position);
      made = body instanceof Error ? letterOf(record, body) : tryMap(projection, record, body);
    }
    tally.records++;
    if (made === null) continue;
    if ('class' in made) {
      output.addDeadLetter(tree, made);
      tally[made.class]++;
      if (made.class === 'validation' && !(made.cause instanceof Halted))
        breaker.letter(record.type, record.source, made.cause instanceof MappingError, made.error);
      if (projection.onDeadLetter === 'haltKey') deps.haltedKeys.add(`${tree} ${record.key}`);
      if (projection.onDeadLetter === 'haltPartition')
        return { ...part, to: record.position, records: part.records.slice(0, part.records.indexOf(record)) };
    } else {
      output.addRow(tree, record, made);
      tally.rows++;
      breaker.row(record.type);
      if (made.eventTime !== null) countDrift(tally, record, made.eventTime);
    }
  }
  return part;
}

interface MadeLetter extends DeadLetter {
  readonly cause: unknown;
}

/** A record whose key waits for an earlier dead letter. */
class Halted extends Error {
  override readonly name = 'Halted';
}

function mapRecord(
  deps: FillDeps,
  tree: number,
  record: LogRecord,
): EventRow | MadeLetter | null | 'elsewhere' {
  const { body, position } = record;
  const suspect = deps.suspectAt(tree, position);
  if (suspect !== undefined && suspect.attempts >= POISON_ATTEMPTS) return poisonLetter(record, suspect);
  const refused = deps.refused.get(record);
  if (refused !== undefined) return letterOf(record, refused);
  if (deps.haltedKeys.size > 0 && deps.haltedKeys.has(`${tree} ${record.key}`))
    return letterOf(record, new Halted('halted: an earlier record of this key is an open dead letter'));
  if (body.form === 'object') return 'elsewhere';
  deps.touch(tree, position);
  return tryMap(deps.projection, record, body.bytes);
}

function tryMap(projection: Projection, record: LogRecord, body: Uint8Array): EventRow | MadeLetter | null {
  try {
    return projection.map(record, body);
  } catch (error) {
    return letterOf(record, error);
  }
}

function letterOf(record: LogRecord, cause: unknown): MadeLetter {
  const error = cause instanceof Error ? cause.message : String(cause);
  const stack = cause instanceof Error && cause.stack !== undefined ? cause.stack : null;
  return { record, class: 'validation', error, stack, attempts: 1, firstAt: null, lastAt: null, cause };
}

function poisonLetter(record: LogRecord, { attempts, firstAt, lastAt, error }: Suspect): MadeLetter {
  return { record, class: 'poison', error, stack: null, attempts, firstAt, lastAt, cause: null };
}

/** @returns an error when the body is lost: the object is durable before its record, so it will not come by waiting */
async function readBody(bodies: BodyReader, { tenant, body }: LogRecord): Promise<Uint8Array | MappingError> {
  if (body.form !== 'object') return body.bytes;
  const bytes = await bodies.get(tenant, body.sha256);
  if (bytes === null) return new MappingError('body: it is not in the object store');
  if (!equalBytes(hash('sha256', bytes, 'buffer'), body.sha256))
    return new MappingError('body: what the object store holds has another SHA-256');
  return bytes;
}

function countDrift({ drift }: Tally, { source, appendedAt }: LogRecord, eventTime: bigint): void {
  const by = appendedAt - eventTime;
  if (by <= DRIFT_US && by >= -DRIFT_US) return;
  if (source.startsWith('import:') || source === SYSTEM_SOURCE) return;
  const known = drift.get(source);
  if (known === undefined) {
    if (drift.size < DRIFT_SOURCES_MAX) drift.set(source, { events: 1, mostUs: by });
    return;
  }
  known.events++;
  if (magnitude(by) > magnitude(known.mostUs)) known.mostUs = by;
}

const magnitude = (value: bigint): bigint => (value < 0n ? -value : value);
