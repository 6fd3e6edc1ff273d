import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { EventJson } from '../query/shown-event.ts';
import { printable, printComplete, printCounts, printEvents } from './event-table.ts';
import type { Output } from './output.ts';

function lines(): { output: Output; printed: string[] } {
  const printed: string[] = [];
  return {
    output: { json: false, line: (text = '') => void printed.push(text), result: () => undefined },
    printed,
  };
}

const event: EventJson = {
  id: '00000000-0000-4000-8000-000000000001',
  tenant: 'acme',
  log: 'audit',
  partition: 3,
  position: '1234567890',
  appended_at: '2026-11-20T10:00:01.000000Z',
  type: 'cloudtrail',
  mapper: 'cloudtrail/1',
  event_time: '2026-11-20T10:00:00.000000Z',
  timed: true,
  drift_us: '1000000',
  actor_id: `arn:aws:iam::123456789012:user/${'x'.repeat(100)}/alice`,
  actor_type: 'IAMUser',
  action: `ec2:${'Describe'.repeat(20)}`,
  resource_type: null,
  resource_id: 'red\u001b[31m\u202eevil\r\nline',
  result: 'denied',
  correlation_id: null,
  ip: null,
  corrects: null,
  corrected_by: [],
};

it('keeps a line of an event within 120 columns, whatever it holds, with nothing that moves the cursor', () => {
  const { output, printed } = lines();
  printEvents([event, { ...event, timed: false, actor_id: null, action: null }], output);
  for (const line of printed) {
    assert.ok([...line].length <= 120, `${[...line].length}: ${line}`);
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}]/u);
  }
  assert.match(printed[1], /…x+\/alice ec2:Describe.*… /);
  assert.match(printed[2], /^2026-11-20\*10:00:00/);
  assert.equal(printable('a\u001b\u202e'), 'a\\u001b\\u202e');
});

it('says when an answer is not complete, and how many records are lacking', () => {
  const { output, printed } = lines();
  const partitions = [{ log: 'audit', partition: 0, read: '5', head: '2005' }];
  printComplete({ generation: 1, lacking: 0, behind: '0', partitions }, null, output);
  printComplete(
    { generation: 1, lacking: 3, behind: '2000', partitions },
    { records: 9, bytes: 1, not_searched: 2 },
    output,
  );
  assert.match(printed[0], /^complete: .* all of 2,005 records/);
  assert.match(printed[1], /^not complete: the view has not read 2,000 of 2,005/);
  assert.match(printed[2], /^lacking: 3 records/);
  assert.match(printed[4], /^not searched: 2 bodies/);
});

it('prints counts with a bar, and those of events that tell none', () => {
  const { output, printed } = lines();
  printCounts(
    'actor',
    [
      { label: 'alice', count: 1_000 },
      { label: null, count: 1 },
    ],
    output,
  );
  assert.match(printed[1], /^alice +1,000 +#{50}$/);
  assert.match(printed[2], /^\(none\) +1$/);
});
