import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { guessedMicros } from './event-time.ts';
import { instantMicros, microsOfEpoch } from './instant.ts';
import { at } from './mapping-fixture.ts';
import { timeReader } from './time-format.ts';

describe('instantMicros', () => {
  it('reads what the platform writes, of every year it may hold', () => {
    const instants = fc.date({
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59.999Z'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(instants, (date) => {
        assert.equal(instantMicros(date.toISOString()), BigInt(date.getTime()) * 1000n);
      }),
    );
  });

  it('reads offsets, fractions and leap seconds', () => {
    assert.equal(instantMicros('2012-10-25T22:04:27+11:00'), at('2012-10-25T11:04:27Z'));
    assert.equal(instantMicros('2026-11-20T10:00:00.1234569-01:30'), at('2026-11-20T11:30:00Z') + 123_456n);
    assert.equal(instantMicros('2016-12-31T23:59:60Z'), at('2017-01-01T00:00:00Z'));
  });

  it('takes no other text, no day that is not there, and no year outside of 1 to 9999 in UTC', () => {
    for (const text of [
      '2026-02-29T00:00:00Z',
      '1900-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-00-01T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:00:00',
      '2026-01-01 00:00:00Z',
      '2026-01-01T00:00:00.Z',
      '2026-01-01T00:00:00+1:00',
      '2026-01-01T00:00:00Z ',
      '0001-01-01T00:00:00+00:01',
      '0000-06-01T00:00:00Z',
      '9999-12-31T23:59:59-00:01',
      '٢026-01-01T00:00:00Z',
      `2026-01-01T00:00:00.${'0'.repeat(99)}Z`,
    ])
      assert.equal(instantMicros(text), null, text);
    for (const value of [null, 5, {}, '', ['2026-01-01T00:00:00Z']]) assert.equal(instantMicros(value), null);
  });

  it('by leave takes a space for the T, and no offset for UTC', () => {
    assert.equal(instantMicros('2022-11-29 00:09:04.38', true), at('2022-11-29T00:09:04.38Z'));
    assert.equal(instantMicros('2022-11-29T00:09:04', true), at('2022-11-29T00:09:04Z'));
    assert.equal(instantMicros('2022-11-29 00:09', true), null);
  });
});

describe('times that nobody described', () => {
  it('are numbers of the years 2001 to 2100 in any of four units', () => {
    const expected = at('2021-05-18T02:45:18.553Z');
    for (const value of [1621305918.553, 1621305918553, 1621305918553000, '1621305918553', '1621305918.553'])
      assert.equal(guessedMicros(value), expected, String(value));
    assert.equal(guessedMicros('1621305918553000000'), expected);
    for (const value of [0, -1, 17, 978_307_199, 4_102_444_800, Number.NaN, '5', '12345678x', null, true])
      assert.equal(guessedMicros(value), null, String(value));
  });

  it('never lie outside of the years 1 to 9999', () => {
    assert.equal(microsOfEpoch(253_402_300_800, 1), null);
    assert.equal(microsOfEpoch(-62_135_596_801, 1), null);
    assert.equal(microsOfEpoch(-62_135_596_800, 1), at('0001-01-01T00:00:00Z'));
    assert.equal(microsOfEpoch(Number.POSITIVE_INFINITY, 1), null);
    assert.equal(microsOfEpoch(-1.5, 1), -1_500_000n);
  });
});

describe('timeReader', () => {
  const read = (format: string, value: unknown): bigint | null => {
    const reader = timeReader(format);
    assert.ok(typeof reader !== 'string', String(reader));
    return reader(value);
  };

  it('reads patterns', () => {
    const expected = at('2015-05-17T10:05:03Z');
    assert.equal(read('%d/%b/%Y:%H:%M:%S %z', '17/May/2015:12:05:03 +0200'), expected);
    assert.equal(read('%d.%m.%Y %H:%M:%S', '17.05.2015 10:05:03'), expected);
    assert.equal(read('%Y%m%dT%H%M%S.%f%z', '20150517T100503.25Z'), expected + 250_000n);
    assert.equal(read('100%% %Y-%m-%d', '100% 2015-05-17'), at('2015-05-17T00:00:00Z'));
    for (const text of [
      '17.05.2015 10:05',
      '17.05.2015 10:05:03 ',
      '17.5.2015 10:05:03',
      '31.02.2015 10:05:03',
      '',
      5,
    ])
      assert.equal(read('%d.%m.%Y %H:%M:%S', text), null, String(text));
    assert.equal(read('%d/%b/%Y', '17/Mai/2015'), null);
  });

  it('reads epochs, as numbers and as text', () => {
    assert.equal(read('epoch-ms', 1500), 1_500_000n);
    assert.equal(read('epoch-s', '1.5'), 1_500_000n);
    assert.equal(read('epoch-us', 7), 7n);
    for (const value of ['', '1e3', '0x10', ' 5', true, null]) assert.equal(read('epoch-s', value), null);
  });

  it('says what is wrong with a format', () => {
    const faults: [string, RegExp][] = [
      ['unix', /one of rfc3339/],
      ['%Y-%m-%q', /%q is not known/],
      ['%Y-%m-%d %Y', /%Y stands twice/],
      ['%H:%M', /%Y, %d and one of/],
      ['%Y-%m-%b-%d', /one of %m and %b/],
      ['%z %Y-%m-%d', /%z is the last/],
      ['%Y-%m-%d %', /% is not known/],
      ['toString', /one of rfc3339/],
    ];
    for (const [format, fault] of faults) assert.match(String(timeReader(format)), fault, format);
  });
});
