import assert from 'node:assert/strict';
import { it } from 'node:test';
import { oidOf, parseDer, wholeNumberOf } from './der.ts';

const parse = (hex: string) => parseDer(Uint8Array.fromHex(hex));
const reason = (hex: string) => {
  const parsed = parse(hex);
  return parsed.ok ? 'ok' : parsed.reason;
};

it('reads elements within elements', () => {
  const parsed = parse('300702010504020102');
  assert.ok(parsed.ok);
  assert.deepEqual(
    parsed.value.children.map(({ tag, content }) => [tag, content.toHex()]),
    [
      [2, '05'],
      [4, '0102'],
    ],
  );
  const long = parse(`048180${'00'.repeat(128)}`);
  assert.ok(long.ok && long.value.content.length === 128);
});

it('refuses what is not the one way of DER to write it', () => {
  for (const [hex, expected] of [
    ['', /ends within an element/],
    ['30', /ends within a length/],
    ['3003020105ff', /behind the end/],
    ['30040201', /longer than what holds it/],
    ['3003020205', /longer than what holds it/],
    ['30800000', /indefinite/],
    ['0481050102030405', /shortest/],
    [`04820080${'00'.repeat(128)}`, /shortest/],
    ['0484000000010a', /longer than/],
    ['2403040105', /constructed that must not be/],
    ['1000', /constructed that must not be/],
    ['1f8101', /number above 30/],
    ['02', /ends within a length/],
  ] as const)
    assert.match(reason(hex), expected, hex);
});

it('bounds depth and number of elements', () => {
  let nested = '0500';
  for (let i = 0; i < 40; i++) nested = `30${(nested.length / 2).toString(16).padStart(2, '0')}${nested}`;
  assert.match(reason(nested), /nested deeper/);
  const many = '0500'.repeat(40_000);
  assert.match(
    reason(`3083${(many.length / 2).toString(16).padStart(6, '0')}${many}`),
    /more than 20000 elements/,
  );
});

it('reads object identifiers and numbers in their shortest form alone', () => {
  const of = (hex: string) => {
    const parsed = parse(hex);
    assert.ok(parsed.ok);
    return parsed.value;
  };
  assert.equal(oidOf(of('06092a864886f70d010702')), '1.2.840.113549.1.7.2');
  assert.equal(oidOf(of('0603883703')), '2.999.3');
  assert.equal(oidOf(of('06028001')), null);
  assert.equal(oidOf(of('060188')), null);
  assert.equal(oidOf(of('0600')), null);
  assert.equal(wholeNumberOf(of('02020080')), 128n);
  assert.equal(wholeNumberOf(of('02020001')), null);
  assert.equal(wholeNumberOf(of('020180')), null);
  assert.equal(wholeNumberOf(of('0200')), null);
  assert.equal(wholeNumberOf(of('040105')), null);
});
