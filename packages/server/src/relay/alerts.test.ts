import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Alert, AlertBoard } from './alerts.ts';
import type { Pressure, SlotState } from './ports.ts';

const QUIET: Pressure = { bytes: 0n, lastId: 0n, oldestMs: null, holder: null };
const SLOT: SlotState = { confirmed: 0n, usable: true, active: true, lagBytes: 0n };

function makeBoard(): { board: AlertBoard; said: () => string[] } {
  const alerts: Alert[] = [];
  const board = new AlertBoard('bank', (alert) => alerts.push(alert));
  return {
    board,
    said: () => alerts.splice(0).map(({ name, active }) => `${name} ${active ? 'begins' : 'ends'}`),
  };
}

it('says each condition when it begins and when it ends, and nothing in between', () => {
  const cases: [name: string, pressure: Partial<Pressure>, slot: Partial<SlotState>][] = [
    ['large', { bytes: 4n * 1024n ** 3n + 1n }, {}],
    ['old', { oldestMs: 60_001 }, {}],
    ['horizon-held', { holder: { pid: 7, ageMs: 60_001, what: 'psql of somebody' } }, {}],
    ['slot-lag', {}, { lagBytes: 1024n ** 3n + 1n }],
  ];
  for (const [name, pressure, slot] of cases) {
    const { board, said } = makeBoard();
    const look = (p: Partial<Pressure>, s: Partial<SlotState>) =>
      board.look({ pressure: { ...QUIET, ...p }, slot: { ...SLOT, ...s }, relayed: 0, now: 0 });
    look({}, {});
    assert.deepEqual(said(), []);
    look(pressure, slot);
    look(pressure, slot);
    assert.deepEqual(said(), [`${name} begins`]);
    look({}, {});
    assert.deepEqual(said(), [`${name} ends`]);
  }
});

it('is silent at each limit itself', () => {
  const { board, said } = makeBoard();
  const holder = { pid: 7, ageMs: 60_000, what: 'psql' };
  const pressure: Pressure = { bytes: 4n * 1024n ** 3n, lastId: 0n, oldestMs: 60_000, holder };
  board.look({ pressure, slot: { ...SLOT, lagBytes: 1024n ** 3n }, relayed: 0, now: 0 });
  assert.deepEqual(said(), []);
});

it('says that an outbox grows by more than a thousand rows a second, not that much is relayed at once', () => {
  const { board, said } = makeBoard();
  const look = (now: number, lastId: bigint, relayed: number) =>
    board.look({ pressure: { ...QUIET, lastId }, slot: null, relayed, now });
  look(0, 0n, 0);
  look(5_000, 100_000n, 99_000);
  assert.deepEqual(said(), []);
  look(10_000, 105_100n, 99_000);
  assert.deepEqual(said(), ['growing begins']);
  // Less than five seconds later nothing is measured.
  look(12_000, 105_100n, 105_100);
  assert.deepEqual(said(), []);
  look(15_000, 105_100n, 105_100);
  assert.deepEqual(said(), ['growing ends']);
});
