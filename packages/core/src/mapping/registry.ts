/** Which mapper makes the row of a record: by the record's type. */

import { EvidentError } from '../errors.ts';
import { type LogRecord, SYSTEM_SOURCE } from '../record.ts';
import { apacheMapper } from './apache.ts';
import { auditEventMapper } from './audit-event-mapper.ts';
import { cloudTrailMapper } from './cloudtrail.ts';
import { fhirMapper } from './fhir.ts';
import { rowOfCsv, rowOfNdjson } from './file-mapper.ts';
import { k8sMapper } from './k8s.ts';
import type { MappingFile } from './mapping-file.ts';
import type { EventRow, Mapper } from './row.ts';
import { unmappedRow } from './unmapped.ts';

export interface MapperRegistry {
  /** Everything that rows are a function of beside the record: each mapper with its version, each mapping file with its hash. */
  readonly definition: string;
  /**
   * The row of a record, or null for one that has none: `log.*` of Evident itself, and the header of a CSV file.
   * @param body the bytes of the body, wherever they are stored
   * @throws MappingError when the record is not what its type says; nothing else, whatever the bytes
   */
  rowOf(record: LogRecord, body: Uint8Array): EventRow | null;
}

const BUILT_IN: readonly Mapper[] = [auditEventMapper, cloudTrailMapper, apacheMapper, k8sMapper, fhirMapper];
/** Version of the rows of records that nobody described. */
const UNMAPPED = 'unmapped/1';

/**
 * The built-in mappers and those of the mapping files.
 * @throws field-invalid when two files map one type, or one that has a mapper of its own
 */
export function makeRegistry(files: readonly MappingFile[] = []): MapperRegistry {
  const mappers = new Map<string, Mapper['map']>([
    ['ndjson', (record, body) => rowOfNdjson(null, record, body)],
    ['csv', (record, body) => rowOfCsv(null, record, body)],
  ]);
  const names = new Set(BUILT_IN.map(({ type }) => type));
  for (const { type, map } of BUILT_IN) mappers.set(type, map);
  for (const file of files) {
    if (names.has(file.type)) refuse(`${file.type} has a mapper already`);
    names.add(file.type);
    const rowOf = file.format === 'csv' ? rowOfCsv : rowOfNdjson;
    mappers.set(file.type, (record, body) => rowOf(file, record, body));
  }
  const versions = [
    UNMAPPED,
    ...BUILT_IN.map(({ type, version }) => `${type}/${version}`),
    ...files.map(({ type, version }) => `${type}/${version}`),
  ];
  return {
    definition: versions.sort().join(' '),
    rowOf(record, body) {
      // Honoured with the source of Evident only (design §3, Reserved).
      if (record.type.startsWith('log.') && record.source === SYSTEM_SOURCE) return null;
      const map = mappers.get(record.type);
      return map === undefined ? unmappedRow(body) : map(record, body);
    },
  };
}

function refuse(reason: string): never {
  throw new EvidentError('field-invalid', `type: ${reason}`, { context: { field: 'type' } });
}
