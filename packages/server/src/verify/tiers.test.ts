import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeTiers, type TierFacts, tiersInForce } from './tiers.ts';

const NOW = 1_800_000_000_000_000n;
const HOUR = 3_600_000_000n;

const NOTHING: TierFacts = {
  signer: 'data directory',
  headSize: 100n,
  timestamp: null,
  timestampLack: null,
  witnesses: null,
  witnessLack: null,
  now: NOW,
};

const inForce = (facts: Partial<TierFacts>): string[] =>
  tiersInForce({ ...NOTHING, ...facts })
    .filter(({ isInForce }) => isInForce)
    .map(({ tier, coversTo }) => `${tier} to ${coversTo}`);

const TOKEN = { authority: 'tsa', size: 80n, at: NOW - 3n * HOUR };
const WITNESSED = { names: ['w.example/one'], size: 90n, at: NOW };

describe('tiers in force', () => {
  it('are T0 alone where everything lies beside the data', () => {
    assert.deepEqual(inForce({}), ['T0 to 100']);
  });

  it('are T0 before the first signed head, which covers nothing, whatever else is said', () => {
    const facts = { headSize: null, signer: 'elsewhere', timestamp: TOKEN, witnesses: WITNESSED } as const;
    assert.deepEqual(inForce(facts), ['T0 to null']);
  });

  it('have T1 with a signer elsewhere, and not with one that may be on the same machine', () => {
    assert.deepEqual(inForce({ signer: 'elsewhere' }), ['T0 to 100', 'T1 to 100']);
    assert.deepEqual(inForce({ signer: 'another process' }), ['T0 to 100']);
  });

  it('have T3 and T4 as far as the heads that somebody vouched for', () => {
    assert.deepEqual(inForce({ timestamp: TOKEN }), ['T0 to 100', 'T3 to 80']);
    assert.deepEqual(inForce({ witnesses: WITNESSED }), ['T0 to 100', 'T4 to 90']);
  });

  it('cover no more than the log holds', () => {
    assert.deepEqual(inForce({ headSize: 50n, timestamp: TOKEN }), ['T0 to 50', 'T3 to 50']);
  });

  it('never have T2, which this version does not reach', () => {
    const all = inForce({ signer: 'elsewhere', timestamp: TOKEN, witnesses: WITNESSED });
    assert.deepEqual(all, ['T0 to 100', 'T1 to 100', 'T3 to 80', 'T4 to 90']);
  });

  it('say what they stand on, how old it is, how far they reach, and what they cannot', () => {
    const lines = describeTiers(tiersInForce({ ...NOTHING, timestamp: TOKEN, witnessLack: 'none answered' }));
    assert.equal(lines[0], 'tiers in force: T0, T3');
    assert.equal(
      lines[2],
      'T3  token of tsa over the head of size 80, 3 h ago; covers what heads/0 lists below size 80. Resists backdating; not: omission',
    );
    assert.match(
      lines.join('\n'),
      /T4 {2}not in force \(would resist forks that are shown to some\): none answered/,
    );
    assert.equal(lines.length, 6);
  });
});
