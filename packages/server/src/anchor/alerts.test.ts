import assert from 'node:assert/strict';
import { it } from 'node:test';
import { AnchorAlerts } from './alerts.ts';
import type { AnchorState } from './anchor-loop.ts';

const good: AnchorState = {
  anchorer: { kind: 'timestamp', name: 'a' },
  at: 1_800_000_000_000_000n,
  failures: 0,
  reason: null,
  isBad: false,
  isAlert: false,
};
const silent = (failures: number): AnchorState => ({
  ...good,
  failures,
  reason: 'no answer',
  isAlert: failures >= 3,
});
const bad: AnchorState = { ...good, failures: 1, reason: 'other data', isBad: true, isAlert: true };

function told(alerts: AnchorAlerts, state: AnchorState): string[] {
  return alerts
    .look(state)
    .map(({ condition, holds }) => `${holds ? 'raise' : 'settle'} ${condition.severity} ${condition.key}`);
}

const SILENT = 'high anchor:timestamp:a';
const BAD = 'critical anchor:timestamp:a:refused';

it('settles at the first good look what a process before this one may have raised, and once', () => {
  const alerts = new AnchorAlerts();
  assert.deepEqual(told(alerts, good), [`settle ${SILENT}`, `settle ${BAD}`]);
  assert.deepEqual(told(alerts, good), []);
});

it('leaves what a process before this one raised while it is not known to be over', () => {
  const alerts = new AnchorAlerts();
  assert.deepEqual(told(alerts, silent(1)), []);
  assert.deepEqual(told(alerts, silent(3)), [`raise ${SILENT}`]);
});

it('brings the detail up to date with each failure, and settles', () => {
  const alerts = new AnchorAlerts();
  told(alerts, good);
  assert.deepEqual(told(alerts, silent(2)), []);
  assert.deepEqual(told(alerts, silent(3)), [`raise ${SILENT}`]);
  assert.deepEqual(told(alerts, silent(3)), []);
  assert.deepEqual(told(alerts, silent(4)), [`raise ${SILENT}`]);
  const [{ condition }] = alerts.look(silent(5));
  assert.match(
    condition.detail,
    /authority a failed 5 times in a row: no answer; its newest is of 2027-01-15T/,
  );
  assert.deepEqual(told(alerts, good), [`settle ${SILENT}`]);
});

it('keeps a bad answer open until a good one, and tells it apart from silence', () => {
  const alerts = new AnchorAlerts();
  told(alerts, good);
  assert.deepEqual(told(alerts, bad), [`raise ${BAD}`]);
  assert.deepEqual(told(alerts, silent(2)), []);
  assert.deepEqual(told(alerts, silent(3)), [`raise ${SILENT}`]);
  assert.deepEqual(told(alerts, good), [`settle ${SILENT}`, `settle ${BAD}`]);
});
