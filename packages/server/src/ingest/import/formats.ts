/** The formats that can be imported: how a file of each is cut, and what is read of one of its records. */

import { objectMembers } from '@evident/core/json/scan.ts';
import { apacheFields } from '@evident/core/mapping/apache-line.ts';
import { csvFields } from '@evident/core/mapping/csv-fields.ts';
import { faultIn, faultOf } from './json-fault.ts';
import type { Split } from './piece.ts';
import { splitCloudTrail } from './split-cloudtrail.ts';
import { splitCsv } from './split-csv.ts';
import { splitFhir } from './split-fhir.ts';
import { splitLines } from './split-lines.ts';

/** What was read of a record. A record that is not what its format says is a record too. */
export type Description = { parsed: true; formatId?: string } | { parsed: false; reason: string };

export interface ImportFormat {
  /** The type of its records. */
  readonly type: ImportFormatName;
  /** What a piece is: the member of `meta` that holds its number. */
  readonly unit: 'line' | 'element';
  readonly split: Split;
  readonly describe: (bytes: Uint8Array) => Description;
}

export type ImportFormatName = 'cloudtrail' | 'apache' | 'k8s' | 'fhir' | 'ndjson' | 'csv';

export const FORMATS: Readonly<Record<ImportFormatName, ImportFormat>> = {
  cloudtrail: { type: 'cloudtrail', unit: 'element', split: splitCloudTrail, describe: describeCloudTrail },
  apache: { type: 'apache', unit: 'line', split: splitLines, describe: describeApache },
  k8s: { type: 'k8s', unit: 'line', split: splitLines, describe: describeK8s },
  fhir: { type: 'fhir', unit: 'element', split: splitFhir, describe: describeFhir },
  ndjson: { type: 'ndjson', unit: 'line', split: splitLines, describe: describeNdjson },
  csv: { type: 'csv', unit: 'line', split: splitCsv, describe: describeCsv },
};

export function isImportFormatName(name: string): name is ImportFormatName {
  return Object.hasOwn(FORMATS, name);
}

const FORMAT_ID_LENGTH_MAX = 200;
const decoder = new TextDecoder();

/** A CloudTrail event is a JSON object; its own id is `eventID`, if that is a string that `meta` can hold. */
function describeCloudTrail(bytes: Uint8Array): Description {
  let formatId: string | undefined;
  const note = (name: string, start: number, end: number): void => {
    if (name === 'eventID') formatId = usableText(bytes, start, end);
  };
  const reason = faultOf(() => objectMembers(bytes, 0, bytes.length, note, { loneSurrogates: 'keep' }));
  if (reason !== '') return { parsed: false, reason };
  return formatId === undefined ? { parsed: true } : { parsed: true, formatId };
}

function usableText(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (bytes[start] !== 0x22 || end - start > 6 * FORMAT_ID_LENGTH_MAX) return undefined;
  const id = JSON.parse(decoder.decode(bytes.subarray(start, end))) as string;
  const usable = id !== '' && id.length <= FORMAT_ID_LENGTH_MAX && id.isWellFormed() && !hasControl(id);
  return usable ? id : undefined;
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return true;
  return false;
}

function describeApache(bytes: Uint8Array): Description {
  const fields = apacheFields(bytes);
  return typeof fields === 'string' ? { parsed: false, reason: fields } : { parsed: true };
}

/** Any strict JSON value is a record of an NDJSON file. */
function describeNdjson(bytes: Uint8Array): Description {
  const fault = faultIn(bytes);
  return fault === '' ? { parsed: true } : { parsed: false, reason: fault };
}

/**
 * An event of the Kubernetes audit log, by what it says it is. Its `auditID` is no id of its own: all stages of a
 * request share it, and so do two API servers that the request passes.
 */
function describeK8s(bytes: Uint8Array): Description {
  const said = stringMembers(bytes, ['kind', 'apiVersion']);
  if (typeof said === 'string') return { parsed: false, reason: said };
  const isEvent = said.get('kind') === 'Event' && said.get('apiVersion')?.startsWith('audit.k8s.io/');
  return isEvent
    ? { parsed: true }
    : { parsed: false, reason: 'an object of the kind Event of audit.k8s.io is expected' };
}

/** An AuditEvent. Its `id` is known to one server only, and stays when it changes: it is no id of its own here. */
function describeFhir(bytes: Uint8Array): Description {
  const said = stringMembers(bytes, ['resourceType']);
  if (typeof said === 'string') return { parsed: false, reason: said };
  return said.get('resourceType') === 'AuditEvent'
    ? { parsed: true }
    : { parsed: false, reason: 'an object of the resourceType AuditEvent is expected' };
}

/** The short texts among these members of an object; or in words why the bytes are no object. */
function stringMembers(bytes: Uint8Array, names: readonly string[]): Map<string, string> | string {
  const found = new Map<string, string>();
  const note = (name: string, start: number, end: number): void => {
    if (!names.includes(name)) return;
    found.delete(name);
    const text = usableText(bytes, start, end);
    if (text !== undefined) found.set(name, text);
  };
  const fault = faultOf(() => objectMembers(bytes, 0, bytes.length, note, { loneSurrogates: 'keep' }));
  return fault === '' ? found : fault;
}

function describeCsv(bytes: Uint8Array): Description {
  const fields = csvFields(decoder.decode(bytes));
  return typeof fields === 'string' ? { parsed: false, reason: fields } : { parsed: true };
}
