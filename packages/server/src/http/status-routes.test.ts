import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tiersInForce } from '../verify/tiers.ts';
import { openTestServer } from './http-fixture.ts';

const FACTS = {
  signer: 'elsewhere',
  headSize: 12n,
  timestamp: null,
  timestampLack: null,
  witnesses: null,
  witnessLack: 'no head is cosigned',
  now: 0n,
} as const;

describe('GET /v1/status', () => {
  it('tells any key the tiers in force, what they do not cover, and how the self-audit stands', async (test) => {
    const last = { begunAt: 0n, endedAt: 5_000_000n, records: 7, tampered: 1, newest: 'audit/0/3' };
    const server = await openTestServer(test, {
      standing: async () => ({
        tiers: tiersInForce(FACTS),
        selfAudit: {
          ...{ recordsPerSecond: 10, last, ageSeconds: 2, passSeconds: 5, unseenSecondsMax: 60 },
          ...{ progress: null, tampered: 1, newest: 'audit/0/3', isIncomplete: false },
        },
      }),
    });
    const answer = await server.send('writer:acme', { url: '/v1/status' });
    assert.equal(answer.statusCode, 200);
    const { tiers, self_audit: audit } = answer.json();
    assert.deepEqual(
      tiers.map((one: { tier: string; in_force: boolean; covers_to: string }) => [
        one.tier,
        one.in_force,
        one.covers_to,
      ]),
      [
        ['T0', true, '12'],
        ['T1', true, '12'],
        ['T2', false, null],
        ['T3', false, null],
        ['T4', false, null],
      ],
    );
    assert.equal(tiers[4].basis, 'no head is cosigned');
    assert.equal(audit.unseen_seconds_max, 60);
    assert.equal(audit.last_full_pass.ended_at, '1970-01-01T00:00:05.000000Z');
    assert.ok(!answer.body.includes('audit/0/3'), 'a finding names a record, which a tenant is not told of');
  });

  it('says that there is no self-audit, and asks for a credential', async (test) => {
    const server = await openTestServer(test);
    assert.equal((await server.send('auditor', { url: '/v1/status' })).json().self_audit, null);
    assert.equal((await server.send(null, { url: '/v1/status' })).statusCode, 401);
  });
});
