import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { it } from 'node:test';
import fc from 'fast-check';
import { isIpAddress } from './ip-address.ts';

it('tells addresses as Node does, zones aside', () => {
  const near = fc.string({ unit: fc.constantFrom(...'0123456789abf:.'), maxLength: 24 });
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), near), (text) => {
      assert.equal(isIpAddress(text), isIP(text) !== 0, text);
    }),
    { numRuns: 2_000 },
  );
  for (const text of [
    '::',
    '::1',
    '1::',
    '::ffff:1.2.3.4',
    '1:2:3:4:5:6:1.2.3.4',
    '1:2:3:4:5:6:7::',
    '01.2.3.4',
    '1.2.3',
    ':::',
    '',
    'fe80::1%eth0',
  ])
    assert.equal(isIpAddress(text), isIP(text) !== 0 && !text.includes('%'), text);
});
