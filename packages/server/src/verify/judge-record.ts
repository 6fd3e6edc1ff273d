/** One record of the log beside what a view made of it: the row and the dead letter at its place. */

import { hash } from 'node:crypto';
import { decodeUtf8, equalBytes } from '@evident/core/bytes.ts';
import type { MapperRegistry } from '@evident/core/mapping/registry.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import { type LogRecord, SYSTEM_SOURCE } from '@evident/core/record.ts';
import type { Log } from '../log/log.ts';
import { changedColumns } from '../project/compare.ts';
import { actionOf, deadLetterName, REFUSED_ROW, RESOLUTION_LOG } from '../project/dead-letters.ts';
import {
  comparePlaces,
  type DeadLetterMark,
  type GenerationSummary,
  showPlace,
  type ViewPlace,
  type ViewRow,
  type ViewSnapshot,
  viewRowOf,
} from '../project/view-snapshot.ts';
import type { Check, Finding } from './finding.ts';
import type { ObjectReader } from './ports.ts';

export interface JudgeDeps {
  readonly logs: readonly Log[];
  readonly objects: ObjectReader;
  readonly registry: MapperRegistry;
  /** Where an identity stands in a log: how the audit event of a resolution is found. */
  readonly findEvent: (log: string, tenant: string, id: string) => Promise<Omit<ViewPlace, 'log'> | null>;
}

export type Note = (
  verdict: Finding['verdict'],
  check: Check,
  place: ViewPlace,
  detail: string,
  id: string | null,
) => void;

/** What today's mapper makes of a record. */
type Mapped =
  | { readonly kind: 'row'; readonly row: EventRow }
  | { readonly kind: 'none' }
  | { readonly kind: 'invalid'; readonly reason: string }
  | { readonly kind: 'unreadable'; readonly reason: string };

export class RecordJudge {
  readonly #deps: JudgeDeps;
  readonly #snapshot: ViewSnapshot;
  readonly #generation: GenerationSummary;
  readonly #note: Note;
  /** Rows are a function of one definition, and it is this program's. */
  readonly #isPure: boolean;
  #otherMappers = 0;

  constructor(deps: JudgeDeps, snapshot: ViewSnapshot, generation: GenerationSummary, note: Note) {
    this.#deps = deps;
    this.#snapshot = snapshot;
    this.#generation = generation;
    this.#note = note;
    this.#isPure = generation.definition === deps.registry.definition;
  }

  /** Rows made by mappers that this program does not have: their record's fields are all that could be checked. */
  get otherMappers(): number {
    return this.#otherMappers;
  }

  /** @returns a promise only where something has to be read: most records need none */
  judge(record: LogRecord, row: ViewRow | null, letter: DeadLetterMark | null): Promise<void> | undefined {
    if (letter !== null) return this.#judgeLetter(record, row, letter);
    if (record.body.form === 'object') return this.#judgeStored(record, row, null);
    return this.#judgeMapped(record, row, null, this.#map(record, record.body.bytes));
  }

  async #judgeLetter(record: LogRecord, row: ViewRow | null, letter: DeadLetterMark): Promise<void> {
    if (letter.id !== record.id || letter.tenant !== record.tenant) {
      this.#note('tampered', 'view-dead-letter', letter, 'the dead letter names another record', record.id);
    }
    if (letter.resolution !== null) await this.#judgeResolution(letter);
    if (letter.class === 'poison' && letter.resolution !== 'replayed') {
      const detail = 'both a row and a dead letter that was not replayed stand here';
      if (row !== null) this.#note('tampered', 'view-dead-letter', letter, detail, record.id);
      // It ended or stalled a worker: mapping it here might end the verification.
      else if (letter.resolution === null)
        this.#note('not checked', 'view-dead-letter', letter, 'set aside as poison, and open', record.id);
      return;
    }
    await this.#judgeStored(record, row, letter);
  }

  /** A resolution hides a record for good, so it must be the one that an audit event tells of. */
  async #judgeResolution(letter: DeadLetterMark): Promise<void> {
    const complain = (detail: string): void =>
      this.#note(
        'tampered',
        'view-dead-letter',
        letter,
        `it is ${letter.resolution}, but ${detail}`,
        letter.id,
      );
    if (letter.eventId === null) return complain('names no audit event');
    // Identities are kept for a while, rows longer: what is found is read, and held against the letter, either way.
    const found =
      (await this.#deps.findEvent(RESOLUTION_LOG, letter.tenant, letter.eventId)) ??
      (await this.#snapshot.shownAt(
        this.#generation.generation,
        RESOLUTION_LOG,
        letter.tenant,
        letter.eventId,
      ));
    const event = found === null ? null : await this.#recordAt({ ...found, log: RESOLUTION_LOG });
    if (event === null) return complain(`its audit event ${letter.eventId} is not in the log`);
    if (event.id !== letter.eventId || event.source !== SYSTEM_SOURCE || !this.#tellsOf(event, letter))
      complain(`its audit event ${letter.eventId} tells of something else`);
  }

  #tellsOf({ body }: LogRecord, letter: DeadLetterMark): boolean {
    if (body.form !== 'json' || letter.resolution === null) return false;
    let told: { action?: unknown; resource?: { id?: unknown } | null } | null;
    try {
      told = JSON.parse(decodeUtf8(body.bytes) ?? 'null');
    } catch {
      return false;
    }
    return (
      told?.action === actionOf(letter.resolution) &&
      told.resource?.id === deadLetterName({ view: this.#snapshot.view, ...letter })
    );
  }

  async #judgeStored(record: LogRecord, row: ViewRow | null, letter: DeadLetterMark | null): Promise<void> {
    await this.#judgeMapped(record, row, letter, await this.#mapStored(record));
  }

  async #mapStored(record: LogRecord): Promise<Mapped> {
    if (record.body.form !== 'object') return this.#map(record, record.body.bytes);
    const { sha256 } = record.body;
    try {
      const body = await this.#deps.objects.get(record.tenant, sha256);
      if (body === null) return { kind: 'unreadable', reason: 'the object that holds its body is missing' };
      if (!equalBytes(hash('sha256', body, 'buffer'), sha256))
        return {
          kind: 'unreadable',
          reason: 'the object that holds its body is not the one that was recorded',
        };
      return this.#map(record, body);
    } catch (error) {
      return { kind: 'unreadable', reason: (error as Error).message };
    }
  }

  #map(record: LogRecord, body: Uint8Array): Mapped {
    try {
      const row = this.#deps.registry.rowOf(record, body);
      return row === null ? { kind: 'none' } : { kind: 'row', row };
    } catch (error) {
      return { kind: 'invalid', reason: (error as Error).message };
    }
  }

  #judgeMapped(
    record: LogRecord,
    row: ViewRow | null,
    letter: DeadLetterMark | null,
    mapped: Mapped,
  ): Promise<void> | undefined {
    const { id } = record;
    switch (mapped.kind) {
      case 'unreadable':
        this.#note('not checked', 'view-row', record, mapped.reason, id);
        return undefined;
      case 'none':
        if (row !== null)
          this.#differ('view-row-extra', record, 'a row stands here, but the record has none by rule');
        if (letter !== null)
          this.#differ(
            'view-dead-letter',
            record,
            'a dead letter stands here, but the record has no row by rule',
          );
        return undefined;
      case 'invalid':
        if (row !== null)
          this.#differ(
            'view-row-extra',
            record,
            `a row stands here, but the record can't be mapped: ${mapped.reason}`,
          );
        else if (letter === null || letter.resolution === 'replayed')
          this.#differ(
            'view-dead-letter',
            record,
            `no dead letter stands here, but the record can't be mapped: ${mapped.reason}`,
          );
        return undefined;
      case 'row':
        return row === null
          ? this.#judgeHidden(record, letter)
          : this.#judgeRow(record, row, letter, mapped.row);
    }
  }

  #judgeRow(record: LogRecord, row: ViewRow, letter: DeadLetterMark | null, mapped: EventRow): undefined {
    if (letter !== null && letter.resolution !== 'replayed') {
      const detail = 'both a row and a dead letter that was not replayed stand here';
      this.#note('tampered', 'view-dead-letter', letter, detail, record.id);
    }
    if (row.mapper !== mapped.mapper && !this.#isPure && this.#generation.definition.includes(row.mapper)) {
      this.#otherMappers++;
      return;
    }
    const columns = changedColumns(row, viewRowOf(record, mapped));
    if (columns.length > 0)
      this.#note(
        'tampered',
        'view-row',
        row,
        `the row is not what the record gives: ${columns.join(', ')}`,
        record.id,
      );
  }

  /** A record that gives a row, but none stands here: right only for a repeat, or another body under its identity. */
  async #judgeHidden(record: LogRecord, letter: DeadLetterMark | null): Promise<void> {
    const isSetAside = letter !== null && letter.resolution !== 'replayed';
    const first = await this.#shownBefore(record);
    if (first === null) {
      if (isSetAside && letter.error.startsWith(REFUSED_ROW))
        this.#note('not checked', 'view-dead-letter', record, `set aside because ${letter.error}`, record.id);
      else if (isSetAside)
        this.#differ(
          'view-dead-letter',
          record,
          'the record is set aside as a dead letter, but it gives a row',
        );
      else this.#differ('view-row-missing', record, 'the record gives a row, but none stands here');
      return;
    }
    const bodyHash = hashOf(record);
    const place = showPlace(first);
    // Of each other body the first record is the dead letter; what comes after it is a repeat.
    const isExpected =
      !equalBytes(hashOf(first), bodyHash) && !(await this.#isSetAsideBefore(record, bodyHash));
    if (isExpected && !isSetAside)
      this.#differ(
        'view-dead-letter',
        record,
        `no dead letter stands here, but ${place} has its identity and another body`,
      );
    if (!isExpected && isSetAside)
      this.#differ(
        'view-dead-letter',
        record,
        `a dead letter stands here, but the record repeats an earlier one; ${place} is shown`,
      );
  }

  /** The record that is shown for the identity of this one, if there is one and it stands before it. */
  async #shownBefore(record: LogRecord): Promise<LogRecord | null> {
    const { log, tenant, id } = record;
    const shown = await this.#snapshot.shownAt(this.#generation.generation, log, tenant, id);
    const first = shown === null || shown.log !== log ? null : await this.#recordAt(shown);
    if (first === null || first.tenant !== tenant || first.id !== id) return null;
    return compareOrder(first, record) < 0 ? first : null;
  }

  async #isSetAsideBefore(record: LogRecord, bodyHash: Uint8Array): Promise<boolean> {
    const { log, tenant, id } = record;
    for (const letter of await this.#snapshot.lettersOf(this.#generation.generation, log, tenant, id)) {
      if (comparePlaces(letter, record) === 0) continue;
      const other = await this.#recordAt(letter);
      if (
        other !== null &&
        other.tenant === tenant &&
        other.id === id &&
        compareOrder(other, record) < 0 &&
        equalBytes(hashOf(other), bodyHash)
      )
        return true;
    }
    return false;
  }

  async #recordAt({ log, partition, position }: ViewPlace): Promise<LogRecord | null> {
    const found = this.#deps.logs.find(({ name }) => name === log);
    if (found === undefined || partition >= found.partitions) return null;
    const [record] = await found.read(partition, position, 1);
    return record !== undefined && record.position === position ? record : null;
  }

  /** Wrong for today's mappers; whether it was wrong for those that made the generation is known only of their own. */
  #differ(check: Check, record: LogRecord, detail: string): void {
    if (this.#isPure) this.#note('tampered', check, record, detail, record.id);
    else
      this.#note(
        'not checked',
        check,
        record,
        `${detail} (this program maps otherwise than the generation was made)`,
        record.id,
      );
  }
}

/** Of records of one identity, the first by this order is shown. */
function compareOrder(a: LogRecord, b: LogRecord): number {
  if (a.appendedAt !== b.appendedAt) return a.appendedAt < b.appendedAt ? -1 : 1;
  return comparePlaces(a, b);
}

function hashOf({ body }: LogRecord): Uint8Array {
  return body.form === 'object' ? body.sha256 : hash('sha256', body.bytes, 'buffer');
}
