import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeUtf8 } from '../bytes.ts';
import { formatVkey, signNote } from '../note.ts';
import { epochOrigin } from '../origin.ts';
import {
  FIXTURE_NAME,
  FixtureInstallation,
  fixtureKey,
  fixtureSignatures,
  verifierKeyOf,
} from './bundle-fixture.ts';
import { checkBundle } from './check-bundle.ts';
import {
  followPlaced,
  joinHistory,
  type KeyHistory,
  keysOfTree,
  type PlacedRotation,
  singleKeyHistory,
} from './key-history.ts';
import { formatKeyRotation, openKeyRotation, parseKeyRotation } from './key-rotation.ts';
import { type BundleFiles, makeBundle, sourceOf, vkeyOf, withManifest } from './make-bundle-fixture.ts';

const HEADS = `${FIXTURE_NAME}/heads/0`;
const [AUDIT, OTHER, LATE] = [`${FIXTURE_NAME}/audit/0`, `${FIXTURE_NAME}/audit/1`, `${FIXTURE_NAME}/late/0`];
const KEYS = [1, 2, 3].map(fixtureKey);

function textOf(from: number, to: number, sizes: Record<string, bigint>): string {
  const [old, next] = [KEYS[from]!, KEYS[to]!].map((key) => verifierKeyOf(HEADS, key)) as [never, never];
  return formatKeyRotation({ old, next, sizes: new Map(Object.entries(sizes)) });
}

function signed(text: string, by: readonly number[]): Uint8Array {
  const signers = by.map((key) => {
    const { name, keyId } = verifierKeyOf(HEADS, KEYS[key]!);
    return { name, keyId, sign: KEYS[key]!.sign };
  });
  return signNote(text, signers);
}

const noteOf = (from: number, to: number, sizes: Record<string, bigint>): Uint8Array =>
  signed(textOf(from, to, sizes), [from, to]);

const placed = (note: Uint8Array, position: bigint, size: bigint, origin = HEADS): PlacedRotation => ({
  note,
  position,
  head: { origin, size },
});

function first(key = 0): KeyHistory {
  const history = singleKeyHistory(verifierKeyOf(HEADS, KEYS[key]!));
  assert.ok(history.ok);
  return history.value;
}

async function follow(history: KeyHistory, rotation: PlacedRotation): Promise<KeyHistory> {
  const next = await followPlaced(history, rotation, fixtureSignatures);
  assert.ok(next.ok, next.ok ? '' : next.reason);
  return next.value;
}

/** Which of the keys signs a head. */
function signerAt(history: KeyHistory, origin: string, size: bigint): number | null {
  const key = history.keyFor(origin, size);
  return key === null
    ? null
    : KEYS.findIndex(({ publicKey }) => Buffer.compare(publicKey, key.publicKey) === 0);
}

const ONE = { [AUDIT]: 10n, [OTHER]: 4n };
const once = await follow(first(), placed(noteOf(0, 1, ONE), 7n, 9n));
const TWO = { [AUDIT]: 25n, [OTHER]: 4n, [LATE]: 3n };
const twice = await follow(once, placed(noteOf(1, 2, TWO), 9n, 12n));

it('gives the key by tree and size, through every rotation', () => {
  for (const [origin, size, key] of [
    [AUDIT, 10n, 0],
    [AUDIT, 11n, 1],
    [AUDIT, 25n, 1],
    [AUDIT, 26n, 2],
    [OTHER, 4n, 0],
    // It rested from one rotation to the next: the key in between signs nothing of it.
    [OTHER, 5n, 2],
    // It began between the two.
    [LATE, 0n, 1],
    [LATE, 3n, 1],
    [LATE, 4n, 2],
    [`${FIXTURE_NAME}/new/0`, 1n, 2],
    [HEADS, 9n, 0],
    [HEADS, 10n, 1],
    [HEADS, 12n, 1],
    [HEADS, 13n, 2],
    ['other.example/audit/0', 1n, null],
  ] as const)
    assert.equal(signerAt(twice, origin, size), key, `${origin} at ${size}`);
  assert.equal(signerAt(once, AUDIT, 99n), 1);
  assert.equal(signerAt(first(), AUDIT, 99n), 0);
});

it('lists the keys of a tree without gaps, as they were at a head', () => {
  const list = (origin: string, before: bigint | null) =>
    keysOfTree(twice, origin, before).map(({ vkey, from, to }) => [
      KEYS.findIndex((key) => formatVkey(verifierKeyOf(origin, key)) === vkey),
      from,
      to,
    ]);
  assert.deepEqual(list(AUDIT, null), [
    [0, 0n, 10n],
    [1, 11n, 25n],
    [2, 26n, null],
  ]);
  assert.deepEqual(list(OTHER, null), [
    [0, 0n, 4n],
    [2, 5n, null],
  ]);
  assert.deepEqual(list(LATE, null), [
    [1, 0n, 3n],
    [2, 4n, null],
  ]);
  assert.deepEqual(list(HEADS, null), [
    [0, 0n, 9n],
    [1, 10n, 12n],
    [2, 13n, null],
  ]);
  assert.deepEqual(list(HEADS, 12n), [
    [0, 0n, 9n],
    [1, 10n, null],
  ]);
  assert.deepEqual(list(HEADS, 9n), [[0, 0n, null]]);
});

it('takes over a log heads that began anew', async () => {
  const anew = epochOrigin(FIXTURE_NAME, 'heads', 0, 1);
  const note = noteOf(1, 2, { ...TWO, [HEADS]: 11n });
  const later = await follow(once, placed(note, 14n, 16n, anew));
  assert.deepEqual(
    [HEADS, anew].map((origin) => [11n, 16n, 17n].map((size) => signerAt(later, origin, size))),
    [
      [1, 2, 2],
      [1, 1, 2],
    ],
  );
  // It had ended before the note, which does not list it: nothing of it is signed by the new key.
  const unlisted = await follow(first(), placed(noteOf(0, 1, ONE), 14n, 16n, anew));
  assert.equal(signerAt(unlisted, HEADS, 99n), 0);
});

it('follows no rotation that does not hand over', async () => {
  const good = noteOf(1, 2, TWO);
  const cases: Record<string, PlacedRotation> = {
    'of which the record is not included': placed(good, 12n, 12n),
    'that stands before the one before': placed(good, 8n, 12n),
    'from another key': placed(noteOf(0, 2, TWO), 9n, 12n),
    'back to a key that was in use': placed(noteOf(1, 0, TWO), 9n, 12n),
    'that takes sizes back': placed(noteOf(1, 2, { ...TWO, [AUDIT]: 9n }), 9n, 12n),
    'that leaves a tree out': placed(noteOf(1, 2, { [AUDIT]: 25n }), 9n, 12n),
    'that lists the tree of its record': placed(noteOf(1, 2, { ...TWO, [HEADS]: 12n }), 9n, 12n),
    'in another log': placed(good, 9n, 12n, AUDIT),
    'in another installation': placed(good, 9n, 12n, 'other.example/heads/0'),
    'signed by the old key alone': placed(signed(textOf(1, 2, TWO), [1]), 9n, 12n),
    'signed by the new key alone': placed(signed(textOf(1, 2, TWO), [2]), 9n, 12n),
    'signed in the other order': placed(signed(textOf(1, 2, TWO), [2, 1]), 9n, 12n),
    'signed by a third as well': placed(signed(textOf(1, 2, TWO), [1, 2, 0]), 9n, 12n),
    'signed twice by one': placed(signed(textOf(1, 2, TWO), [1, 1]), 9n, 12n),
  };
  for (const [name, rotation] of Object.entries(cases)) {
    const next = await followPlaced(once, rotation, fixtureSignatures);
    assert.equal(next.ok, false, `a rotation ${name}`);
  }
  assert.equal((await followPlaced(once, placed(good, 9n, 12n), fixtureSignatures)).ok, true);
  // Twice the same.
  assert.equal((await followPlaced(twice, placed(good, 9n, 12n), fixtureSignatures)).ok, false);
});

it('no byte of a rotation can be another', async () => {
  const note = noteOf(0, 1, ONE);
  assert.equal((await openKeyRotation(note, fixtureSignatures)).ok, true);
  for (let at = 0; at < note.length; at++) {
    const changed = note.slice();
    changed[at]! ^= 1;
    assert.equal((await openKeyRotation(changed, fixtureSignatures)).ok, false, `byte ${at}`);
    assert.equal((await openKeyRotation(note.slice(0, at), fixtureSignatures)).ok, false, `cut at ${at}`);
  }
});

it('reads only what is written', () => {
  const text = textOf(0, 1, ONE);
  const lines = text.split('\n');
  assert.equal(parseKeyRotation(text).ok, true);
  const changed: Record<string, string> = {
    'no LF at the end': text.slice(0, -1),
    'an empty line': `${text}\n`,
    'another version': text.replace('/v1', '/v2'),
    'trees in another order': [...lines.slice(0, 3), lines[4], lines[3], ''].join('\n'),
    'a tree twice': [...lines.slice(0, 4), ...lines.slice(3)].join('\n'),
    'a size of 0': text.replace(' 10\n', ' 0\n'),
    'a size with a zero before it': text.replace(' 10\n', ' 010\n'),
    'a word more': text.replace(' 10\n', ' 10 x\n'),
    'a tree of another name': text.replace(`${AUDIT} `, 'other.example/audit/0 '),
    'one key only': [lines[0], lines[1], ...lines.slice(3)].join('\n'),
    'one key twice': [lines[0], lines[1], lines[1], ...lines.slice(3)].join('\n'),
    'carriage returns': text.replaceAll('\n', '\r\n'),
  };
  for (const [name, wrong] of Object.entries(changed)) assert.equal(parseKeyRotation(wrong).ok, false, name);
  assert.throws(() => textOf(0, 0, ONE), RangeError);
  assert.equal(parseKeyRotation(encodeUtf8(text).toString()).ok, false);
});

it('whoever holds a later key begins at the rotation to it', async () => {
  const joined = await joinHistory(
    verifierKeyOf(HEADS, KEYS[1]!),
    placed(noteOf(0, 1, ONE), 7n, 9n),
    fixtureSignatures,
  );
  assert.ok(joined.ok);
  const history = await follow(joined.value.history, placed(noteOf(1, 2, TWO), 9n, 12n));
  assert.deepEqual(
    (
      [
        [AUDIT, 10n],
        [AUDIT, 11n],
        [AUDIT, 26n],
        [HEADS, 9n],
        [HEADS, 10n],
        [LATE, 1n],
      ] as const
    ).map(([origin, size]) => signerAt(history, origin, size)),
    [null, 1, 2, null, 1, 1],
  );
  const wrong = [verifierKeyOf(HEADS, KEYS[0]!), verifierKeyOf(HEADS, KEYS[2]!)];
  for (const key of wrong)
    assert.equal((await joinHistory(key, placed(noteOf(0, 1, ONE), 7n, 9n), fixtureSignatures)).ok, false);
});

const rotated = new FixtureInstallation({ rotations: 2 });
const bundle = await makeBundle(rotated, {
  scope: { kind: 'selection', filter: { tenant: 'acme' } },
  proofs: 'each',
});

async function verdictOf(files: BundleFiles, vkey = vkeyOf(rotated)) {
  const { verdict, findings } = await checkBundle(sourceOf(files), { vkey, signatures: fixtureSignatures });
  return { verdict, said: findings.map(({ verdict: one, check, detail }) => `${one} ${check}: ${detail}`) };
}

it('a bundle across two rotations is verified with the first key, and with the newest from its rotation on', async () => {
  assert.deepEqual(await verdictOf(bundle.files), { verdict: 'verified', said: [] });
  const newest = formatVkey(verifierKeyOf(HEADS, rotated.newest));
  assert.deepEqual(await verdictOf(bundle.files, newest), { verdict: 'verified', said: [] });
  const older = await makeBundle(rotated, { ...bundle.base, age: 1, scope: bundle.base.scope });
  assert.equal((await verdictOf(older.files)).verdict, 'verified');
  const stranger = formatVkey(verifierKeyOf(HEADS, fixtureKey(77)));
  assert.notEqual((await verdictOf(bundle.files, stranger)).verdict, 'verified');
});

it('the head of a bundle from before a rotation is not checked by the key behind it', async () => {
  const plain = new FixtureInstallation({ rotations: 1 });
  const files = (await makeBundle(plain, { scope: bundle.base.scope, proofs: 'each', age: 1 })).files;
  assert.equal((await verdictOf(files, vkeyOf(plain))).verdict, 'verified');
});

it('heads that the wrong key has signed are found, though everything else fits', async () => {
  const made = { scope: bundle.base.scope, proofs: 'each' } as const;
  for (const [name, rotations, nth, shift] of [
    ['the old key beyond its size', 2, 1, 10_000],
    // The last rotation is of the sizes that the newest heads have.
    ['the new key below', 4, 3, -1],
  ] as const) {
    const honest = await makeBundle(new FixtureInstallation({ rotations }), made);
    assert.equal((await verdictOf(honest.files)).verdict, 'verified');
    // Every head is signed, but by another key of the installation than the rotations say.
    const forger = new FixtureInstallation({ rotations });
    for (const tree of [...forger.audit, forger.windows]) tree.keys[nth]!.upTo += shift;
    const { files } = await makeBundle(forger, made);
    files.set('keys.json', honest.files.get('keys.json')!);
    const { verdict, said } = await verdictOf(withManifest(files, honest.base));
    assert.equal(verdict, 'tampered', name);
    assert.ok(
      said.some((line) => line.startsWith('tampered head:')),
      said.join('; '),
    );
  }
});
