import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { it } from 'node:test';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { formatKeyRotation } from '@evident/core/evidence/key-rotation.ts';
import { signNote, verifierKey } from '@evident/core/note.ts';
import fc from 'fast-check';
import type { SignerRotation } from '../seal/ports.ts';
import {
  formatRotations,
  headsTreeOf,
  parseRotations,
  readRotation,
  signingOf,
  sizesOf,
} from './rotations.ts';

const HEADS = 'test.invalid/heads/0';
const AUDIT = 'test.invalid/audit/0';
const root = new Uint8Array(32).fill(7);
const keys = [1, 2, 3].map(() => {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
  const key = verifierKey(HEADS, 'ed25519', publicKey);
  return {
    key,
    signer: {
      name: HEADS,
      keyId: key.keyId,
      sign: (message: Uint8Array) => new Uint8Array(sign(null, message, pair.privateKey)),
    },
  };
});

function rotationOf(from: number, sizes: [string, bigint][], closedAt: bigint | null): SignerRotation {
  const [old, next] = [keys[from], keys[from + 1]];
  const text = formatKeyRotation({ old: old.key, next: next.key, sizes: new Map(sizes) });
  const head = formatTreeHead({ origin: HEADS, size: closedAt ?? 1n, root });
  const closed = closedAt === null ? null : { position: closedAt - 1n, head: signNote(head, [old.signer]) };
  return { note: signNote(text, [old.signer, next.signer]), closed };
}

const list = [rotationOf(0, [[AUDIT, 10n]], 9n), rotationOf(1, [[AUDIT, 20n]], null)];
const text = formatRotations(list);
const readAll = (rotations: readonly SignerRotation[]) =>
  rotations.map((one) => {
    const read = readRotation(one);
    assert.ok(read.ok);
    return read.value;
  });

it('reads what it has written, and nothing that was cut or changed', () => {
  const read = parseRotations(text);
  assert.ok(read.ok);
  assert.equal(formatRotations(read.value), text);
  assert.deepEqual(parseRotations(formatRotations([])), { ok: true, value: [] });
  for (let length = 0; length < text.length; length++)
    assert.equal(parseRotations(text.slice(0, length)).ok, false, `cut at ${length}`);
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.integer({ min: 0x0a, max: 0x7e }), (at, code) => {
      const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
      assert.equal(parseRotations(changed).ok, changed === text);
    }),
    { numRuns: 300 },
  );
  assert.equal(
    parseRotations(formatRotations([...list].reverse())).ok,
    false,
    'one that is open before another',
  );
});

it('signs with the key that the rotations name', () => {
  const at = (rotations: readonly SignerRotation[], origin: string, size: bigint) => {
    const signing = signingOf(readAll(rotations), keys[0].key, origin, size);
    return signing.by === 'kept'
      ? 'kept'
      : signing.keys.map(({ keyId }) => keys.findIndex(({ key }) => key.keyId === keyId));
  };
  assert.deepEqual(at([], AUDIT, 5n), [0]);
  const open = [rotationOf(0, [[AUDIT, 10n]], null)];
  assert.deepEqual(at(open, AUDIT, 10n), [0]);
  assert.deepEqual(at(open, AUDIT, 11n), [0, 1]);
  assert.deepEqual(at(open, 'test.invalid/new/0', 1n), [0, 1]);
  assert.deepEqual(at(open, HEADS, 99n), [0], 'the log heads by the old key alone until the record is shown');
  const closed = list.slice(0, 1);
  assert.equal(at(closed, AUDIT, 10n), 'kept');
  assert.deepEqual(at(closed, AUDIT, 11n), [1]);
  assert.equal(at(closed, HEADS, 9n), 'kept');
  assert.deepEqual(at(closed, HEADS, 10n), [1]);
  assert.equal(at(list, AUDIT, 10n), 'kept');
  assert.deepEqual(at(list, AUDIT, 20n), [1]);
  assert.deepEqual(at(list, AUDIT, 21n), [1, 2]);
});

it('fixes the sizes of every tree but that of the record', () => {
  const heads: [string, bigint][] = [
    [HEADS, 4n],
    ['test.invalid/r1/heads/0', 9n],
    ['test.invalid/r2/heads/0', 0n],
    [AUDIT, 3n],
    ['test.invalid/idle/0', 0n],
  ];
  const last = new Map(heads.map(([origin, size]) => [origin, { size, root }]));
  const record = headsTreeOf('test.invalid', last);
  assert.equal(record, 'test.invalid/r1/heads/0');
  assert.deepEqual(
    [...sizesOf(last, record as string)],
    [
      [HEADS, 4n],
      [AUDIT, 3n],
    ],
  );
  assert.equal(headsTreeOf('test.invalid', new Map()), null);
});
