/** Everything that a filter finds, as a stream in one of four formats. */

import { hash } from 'node:crypto';
import { concatBytes, encodeUtf8, equalBytes, toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { cloudEventLine } from '@evident/core/shapes/cloudevents.ts';
import { toOcsf } from '@evident/core/shapes/ocsf.ts';
import { CSV_HEADER, csvLine } from './csv.ts';
import type { EventFilter } from './filter.ts';
import type { EventHit, EventPlace, QueryDeps, Reader } from './ports.ts';
import { noteFilter, openReadStream, VIEW_RESOURCE } from './record-read.ts';
import { checkTextSpan, completenessOf, tenantOfRead } from './scope.ts';
import { findPage, withCorrections } from './search.ts';
import { columnsJson } from './shown-event.ts';

export type ExportFormat = 'csv' | 'ndjson' | 'ocsf' | 'cloudevents';
export const EXPORT_FORMATS: readonly ExportFormat[] = ['csv', 'ndjson', 'ocsf', 'cloudevents'];
export const EXPORT_MEDIA_TYPES: Readonly<Record<ExportFormat, string>> = {
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson',
  ocsf: 'application/x-ndjson',
  cloudevents: 'application/x-ndjson',
};

/** Events of one query. */
const CHUNK_EVENTS = 500;
/** A piece is given out when it has this many bytes; one line more may be in it, which has at most 24 MiB. */
const PIECE_BYTES = 256 * 1024;

/**
 * The events that match, newest first, as pieces of whole lines. `csv` has one row an event, `ndjson` one line
 * `{"row":{…},"leaf":<leaf line>}` with the leaf byte for byte as the tree hashes it, `ocsf` and `cloudevents` one
 * object a line. A body in the object store is read for the latter two; where it is missing or damaged, a reference
 * `{"body_sha256":…,"body_size":…}` stands for it.
 *
 * The intent is durable before the first piece, then a record every 10,000 events, and the outcome at the end; where one
 * can't be written the stream breaks off with an error. A stream without that error is complete.
 * Each chunk is a query of its own: events that arrive meanwhile may be among them, and none is lost.
 *
 * @throws field-invalid, tenant-forbidden, read-unrecorded, query-too-slow, log-unavailable
 */
export async function* exportEvents(
  deps: QueryDeps,
  reader: Reader,
  filter: EventFilter,
  format: ExportFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (!EXPORT_FORMATS.includes(format))
    throw new EvidentError('field-invalid', `format: it is one of ${EXPORT_FORMATS.join(', ')}`, {
      context: { field: 'format' },
    });
  checkTextSpan(filter);
  const tenant = tenantOfRead(reader, filter.tenant);
  await completenessOf(deps, tenant, filter);
  const stream = await openReadStream(deps.recorder, reader, {
    action: 'audit.export',
    resource: VIEW_RESOURCE,
    tenant,
    details: { format, filter: noteFilter(filter) },
  });
  let failure: unknown = new Error('the reader has gone');
  try {
    if (format === 'csv') yield encodeUtf8(CSV_HEADER);
    for (let place: EventPlace | null = null; ; ) {
      const page = await findPage(deps.view, tenant, filter, place, CHUNK_EVENTS);
      await stream.advance(page.events.length);
      const hits = await withCorrections(deps.view, tenant, page.events);
      const places = page.events.map(({ tree, hit }) => ({ tree, position: hit.position }));
      const records = format === 'csv' ? [] : await deps.view.records(tenant, places);
      yield* piecesOf(linesOf(deps, format, hits, records));
      place = page.next;
      if (place === null) break;
    }
    failure = undefined;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    // Of two failures the first is told: if the log is down, the outcome can't be written either.
    const ending = stream.end(failure);
    await (failure === undefined ? ending : ending.catch(() => undefined));
  }
}

async function* linesOf(
  deps: QueryDeps,
  format: ExportFormat,
  hits: readonly EventHit[],
  records: readonly (LogRecord | null)[],
): AsyncGenerator<Uint8Array> {
  for (const [at, hit] of hits.entries()) {
    if (format === 'csv') {
      yield encodeUtf8(csvLine(hit));
      continue;
    }
    const record = records[at];
    if (record == null) {
      const { log, partition, position } = hit;
      throw new EvidentError('internal', `the log has no record ${log}/${partition}/${position}`, {
        context: { log, partition, position },
      });
    }
    if (format === 'ndjson') {
      yield concatBytes([
        encodeUtf8(`{"row":${JSON.stringify(rowOf(hit))},"leaf":`),
        leafOf(record),
        encodeUtf8('}\n'),
      ]);
      continue;
    }
    const [row, body] = [eventRowOf(hit), await bodyOf(deps, record)];
    yield encodeUtf8(
      format === 'ocsf'
        ? `${JSON.stringify(toOcsf(record, row, body))}\n`
        : `${cloudEventLine(record, row, body, deps.installation)}\n`,
    );
  }
}

/** Lines gathered into pieces, so that a stream isn't made of thousands of writes. */
async function* piecesOf(lines: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  for await (const line of lines) {
    gathered.push(line);
    bytes += line.length;
    if (bytes < PIECE_BYTES) continue;
    yield concatBytes(gathered);
    [gathered, bytes] = [[], 0];
  }
  if (bytes > 0) yield concatBytes(gathered);
}

/** The row as `ndjson` shows it: names of the CSV, times as text, numbers that don't fit as text. */
function rowOf(hit: EventHit): Record<string, unknown> {
  return {
    ...columnsJson(hit),
    mapper: hit.mapper,
    corrects: hit.corrects,
    corrected_by: hit.correctedBy,
  };
}

/** The row as the mapper made it. */
function eventRowOf(hit: EventHit): EventRow {
  const {
    actorId,
    actorType,
    action,
    resourceType,
    resourceId,
    result,
    correlationId,
    ip,
    corrects,
    mapper,
  } = hit;
  const eventTime = hit.timed ? hit.eventTime : null;
  return {
    eventTime,
    actorId,
    actorType,
    action,
    resourceType,
    resourceId,
    result,
    correlationId,
    ip,
    corrects,
    mapper,
  };
}

async function bodyOf({ bodies }: QueryDeps, { tenant, body }: LogRecord): Promise<Uint8Array> {
  if (body.form !== 'object') return body.bytes;
  const found = await bodies.get(tenant, body.sha256);
  if (found !== null && equalBytes(hash('sha256', found, 'buffer'), body.sha256)) return found;
  return encodeUtf8(JSON.stringify({ body_sha256: toHex(body.sha256), body_size: body.size.toString() }));
}
