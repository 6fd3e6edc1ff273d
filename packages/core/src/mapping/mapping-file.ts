/**
 * A mapping file: how records of one type become rows, told as data. docs/guides/mapping.md shows one.
 *
 *   {"mapping": 1, "type", "format": "ndjson" | "csv", "columns"?, "header"?, "rules": [rule, …]}
 *   rule  {"when"?: [test, …], "time"?, "actor"?: {"id", "type"?}, "action"?, "resource"?: {"id", "type"?},
 *          "result"?, "correlation"?, "ip"?}
 *
 * The first rule whose tests all hold makes the row; where none holds, the record is unmapped.
 */

import { encodeUtf8, toHex } from '../bytes.ts';
import { EvidentError } from '../errors.ts';
import { isReservedType } from '../record.ts';
import { sha256 } from '../sha256.ts';
import type { EventResult } from './row.ts';
import { isObject, type JsonObject } from './row-text.ts';
import { parseTemplate, type Template } from './template.ts';
import { type ReadTime, timeReader } from './time-format.ts';

/** Counts up when the same file gives other rows than before. */
const READER_VERSION = 1;

const RULES_MAX = 128;
const TESTS_MAX = 8;
const VALUES_MAX = 256;
const ALTERNATIVES_MAX = 8;
const COLUMNS_MAX = 1_024;
const TEXT_LENGTH_MAX = 256;

/** Alternatives: the first that gives a text counts. */
export type Texts = readonly Template[];

export interface Test {
  readonly text: Template;
  /** The text is one of these, or begins with one of these. */
  readonly in: ReadonlySet<string> | null;
  readonly begins: readonly string[] | null;
}

export interface Rule {
  readonly when: readonly Test[];
  readonly time: readonly { readonly text: Template; readonly read: ReadTime }[];
  readonly actorId: Texts;
  readonly actorType: Texts;
  readonly action: Texts;
  readonly resourceId: Texts;
  readonly resourceType: Texts;
  readonly result: {
    readonly text: Texts;
    readonly values: ReadonlyMap<string, EventResult | null>;
    /** For a text that is not among the values. */
    readonly otherwise: EventResult | null;
    /** Where the record has no text: some sources name errors only. */
    readonly missing: EventResult | null;
  } | null;
  readonly correlation: Texts;
  readonly ip: Texts;
}

export interface MappingFile {
  /** The type of the records that it maps. */
  readonly type: string;
  /** How their bodies are read. */
  readonly format: 'ndjson' | 'csv';
  /** First 16 hexadecimal digits of the SHA-256 of its content: the version of its rows. */
  readonly version: string;
  /** Names of the columns of CSV, instead of those that the importer found in the file. */
  readonly columns: readonly string[] | null;
  /** Whether the first record of a CSV file names the columns, and so has no row. */
  readonly header: boolean;
  readonly rules: readonly Rule[];
}

/**
 * Reads a mapping file that was parsed from JSON.
 * @throws field-invalid or field-unknown, naming the member
 */
export function parseMappingFile(json: unknown): MappingFile {
  const file = members(json, 'mapping file', ['mapping', 'type', 'format', 'columns', 'header', 'rules']);
  if (file.mapping !== 1) refuse('mapping', 'the number 1 is expected: the version of this format');
  const type = textMember(file, 'type', '');
  if (!/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(type) || isReservedType(type))
    refuse('type', "a type of records that are not Evident's own is expected");
  const { format } = file;
  if (format !== 'ndjson' && format !== 'csv') refuse('format', 'ndjson or csv is expected');
  if ((type === 'ndjson' || type === 'csv') && type !== format)
    refuse('format', `records of the type ${type} are ${type}`);
  if (format === 'ndjson' && (file.columns !== undefined || file.header !== undefined))
    refuse(file.columns === undefined ? 'header' : 'columns', 'only csv has columns');
  const columns = file.columns === undefined ? null : texts(file.columns, 'columns', COLUMNS_MAX);
  const header = file.header ?? true;
  if (typeof header !== 'boolean') refuse('header', 'true or false is expected');
  if (!header && columns === null) refuse('columns', 'they are expected where a file has no header');
  const rules = list(file.rules, 'rules', RULES_MAX).map((rule, i) => parseRule(rule, `rules[${i}]`, format));
  return { type, format, version: versionOf(json), columns, header, rules };
}

type Format = 'ndjson' | 'csv';

function parseRule(json: unknown, path: string, format: Format): Rule {
  const rule = members(json, path, [
    'when',
    'time',
    'actor',
    'action',
    'resource',
    'result',
    'correlation',
    'ip',
  ]);
  const actor = rule.actor === undefined ? {} : members(rule.actor, `${path}.actor`, ['id', 'type']);
  const resource =
    rule.resource === undefined ? {} : members(rule.resource, `${path}.resource`, ['id', 'type']);
  const templates = (value: unknown, name: string) => parseTexts(value, `${path}.${name}`, format);
  const tests = rule.when === undefined ? [] : list(rule.when, `${path}.when`, TESTS_MAX);
  const times = Array.isArray(rule.time) ? list(rule.time, `${path}.time`, ALTERNATIVES_MAX) : [rule.time];
  return {
    when: tests.map((test, i) => parseTest(test, `${path}.when[${i}]`, format)),
    time: rule.time === undefined ? [] : times.map((time, i) => parseTime(time, `${path}.time`, i, format)),
    actorId: templates(actor.id, 'actor.id'),
    actorType: templates(actor.type, 'actor.type'),
    action: templates(rule.action, 'action'),
    resourceId: templates(resource.id, 'resource.id'),
    resourceType: templates(resource.type, 'resource.type'),
    result: rule.result === undefined ? null : parseResult(rule.result, `${path}.result`, format),
    correlation: templates(rule.correlation, 'correlation'),
    ip: templates(rule.ip, 'ip'),
  };
}

function parseTest(json: unknown, path: string, format: Format): Test {
  const test = members(json, path, ['text', 'in', 'begins']);
  if ((test.in === undefined) === (test.begins === undefined))
    refuse(path, 'either in or begins is expected');
  return {
    text: template(test.text, `${path}.text`, format),
    in: test.in === undefined ? null : new Set(texts(test.in, `${path}.in`, VALUES_MAX)),
    begins: test.begins === undefined ? null : texts(test.begins, `${path}.begins`, VALUES_MAX),
  };
}

function parseTime(json: unknown, path: string, index: number, format: Format): Rule['time'][number] {
  const place = index === 0 ? path : `${path}[${index}]`;
  const time = members(json, place, ['text', 'format']);
  const read = timeReader(textMember(time, 'format', `${place}.`));
  if (typeof read === 'string') refuse(`${place}.format`, read);
  return { text: template(time.text, `${place}.text`, format), read };
}

function parseResult(json: unknown, path: string, format: Format): NonNullable<Rule['result']> {
  const result = members(json, path, ['text', 'values', 'otherwise', 'missing']);
  if (!isObject(result.values)) refuse(`${path}.values`, 'an object is expected');
  const entries = Object.entries(result.values);
  if (entries.length > VALUES_MAX) refuse(`${path}.values`, `at most ${VALUES_MAX} are expected`);
  const values = new Map(
    entries.map(([name, value]) => [name, resultValue(value, `${path}.values.${shown(name)}`)]),
  );
  if (result.text === undefined) refuse(`${path}.text`, 'it is missing');
  return {
    text: parseTexts(result.text, `${path}.text`, format),
    values,
    otherwise: resultValue(result.otherwise ?? null, `${path}.otherwise`),
    missing: resultValue(result.missing ?? null, `${path}.missing`),
  };
}

function resultValue(value: unknown, path: string): EventResult | null {
  if (value !== 'success' && value !== 'failure' && value !== 'denied' && value !== null)
    refuse(path, 'success, failure, denied or null is expected');
  return value;
}

function parseTexts(json: unknown, path: string, format: Format): Texts {
  if (json === undefined) return [];
  if (!Array.isArray(json)) return [template(json, path, format)];
  return list(json, path, ALTERNATIVES_MAX).map((one, i) => template(one, `${path}[${i}]`, format));
}

function template(json: unknown, path: string, format: Format): Template {
  if (typeof json !== 'string') refuse(path, 'a text is expected');
  const parsed = parseTemplate(json, format);
  if (typeof parsed === 'string') refuse(path, parsed);
  return parsed;
}

function list(json: unknown, path: string, lengthMax: number): readonly unknown[] {
  if (!Array.isArray(json) || json.length === 0 || json.length > lengthMax)
    refuse(path, `a list of 1 to ${lengthMax} is expected`);
  return json;
}

function texts(json: unknown, path: string, lengthMax: number): string[] {
  return list(json, path, lengthMax).map((one, i) => {
    if (typeof one !== 'string' || one.length > TEXT_LENGTH_MAX)
      refuse(`${path}[${i}]`, `a text of at most ${TEXT_LENGTH_MAX} characters is expected`);
    return one;
  });
}

function textMember(object: JsonObject, name: string, prefix: string): string {
  const value = object[name];
  if (typeof value !== 'string' || value.length > TEXT_LENGTH_MAX)
    refuse(`${prefix}${name}`, 'a text is expected');
  return value;
}

function members(json: unknown, path: string, known: readonly string[]): JsonObject {
  if (!isObject(json)) refuse(path, 'an object is expected');
  const unknown = Object.keys(json).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    const field = path === 'mapping file' ? shown(unknown) : `${path}.${shown(unknown)}`;
    const detail = `${field}: it is not known here; known are ${known.join(', ')}`;
    throw new EvidentError('field-unknown', detail, { context: { field } });
  }
  return json;
}

function shown(name: string): string {
  return name.slice(0, 64).toWellFormed();
}

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

/** White space and the order of members make no other version; everything else does. */
function versionOf(json: unknown): string {
  const text = `mapping file reader ${READER_VERSION}\n${canonical(json)}`;
  return toHex(sha256(encodeUtf8(text.toWellFormed()))).slice(0, 16);
}

/** JSON with the members of each object sorted by code unit. What was read strictly is only a few levels deep. */
function canonical(json: unknown): string {
  if (Array.isArray(json)) return `[${json.map(canonical).join(',')}]`;
  if (!isObject(json)) return JSON.stringify(json);
  const names = Object.keys(json).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(json[name])}`).join(',')}}`;
}
