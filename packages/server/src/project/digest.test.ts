import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Digester } from './digest.ts';
import { Cursor, comparePlaces, type DeadLetterMark, type ViewRow } from './view-snapshot.ts';

const ROW: ViewRow = {
  log: 'audit',
  partition: 3,
  position: 1_234n,
  appendedAt: 1_795_266_660_426_123n,
  id: '655c1e5e-ac87-87ea-8c78-279cb743a202',
  tenant: 'acme',
  type: 'audit.event',
  mapper: 'audit.event/1',
  eventTime: 1_795_266_660_000_000n,
  timed: true,
  actorId: 'usr_1 "\u2028é',
  actorType: 'user',
  action: 'document.update',
  resourceType: 'document',
  resourceId: 'doc_1',
  result: 'success',
  correlationId: null,
  ip: '192.0.2.1',
  corrects: null,
};
const LETTER: DeadLetterMark = {
  log: 'audit',
  partition: 3,
  position: 1_235n,
  tenant: 'acme',
  id: '655c1e5e-ac87-87ea-8c78-279cb743a203',
  class: 'validation',
  error: 'line 7',
  resolution: null,
  eventId: null,
};

function digestOf(rows: readonly ViewRow[], letters: readonly DeadLetterMark[] = []): string {
  const digester = new Digester();
  for (const row of rows) digester.addRow(row);
  for (const letter of letters) digester.addDeadLetter(letter);
  return digester.finish().digest;
}

describe('the digest of a view', () => {
  it('is that of the lines that its head says', () => {
    const lines = [
      'evident view digest 1\n',
      '["row","audit",3,"1234","1795266660426123","655c1e5e-ac87-87ea-8c78-279cb743a202","acme","audit.event","audit.event/1","1795266660000000",true,"usr_1 \\"\u2028é","user","document.update","document","doc_1","success",null,null]\n',
      '["dead letter","audit",3,"1235","validation"]\n',
    ];
    assert.equal(digestOf([ROW], [LETTER]), createHash('sha256').update(lines.join('')).digest('hex'));
  });

  it('changes with every column but the address', () => {
    const whole = digestOf([ROW]);
    assert.equal(digestOf([{ ...ROW, ip: null }]), whole);
    for (const name of Object.keys(ROW) as (keyof ViewRow)[]) {
      if (name === 'ip') continue;
      const value = ROW[name];
      const other = typeof value === 'bigint' ? value + 1n : typeof value === 'number' ? value + 1 : !value;
      assert.notEqual(digestOf([{ ...ROW, [name]: other } as ViewRow]), whole, name);
    }
  });

  it('covers place and class of dead letters, open and resolved alike, but for replayed ones', () => {
    const open = digestOf([], [LETTER]);
    assert.equal(digestOf([], [{ ...LETTER, resolution: 'discarded', eventId: 'x', error: 'other' }]), open);
    assert.notEqual(digestOf([], [{ ...LETTER, class: 'poison' }]), open);
    assert.notEqual(digestOf([], [{ ...LETTER, position: 7n }]), open);
    assert.equal(digestOf([], [{ ...LETTER, resolution: 'replayed' }]), digestOf([]));
  });
});

describe('a cursor', () => {
  it('gives every element once, over batches of any size, empty ones among them', async () => {
    async function* batches() {
      yield* [[], [1], [], [2, 3], []];
    }
    const cursor = new Cursor(batches());
    const seen: number[] = [];
    for (;;) {
      if (cursor.isEmpty) await cursor.fill();
      if (cursor.current === null) break;
      seen.push(cursor.current);
      cursor.advance();
    }
    assert.deepEqual([seen, cursor.isEmpty], [[1, 2, 3], false]);
  });

  it('orders places by log, partition and position', () => {
    const place = (log: string, partition: number, position: bigint) => ({ log, partition, position });
    const places = [
      place('audit', 2, 9n),
      place('audit', 10, 1n),
      place('audit', 10, 11n),
      place('clicks', 0, 0n),
    ];
    assert.deepEqual([...places].reverse().sort(comparePlaces), places);
  });
});
