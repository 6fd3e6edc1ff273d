/** Events and counts as tables for people: 120 columns, times in UTC. */

import type { CompleteJson, EventJson, ScanJson } from '../query/shown-event.ts';
import type { Output } from './output.ts';
import { countOf } from './wording.ts';

const WIDTHS = { time: 19, result: 7, actor: 24, action: 24, resource: 21, place: 18 };
const BAR_WIDTH = 60;

/** Cells that events hold are foreign text: what would move the cursor, or reverse the line, is shown as an escape. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** The end of a long name says more than its beginning: `arn:aws:iam::…/alice`. */
function cell(text: string | null, width: number, keep: 'head' | 'tail'): string {
  const shown = [...printable(text ?? '-')];
  if (shown.length <= width) return shown.join('').padEnd(width);
  const rest = width - 1;
  return keep === 'head' ? `${shown.slice(0, rest).join('')}…` : `…${shown.slice(-rest).join('')}`;
}

export function printEvents(events: readonly EventJson[], output: Output): void {
  if (events.length === 0) return;
  const line = (...cells: string[]) => output.line(cells.join(' ').trimEnd());
  const { time, result, actor, action, resource, place } = WIDTHS;
  line(
    'time (UTC)'.padEnd(time),
    'result'.padEnd(result),
    'actor'.padEnd(actor),
    'action'.padEnd(action),
    'resource'.padEnd(resource),
    'place',
  );
  for (const event of events) {
    const at = event.event_time.slice(0, 19).replace('T', ' ');
    line(
      event.timed ? at : at.replace(' ', '*'),
      cell(event.result, result, 'head'),
      cell(event.actor_id, actor, 'tail'),
      cell(event.action ?? event.type, action, 'head'),
      cell(event.resource_id ?? event.resource_type, resource, 'tail'),
      `${event.log}/${event.partition}/${event.position}`.padEnd(place),
    );
    if (event.corrects !== null) output.line(`${' '.repeat(time)} corrects ${event.corrects}`);
    for (const id of event.corrected_by) output.line(`${' '.repeat(time)} corrected by ${id}`);
  }
  if (events.some(({ timed }) => !timed)) output.line('* the event tells no time: when it was appended');
}

export function printCounts(
  title: string,
  counts: readonly { readonly label: string | null; readonly count: number }[],
  output: Output,
): void {
  const most = Math.max(1, ...counts.map(({ count }) => count));
  const width = Math.min(
    44,
    Math.max(title.length, ...counts.map(({ label }) => (label ?? '(none)').length)),
  );
  output.line(`${title.padEnd(width)}      count`);
  for (const { label, count } of counts) {
    const bar = '#'.repeat(Math.round((count / most) * (BAR_WIDTH - 10)));
    output.line(
      `${cell(label ?? '(none)', width, 'tail')} ${count.toLocaleString('en').padStart(10)}  ${bar}`.trimEnd(),
    );
  }
}

/** What the answer covers, in a line or two. */
export function printComplete(complete: CompleteJson, scan: ScanJson | null, output: Output): void {
  const records = complete.partitions.reduce((sum, { head }) => sum + BigInt(head), 0n);
  const of = `of ${countOf(records, 'record')} of ${countOf(complete.partitions.length, 'partition')}`;
  output.line(
    complete.behind === '0'
      ? `complete: the view has read all ${of}`
      : `not complete: the view has not read ${BigInt(complete.behind).toLocaleString('en')} ${of} yet`,
  );
  if (complete.lacking > 0)
    output.line(
      `lacking: ${countOf(complete.lacking, 'record')} that the view could not take (evident dlq list)`,
    );
  if (scan === null) return;
  output.line(
    `looked at ${countOf(scan.records, 'record')} one by one${scan.bytes === 0 ? '' : `, ${countOf(scan.bytes, 'byte')} of bodies`}`,
  );
  if (scan.not_searched > 0)
    output.line(
      `not searched: ${countOf(scan.not_searched, 'body that lies', 'bodies that lie')} in the object store`,
    );
}
