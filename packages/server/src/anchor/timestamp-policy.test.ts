import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseTimestampPolicy, type TimestampPolicyInput } from './timestamp-policy.ts';

const authority = { name: 'a', url: 'http://tsa.example/tsr', roots: 'a.pem' };

it('reads authorities, an hour apart unless set otherwise', () => {
  const policy = parseTimestampPolicy({ authorities: [authority] });
  assert.deepEqual(policy, { everySeconds: 3_600, authorities: [authority] });
  assert.equal(parseTimestampPolicy({ everySeconds: 60, authorities: [authority] }).everySeconds, 60);
});

it('names the member that is wrong', () => {
  const wrong: readonly (readonly [unknown, string])[] = [
    [null, 'timestamps'],
    [[], 'timestamps'],
    [{}, 'timestamps.authorities'],
    [{ authorities: [] }, 'timestamps.authorities'],
    [
      { authorities: Array.from({ length: 17 }, (_, i) => ({ ...authority, name: `a${i}` })) },
      'timestamps.authorities',
    ],
    [{ authorities: [authority, authority] }, 'timestamps.authorities'],
    [{ authorities: [authority], every: 1 }, 'timestamps.every'],
    ...[9, 604_801, 60.5, '60'].map(
      (everySeconds) => [{ everySeconds, authorities: [authority] }, 'timestamps.everySeconds'] as const,
    ),
    [{ authorities: [null] }, 'timestamps.authorities[0]'],
    [{ authorities: [{ ...authority, key: 'x' }] }, 'timestamps.authorities[0].key'],
    ...['', 'a b', '../a', '-a', 'a'.repeat(65), 7].map(
      (name) => [{ authorities: [{ ...authority, name }] }, 'timestamps.authorities[0].name'] as const,
    ),
    ...['', 'ftp://a/', 'tsa.example', 'http://u:p@a/', `http://a/${'x'.repeat(1_000)}`, 7].map(
      (url) => [{ authorities: [{ ...authority, url }] }, 'timestamps.authorities[0].url'] as const,
    ),
    ...['', undefined, 7].map(
      (roots) => [{ authorities: [{ ...authority, roots }] }, 'timestamps.authorities[0].roots'] as const,
    ),
  ];
  for (const [input, field] of wrong)
    assert.throws(
      () => parseTimestampPolicy(input as TimestampPolicyInput),
      (error: { code: string; context: { field: string } }) => {
        assert.deepEqual([error.code, error.context.field], ['usage-invalid', field], JSON.stringify(input));
        return true;
      },
    );
});
