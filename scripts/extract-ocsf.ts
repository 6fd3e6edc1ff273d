/**
 * Writes the part of the OCSF schema that the tests of `core/src/shapes` hold events against: names, types and
 * requirements of the classes and objects used, without their descriptions.
 *
 *     node scripts/extract-ocsf.ts schema-1.8.0.json
 *
 * The input is what https://schema.ocsf.io/1.8.0/export/v2/schema answers (Apache-2.0).
 */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const TARGET = 'packages/core/src/shapes/ocsf-fixture.json';
const CLASSES = [
  'base_event',
  'account_change',
  'authentication',
  'entity_management',
  'user_access',
  'http_activity',
  'api_activity',
  'datastore_activity',
  'file_activity',
  'group_management',
];
const OBJECTS = [
  'account',
  'actor',
  'api',
  'cloud',
  'database',
  'databucket',
  'device',
  'file',
  'group',
  'http_request',
  'http_response',
  'managed_entity',
  'metadata',
  'network_endpoint',
  'object',
  'policy',
  'product',
  'request',
  'resource_details',
  'response',
  'service',
  'session',
  'table',
  'url',
  'user',
];

interface Attribute {
  type: string;
  requirement: string;
  is_array?: boolean;
  object_type?: string;
  enum?: Record<string, { caption: string }>;
  sibling?: string;
  profiles?: string[] | null;
}

interface Shape {
  uid?: number;
  category_uid?: number;
  caption: string;
  constraints?: Record<string, string[]>;
  attributes: Record<string, Attribute>;
}

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: node scripts/extract-ocsf.ts SCHEMA.json');
const bytes = readFileSync(file);
const schema = JSON.parse(bytes.toString());

/** One attribute as a short list: type, requirement, array, object, profiles, values. */
function shorten(attribute: Attribute) {
  const { type, requirement, is_array, object_type, profiles, enum: values, sibling } = attribute;
  return {
    type,
    ...(requirement === 'optional' ? {} : { requirement }),
    ...(is_array ? { array: true } : {}),
    ...(object_type === undefined ? {} : { object: object_type }),
    ...(profiles ? { profiles } : {}),
    ...(sibling === undefined ? {} : { sibling }),
    ...(values === undefined
      ? {}
      : {
          values: Object.fromEntries(Object.entries(values).map(([value, { caption }]) => [value, caption])),
        }),
  };
}

function reduce({ uid, category_uid, caption, constraints, attributes }: Shape) {
  return {
    ...(uid === undefined ? {} : { uid, category_uid }),
    caption,
    ...(constraints?.at_least_one ? { at_least_one: constraints.at_least_one } : {}),
    attributes: Object.fromEntries(Object.entries(attributes).map(([name, one]) => [name, shorten(one)])),
  };
}

const types = Object.fromEntries(
  Object.entries(
    schema.dictionary.types.attributes as Record<
      string,
      { type?: string; regex?: string; max_len?: number; range?: number[] }
    >,
  ).map(([name, { type, regex, max_len, range }]) => [name, { type, regex, max_len, range }]),
);
const pick = (shapes: Record<string, Shape>, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, reduce(shapes[name])]));

const extract = {
  about: 'Names, types and requirements from the OCSF schema, by scripts/extract-ocsf.ts',
  licence: 'Apache-2.0, https://github.com/ocsf/ocsf-schema',
  version: schema.version,
  sha256: createHash('sha256').update(bytes).digest('hex'),
  types,
  classes: pick(schema.classes, CLASSES),
  objects: pick(schema.objects, OBJECTS),
};
writeFileSync(TARGET, `${JSON.stringify(extract)}\n`);
