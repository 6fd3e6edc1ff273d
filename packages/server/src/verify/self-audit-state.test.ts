import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type AuditState, auditStanding, formatAuditState, parseAuditState } from './self-audit-state.ts';

const SECOND = 1_000_000n;
const NOW = 1_800_000_000n * SECOND;

const FULL = {
  begunAt: NOW - 500n * SECOND,
  endedAt: NOW - 100n * SECOND,
  records: 1_000,
  tampered: 0,
  newest: null,
};
const RUNNING: AuditState = {
  pass: {
    ...{
      begunAt: NOW - 50n * SECOND,
      records: 10,
      passedOver: 0,
      tampered: 2,
      newest: 'tampered: audit/0/3',
    },
    places: new Map([
      ['audit/0', { epoch: 0, next: 10n, to: 30n }],
      ['heads/0', { epoch: 1, next: 10n, to: 10n }],
    ]),
  },
  last: FULL,
  isIncomplete: true,
};

const standing = (state: AuditState, sealed: number) =>
  auditStanding(state, { recordsPerSecond: 100, sealed, passMsMin: 60_000, now: NOW });

describe('the state of the self-audit', () => {
  it('is read back as it was written', () => {
    for (const state of [RUNNING, { pass: null, last: null, isIncomplete: false }])
      assert.deepEqual(parseAuditState(formatAuditState(state)), state);
  });

  it('is none when a member is missing, of another kind or out of range', () => {
    const text = formatAuditState(RUNNING);
    assert.equal(parseAuditState(text.slice(0, -10)), null);
    for (const [from, to] of [
      ['"v":1', '"v":2'],
      ['"next":"10"', '"next":10'],
      ['"next":"10"', '"next":"-1"'],
      ['"records":10', '"records":1.5'],
      ['"audit/0"', '"../0"'],
      ['"incomplete":true', '"incomplete":1'],
      ['"places":{', '"places":[],"x":{'],
    ])
      assert.equal(parseAuditState(text.replace(from, to)), null, `${from} → ${to}`);
  });

  it('gives the age of the last full pass, and how far this one is', () => {
    const { ageSeconds, passSeconds, progress, tampered, newest, isIncomplete } = standing(RUNNING, 1_000);
    assert.deepEqual([ageSeconds, passSeconds, progress], [100, 400, 0.5]);
    assert.deepEqual([tampered, newest, isIncomplete], [2, 'tampered: audit/0/3', true]);
  });

  it('bounds the time that a change stays unseen by the last pass, the rate, and the rest between passes', () => {
    const quick = { ...RUNNING, last: { ...FULL, begunAt: FULL.endedAt - SECOND } };
    assert.equal(standing(RUNNING, 1_000).unseenSecondsMax, 400, 'as long as the last pass');
    assert.equal(standing(RUNNING, 2_000).unseenSecondsMax, 800, 'in proportion to what is sealed now');
    assert.equal(standing(quick, 20_000).unseenSecondsMax, 200, 'and never faster than the rate');
    assert.equal(standing(quick, 1_000).unseenSecondsMax, 60, 'nor than one pass follows another');
    assert.equal(
      standing({ ...RUNNING, last: null }, 1_000).unseenSecondsMax,
      null,
      'before a full pass nobody knows',
    );
  });
});
