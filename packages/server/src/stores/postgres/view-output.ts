/** Rows and dead letters of one batch, as the arrays of evident.project_batch. */

import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { DeadLetter, Output } from '../../project/ports.ts';
import { ArrayColumn, TIMESTAMPTZ_OID, textColumn } from './array-column.ts';
import { OID } from './binary.ts';
import { RowRecord } from './row-record.ts';

const makeRowColumns = () => ({
  slot: new ArrayColumn(OID.int4),
  position: new ArrayColumn(OID.int8),
  appended: new ArrayColumn(TIMESTAMPTZ_OID),
  time: new ArrayColumn(TIMESTAMPTZ_OID),
  timed: new ArrayColumn(OID.bool),
  id: new ArrayColumn(OID.uuid),
  tenant: textColumn(),
  type: textColumn(),
  mapper: textColumn(),
  actor: textColumn(),
  actorType: textColumn(),
  action: textColumn(),
  resourceType: textColumn(),
  resource: textColumn(),
  result: textColumn(),
  correlation: textColumn(),
  ip: textColumn(),
  corrects: new ArrayColumn(OID.uuid),
});

const makeLetterColumns = () => ({
  slot: new ArrayColumn(OID.int4),
  position: new ArrayColumn(OID.int8),
  id: new ArrayColumn(OID.uuid),
  tenant: textColumn(),
  type: textColumn(),
  class: textColumn(),
  error: textColumn(),
  stack: textColumn(),
  attempts: new ArrayColumn(OID.int4),
  first: new ArrayColumn(TIMESTAMPTZ_OID),
  last: new ArrayColumn(TIMESTAMPTZ_OID),
});

/** Texts of a dead letter are cut before they are sent; the database cuts them to what it keeps. */
const LETTER_TEXT_MAX = 8_000;

/** PostgreSQL's text holds no U+0000, and an error may quote what it found. */
const storable = (text: string): string =>
  text.slice(0, LETTER_TEXT_MAX).toWellFormed().replaceAll('\u0000', '\ufffd');

export class PostgresOutput implements Output {
  readonly #rows = makeRowColumns();
  readonly #letters = makeLetterColumns();
  /** Slot of each tree in the call: given in the order in which trees come, numbered again when the spans are known. */
  readonly #slots = new Map<number, number>();
  rows = 0;
  letters = 0;

  /** Makes it empty again: buffers are kept. */
  reset(trees: readonly number[]): void {
    for (const column of Object.values(this.#rows)) column.reset();
    for (const column of Object.values(this.#letters)) column.reset();
    this.#slots.clear();
    for (const [index, tree] of trees.entries()) this.#slots.set(tree, index + 1);
    this.rows = 0;
    this.letters = 0;
  }

  addRow(tree: number, record: LogRecord, row: EventRow): void {
    const to = this.#rows;
    to.slot.addInt4(this.#slotOf(tree));
    to.position.addInt8(record.position);
    to.appended.addInstant(record.appendedAt);
    to.time.addInstant(row.eventTime ?? record.appendedAt);
    to.timed.addBool(row.eventTime !== null);
    if (record instanceof RowRecord) to.id.addUuidBytes(record.bytes, record.idAt);
    else to.id.addUuid(record.id);
    to.tenant.addText(record.tenant);
    to.type.addText(record.type);
    to.mapper.addText(row.mapper);
    to.actor.addTextOrNull(row.actorId);
    to.actorType.addTextOrNull(row.actorType);
    to.action.addTextOrNull(row.action);
    to.resourceType.addTextOrNull(row.resourceType);
    to.resource.addTextOrNull(row.resourceId);
    to.result.addTextOrNull(row.result);
    to.correlation.addTextOrNull(row.correlationId);
    to.ip.addTextOrNull(row.ip);
    if (row.corrects === null) to.corrects.addNull();
    else to.corrects.addUuid(row.corrects);
    this.rows++;
  }

  addDeadLetter(tree: number, letter: DeadLetter): void {
    const to = this.#letters;
    const { record } = letter;
    to.slot.addInt4(this.#slotOf(tree));
    to.position.addInt8(record.position);
    to.id.addUuid(record.id);
    to.tenant.addText(record.tenant);
    to.type.addText(record.type);
    to.class.addText(letter.class);
    to.error.addText(storable(letter.error));
    to.stack.addTextOrNull(letter.stack === null ? null : storable(letter.stack));
    to.attempts.addInt4(letter.attempts);
    if (letter.firstAt === null) to.first.addNull();
    else to.first.addInstant(letter.firstAt);
    if (letter.lastAt === null) to.last.addNull();
    else to.last.addInstant(letter.lastAt);
    this.letters++;
  }

  /** The arrays, in the order of evident.project_batch. */
  values(): Buffer[] {
    return [...Object.values(this.#rows), ...Object.values(this.#letters)].map((column) => column.finish());
  }

  #slotOf(tree: number): number {
    const slot = this.#slots.get(tree);
    if (slot === undefined) throw new RangeError(`the tree ${tree} is none of this batch`);
    return slot;
  }
}
