/** The formats that can be imported: how a file of each is cut, and what is read of one of its records. */

import { objectMembers } from '@evident/core/json/scan.ts';
import { apacheFault } from './apache-line.ts';
import { faultIn, faultOf } from './json-fault.ts';
import type { Split } from './piece.ts';
import { splitCloudTrail } from './split-cloudtrail.ts';
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

export type ImportFormatName = 'cloudtrail' | 'apache' | 'ndjson';

export const FORMATS: Readonly<Record<ImportFormatName, ImportFormat>> = {
  cloudtrail: { type: 'cloudtrail', unit: 'element', split: splitCloudTrail, describe: describeCloudTrail },
  apache: { type: 'apache', unit: 'line', split: splitLines, describe: describeApache },
  ndjson: { type: 'ndjson', unit: 'line', split: splitLines, describe: describeNdjson },
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
    if (name === 'eventID') formatId = usableId(bytes, start, end);
  };
  const reason = faultOf(() => objectMembers(bytes, 0, bytes.length, note, { loneSurrogates: 'keep' }));
  if (reason !== '') return { parsed: false, reason };
  return formatId === undefined ? { parsed: true } : { parsed: true, formatId };
}

function usableId(bytes: Uint8Array, start: number, end: number): string | undefined {
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
  const fault = apacheFault(bytes);
  return fault === null ? { parsed: true } : { parsed: false, reason: fault };
}

/** Any strict JSON value is a record of an NDJSON file. */
function describeNdjson(bytes: Uint8Array): Description {
  const fault = faultIn(bytes);
  return fault === '' ? { parsed: true } : { parsed: false, reason: fault };
}
