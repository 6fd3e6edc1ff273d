import assert from 'node:assert/strict';
import { it } from 'node:test';
import { formatVkey, verifierKey } from '@evident/core/note.ts';
import fc from 'fast-check';
import type { SignRequest } from '../seal/ports.ts';
import { LineBuffer, LineTooLong } from './lines.ts';
import {
  formatBegun,
  formatDescription,
  formatFailure,
  formatLast,
  formatRequest,
  formatRotation,
  formatRotationAnswer,
  formatSignatures,
  HEADS_MAX,
  LINE_BYTES_MAX,
  PROOF_HASHES_MAX,
  parseBegun,
  parseDescription,
  parseLast,
  parseRequest,
  parseRotation,
  parseRotationAnswer,
  parseSignatures,
  type Request,
} from './protocol.ts';

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const size = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
const origin = fc.constantFrom('test.invalid/audit/0', 'test.invalid/r3/audit/12', 'a');
const head = fc.record({ size, root: hash }, { noNullPrototype: true });
const signRequest: fc.Arbitrary<SignRequest> = fc.record(
  {
    origin,
    size,
    root: hash,
    after: fc.option(head),
    proof: fc.array(hash, { maxLength: PROOF_HASHES_MAX }),
  },
  { noNullPrototype: true },
);
const inception = {
  name: 'test.invalid',
  vkey: formatVkey(verifierKey('test.invalid/heads/0', 'ed25519', new Uint8Array(32).fill(7))),
  begunAt: '2026-11-21T10:00:00.000001Z',
};
const request: fc.Arbitrary<Request> = fc.oneof(
  fc.constant<Request>({ do: 'describe' }),
  fc.constant<Request>({ do: 'begin', inception }),
  origin.map((one): Request => ({ do: 'last', origin: one })),
  fc.array(signRequest, { maxLength: 8 }).map((heads): Request => ({ do: 'sign', heads })),
);

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const PARSERS = [
  parseRequest,
  parseDescription,
  parseBegun,
  parseLast,
  (line: Uint8Array) => parseSignatures(line, 2),
] as const;

it('reads each request that it writes', () => {
  fc.assert(
    fc.property(request, (asked) => {
      assert.deepEqual(parseRequest(bytes(formatRequest(asked))), { ok: true, value: asked });
    }),
  );
});

it('reads each answer that it writes', () => {
  for (const name of [null, 'test.invalid']) {
    const description = { publicKeys: [new Uint8Array(32)], name, inception, hasSigned: true };
    const read = parseDescription(bytes(formatDescription(description)));
    assert.deepEqual(read, { ok: true, value: description });
  }
  const unnamed = { publicKeys: [new Uint8Array(32)], name: 'a b', inception, hasSigned: true };
  assert.equal(parseDescription(bytes(formatDescription(unnamed))).ok, false);
  for (const answer of [{ ok: true as const }, { ok: false as const, reason: 'no' }])
    assert.deepEqual(parseBegun(bytes(formatBegun(answer))), { ok: true, value: answer });
  for (const last of [null, { size: 3n, root: new Uint8Array(32) }])
    assert.deepEqual(parseLast(bytes(formatLast(last))), { ok: true, value: { head: last } });
  const list = [
    { ok: false as const, reason: 'no' },
    { ok: true as const, note: new Uint8Array([1, 2]) },
  ];
  assert.deepEqual(parseSignatures(bytes(formatSignatures(list)), 2), { ok: true, value: { list } });
  assert.equal(parseSignatures(bytes(formatSignatures(list)), 1).ok, false);
  const failure = { failed: 'disk-full', reason: 'no space' };
  for (const parse of PARSERS.slice(1))
    assert.deepEqual(parse(bytes(formatFailure(failure))), { ok: true, value: failure });
});

it('fits the largest request into one line', () => {
  const root = new Uint8Array(32).fill(255);
  const largest: SignRequest = {
    origin: `${'n'.repeat(128)}/r1000/${'l'.repeat(32)}/65535`,
    size: 2n ** 63n - 1n,
    root,
    after: { size: 2n ** 63n - 2n, root },
    proof: Array.from({ length: PROOF_HASHES_MAX }, () => root),
  };
  const line = formatRequest({ do: 'sign', heads: Array.from({ length: HEADS_MAX }, () => largest) });
  assert.ok(line.length + 1 <= LINE_BYTES_MAX);
  assert.equal(parseRequest(bytes(line)).ok, true);
});

it('refuses what is beyond its bounds', () => {
  const one: SignRequest = { origin: 'a', size: 1n, root: new Uint8Array(32), after: null, proof: [] };
  const isRead = (heads: readonly SignRequest[]) =>
    parseRequest(bytes(formatRequest({ do: 'sign', heads }))).ok;
  assert.equal(isRead(Array.from({ length: HEADS_MAX }, () => one)), true);
  assert.equal(isRead(Array.from({ length: HEADS_MAX + 1 }, () => one)), false);
  const proof = Array.from({ length: PROOF_HASHES_MAX + 1 }, () => new Uint8Array(32));
  for (const wrong of [
    { proof },
    { root: new Uint8Array(31) },
    { size: 2n ** 63n },
    { size: -1n },
    { origin: 'a b' },
  ])
    assert.equal(isRead([{ ...one, ...wrong }]), false);
  for (const wrong of [
    { origin: 'x'.repeat(201) },
    { origin: '' },
    { origin: 'a\nb' },
    { proof: [new Uint8Array(33)] },
  ])
    assert.equal(isRead([{ ...one, ...wrong }]), false);
});

it('throws at no bytes, and takes none that it would write otherwise', () => {
  const junk = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.json().map(bytes),
    fc.json().map((text) => bytes(`{"v":1,"do":"sign","heads":${text}}`)),
    fc.json().map((text) => bytes(`{"v":1,"signatures":${text}}`)),
    fc.tuple(request, fc.nat(), fc.nat(255)).map(([asked, at, by]) => {
      const line = bytes(formatRequest(asked));
      line[at % line.length] = by;
      return line;
    }),
  );
  fc.assert(
    fc.property(junk, (line) => {
      for (const parse of PARSERS) parse(line);
      const read = parseRequest(line);
      // Members may stand in another order, and JSON has more spellings than one: what was read means the same.
      if (read.ok) assert.deepEqual(parseRequest(bytes(formatRequest(read.value))), read);
    }),
    { numRuns: 2_000 },
  );
});

it('refuses another version, other members and prototypes', () => {
  for (const line of [
    '{"v":2,"do":"describe"}',
    '{"do":"describe"}',
    '{"v":1,"do":"describe","more":1}',
    '{"v":1,"do":"__proto__"}',
    '{"v":1,"__proto__":{"do":"describe"}}',
    '[]',
    'null',
    '"describe"',
    '',
  ])
    assert.equal(parseRequest(bytes(line)).ok, false, line);
});

it('cuts lines wherever the bytes are cut, and stops at one that is too long', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 20 })), fc.array(fc.nat(30)), (texts, cuts) => {
      const lines = texts.map((text) => text.replaceAll('\n', ''));
      const all = bytes(lines.map((line) => `${line}\n`).join(''));
      const buffer = new LineBuffer(100);
      const found: string[] = [];
      let from = 0;
      for (const cut of [...cuts, all.length]) {
        found.push(
          ...buffer.push(all.subarray(from, from + cut)).map((line) => Buffer.from(line).toString()),
        );
        from += cut;
      }
      assert.deepEqual(found, lines);
    }),
  );
  const buffer = new LineBuffer(4);
  assert.equal(buffer.push(bytes('abc\n')).length, 1);
  assert.deepEqual(buffer.push(bytes('ab')), []);
  assert.equal(buffer.isWithin, true);
  assert.throws(() => buffer.push(bytes('cde')), LineTooLong);
});

it('reads what is asked and answered about rotations, and nothing longer, shorter or other', () => {
  const note = Buffer.from('a note');
  const hash32 = new Uint8Array(32).fill(5);
  const proof = {
    number: 2,
    origin: 'test.invalid/heads/0',
    leaf: Buffer.from('{}'),
    position: 7n,
    proof: [hash32],
  };
  const requests: Request[] = [
    { do: 'rotation', number: 1 },
    { do: 'rotate', number: 60 },
    { do: 'close', proof },
  ];
  for (const request of requests) {
    const line = formatRequest(request);
    const read = parseRequest(Buffer.from(line));
    assert.ok(read.ok);
    assert.equal(formatRequest(read.value), line);
    assert.equal(parseRequest(Buffer.from(line.replace('{', '{"x":1,'))).ok, false);
  }
  for (const number of ['0', '-1', '62', '01', '1.5', ''])
    assert.equal(parseRequest(Buffer.from(`{"v":1,"do":"rotate","number":"${number}"}`)).ok, false, number);
  const long = { do: 'close' as const, proof: { ...proof, proof: Array(PROOF_HASHES_MAX + 1).fill(hash32) } };
  assert.equal(parseRequest(Buffer.from(formatRequest(long))).ok, false);
  for (const closed of [null, { position: 7n, head: Buffer.from('a head') }]) {
    const line = Buffer.from(formatRotation({ note, closed }));
    for (const read of [parseRotation(line), parseRotationAnswer(line)]) {
      assert.ok(read.ok && 'rotation' in read.value && read.value.rotation !== null);
      assert.equal(formatRotation(read.value.rotation), String(line));
    }
  }
  assert.deepEqual(parseRotation(Buffer.from(formatRotation(null))), { ok: true, value: { rotation: null } });
  assert.equal(parseRotationAnswer(Buffer.from(formatRotation(null))).ok, false);
  const refused = Buffer.from(formatRotationAnswer({ ok: false, reason: 'no' }));
  assert.deepEqual(parseRotationAnswer(refused), { ok: true, value: { ok: false, reason: 'no' } });
});
