/** Words and tables on a terminal. */

import { styleText } from 'node:util';
import type { Finding } from '../packages/server/src/verify/finding.ts';
import type { VerifyReport } from '../packages/server/src/verify/verify.ts';

const LABEL_WIDTH = 14;
const LINE_WIDTH = 116;

export type Style = 'bold' | 'green' | 'red' | 'yellow' | 'dim';

/** As the terminal shows it; plain where the output is a file or NO_COLOR is set. */
export function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

export function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** A label, and text beside it, broken at spaces. */
export function sayLabelled(label: string, text: string, style?: Style): void {
  for (const [index, line] of linesOf(text, LINE_WIDTH - LABEL_WIDTH).entries()) {
    const shown = style === undefined ? line : styled(style, line);
    say(`  ${(index === 0 ? label : '').padEnd(LABEL_WIDTH)}${shown}`);
  }
}

/** A paragraph, broken at spaces. */
export function sayText(text: string): void {
  for (const line of linesOf(text, LINE_WIDTH)) say(line);
}

function linesOf(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\n\s*| /)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

export function number(value: number | bigint): string {
  return value.toLocaleString('en');
}

export function recordsOf({ partitions }: VerifyReport): number {
  return partitions.reduce((sum, { records }) => sum + records, 0);
}

export function headsOf({ partitions }: VerifyReport): number {
  return partitions.reduce((sum, { heads }) => sum + heads, 0);
}

/** `audit/0/1234`, or the span `audit/0/1234..1240`. */
export function placeOf({ log, partition, from, to }: Finding): string {
  if (from === null) return `${log}/${partition}`;
  const span = to !== null && to - from > 1n ? `..${to - 1n}` : '';
  return `${log}/${partition}/${from}${span}`;
}

/** Rows under their names, each column as wide as it must be. */
export function sayTable(names: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = names.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column].length)));
  const lineOf = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd();
  say(`  ${styled('bold', lineOf(names))}`);
  say(`  ${widths.map((width) => '─'.repeat(width)).join('  ')}`);
  for (const row of rows) say(`  ${lineOf(row)}`);
}
