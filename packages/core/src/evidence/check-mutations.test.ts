import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeUtf8, encodeUtf8 } from '../bytes.ts';
import { formatCosignerVkey } from '../cosignature.ts';
import {
  checkFixtureToken,
  FixtureInstallation,
  fixtureSignatures,
  fixtureWitness,
} from './bundle-fixture.ts';
import { recordProofPath } from './bundle-layout.ts';
import { type CheckOptions, checkBundle } from './check-bundle.ts';
import {
  type BundleFiles,
  type MakeBundleOptions,
  type ManifestBase,
  makeBundle,
  sourceOf,
  vkeyOf,
  withManifest,
} from './make-bundle-fixture.ts';
import { type BundleScope, compareText } from './manifest.ts';
import { mutationsOf } from './mutations-fixture.ts';

const log = new FixtureInstallation({ records: 4 });
const large = new FixtureInstallation({ records: 90 });
const stranger = new FixtureInstallation({ records: 4, keySeed: 5 });
const forked = new FixtureInstallation({ records: 5 });
/** Two rotations: one before the older head, one before the newest. */
const rotated = new FixtureInstallation({ records: 4, rotations: 2 });
/** The same with other keys after the first: what whoever holds the first key can make. */
const forkedKeys = new FixtureInstallation({ records: 4, rotations: 1 });
const SEED = 1;
const WITNESSES = [41, 42];
const options: CheckOptions = {
  vkey: vkeyOf(log),
  signatures: fixtureSignatures,
  timestamps: checkFixtureToken,
  witnesses: WITNESSES.map((seed) => ({ vkey: formatCosignerVkey(fixtureWitness(seed).key) })),
};
const anchors = { witnesses: WITNESSES, token: true };
const SELECTION: BundleScope = { kind: 'selection', filter: { tenant: 'acme' } };
const hours = (tenant: string): BundleScope => ({
  kind: 'tenant-hours',
  log: 'audit',
  tenant,
  from: '2026-11-20T11',
  to: '2026-11-20T12',
});
const RECORD: BundleScope = { kind: 'record', id: log.audit[0]!.records[0]!.id };

const CASES: [name: string, installation: FixtureInstallation, options: MakeBundleOptions][] = [
  ['selection, each', log, { scope: SELECTION, proofs: 'each', ...anchors }],
  ['selection, tiles', large, { scope: SELECTION, proofs: 'tiles', ...anchors }],
  ['hours, each', log, { scope: hours('acme'), proofs: 'each', ...anchors }],
  ['hours, tiles', large, { scope: hours('acme'), proofs: 'tiles', ...anchors }],
  ['record, each', log, { scope: RECORD, proofs: 'each', ...anchors }],
  ['record, tiles', log, { scope: RECORD, proofs: 'tiles', ...anchors }],
  ['hours, two rotations', rotated, { scope: hours('acme'), proofs: 'each', ...anchors }],
];

/** What a change of this kind would not change: text that nothing signs. */
function isFree(kind: string, isResealed: boolean): boolean {
  return kind === 'readme' && isResealed;
}

const counts = new Map<string, { tampered: number; 'not checked': number }>();

async function donorsOf(installation: FixtureInstallation, made: MakeBundleOptions) {
  const { scope } = made;
  const otherTenant: BundleScope =
    scope.kind === 'tenant-hours' ? hours('globex') : { kind: 'selection', filter: { tenant: 'globex' } };
  return {
    'an older head': (await makeBundle(installation, { ...made, age: 1, scope: SELECTION })).files,
    'another tenant': (await makeBundle(installation, { ...made, scope: otherTenant })).files,
    'another key': (await makeBundle(stranger, made)).files,
    'a fork': (await makeBundle(forked, made)).files,
    'another history of keys': (await makeBundle(forkedKeys, made)).files,
  };
}

for (const [name, installation, made] of CASES) {
  test(`no spoiled bundle is verified: ${name}`, async (t) => {
    const bundle = await makeBundle(installation, made);
    assert.equal((await checkBundle(sourceOf(bundle.files), options)).verdict, 'verified');
    const donors = await donorsOf(installation, made);
    const wrong: string[] = [];
    let cases = 0;
    for (const { kind, name: mutation, isResealed, files } of mutationsOf(bundle, donors, SEED)) {
      const { verdict, findings, shown } = await checkBundle(sourceOf(files), options);
      const label = `${mutation}${isResealed ? ', resealed' : ''}`;
      if (isFree(kind, isResealed) && mutation.includes('README.txt')) {
        if (verdict !== 'verified' && !/drop|rename/.test(mutation)) wrong.push(`${label}: ${verdict}`);
        continue;
      }
      cases++;
      if (verdict === 'verified' || shown.length > 0 || findings.length === 0)
        wrong.push(`${label}: ${verdict}`);
      else {
        const count = counts.get(kind) ?? { tampered: 0, 'not checked': 0 };
        count[verdict]++;
        counts.set(kind, count);
      }
    }
    assert.deepEqual(wrong, []);
    t.diagnostic(`${cases} cases`);
  });
}

type Bundle = { files: BundleFiles; base: ManifestBase };

/** A bundle of which the attacker has written a part of the manifest anew. */
function claiming({ files, base }: Bundle, claim: Partial<ManifestBase>): BundleFiles {
  const trees = [...(claim.trees ?? base.trees)].sort(
    (a, b) => compareText(a.log, b.log) || a.partition - b.partition,
  );
  return withManifest(files, { ...base, ...claim, trees });
}

test('no claim of a manifest is believed', async (t) => {
  let cases = 0;
  for (const [name, installation, made] of CASES) {
    const bundle = await makeBundle(installation, made);
    const { base } = bundle;
    const older = BigInt(installation.headSizes[0]!);
    const [first, ...rest] = base.trees;
    const claims: Record<string, Partial<ManifestBase>> = {
      'one record more': { records: base.records + 1n },
      'one record less': { records: base.records - 1n },
      'no records': { records: 0n },
      'other proofs': { proofs: base.proofs === 'each' ? 'tiles' : 'each' },
      'another name': { name: 'log.example/other' },
      'an older head': { head: { ...base.head, size: older } },
      'a head of size 0': { head: { ...base.head, size: 0n } },
      'a head of another log': { head: { ...base.head, origin: first!.origin } },
      'a tree less': { trees: rest },
      'no tree': { trees: [] },
      'a tree of another size': { trees: [{ ...first!, size: first!.size - 1n }, ...rest] },
      'a tree of a later epoch': { trees: [{ ...first!, epoch: 1 }, ...rest] },
      'a tree of another partition': { trees: [{ ...first!, partition: 9 }] },
      'a tree of the log heads': { trees: [{ ...first!, log: 'heads' }, ...rest] },
      'a record of another id': { scope: { kind: 'record', id: '0198c0de-0000-7000-8000-000000000001' } },
      'hours of another tenant': { scope: hours('globex') },
      'hours of another log': { scope: { ...hours('acme'), log: 'clicks' } as BundleScope },
      'an hour more': { scope: { ...hours('acme'), to: '2026-11-20T13' } as BundleScope },
      'an hour less': { scope: { ...hours('acme'), to: '2026-11-20T11' } as BundleScope },
      'hours before': { scope: { ...hours('acme'), from: '2026-11-20T09' } as BundleScope },
      'hours of the log windows': { scope: { ...hours('acme'), log: 'windows' } as BundleScope },
      'a selection of another tenant': { scope: { kind: 'selection', filter: { tenant: 'globex' } } },
      'a selection of another log': { scope: { kind: 'selection', filter: { log: 'clicks' } } },
      'a selection of another type': { scope: { kind: 'selection', filter: { type: 'k8s' } } },
      'a selection of other times': {
        scope: { kind: 'selection', filter: { appended_from: '2026-11-20T12:30:00.000000Z' } },
      },
    };
    for (const [claim, changed] of Object.entries(claims)) {
      const { verdict } = await checkBundle(sourceOf(claiming(bundle, changed)), options);
      assert.notEqual(verdict, 'verified', `${name}: ${claim}`);
      cases++;
    }
  }
  t.diagnostic(`${cases} cases`);
});

/** Takes line `at` of the records out, with its proof, and lets the manifest say so. */
function without({ files, base }: Bundle, at: number): BundleFiles {
  const lines = decodeUtf8(files.get('records.ndjson')!)!.split('\n').slice(0, -1);
  const changed = new Map(files);
  const { id } = JSON.parse(lines[at]!) as { id: string };
  // Proofs of repeats are numbered: those behind the one that goes move up.
  const own = lines.flatMap((line, i) => (line.includes(`"id":"${id}"`) ? [i] : []));
  const proofs = own.map((_, i) => changed.get(recordProofPath(id, i + 1))!);
  for (const i of own.keys()) changed.delete(recordProofPath(id, i + 1));
  for (const [i, proof] of proofs.toSpliced(own.indexOf(at), 1).entries()) {
    changed.set(recordProofPath(id, i + 1), proof);
  }
  const rest = lines.toSpliced(at, 1);
  changed.set('records.ndjson', encodeUtf8(rest.map((line) => `${line}\n`).join('')));
  const bodies = [...changed.keys()].filter((path) => path.startsWith('bodies/'));
  for (const path of bodies) if (!rest.some((line) => line.includes(path.slice(7)))) changed.delete(path);
  return withManifest(changed, { ...base, records: base.records - 1n });
}

test('whole hours: one record left out is found, wherever it stood and whatever else was put right', async (t) => {
  const bundle = await makeBundle(log, { scope: hours('acme'), proofs: 'each', ...anchors });
  for (let at = 0; at < Number(bundle.base.records); at++) {
    const { verdict, findings } = await checkBundle(sourceOf(without(bundle, at)), options);
    assert.equal(verdict, 'tampered', `record ${at}`);
    assert.ok(findings.some(({ check }) => check === 'window'));
  }
  t.diagnostic(`${bundle.base.records} cases`);
});

test('whole hours: hours cut off with everything that names them are found', async () => {
  const whole = await makeBundle(log, { scope: hours('acme'), proofs: 'each', ...anchors });
  for (const [from, to] of [
    ['2026-11-20T11', '2026-11-20T11'],
    ['2026-11-20T12', '2026-11-20T12'],
  ] as const) {
    const part = await makeBundle(log, {
      scope: { ...hours('acme'), from, to } as BundleScope,
      proofs: 'each',
      ...anchors,
    });
    assert.equal((await checkBundle(sourceOf(part.files), options)).verdict, 'verified');
    const { verdict } = await checkBundle(sourceOf(claiming(part, { scope: whole.base.scope })), options);
    assert.equal(verdict, 'tampered');
    // Nor does it help to leave out the windows that give it away.
    for (const member of ['previous', 'next']) {
      const files = new Map(part.files);
      const windows = JSON.parse(decodeUtf8(files.get('windows.json')!)!) as Record<
        string,
        { proof: string } | null
      >;
      files.delete(windows[member]!.proof);
      windows[member] = null;
      files.set('windows.json', encodeUtf8(`${JSON.stringify(windows)}\n`));
      const cut = await checkBundle(
        sourceOf(claiming({ ...part, files }, { scope: whole.base.scope })),
        options,
      );
      assert.notEqual(cut.verdict, 'verified', member);
    }
  }
});

test('what is not covered: a selection with fewer records, another filter that fits, other words in README.txt', async () => {
  const bundle = await makeBundle(log, { scope: SELECTION, proofs: 'each', ...anchors });
  const verdictOf = async (files: BundleFiles) => (await checkBundle(sourceOf(files), options)).verdict;
  assert.equal(await verdictOf(without(bundle, 3)), 'verified');
  assert.equal(await verdictOf(claiming(bundle, { scope: { kind: 'selection', filter: {} } })), 'verified');
  const files = new Map(bundle.files).set('README.txt', encodeUtf8('Trust me.\n'));
  assert.equal(await verdictOf(withManifest(files, bundle.base)), 'verified');
  const report = await checkBundle(sourceOf(withManifest(files, bundle.base)), options);
  assert.ok(report.notShown.includes('what README.txt says: nothing signs it'));
});

test('the mutations were as many as they should be, of every kind of file', (t) => {
  let total = 0;
  for (const [kind, count] of [...counts].sort()) {
    total += count.tampered + count['not checked'];
    t.diagnostic(`${kind}: ${count.tampered} tampered, ${count['not checked']} not checked`);
  }
  t.diagnostic(`${total} cases together`);
  assert.ok(total >= 500, `${total} cases`);
  const kinds = [
    'body',
    'checkpoint',
    'cosignatures',
    'extra',
    'head-leaf',
    'head-proof',
    'keys',
    'manifest',
    'readme',
  ];
  kinds.push(
    'record-proof',
    'records',
    'rotation-leaf',
    'rotation-proof',
    'tile',
    'timestamp',
    'tree-checkpoint',
    'window-proof',
    'windows',
  );
  assert.deepEqual([...counts.keys()].sort(), kinds.sort());
});
