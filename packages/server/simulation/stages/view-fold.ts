/**
 * What a view must hold (I5), told from the log alone and from which of its dead letters were resolved. Beside it the
 * projections of the simulation: what a record is to them follows from its id.
 */

import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Projection } from '../../src/project/projection.ts';
import { type MemoryGeneration, type MemoryLetter, placeKey } from '../../src/stores/memory/view-store.ts';
import { demand } from '../violation.ts';
import type { World } from '../world.ts';

export const VIEW = 'hot';

export type Kind = 'row' | 'none' | 'bad' | 'refused' | 'poison';

/** `test/2` is the mapper that takes what `test/1` calls bad. */
export type Version = 1 | 2;

/**
 * What a record is to the projection: a function of its id, so that every body is of any kind.
 * @param isOperated more of them are bad where somebody resolves dead letters
 */
export function kindOf({ id }: LogRecord, isOperated: boolean): Kind {
  const n = Number.parseInt(id.slice(-2), 16);
  if (n === 0x77 || n === 0x93) return 'poison';
  const kinds = ['row', 'bad', 'refused', 'none', ...(isOperated ? (['bad', 'bad'] as const) : [])] as const;
  return kinds[n % 16] ?? 'row';
}

export const definitionOf = (version: Version): string => `test/${version}`;

/** @param onPoison ends the process that maps a poisonous record; readers have it from `touch` */
export function projectionOf(
  world: World,
  version: Version,
  onPoison: () => void = () => undefined,
): Projection {
  const isOperated = world.profile.operate !== null;
  return {
    name: VIEW,
    definition: definitionOf(version),
    onDeadLetter: 'skip',
    map: (record) => {
      const kind = kindOf(record, isOperated);
      if (kind === 'poison') onPoison();
      if (kind === 'bad' && version === 1) throw new MappingError('id: a bad one');
      if (kind === 'none') return null;
      return rowOf(record, kind === 'refused' ? 'a\u0000b' : 'fine', kind === 'bad' ? 'test/2' : 'test/1');
    },
  };
}

function rowOf({ id, tenant }: LogRecord, action: string, mapper: string): EventRow {
  return {
    eventTime: null,
    actorId: tenant,
    actorType: null,
    action,
    resourceType: null,
    resourceId: id,
    result: null,
    correlationId: null,
    ip: null,
    corrects: null,
    mapper,
  };
}

export const placeOf = ({ log, partition, position }: LogRecord): string => `${log}/${partition}/${position}`;
export const identityOf = ({ log, tenant, id }: LogRecord): string => `${log} ${tenant} ${id}`;

/** With its time: an older copy of the log may have held the same record there at another one. */
const shownOf = (record: LogRecord): string => `${placeOf(record)} at ${record.appendedAt} ${record.id}`;

export function liveOf(world: World): MemoryGeneration | undefined {
  const view = world.durable.views.get(VIEW);
  return view?.generations.get(view.live);
}

/** A letter that the store made, because another body of the identity stands before it. */
export const isReused = ({ error }: MemoryLetter): boolean => error.startsWith('id-reused: ');

/**
 * I5: rows are the fold of what was read, minus dead letters.
 * @param mayBePoison whether a record that did nothing may count as poison: enough processes died beside it
 */
export function checkGeneration(
  world: World,
  held: MemoryGeneration,
  mayBePoison: (record: LogRecord) => boolean,
): void {
  const isOperated = world.profile.operate !== null;
  const rows: string[] = [];
  const letters: string[] = [];
  const groups = new Map<string, LogRecord[]>();
  for (const { tree, log, partition } of world.trees) {
    const read = Number(held.checkpoints.get(tree)?.next ?? 0n);
    for (const record of world.durable.logs.get(log)?.partitions[partition].records.slice(0, read) ?? []) {
      if (record === null) continue;
      const own = held.letters.get(placeKey(tree, record.position));
      const became = becameOf(held, record, kindOf(record, isOperated), own, mayBePoison);
      if (became === 'row') {
        const identity = identityOf(record);
        groups.set(identity, [...(groups.get(identity) ?? []), record]);
      } else if (became !== 'none') letters.push(`${placeOf(record)} ${became}`);
    }
  }
  for (const group of groups.values()) settleGroup(group, rows, letters);
  const shown = [...held.rows.values()].map(({ record }) => shownOf(record));
  // One that was replayed is history: the record is shown, or another that says the same.
  const dead = [...held.letters.values()]
    .filter(({ resolution }) => resolution !== 'replayed')
    .map((letter) => `${placeOf(letter.record)} ${letter.class}`);
  demandSame('rows', shown, rows);
  demandSame('dead letters', dead, letters);
  for (const { record, row } of held.rows.values())
    demand(row.resourceId === record.id, 'I5', () => `the row of ${placeOf(record)} is another record's`);
}

function demandSame(what: string, held: readonly string[], told: readonly string[]): void {
  const [inView, inLog] = [new Set(held), new Set(told)];
  const extra = held.filter((one) => !inLog.has(one));
  const missing = told.filter((one) => !inView.has(one));
  demand(
    extra.length + missing.length === 0,
    'I5',
    () => `${what}: the view holds ${extra}, and the fold of the log does not; it lacks ${missing}`,
  );
}

/** What a record must have become to a generation, by itself: `row` is settled with others of its identity. */
function becameOf(
  { definition }: MemoryGeneration,
  record: LogRecord,
  kind: Kind,
  own: MemoryLetter | undefined,
  mayBePoison: (record: LogRecord) => boolean,
): 'row' | 'none' | 'validation' | 'poison' {
  if (kind === 'poison') return 'poison';
  if (own?.class === 'poison' && own.resolution !== 'replayed') {
    demand(mayBePoison(record), 'no false alarm', () => `${placeOf(record)} counts as poison`);
    return 'poison';
  }
  if (kind === 'refused') return 'validation';
  if (kind === 'bad') return badOf(definition, own);
  return kind === 'none' ? 'none' : 'row';
}

/** Rows by `test/1` are the fold of a mapper that refuses it; where both have made rows, either was at work. */
function badOf(definition: string, own: MemoryLetter | undefined): 'row' | 'validation' {
  if (definition === definitionOf(1)) return 'validation';
  if (definition === definitionOf(2)) return 'row';
  return own === undefined || isReused(own) || own.resolution === 'replayed' ? 'row' : 'validation';
}

function earlier(a: LogRecord, b: LogRecord): number {
  if (a.appendedAt !== b.appendedAt) return a.appendedAt < b.appendedAt ? -1 : 1;
  return a.partition - b.partition || Number(a.position - b.position);
}

/** Of one identity: the first is shown, and the first of each other body is a dead letter. */
function settleGroup(group: LogRecord[], rows: string[], letters: string[]): void {
  const bodies = new Set<string>();
  for (const record of group.sort(earlier)) {
    const { body } = record;
    const text = Buffer.from(body.form === 'object' ? body.sha256 : body.bytes).toString('hex');
    if (bodies.has(text)) continue;
    if (bodies.size === 0) rows.push(shownOf(record));
    else letters.push(`${placeOf(record)} validation`);
    bodies.add(text);
  }
}
