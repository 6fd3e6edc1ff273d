import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeUtf8, equalBytes } from './bytes.ts';
import {
  ADD_CHECKPOINT_BYTES_MAX,
  formatAddCheckpoint,
  formatKnownSize,
  formatSignatureLine,
  parseAddCheckpoint,
  parseCosignatureLines,
  parseKnownSize,
} from './tlog-witness.ts';

const HEAD = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`;
const TEXT = HEAD.slice(0, HEAD.indexOf('\n\n') + 1);

// The example of C2SP tlog-witness.
const REQUEST = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

${HEAD}`;
const LINE =
  '— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n';

test('reads the request of the specification, and writes the same bytes', () => {
  const parsed = parseAddCheckpoint(encodeUtf8(REQUEST));
  assert.ok(parsed.ok);
  assert.equal(parsed.value.oldSize, 20_852_014n);
  assert.equal(parsed.value.proof.length, 4);
  assert.equal(parsed.value.note.text, TEXT);
  assert.ok(equalBytes(formatAddCheckpoint(parsed.value), encodeUtf8(REQUEST)));
});

test('refuses every other spelling of a request', () => {
  const hash = 'PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n';
  const bad: Record<string, string> = {
    empty: '',
    'no old line': REQUEST.slice(REQUEST.indexOf('\n') + 1),
    'leading zero': REQUEST.replace('old 2', 'old 02'),
    'plus sign': REQUEST.replace('old 2', 'old +2'),
    'two spaces': REQUEST.replace('old ', 'old  '),
    'upper case': REQUEST.replace('old', 'Old'),
    'a size that is none': REQUEST.replace('old 20852014', 'old 9223372036854775808'),
    'carriage return': REQUEST.replace('\n', '\r\n'),
    'a short hash': REQUEST.replace('PlRN', ''),
    'a hash of another spelling': REQUEST.replace('pkaw=', 'pkax='),
    'no empty line': REQUEST.replace('\n\nexample', '\nexample'),
    '64 hashes': `old 1\n${hash.repeat(64)}\n${HEAD}`,
    'a note without signature': `old 0\n\n${TEXT}\n`,
    'a note without its last LF': REQUEST.slice(0, -1),
    'more bytes than are taken': `old 0\n\n${TEXT}\n${LINE.repeat(70)}`,
  };
  for (const [name, text] of Object.entries(bad))
    assert.equal(parseAddCheckpoint(encodeUtf8(text)).ok, false, name);
  assert.ok(parseAddCheckpoint(encodeUtf8(`old 1\n${hash.repeat(63)}\n${HEAD}`)).ok);
});

test('writes no request that it would not read', () => {
  const treeHead = encodeUtf8(HEAD);
  assert.throws(() => formatAddCheckpoint({ oldSize: -1n, proof: [], treeHead }), RangeError);
  assert.throws(
    () => formatAddCheckpoint({ oldSize: 1n, proof: [new Uint8Array(31)], treeHead }),
    RangeError,
  );
  const large = new Uint8Array(ADD_CHECKPOINT_BYTES_MAX);
  assert.throws(() => formatAddCheckpoint({ oldSize: 1n, proof: [], treeHead: large }), RangeError);
});

test('reading never throws, and what is read is written as it was', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.nat(REQUEST.length), fc.nat(40), fc.string({ maxLength: 20 })).map(([at, cut, put]) => {
      return encodeUtf8((REQUEST.slice(0, at) + put + REQUEST.slice(at + cut)).toWellFormed());
    }),
  );
  fc.assert(
    fc.property(bytes, (request) => {
      const parsed = parseAddCheckpoint(request);
      if (parsed.ok) assert.deepEqual(formatAddCheckpoint(parsed.value), request);
    }),
    { numRuns: 2_000 },
  );
});

test('a known size is a decimal number and LF, nothing else', () => {
  assert.equal(parseKnownSize(encodeUtf8(formatKnownSize(42n))), 42n);
  for (const text of ['', '\n', '42', '042\n', '42\n\n', '42\r\n', ' 42\n', '-1\n', '9223372036854775808\n'])
    assert.equal(parseKnownSize(encodeUtf8(text)), null, JSON.stringify(text));
});

test('reads signature lines of an answer, and refuses what moves the border to the text', () => {
  const parsed = parseCosignatureLines(TEXT, encodeUtf8(LINE + LINE));
  assert.ok(parsed.ok);
  assert.equal(parsed.value.length, 2);
  const [{ name, keyId, signature }] = parsed.value;
  assert.equal(formatSignatureLine(name, keyId, signature), LINE);
  for (const body of [
    '',
    '\n',
    `\n${LINE}`,
    `${LINE}\n${LINE}`,
    `x\n\n${LINE}`,
    LINE.slice(0, -1),
    `${LINE}x\n`,
  ])
    assert.equal(parseCosignatureLines(TEXT, encodeUtf8(body)).ok, false, JSON.stringify(body));
});
