/** `evident map`: the rows that files would give, to write a mapping file by. Nothing is stored. */

import { createReadStream, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { type MapperRegistry, makeRegistry } from '@evident/core/mapping/registry.ts';
import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import { serialiseMeta } from '@evident/core/record.ts';
import type { ConfigInput } from '../config.ts';
import { FORMATS, type ImportFormatName, isImportFormatName } from '../ingest/import/formats.ts';
import { gunzipIfPacked } from '../ingest/import/gunzip.ts';
import { nodeHmacSha256 } from '../ingest/import/identity.ts';
import { type ImportedItem, importRecords } from '../ingest/import/import-records.ts';
import { registryOf } from '../mapping-files.ts';
import { EXIT } from './command-deps.ts';
import { printable } from './event-table.ts';
import { checkReadable } from './import.ts';
import type { Output } from './output.ts';
import { countOf } from './wording.ts';

export interface MapOptions {
  /** This mapping file and no other; null: those of the data directory. */
  readonly mapping: string | null;
  /** Rows and refusals that are shown, at most 10,000; all are counted. */
  readonly limit: number;
}

/** Records of a file that are read: enough to see by, and few enough to count their repeats in memory. */
const RECORDS_MAX = 1_000_000;
const MAPPING_BYTES_MAX = 1024 * 1024;
const SHOWN_MAX = 10_000;

interface Found {
  readonly rows: EventRow[];
  readonly refused: string[];
  readonly counts: { records: number; rows: number; unmapped: number; untimed: number; refused: number };
}

/** @returns 0 when every record has a row, or has none by rule */
export async function runMapCommand(
  input: ConfigInput,
  format: string,
  files: readonly string[],
  { mapping, limit }: MapOptions,
  output: Output,
): Promise<number> {
  if (!isImportFormatName(format)) {
    const known = Object.keys(FORMATS).join(', ');
    throw new EvidentError('usage-invalid', `there is no format ${format}; known are ${known}`);
  }
  const registry = mapping === null ? registryOf(input.data ?? './evident-data') : registryOfFile(mapping);
  for (const file of files) checkReadable(file);
  const counts = { records: 0, rows: 0, unmapped: 0, untimed: 0, refused: 0 };
  const found: Found = { rows: [], refused: [], counts };
  for (const file of files) await mapFile(registry, format, file, Math.min(limit, SHOWN_MAX), found);
  report(found, registry, output);
  return counts.refused === 0 ? EXIT.success : EXIT.failed;
}

function registryOfFile(path: string): MapperRegistry {
  try {
    if (statSync(path).size > MAPPING_BYTES_MAX)
      throw new Error(`it is larger than ${MAPPING_BYTES_MAX} bytes`);
    return makeRegistry([parseMappingFile(JSON.parse(readFileSync(path, 'utf8')))]);
  } catch (cause) {
    const detail = `the mapping file ${path}: ${(cause as Error).message}`;
    throw new EvidentError('usage-invalid', detail, { cause });
  }
}

async function mapFile(
  registry: MapperRegistry,
  format: ImportFormatName,
  file: string,
  limit: number,
  found: Found,
): Promise<void> {
  const source = gunzipIfPacked(createReadStream(file), file);
  const dependencies = {
    hmacSha256: nodeHmacSha256,
    // The ids are not shown.
    tenantSecret: new Uint8Array(32),
    openOccurrenceStore: (): never => {
      throw new EvidentError('usage-invalid', `${file} holds too many records to be looked at`);
    },
  };
  let records = 0;
  for await (const { items } of importRecords(dependencies, {
    format,
    tenant: 'default',
    source,
    fileName: basename(file),
  })) {
    for (const item of items) mapItem(registry, item, limit, found);
    records += items.length;
    if (records >= RECORDS_MAX) return;
  }
}

function mapItem(
  registry: MapperRegistry,
  item: ImportedItem,
  limit: number,
  { rows, refused, counts }: Found,
): void {
  counts.records++;
  try {
    const row = registry.rowOf(
      {
        ...item,
        ...{ log: 'audit', partition: 0, position: 0n, appendedAt: 0n, tenant: 'default', source: 'import' },
        meta: serialiseMeta(item.meta),
        body: { form: 'base64', bytes: item.body },
      },
      item.body,
    );
    if (row === null) return;
    counts.rows++;
    if (row.mapper === 'unmapped') counts.unmapped++;
    if (row.eventTime === null) counts.untimed++;
    if (rows.length < limit) rows.push(row);
  } catch (error) {
    if (!(error instanceof MappingError)) throw error;
    counts.refused++;
    if (refused.length < limit) refused.push(error.message);
  }
}

function report({ rows, refused, counts }: Found, registry: MapperRegistry, output: Output): void {
  const shown = rows.map((row) => ({
    ...row,
    eventTime: row.eventTime === null ? null : formatInstant(row.eventTime),
  }));
  output.result({ definition: registry.definition, counts, rows: shown, refused });
  const line = (text: string) => output.line(printable(text));
  for (const row of shown) {
    line(`${row.eventTime ?? 'no time'}  ${row.mapper}`);
    line(`  actor     ${pair(row.actorType, row.actorId)}`);
    line(`  action    ${row.action ?? '-'}`);
    line(`  resource  ${pair(row.resourceType, row.resourceId)}`);
    line(`  result    ${row.result ?? '-'}`);
    line(`  from      ${row.ip ?? '-'}   correlation ${row.correlationId ?? '-'}`);
  }
  for (const reason of refused) line(`REFUSED ${reason}`);
  // The number ends at the tenth column, whatever noun is behind it.
  const number = (value: number, one: string, many?: string) => {
    const text = countOf(value, one, many);
    return ' '.repeat(Math.max(0, 10 - text.indexOf(' '))) + text;
  };
  output.line(`${number(counts.records, 'record')}`);
  output.line(`${number(counts.rows, 'row')}, ${counts.unmapped.toLocaleString('en')} of them unmapped`);
  if (counts.untimed > 0) output.line(`${number(counts.untimed, 'row')} without a time of its own`);
  if (counts.refused > 0)
    output.line(`${number(counts.refused, 'refused', 'refused')}: dead letters in a view`);
}

function pair(type: string | null, id: string | null): string {
  return id === null ? '-' : type === null ? id : `${type} ${id}`;
}
