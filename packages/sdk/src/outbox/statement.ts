/** The INSERT into the outbox. Types are cast from text, so that no library's idea of a parameter's type matters. */

import { createHash } from 'node:crypto';
import type { OutboxRow, OutboxStatement } from './driver.ts';

/** Rows in one statement: 5,000 parameters of the 65,535 that PostgreSQL takes. */
export const STATEMENT_ROWS_MAX = 1_000;
/** Text in one statement: a server holds it several times while it parses. */
export const STATEMENT_BYTES_MAX = 32 * 1024 * 1024;

// type and schema are ours, and stand in the text; xid, id, slot and time come from defaults, and no grant lets
// an application write them.
const INSERT = 'INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ';
const rowPieces = ({ type, schema }: OutboxRow): readonly string[] => [
  '(',
  '::text::uuid,',
  `::text,'${type}',`,
  `::text,${schema},`,
  '::text,',
  '::text)',
];

type Form = Pick<OutboxStatement, 'text' | 'strings' | 'name'>;

/**
 * Callers send one row at a time, nearly always: both of its forms are made once, and they alone have a name. A batch
 * has none: at 16 rows a prepared statement spared no CPU that could be measured, and the statements of 2 to 32 rows
 * together took 3 MB of memory on every connection (PostgreSQL 18, November 2026).
 */
const single = new Map<OutboxRow['type'], Form>();

/** @param rows at least one, at most STATEMENT_ROWS_MAX */
export function insertStatement(rows: readonly OutboxRow[]): OutboxStatement {
  const values: (string | null)[] = [];
  for (const row of rows) values.push(row.eventId, row.tenant, row.key, row.meta, row.body);
  const { text, strings, name } = rows.length === 1 ? singleForm(rows[0]) : insertText(rows);
  return { text, strings, name, values, rows };
}

function singleForm(row: OutboxRow): Form {
  let form = single.get(row.type);
  if (form === undefined) {
    form = insertText([row]);
    // By its text: two versions of the SDK in one process, or behind one pooler, never mean two by one name.
    const hash = createHash('sha256').update(form.text).digest('hex');
    form = { ...form, name: `evident_${hash.slice(0, 16)}` };
    single.set(row.type, form);
  }
  return form;
}

function insertText(rows: readonly OutboxRow[]): Form {
  const strings: string[] = [INSERT];
  for (const [index, row] of rows.entries()) {
    const [open, ...rest] = rowPieces(row);
    strings[strings.length - 1] += (index === 0 ? '' : ',') + open;
    strings.push(...rest);
  }
  return templateOf(strings);
}

/** Cuts rows into statements, in order. */
export function insertStatements(rows: readonly OutboxRow[]): OutboxStatement[] {
  const statements: OutboxStatement[] = [];
  let batch: OutboxRow[] = [];
  let bytes = 0;
  for (const row of rows) {
    // Characters, not bytes: within a factor of three, which is enough for a bound of memory.
    if (
      batch.length >= STATEMENT_ROWS_MAX ||
      (batch.length > 0 && bytes + row.body.length > STATEMENT_BYTES_MAX)
    ) {
      statements.push(insertStatement(batch));
      batch = [];
      bytes = 0;
    }
    batch.push(row);
    bytes += row.body.length;
  }
  if (batch.length > 0) statements.push(insertStatement(batch));
  return statements;
}

/** A statement without parameters. */
export function plainStatement(text: string): OutboxStatement {
  return { ...templateOf([text]), values: [], rows: [] };
}

function templateOf(strings: string[]): Form {
  const text = strings.reduce((before, piece, index) => `${before}$${index}${piece}`);
  // Libraries tell a template from a list by `raw`.
  return { text, strings: Object.freeze(Object.assign(strings, { raw: Object.freeze([...strings]) })) };
}
