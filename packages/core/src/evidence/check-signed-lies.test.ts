/** A log that signs what contradicts itself: every proof is good, and the check finds what the leaves mean. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeUtf8, toBase64 } from '../bytes.ts';
import { headId } from '../derived-id.ts';
import { epochOrigin } from '../origin.ts';
import type { LogRecord } from '../record.ts';
import { FIXTURE_NAME, FixtureInstallation, fixtureSignatures } from './bundle-fixture.ts';
import { headPaths } from './bundle-layout.ts';
import { checkBundle } from './check-bundle.ts';
import type { CheckReport } from './check-report.ts';
import { formatHeadBody } from './head-body.ts';
import { makeBundle, sourceOf, vkeyOf, withManifest } from './make-bundle-fixture.ts';
import type { BundleScope } from './manifest.ts';
import { formatWindowBody, parseWindowBody } from './window.ts';

const ALL: BundleScope = { kind: 'selection', filter: { tenant: 'acme' } };
const HOURS: BundleScope = {
  kind: 'tenant-hours',
  log: 'audit',
  tenant: 'acme',
  from: '2026-11-20T12',
  to: '2026-11-20T13',
};

async function checked(log: FixtureInstallation, scope: BundleScope): Promise<CheckReport> {
  const { files } = await makeBundle(log, { scope, proofs: 'tiles' });
  return checkBundle(sourceOf(files), { vkey: vkeyOf(log), signatures: fixtureSignatures });
}

const checksOf = ({ findings }: CheckReport) => [...new Set(findings.map(({ check }) => check))];

function copyOf(
  record: LogRecord,
  change: Partial<LogRecord>,
): Omit<LogRecord, 'log' | 'partition' | 'position'> {
  const { log: _, partition: __, position: ___, ...rest } = { ...record, ...change };
  return rest;
}

test('a clock that went back', async () => {
  const log = new FixtureInstallation();
  const [tree] = log.audit;
  const last = tree!.records.findLast(({ tenant }) => tenant === 'acme')!;
  tree!.append(copyOf(last, { appendedAt: last.appendedAt }));
  log.listAll();
  assert.equal((await checked(log, ALL)).verdict, 'verified');
  tree!.append(copyOf(last, { appendedAt: last.appendedAt - 1n }));
  log.listAll();
  const report = await checked(log, ALL);
  assert.equal(report.verdict, 'tampered');
  assert.deepEqual(checksOf(report), ['time-order']);
});

test('a window with another count, root, hour, tenant or one before it than the records give', async () => {
  const changes: Record<string, (body: string) => string> = {
    nothing: (body) => body,
    count: (body) => body.replace(/"count":"(\d+)"/, (_, count) => `"count":"${Number(count) + 1}"`),
    root: (body) => body.replace(/"root":"[^"]+"/, `"root":"${toBase64(new Uint8Array(32))}"`),
    ranges: (body) => body.replace(/\["\d+",/, '["1",'),
    previous: (body) => body.replace(/"previous":"[^"]+"/, `"previous":"${'0'.repeat(64)}"`),
    chain: (body) => body.replace(/"previous":"[^"]+"/, '"previous":null'),
  };
  for (const [what, change] of Object.entries(changes)) {
    const log = new FixtureInstallation();
    const { windows, windowsOf } = log;
    // The last window of acme is of hour 13: written again, in its place.
    const { position } = windowsOf.get('acme')!.at(-1)!;
    const record = windows.records[position]!;
    assert.ok(record.body.form === 'json');
    const body = change(new TextDecoder().decode(record.body.bytes));
    const said = parseWindowBody(encodeUtf8(body));
    assert.ok(said.ok && formatWindowBody(said.value) === body, what);
    windows.append(copyOf(record, { body: { form: 'json', bytes: encodeUtf8(body) } }));
    windowsOf.get('acme')!.at(-1)!.position = windows.records.length - 1;
    log.listAll();
    const report = await checked(log, HOURS);
    assert.equal(report.verdict, what === 'nothing' ? 'verified' : 'tampered', what);
    assert.deepEqual(checksOf(report), what === 'nothing' ? [] : ['window'], what);
  }
});

test('a head that is listed by a record of another type, tenant, id or body', async () => {
  const changes: Record<string, Partial<LogRecord>> = {
    nothing: {},
    type: { type: 'heads' },
    tenant: { tenant: 'acme' },
    source: { source: 'api-key-1' },
    id: { id: '0198c0de-0000-7000-8000-000000000001' },
    schema: { schema: 1 },
    body: { body: { form: 'json', bytes: encodeUtf8('{}') } },
  };
  for (const [what, change] of Object.entries(changes)) {
    const log = new FixtureInstallation({ hours: 2 });
    const [tree] = log.audit;
    const size = tree!.leaves.length;
    const head = { origin: tree!.origin, size: BigInt(size), root: tree!.root(size) };
    const listing = log.heads.records.find(
      ({ id }) => id === headId(head.origin, head.size, toBase64(head.root)),
    )!;
    assert.deepEqual(listing.body.form === 'json' && listing.body.bytes, formatHeadBody(head));
    const { position } = log.heads.append(copyOf(listing, change));
    log.headSizes.push(log.heads.leaves.length);
    log.listings.set(`${tree!.origin} ${size}`, Number(position));
    const report = await checked(log, ALL);
    assert.equal(report.verdict, what === 'nothing' ? 'verified' : 'tampered', what);
    assert.deepEqual(checksOf(report), what === 'nothing' ? [] : ['head-listed'], what);
  }
});

test('windows that stand in another partition than the one that the log windows has', async () => {
  for (const partition of [0, 1]) {
    const log = new FixtureInstallation();
    // Its leaves say what they said; nobody who reads windows/0 sees this tree.
    Object.assign(log.windows, { origin: epochOrigin(FIXTURE_NAME, 'windows', partition, 0) });
    log.listAll();
    const { files, base } = await makeBundle(log, { scope: HOURS, proofs: 'each' });
    const trees = base.trees.map((tree) => (tree.log === 'windows' ? { ...tree, partition } : tree));
    const report = await checkBundle(sourceOf(withManifest(files, { ...base, trees })), {
      vkey: vkeyOf(log),
      signatures: fixtureSignatures,
    });
    assert.equal(report.verdict, partition === 0 ? 'verified' : 'tampered');
    assert.equal(report.shown.length > 0, partition === 0);
  }
});

test('a head that carries a second signature line', async () => {
  const log = new FixtureInstallation({ hours: 2 });
  const { files, base } = await makeBundle(log, { scope: ALL, proofs: 'each' });
  const { checkpoint } = headPaths(log.heads.origin, base.head.size);
  const text = new TextDecoder().decode(files.get(checkpoint)!);
  const line = text.split('\n').at(-2)!;
  const twice = new Map(files).set(checkpoint, encodeUtf8(`${text}${line}\n`));
  const report = await checkBundle(sourceOf(withManifest(twice, base)), {
    vkey: vkeyOf(log),
    signatures: fixtureSignatures,
  });
  assert.equal(report.verdict, 'tampered');
  assert.ok(checksOf(report).includes('head'));
});
