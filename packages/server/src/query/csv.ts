/**
 * Rows as CSV (RFC 4180: CRLF, quotes doubled, a header line; UTF-8).
 *
 * A spreadsheet takes a cell that begins with = + - @, a tab, CR or LF for a formula, and events hold what
 * attackers typed. Such a text gets an apostrophe in front, and so does one that begins with an apostrophe: taking one
 * apostrophe off gives every text back. Numbers, times and ids that Evident writes itself are left alone. Nothing is done
 * about a spreadsheet that splits at semicolons: to it, what follows one begins a cell, within quotes as well.
 */

import { instantText } from '@evident/core/shapes/instant.ts';
import type { EventHit } from './ports.ts';

const RISKY = /^['=+\-@\t\r\n＝＋－＠]/;
const QUOTED = /[",\r\n]/;

/** A text that somebody else wrote. */
function textCell(text: string | null): string {
  if (text === null) return '';
  const harmless = RISKY.test(text) ? `'${text}` : text;
  return QUOTED.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

const COLUMNS: readonly (readonly [name: string, cell: (hit: EventHit) => string])[] = [
  ['event_time', (hit) => instantText(hit.eventTime)],
  ['timed', (hit) => String(hit.timed)],
  ['tenant', (hit) => textCell(hit.tenant)],
  ['actor_id', (hit) => textCell(hit.actorId)],
  ['actor_type', (hit) => textCell(hit.actorType)],
  ['action', (hit) => textCell(hit.action)],
  ['resource_type', (hit) => textCell(hit.resourceType)],
  ['resource_id', (hit) => textCell(hit.resourceId)],
  ['result', (hit) => hit.result ?? ''],
  ['ip', (hit) => textCell(hit.ip)],
  ['correlation_id', (hit) => textCell(hit.correlationId)],
  ['id', (hit) => hit.id],
  ['type', (hit) => textCell(hit.type)],
  ['mapper', (hit) => textCell(hit.mapper)],
  ['log', (hit) => textCell(hit.log)],
  ['partition', (hit) => String(hit.partition)],
  ['position', (hit) => hit.position.toString()],
  ['appended_at', (hit) => instantText(hit.appendedAt)],
  ['drift_us', (hit) => hit.driftUs?.toString() ?? ''],
  ['corrects', (hit) => hit.corrects ?? ''],
  ['corrected_by', (hit) => hit.correctedBy.join(' ')],
];

export const CSV_HEADER = `${COLUMNS.map(([name]) => name).join(',')}\r\n`;

export function csvLine(hit: EventHit): string {
  return `${COLUMNS.map(([, cell]) => cell(hit)).join(',')}\r\n`;
}
