/** Rows as a mapping file tells them. */

import { decodeUtf8 } from '../bytes.ts';
import { isEvidentError } from '../errors.ts';
import { arrayElements, objectMembers } from '../json/scan.ts';
import type { LogRecord } from '../record.ts';
import { csvFields } from './csv-fields.ts';
import type { MappingFile, Rule, Test, Texts } from './mapping-file.ts';
import { mappingError, metaOf, readJson } from './read-json.ts';
import type { EventResult, EventRow } from './row.ts';
import { isObject, type JsonObject, rowText } from './row-text.ts';
import { type Field, type Template, templateText } from './template.ts';
import { unmappedRowOfCsv, unmappedRowOfJson } from './unmapped.ts';

/** What the templates of a file ask of a record. */
type LookUp = (field: Field) => unknown;
type TextOf = (field: Field) => string | null;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** @throws MappingError when the body is not JSON */
export function rowOfNdjson(file: MappingFile | null, record: LogRecord, body: Uint8Array): EventRow {
  const value = readJson(record, body);
  const row = file === null ? null : rowByRules(file, jsonText(record, body, value));
  return row ?? unmappedRowOfJson(value);
}

/**
 * Null for the header of a file.
 * @throws MappingError when the body is no record of CSV, or has another number of fields than there are columns
 */
export function rowOfCsv(file: MappingFile | null, record: LogRecord, body: Uint8Array): EventRow | null {
  const meta = metaOf(record);
  if (meta.part === 'header' && file?.header !== false) return null;
  const fields = csvFields(decoder.decode(body));
  if (typeof fields === 'string') throw mappingError(record, fields);
  const columns = file?.columns ?? columnsOf(meta.header);
  if (columns !== null && columns.length !== fields.length)
    throw mappingError(record, `it has ${fields.length} fields, and there are ${columns.length} columns`);
  // Without names of columns no rule can say anything, and no time be found.
  if (columns === null) return unmappedRowOfCsv([], fields);
  const row = file === null ? null : rowByRules(file, csvText(meta, columns, fields));
  return row ?? unmappedRowOfCsv(columns, fields);
}

/** All records of a file have one header: the last answer is nearly always the next one. */
let lastHeader: { readonly text: string; readonly columns: readonly string[] | null } = {
  text: '',
  columns: null,
};

/** The columns of a header that the importer recorded, or null if there is none that can be read. */
function columnsOf(header: unknown): readonly string[] | null {
  if (typeof header !== 'string' || header === '') return null;
  if (header !== lastHeader.text) {
    const columns = csvFields(header);
    lastHeader = { text: header, columns: typeof columns === 'string' ? null : columns };
  }
  return lastHeader.columns;
}

function csvText(meta: JsonObject, columns: readonly string[], fields: readonly string[]): TextOf {
  const lookUp: LookUp = (field) =>
    field.kind === 'column' ? fields[columns.indexOf(field.name)] : undefined;
  return textOf(() => meta, lookUp);
}

function jsonText(record: LogRecord, body: Uint8Array, value: unknown): TextOf {
  const lookUp: LookUp = (field) => {
    if (field.kind !== 'path') return undefined;
    const found = valueAt(value, field.steps);
    const isExact = typeof found !== 'number' || Math.abs(found) <= Number.MAX_SAFE_INTEGER;
    return isExact ? found : (numeralAt(body, field.steps) ?? found);
  };
  let meta: JsonObject | null = null;
  return textOf(() => {
    meta ??= metaOf(record);
    return meta;
  }, lookUp);
}

/** Texts, numbers and truth values; objects, lists and null are no text. */
function textOf(metaOnce: () => JsonObject, lookUp: LookUp): TextOf {
  return (field) => {
    if (field.kind !== 'meta') return scalarText(lookUp(field));
    const meta = metaOnce();
    return scalarText(Object.hasOwn(meta, field.name) ? meta[field.name] : undefined);
  };
}

function scalarText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}

/** What a JSON Pointer names; undefined if nothing. */
function valueAt(value: unknown, steps: readonly string[]): unknown {
  let at = value;
  for (const step of steps) {
    if (Array.isArray(at)) at = /^(?:0|[1-9]\d{0,8})$/.test(step) ? at[Number(step)] : undefined;
    else if (isObject(at) && Object.hasOwn(at, step)) at = at[step];
    else return undefined;
  }
  return at;
}

/** How a number is written that JSON.parse could not hold: an id of twenty digits is another id when it is rounded. */
function numeralAt(body: Uint8Array, steps: readonly string[]): string | null {
  let span: Span | null = [0, body.length];
  try {
    for (const step of steps) {
      if (span === null) return null;
      span = spanOf(body, span, step);
    }
  } catch (error) {
    // Deeper than the scanner goes.
    if (isEvidentError(error)) return null;
    throw error;
  }
  return span === null ? null : decodeUtf8(body.subarray(span[0], span[1]));
}

type Span = readonly [start: number, end: number];

/** Of members of one name the last counts, as in JSON.parse. */
function spanOf(body: Uint8Array, [start, end]: Span, step: string): Span | null {
  const found: Span[] = [];
  const options = { loneSurrogates: 'keep' } as const;
  const member = (name: string, from: number, to: number): void => {
    if (name === step) found[0] = [from, to];
  };
  const element = (from: number, to: number, index: number): void => {
    if (String(index) === step) found[0] = [from, to];
  };
  if (body[skipped(body, start)] === 0x7b) objectMembers(body, start, end, member, options);
  else arrayElements(body, start, end, element, options);
  return found[0] ?? null;
}

function skipped(body: Uint8Array, start: number): number {
  let at = start;
  while (body[at]! <= 0x20) at++;
  return at;
}

function rowByRules(file: MappingFile, text: TextOf): EventRow | null {
  const rule = file.rules.find(({ when }) => when.every((test) => holds(test, text)));
  if (rule === undefined) return null;
  return {
    eventTime: timeOf(rule, text),
    actorId: first(rule.actorId, text),
    actorType: first(rule.actorType, text),
    action: first(rule.action, text),
    resourceType: first(rule.resourceType, text),
    resourceId: first(rule.resourceId, text),
    result: resultOf(rule, text),
    correlationId: first(rule.correlation, text),
    ip: first(rule.ip, text),
    corrects: null,
    mapper: `${file.type}/${file.version}`,
  };
}

function holds(test: Test, text: TextOf): boolean {
  const found = templateText(test.text, text);
  if (found === null) return false;
  return test.in?.has(found) ?? test.begins!.some((beginning) => found.startsWith(beginning));
}

function firstText(texts: Texts, text: TextOf): string | null {
  for (const template of texts as readonly Template[]) {
    const found = templateText(template, text);
    if (found !== null) return found;
  }
  return null;
}

function first(texts: Texts, text: TextOf): string | null {
  return rowText(firstText(texts, text));
}

function timeOf(rule: Rule, text: TextOf): bigint | null {
  for (const { text: template, read } of rule.time) {
    const time = read(templateText(template, text));
    if (time !== null) return time;
  }
  return null;
}

function resultOf(rule: Rule, text: TextOf): EventResult | null {
  if (rule.result === null) return null;
  const found = firstText(rule.result.text, text);
  if (found === null) return rule.result.missing;
  const known = rule.result.values.get(found);
  return known === undefined ? rule.result.otherwise : known;
}
