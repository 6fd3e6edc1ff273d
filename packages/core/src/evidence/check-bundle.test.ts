import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concatBytes, decodeUtf8, encodeUtf8, toBase64 } from '../bytes.ts';
import { formatCosignerVkey } from '../cosignature.ts';
import { consistencyProof } from '../merkle/proof.ts';
import { readHashesFromTiles } from '../merkle/tile.ts';
import { epochOrigin } from '../origin.ts';
import {
  checkFixtureToken,
  FIXTURE_NAME,
  FixtureInstallation,
  fixtureSignatures,
  fixtureWitness,
} from './bundle-fixture.ts';
import { headPaths } from './bundle-layout.ts';
import { type CheckOptions, checkBundle } from './check-bundle.ts';
import { makeBundle, sourceOf, vkeyOf, withManifest } from './make-bundle-fixture.ts';
import type { BundleScope } from './manifest.ts';

const small = new FixtureInstallation();
const large = new FixtureInstallation({ records: 90 });
const options: CheckOptions = { vkey: vkeyOf(small), signatures: fixtureSignatures };
const ALL: BundleScope = { kind: 'selection', filter: { tenant: 'acme' } };
const HOURS: BundleScope = {
  kind: 'tenant-hours',
  log: 'audit',
  tenant: 'acme',
  from: '2026-11-20T11',
  to: '2026-11-20T12',
};
const RECORD: BundleScope = { kind: 'record', id: small.audit[0]!.records[0]!.id };

for (const scope of [ALL, HOURS, RECORD]) {
  for (const proofs of ['each', 'tiles'] as const) {
    for (const installation of [small, large]) {
      for (const age of [0, 1]) {
        const size = installation === small ? 'small' : 'large';
        test(`a bundle of ${scope.kind} with ${proofs}, ${size}, at head ${age}, is verified`, async () => {
          const hours =
            scope.kind === 'tenant-hours' && age === 1 ? { ...scope, to: '2026-11-20T11' } : scope;
          const { files } = await makeBundle(installation, { scope: hours, proofs, age });
          for (const pieceBytes of [1 << 20, 61]) {
            const report = await checkBundle(sourceOf(files, pieceBytes), options);
            assert.deepEqual(report.findings, []);
            assert.equal(report.verdict, 'verified');
            assert.ok(report.records > 0n);
            assert.ok(report.shown.length >= 2);
          }
        });
      }
    }
  }
}

test('the report of whole hours says what they equal, and that of a selection what it is', async () => {
  const hours = await checkBundle(
    sourceOf((await makeBundle(small, { scope: HOURS, proofs: 'each' })).files),
    options,
  );
  assert.ok(
    hours.shown.includes(
      'this equals the 12 records that the log committed to for acme in audit, append hours 2026-11-20T11 to 2026-11-20T12',
    ),
  );
  assert.ok(hours.notShown.some((line) => line.includes("operator's window")));
  const filter = { tenant: 'acme', actor: 'usr_1' };
  const chosen = await makeBundle(small, { scope: ALL, proofs: 'tiles' });
  const files = withManifest(chosen.files, { ...chosen.base, scope: { kind: 'selection', filter } });
  const selection = await checkBundle(sourceOf(files), options);
  assert.equal(selection.verdict, 'verified');
  assert.ok(selection.notShown.some((line) => line.includes('this is a selection')));
  assert.ok(selection.notShown.some((line) => line.includes('matches actor')));
});

test('tokens and cosignatures count if they can be checked, and are called unchecked if not', async () => {
  const { files } = await makeBundle(small, {
    scope: ALL,
    proofs: 'each',
    witnesses: [41, 42, 43],
    token: true,
  });
  const witnesses = [41, 42].map((seed) => ({ vkey: formatCosignerVkey(fixtureWitness(seed).key) }));
  const report = await checkBundle(sourceOf(files), { ...options, witnesses, timestamps: checkFixtureToken });
  assert.deepEqual(report.findings, []);
  assert.equal(report.timestamps.length, 1);
  assert.deepEqual(
    report.cosignatures.map(({ witness }) => witness),
    ['witness.example/w41', 'witness.example/w42'],
  );
  const plain = await checkBundle(sourceOf(files), options);
  assert.equal(plain.verdict, 'verified');
  assert.ok(plain.notShown.some((line) => line.includes('1 token')));
  assert.ok(plain.notShown.some((line) => line.includes('3 further cosignatures')));
  const stranger = [{ vkey: formatCosignerVkey(fixtureWitness(44).key) }];
  assert.equal(
    (await checkBundle(sourceOf(files), { ...options, witnesses: stranger })).verdict,
    'not checked',
  );
  const oneOfTwo = { ...options, witnesses: [...stranger, witnesses[0]!], quorum: 1 };
  assert.equal((await checkBundle(sourceOf(files), oneOfTwo)).verdict, 'verified');
});

test('what was asked for and is not there is not checked', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  assert.equal(
    (await checkBundle(sourceOf(files), { ...options, timestamps: checkFixtureToken })).verdict,
    'not checked',
  );
});

test('a head of the same size that the verifier holds must be the same; of another size it says nothing', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  const size = small.headSizes.at(-1)!;
  const verdictWith = async (knownHead: Uint8Array) =>
    (await checkBundle(sourceOf(files), { ...options, knownHead })).verdict;
  assert.equal(await verdictWith(small.heads.head(size)), 'verified');
  assert.equal(await verdictWith(small.heads.head(size - 1)), 'not checked');
  const fork = new FixtureInstallation({ records: 4 });
  assert.equal(await verdictWith(fork.heads.head(size)), 'tampered');
  assert.equal(await verdictWith(new Uint8Array(3)), 'not checked');
});

test('a head of another size is held against the bundle by a consistency proof, and by no other', async () => {
  const { heads, headSizes } = small;
  const [older, newer] = [headSizes[0]!, headSizes.at(-1)!];
  const read = readHashesFromTiles(BigInt(newer), async (tile) => heads.tile(tile));
  const hashes = await consistencyProof(BigInt(older), BigInt(newer), read);
  const answer = (from: number, to: number, proof: readonly Uint8Array[]) =>
    encodeUtf8(
      JSON.stringify({
        origin: heads.origin,
        from: { size: `${from}`, root: '' },
        to: { size: `${to}`, root: '' },
        proof: proof.map(toBase64),
      }),
    );
  const good = answer(older, newer, hashes);
  const fork = new FixtureInstallation({ records: 5 });
  for (const [age, known, forked] of [
    [0, heads.head(older), fork.heads.head(older)],
    [1, heads.head(newer), fork.heads.head(newer)],
  ] as const) {
    const { files } = await makeBundle(small, { scope: ALL, proofs: 'each', age });
    const verdictWith = async (knownHead: Uint8Array, consistency: Uint8Array) =>
      (await checkBundle(sourceOf(files), { ...options, knownHead, consistency })).verdict;
    assert.equal(await verdictWith(known, good), 'verified');
    // A false proof proves nothing: neither that the log was forked, nor that it was not.
    for (const [head, proof] of [
      [forked, good],
      [known, answer(older, newer, hashes.slice(1))],
      [known, answer(older, newer, [...hashes].reverse())],
    ] as const) {
      const wrong = await checkBundle(sourceOf(files), { ...options, knownHead: head, consistency: proof });
      assert.equal(wrong.verdict, 'not checked');
      assert.deepEqual(
        wrong.findings.map(({ check }) => check),
        ['known-head'],
      );
      assert.match(wrong.findings[0]!.detail, /^this proof does not lead from .*get it again, from the log/);
    }
    assert.equal(await verdictWith(known, answer(older + 1, newer, hashes)), 'not checked');
    assert.equal(await verdictWith(known, encodeUtf8('{"proof":null}')), 'not checked');
    assert.equal(await verdictWith(known, encodeUtf8('no JSON')), 'not checked');
  }
});

test('a report says what a kept head is to the one of the bundle, and never that there is no newer one', async () => {
  const { heads, headSizes } = small;
  const [older, newer] = [headSizes[0]!, headSizes.at(-1)!];
  const read = readHashesFromTiles(BigInt(newer), async (tile) => heads.tile(tile));
  const proof = (await consistencyProof(BigInt(older), BigInt(newer), read)).map(toBase64);
  const consistency = encodeUtf8(
    JSON.stringify({ from: { size: `${older}` }, to: { size: `${newer}` }, proof }),
  );
  const NO_NEWER = 'that the log has no newer head';
  for (const [age, known, shown, notShown] of [
    [0, newer, 'the head is the one that you hold', NO_NEWER],
    [0, older, `the head follows from the one of size ${older} that you hold`, NO_NEWER],
    [
      1,
      newer,
      `the log has a newer head, the one of size ${newer}`,
      `${NO_NEWER} than that of size ${newer}`,
    ],
  ] as const) {
    const { files } = await makeBundle(small, { scope: ALL, proofs: 'each', age });
    const knownHead = heads.head(known);
    const report = await checkBundle(sourceOf(files), { ...options, knownHead, consistency });
    assert.equal(report.verdict, 'verified');
    const last = report.shown.at(-1) ?? '';
    assert.ok(last.startsWith(shown), last);
    assert.equal(report.notShown.at(-1), notShown);
    const alone = await checkBundle(sourceOf(files), options);
    assert.equal(alone.notShown.at(-1), NO_NEWER);
    assert.ok(!alone.shown.some((line) => line.startsWith(shown)));
  }
});

test('a kept head whose line ends were converted is not checked, and the finding says why', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  const text = decodeUtf8(small.heads.head(small.headSizes.at(-1)!))!;
  for (const [head, isNamed] of [
    [text.replaceAll('\n', '\r\n'), true],
    [text.slice(1), false],
  ] as const) {
    const report = await checkBundle(sourceOf(files), { ...options, knownHead: encodeUtf8(head) });
    assert.equal(report.verdict, 'not checked');
    assert.equal(/line ends CR LF/.test(report.findings[0]!.detail), isNamed);
  }
});

test('every report names what no bundle shows: tiers T1 and T2; stolen keys only after a rotation; filters only of a selection', async () => {
  const rotated = new FixtureInstallation({ rotations: 1 });
  for (const [log, scope, isRotated] of [
    [small, ALL, false],
    [small, HOURS, false],
    [rotated, ALL, true],
  ] as const) {
    const { files } = await makeBundle(log, { scope, proofs: 'each' });
    const report = await checkBundle(sourceOf(files), { ...options, vkey: vkeyOf(log) });
    assert.equal(report.verdict, 'verified');
    const notShown = report.notShown.join('\n');
    assert.match(notShown, /tiers T1, T2/);
    assert.equal(/rotated away/.test(notShown), isRotated);
    assert.equal(/no narrower/.test(notShown), scope.kind === 'selection');
  }
});

test('a file that a desktop makes is tampered as any other is, with a hint', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  for (const [path, isHinted] of [
    ['.DS_Store', true],
    ['heads/desktop.ini', true],
    ['proofs/._x', true],
    ['notes.txt', false],
  ] as const) {
    const report = await checkBundle(sourceOf(new Map(files).set(path, new Uint8Array(1))), options);
    assert.equal(report.verdict, 'tampered');
    assert.equal(/desktops make such files/.test(report.findings[0]!.detail), isHinted);
  }
});

test('another key than that of the installation verifies nothing', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  const other = new FixtureInstallation({ keySeed: 9 });
  assert.equal((await checkBundle(sourceOf(files), { ...options, vkey: vkeyOf(other) })).verdict, 'tampered');
  const forged = await makeBundle(other, { scope: ALL, proofs: 'each' });
  assert.equal((await checkBundle(sourceOf(forged.files), options)).verdict, 'tampered');
});

test('options that are none are refused, and never taken for fewer', async () => {
  const { files } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  const vkey = formatCosignerVkey(fixtureWitness(41).key);
  const bad: Partial<CheckOptions>[] = [
    { vkey: 'no key' },
    { vkey: vkeyOf(small).replace('heads/0', 'audit/0') },
    { witnesses: [{ vkey: vkeyOf(small) }] },
    { witnesses: [{ vkey }, { vkey }] },
    { witnesses: [{ vkey }], quorum: 2 },
  ];
  for (const one of bad) {
    await assert.rejects(checkBundle(sourceOf(files), { ...options, ...one }), { code: 'usage-invalid' });
  }
});

test('hours that no later window closes are not checked, and a source that fails never verifies', async () => {
  const scope: BundleScope = {
    ...(HOURS as Extract<BundleScope, { kind: 'tenant-hours' }>),
    to: '2026-11-20T23',
  };
  const { files } = await makeBundle(small, { scope, proofs: 'each' });
  assert.equal((await checkBundle(sourceOf(files), options)).verdict, 'not checked');
  const broken = sourceOf(files);
  for (const thrown of [new Error('gone'), 'gone', null, undefined]) {
    const failing = { ...broken, list: () => Promise.reject(thrown) };
    const report = await checkBundle(failing, options);
    assert.equal(report.verdict, 'not checked');
    assert.deepEqual(report.shown, []);
  }
});

test('a last line that is refused ends no check: all else is looked at', async () => {
  const { files, base } = await makeBundle(small, { scope: ALL, proofs: 'tiles' });
  const records = concatBytes([files.get('records.ndjson')!, encodeUtf8('no leaf\n')]);
  const report = await checkBundle(
    sourceOf(withManifest(new Map(files).set('records.ndjson', records), base)),
    options,
  );
  assert.deepEqual(
    report.findings.map(({ check }) => check),
    ['record', 'manifest'],
  );
});

test('a witness whose clock is beyond all calendars is quoted as it is', async () => {
  const { files, base } = await makeBundle(small, { scope: ALL, proofs: 'each' });
  const { checkpoint, cosignatures } = headPaths(base.head.origin, base.head.size);
  const text = decodeUtf8(files.get(checkpoint)!)!.split('\n\n')[0]!;
  for (const [at, shown] of [
    [253_402_300_799n, 'at 9999-12-31T23:59:59Z it'],
    [2n ** 63n - 1n, 'at second 9223372036854775807 after 1970 it'],
  ] as const) {
    const { key, line } = fixtureWitness(41, at);
    const cosigned = new Map(files).set(cosignatures, encodeUtf8(line(`${text}\n`)));
    const witnesses = [{ vkey: formatCosignerVkey(key) }];
    const report = await checkBundle(sourceOf(withManifest(cosigned, base)), { ...options, witnesses });
    assert.equal(report.verdict, 'verified');
    assert.ok(report.shown.some((sentence) => sentence.includes(shown)));
  }
});

test('of a tree that began anew the report says what is not shown', async () => {
  for (const epoch of [0, 2]) {
    const log = new FixtureInstallation();
    Object.assign(log.audit[0]!, { origin: epochOrigin(FIXTURE_NAME, 'audit', 0, epoch) });
    log.listAll();
    const { files, base } = await makeBundle(log, { scope: ALL, proofs: 'each' });
    const trees = base.trees.map((tree) => (tree.partition === 0 ? { ...tree, epoch } : tree));
    const report = await checkBundle(sourceOf(withManifest(files, { ...base, trees })), options);
    assert.equal(report.verdict, 'verified');
    assert.equal(
      report.notShown.some((line) => line.includes('1 tree began anew (log.example/evident/r2/audit/0)')),
      epoch === 2,
    );
  }
});
