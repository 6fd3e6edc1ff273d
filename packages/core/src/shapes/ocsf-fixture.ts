/** Holds an event against the OCSF schema (extract in ocsf-fixture.json): for tests. */

import { readFileSync } from 'node:fs';

interface Attribute {
  readonly type: string;
  readonly requirement?: 'required' | 'recommended';
  readonly array?: boolean;
  readonly object?: string;
  readonly profiles?: readonly string[];
  /** The attribute that names in words what this one numbers. */
  readonly sibling?: string;
  readonly values?: Readonly<Record<string, string>>;
}

interface Shape {
  readonly uid?: number;
  readonly category_uid?: number;
  readonly caption: string;
  readonly at_least_one?: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

interface Schema {
  readonly version: string;
  readonly types: Readonly<
    Record<string, { type?: string; regex?: string; max_len?: number; range?: [number, number] }>
  >;
  readonly classes: Readonly<Record<string, Shape>>;
  readonly objects: Readonly<Record<string, Shape>>;
}

export const OCSF_SCHEMA = JSON.parse(
  readFileSync(new URL('ocsf-fixture.json', import.meta.url), 'utf8'),
) as Schema;

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is wrong with an event; empty where it is valid. */
export function ocsfFaults(event: unknown): string[] {
  if (!isObject(event)) return ['event: it is no object'];
  const found = Object.values(OCSF_SCHEMA.classes).find(({ uid }) => uid === event.class_uid);
  if (found === undefined) return [`class_uid: ${event.class_uid} is no class that is known here`];
  const metadata = isObject(event.metadata) ? event.metadata : {};
  const profiles = Array.isArray(metadata.profiles) ? metadata.profiles : [];
  const faults = shapeFaults(event, found, '', profiles);
  if (event.category_uid !== found.category_uid) faults.push('category_uid: not that of the class');
  if (event.type_uid !== found.uid! * 100 + Number(event.activity_id))
    faults.push('type_uid: not 100 times the class plus the activity');
  if (event.class_name !== found.caption) faults.push('class_name: not the caption of the class');
  if (metadata.version !== OCSF_SCHEMA.version)
    faults.push('metadata.version: not the version of the schema');
  return faults;
}

function shapeFaults(value: Json, shape: Shape, path: string, profiles: readonly unknown[]): string[] {
  const faults: string[] = [];
  for (const [name, attribute] of Object.entries(shape.attributes)) {
    const applies = attribute.profiles == null || attribute.profiles.some((one) => profiles.includes(one));
    if (attribute.requirement === 'required' && applies && value[name] === undefined)
      faults.push(`${path}${name}: it is required`);
  }
  for (const [name, member] of Object.entries(value)) {
    const attribute = Object.hasOwn(shape.attributes, name) ? shape.attributes[name] : undefined;
    if (attribute === undefined) {
      faults.push(`${path}${name}: ${shape.caption} has no such attribute`);
      continue;
    }
    if (attribute.profiles != null && !attribute.profiles.some((one) => profiles.includes(one)))
      faults.push(`${path}${name}: it needs a profile that metadata.profiles does not name`);
    faults.push(...attributeFaults(value, member, attribute, `${path}${name}`, profiles));
  }
  if (shape.at_least_one !== undefined && !shape.at_least_one.some((name) => value[name] !== undefined))
    faults.push(`${path.slice(0, -1)}: one of ${shape.at_least_one.join(', ')} is required`);
  return faults;
}

function attributeFaults(
  holder: Json,
  member: unknown,
  attribute: Attribute,
  path: string,
  profiles: readonly unknown[],
): string[] {
  if (attribute.array !== true) return valueFaults(holder, member, attribute, path, profiles);
  if (!Array.isArray(member)) return [`${path}: an array is expected`];
  return member.flatMap((one, index) => valueFaults(holder, one, attribute, `${path}[${index}]`, profiles));
}

function valueFaults(
  holder: Json,
  value: unknown,
  attribute: Attribute,
  path: string,
  profiles: readonly unknown[],
): string[] {
  if (attribute.type === 'object_t') {
    if (!isObject(value)) return [`${path}: an object is expected`];
    if (attribute.object === 'object') return [];
    const shape = OCSF_SCHEMA.objects[attribute.object!];
    if (shape === undefined) return [`${path}: the object ${attribute.object} is not in the extract`];
    return shapeFaults(value, shape, `${path}.`, profiles);
  }
  const faults = typeFaults(value, attribute.type, path);
  if (attribute.values !== undefined && !Object.hasOwn(attribute.values, String(value)))
    faults.push(`${path}: ${String(value)} is none of its values`);
  if (attribute.sibling !== undefined && attribute.values !== undefined) {
    const sibling = holder[attribute.sibling];
    const caption = attribute.values[String(value)];
    if (value === 99 && sibling === undefined) faults.push(`${path}: 99 needs ${attribute.sibling}`);
    if (value !== 99 && sibling !== undefined && sibling !== caption)
      faults.push(`${path}: ${attribute.sibling} is not ${caption}`);
  }
  return faults;
}

const kindOf = (type: string): string => OCSF_SCHEMA.types[type]?.type ?? type;

function typeFaults(value: unknown, type: string, path: string): string[] {
  const known = OCSF_SCHEMA.types[type];
  if (known === undefined) return [`${path}: the type ${type} is not in the extract`];
  switch (kindOf(type)) {
    case 'json_t':
      return [];
    case 'boolean_t':
      return typeof value === 'boolean' ? [] : [`${path}: a boolean is expected`];
    case 'integer_t':
    case 'long_t': {
      if (typeof value !== 'number' || !Number.isSafeInteger(value))
        return [`${path}: an integer is expected`];
      const [low, high] =
        known.range ?? (type === 'integer_t' ? [-(2 ** 31), 2 ** 31 - 1] : [-Infinity, Infinity]);
      return value < low || value > high ? [`${path}: ${value} is out of range`] : [];
    }
    case 'float_t':
      return typeof value === 'number' ? [] : [`${path}: a number is expected`];
    default: {
      if (typeof value !== 'string') return [`${path}: a string is expected`];
      if (known.max_len !== undefined && value.length > known.max_len) return [`${path}: it is too long`];
      return known.regex === undefined || new RegExp(known.regex).test(value)
        ? []
        : [`${path}: it is not of the form of ${type}`];
    }
  }
}
