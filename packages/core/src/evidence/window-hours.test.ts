import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeUtf8 } from '../bytes.ts';
import { derivedId } from '../derived-id.ts';
import { formatWindowBody, windowId } from './window.ts';
import {
  foldHour,
  formatMarkerBody,
  hourName,
  hourOf,
  type MarkerBody,
  markerId,
  NO_HOURS,
  nameOfSegment,
  parseHour,
  parseMarkerBody,
  readWindowsRecord,
} from './window-hours.ts';

const MARKER: MarkerBody = {
  log: 'audit',
  hour: '2026-11-20T10',
  windows: 12n,
  ranges: [
    { from: 0n, to: 7n },
    { from: 5n, to: 5n },
  ],
  root: new Uint8Array(32).fill(7),
};

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

describe('hours', () => {
  it('have one spelling', () => {
    assert.equal(parseHour('1970-01-01T00'), 0);
    const hour = parseHour('2026-11-20T10');
    assert.ok(hour !== null);
    assert.equal(hourName(hour), '2026-11-20T10');
    assert.equal(hourOf(BigInt(hour) * 3_600_000_000n), hour);
    assert.equal(hourOf(BigInt(hour + 1) * 3_600_000_000n - 1n), hour);
    for (const wrong of [
      '2026-11-20T24',
      '2026-02-30T10',
      '2026-11-20T1',
      '2026-11-20t10',
      '2026-11-20T10Z',
      '',
      '1969-12-31T23',
    ])
      assert.equal(parseHour(wrong), null, wrong);
  });

  it('take the name of the first record that is there, but none that is done', () => {
    const at = (hour: string) => BigInt(parseHour(hour) as number) * 3_600_000_000n + 5n;
    const ten = parseHour('2026-11-20T10') as number;
    assert.equal(nameOfSegment({ hour: null }, at('2026-11-20T10')), ten);
    assert.equal(nameOfSegment({ hour: ten - 3 }, at('2026-11-20T10')), ten);
    assert.equal(nameOfSegment({ hour: ten }, at('2026-11-20T10')), ten + 1);
    assert.equal(nameOfSegment({ hour: ten + 5 }, at('2026-11-20T10')), ten + 6);
  });
});

describe('the marker of an hour', () => {
  it('is written as the contract says, and read again', () => {
    const bytes = formatMarkerBody(MARKER);
    assert.equal(
      text(bytes),
      '{"log":"audit","hour":"2026-11-20T10","windows":"12","ranges":[["0","7"],["5","5"]],"root":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}',
    );
    assert.deepEqual(parseMarkerBody(bytes), { ok: true, value: MARKER });
    assert.equal(markerId('audit', MARKER.hour), derivedId('log.windows:audit:2026-11-20T10'));
  });

  it('is refused in any other spelling', () => {
    const right = text(formatMarkerBody(MARKER));
    for (const [from, to] of [
      ['{', '{ '],
      ['}', ',"more":1}'],
      ['"12"', '12'],
      ['"12"', '"012"'],
      ['"12"', '"-1"'],
      ['["5","5"]', '["5","4"]'],
      ['["5","5"]', '["5"]'],
      ['["5","5"]', '["5","5","6"]'],
      ['T10', 'T1x'],
      ['BwcH', 'BwcI'],
      ['Bwc=', 'Bwd='],
      ['"audit"', '"Audit"'],
      ['"log"', '"lag"'],
    ]) {
      const wrong = right.replace(from, to);
      const result = parseMarkerBody(encodeUtf8(wrong));
      // Another root is another root, and no other spelling.
      if (to !== 'BwcI') assert.equal(result.ok, false, wrong);
    }
    assert.equal(parseMarkerBody(encodeUtf8('[]')).ok, false);
    assert.equal(parseMarkerBody(new Uint8Array([0xff])).ok, false);
  });
});

describe('hours that are done', () => {
  it('follow on one another without a gap', () => {
    const ten = parseHour('2026-11-20T10') as number;
    const first = foldHour(NO_HOURS, ten, [
      { from: 0n, to: 7n },
      { from: 0n, to: 0n },
    ]);
    assert.ok(first.ok);
    assert.deepEqual(first.value, { hour: ten, ends: [7n, 0n] });
    assert.ok(
      foldHour(first.value, ten + 4, [
        { from: 7n, to: 7n },
        { from: 0n, to: 3n },
      ]).ok,
    );
    for (const [hour, ranges] of [
      [
        ten,
        [
          { from: 7n, to: 8n },
          { from: 0n, to: 1n },
        ],
      ],
      [
        ten - 1,
        [
          { from: 7n, to: 8n },
          { from: 0n, to: 1n },
        ],
      ],
      [
        ten + 1,
        [
          { from: 8n, to: 8n },
          { from: 0n, to: 1n },
        ],
      ],
      [ten + 1, [{ from: 7n, to: 8n }]],
    ] as const)
      assert.equal(foldHour(first.value, hour, ranges).ok, false);
    assert.equal(foldHour(NO_HOURS, ten, [{ from: 1n, to: 7n }]).ok, false);
  });
});

describe('a record of the log windows', () => {
  const marker = {
    id: markerId('audit', MARKER.hour),
    tenant: '_system',
    source: 'evident',
    type: 'log.windows',
    body: { form: 'json', bytes: formatMarkerBody(MARKER) },
  };
  const body = { ...MARKER, tenant: 'acme', count: 3n, previous: null };
  const window = {
    id: windowId('audit', MARKER.hour, 'acme'),
    tenant: 'acme',
    source: 'evident',
    type: 'window',
    body: { form: 'json', bytes: encodeUtf8(formatWindowBody(body)) },
  };

  it('is read as what it says', () => {
    const read = readWindowsRecord(marker);
    assert.ok(read?.ok && read.value.kind === 'marker');
    assert.equal(read.value.hour, parseHour(MARKER.hour));
    const other = readWindowsRecord(window);
    assert.ok(other?.ok && other.value.kind === 'window');
    assert.equal(other.value.window.tenant, 'acme');
  });

  it('is passed over with another source or type, and refused where it contradicts itself', () => {
    for (const one of [marker, window]) {
      assert.equal(readWindowsRecord({ ...one, source: 'key-1' }), null);
      assert.equal(readWindowsRecord({ ...one, type: 'log.hour' }), null);
      for (const over of [{ tenant: 'beta' }, { id: derivedId('x') }, { body: { form: 'object' } }])
        assert.equal(readWindowsRecord({ ...one, ...over })?.ok, false);
    }
    const hour = '2026-02-30T10';
    const wrong = { ...window, id: windowId('audit', hour, 'acme') };
    const bytes = encodeUtf8(formatWindowBody({ ...body, hour }));
    assert.equal(readWindowsRecord({ ...wrong, body: { form: 'json', bytes } })?.ok, false);
  });
});
