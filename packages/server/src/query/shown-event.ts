/**
 * Answers as JSON: one shape for HTTP, the command line and what is exported. Positions are decimal text, instants RFC
 * 3339 in UTC with six decimal places.
 */

import { toHex } from '@evident/core/bytes.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import type { Bucket, Completeness, EventHit, SearchPage, ValueCount } from './ports.ts';
import type { ShownEvent } from './show.ts';

/** An event as the view shows it. */
export interface EventJson {
  readonly id: string;
  readonly tenant: string;
  readonly log: string;
  readonly partition: number;
  readonly position: string;
  readonly appended_at: string;
  readonly type: string;
  readonly mapper: string;
  readonly event_time: string;
  readonly timed: boolean;
  readonly drift_us: string | null;
  readonly actor_id: string | null;
  readonly actor_type: string | null;
  readonly action: string | null;
  readonly resource_type: string | null;
  readonly resource_id: string | null;
  readonly result: string | null;
  readonly correlation_id: string | null;
  readonly ip: string | null;
  readonly corrects: string | null;
  readonly corrected_by: readonly string[];
}

export interface CompleteJson {
  readonly generation: number;
  /** Open dead letters. */
  readonly lacking: number;
  /** Records of the log that the view has not read yet. */
  readonly behind: string;
  readonly partitions: readonly {
    readonly log: string;
    readonly partition: number;
    readonly read: string;
    readonly head: string;
  }[];
}

export interface ScanJson {
  readonly records: number;
  readonly bytes: number;
  readonly not_searched: number;
}

export interface PageJson {
  readonly events: readonly EventJson[];
  readonly cursor: string | null;
  readonly complete: CompleteJson;
  readonly scan: ScanJson | null;
}

export interface CountsJson {
  readonly by: string;
  readonly counts: readonly { readonly value: string | null; readonly count: number }[];
  readonly complete: CompleteJson;
}

export interface HistogramJson {
  readonly interval: string;
  readonly buckets: readonly { readonly start: string; readonly count: number }[];
  readonly complete: CompleteJson;
}

export interface ShownJson {
  readonly event: EventJson | null;
  readonly leaf: string;
  readonly leaf_hash: string;
  readonly corrections: readonly EventJson[];
}

/** Who did what, when and from where: the members that every answer has of an event, in one order. */
export function columnsJson(hit: EventHit) {
  return {
    event_time: instantText(hit.eventTime),
    timed: hit.timed,
    drift_us: hit.driftUs?.toString() ?? null,
    actor_id: hit.actorId,
    actor_type: hit.actorType,
    action: hit.action,
    resource_type: hit.resourceType,
    resource_id: hit.resourceId,
    result: hit.result,
    correlation_id: hit.correlationId,
    ip: hit.ip,
  };
}

export function eventJson(hit: EventHit): EventJson {
  return {
    id: hit.id,
    tenant: hit.tenant,
    log: hit.log,
    partition: hit.partition,
    position: hit.position.toString(),
    appended_at: instantText(hit.appendedAt),
    type: hit.type,
    mapper: hit.mapper,
    ...columnsJson(hit),
    corrects: hit.corrects,
    corrected_by: hit.correctedBy,
  };
}

export function completeJson({ generation, lacking, partitions }: Completeness): CompleteJson {
  // A head that was read before the checkpoint may lie below it.
  const behind = partitions.reduce((sum, { read, head }) => sum + (head > read ? head - read : 0n), 0n);
  return {
    generation,
    lacking,
    behind: behind.toString(),
    partitions: partitions.map(({ log, partition, read, head }) => ({
      log,
      partition,
      read: read.toString(),
      head: head.toString(),
    })),
  };
}

export function pageJson({ events, cursor, complete, scan }: SearchPage): PageJson {
  return {
    events: events.map(eventJson),
    cursor,
    complete: completeJson(complete),
    scan: scan === null ? null : { records: scan.records, bytes: scan.bytes, not_searched: scan.notSearched },
  };
}

export function countsJson(
  by: string,
  { counts, complete }: { readonly counts: readonly ValueCount[]; readonly complete: Completeness },
): CountsJson {
  return {
    by,
    counts: counts.map(({ value, count }) => ({ value, count: Number(count) })),
    complete: completeJson(complete),
  };
}

export function histogramJson(
  interval: string,
  { buckets, complete }: { readonly buckets: readonly Bucket[]; readonly complete: Completeness },
): HistogramJson {
  return {
    interval,
    buckets: buckets.map(({ start, count }) => ({ start: instantText(start), count: Number(count) })),
    complete: completeJson(complete),
  };
}

export function shownJson({ hit, record, corrections }: ShownEvent): ShownJson {
  const leaf = leafOf(record);
  return {
    event: hit === null ? null : eventJson(hit),
    leaf: Buffer.from(leaf).toString(),
    leaf_hash: toHex(hashLeaf(leaf)),
    corrections: corrections.map(eventJson),
  };
}
