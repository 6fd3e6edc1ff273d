/** What a report says of one thing, and of several. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CheckFindings } from './check-report.ts';
import { describeCheck } from './describe-check.ts';

function notShown(present: number): string {
  const anchors = { timestamps: { good: [], present }, cosignatures: { good: [], present } };
  const outcome = {
    manifest: null,
    records: 0n,
    bodies: 0,
    isRotated: false,
    head: null,
    knownSize: null,
    anchors,
    options: {},
  };
  return describeCheck(outcome, new CheckFindings()).notShown.join('\n');
}

it('speaks of one token as of one, and of two as of two', () => {
  assert.match(notShown(1), /what 1 token beside the head says:/);
  assert.match(notShown(1), /what 1 further cosignature says:/);
  assert.match(notShown(2), /what 2 tokens beside the head say:/);
  assert.match(notShown(2), /what 2 further cosignatures say:/);
  assert.doesNotMatch(notShown(0), /token|further/);
});
