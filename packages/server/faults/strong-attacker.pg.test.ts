/**
 * Tampering by whoever has the machine: records rewritten and everything that is derived of them computed anew, an older
 * state put back, a fork shown to one reader. What each tier catches, and what it does not (SECURITY.md).
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { timestampCheck } from '@evident/sdk/verify/timestamp';
import { forge, ownKeys } from '../../../demo/forge-history.ts';
import { findDenied, rewriteDenied } from '../../../demo/record-attacks.ts';
import { envelopeLine, generateEvents } from '../generate/events.ts';
import type { ConfigInput } from '../src/config.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import { ingest } from '../src/ingest/ingest.ts';
import { registryOf } from '../src/mapping-files.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import { SigningKeys } from '../src/stores/folder/signing-keys.ts';
import { Findings } from '../src/verify/finding.ts';
import type { KeptHead } from '../src/verify/kept-heads.ts';
import { verifyView } from '../src/verify/verify-view.ts';
import { viewOperationOf } from '../src/view-operation.ts';
import {
  anchorNewest,
  checkAnchors,
  EARLY,
  filledLog,
  grow,
  holdAgainst,
  keepHeads,
  OthersWitness,
  tiersOf,
} from './attack-scene.ts';
import { exportFolder, OpensslAuthority } from './evidence-scene.ts';
import type { Installation } from './installation.ts';
import { makeSigner } from './signer-scene.ts';

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evident-attack-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const checksOf = (findings: readonly { check: string; log: string }[]) =>
  new Set(findings.map(({ check, log }) => `${check} ${log}`));

/** Stops and starts, as after a night. */
async function restart(one: Installation): Promise<number> {
  await one.stop();
  return (await one.start()).length;
}

/** The log and the view are held against themselves: all that an operator's own verification can do. */
async function verifyHere(one: Installation): Promise<string> {
  const log = await one.verify();
  const findings = new Findings();
  const views = viewOperationOf(one.storage, registryOf(one.dir), true);
  for (const name of views.projections.keys())
    await verifyView(views.verify, name, findings, () => undefined);
  if (log.verdict !== 'verified') return log.verdict;
  return findings.verdict;
}

describe('history written anew on the machine itself', { timeout: 300_000 }, () => {
  it('without the key is found by verify: no note fits the new root', async (t) => {
    const one = await filledLog(t);
    await rewriteDenied(one, EARLY);
    await forge(one, null);
    const report = await one.verify();
    assert.equal(report.verdict, 'tampered');
    assert.ok(report.findings.some(({ check, log }) => check === 'head' && log === 'audit'));
  });

  it('with a key of the attacker is found by verify: K did not sign it', async (t) => {
    const one = await filledLog(t);
    await rewriteDenied(one, EARLY);
    await forge(one, SigningKeys.open(makeFolder(t), true));
    const report = await one.verify();
    assert.equal(report.verdict, 'tampered');
    assert.ok(report.findings.some(({ check }) => check === 'head-signature'));
  });

  it('with the key in hand is not found here (T0), and by every head that was kept elsewhere', async (t) => {
    const folder = makeFolder(t);
    const one = await filledLog(t);
    await ingestEvents(one, 200);
    await one.seal();
    const position = await findDenied(one);
    const witness = await OthersWitness.start(t, one);
    const authority = new OpensslAuthority(join(folder, 'authority'));
    const timestamps = {
      timestamps: { authorities: [{ name: 'tsa', url: 'http://127.0.0.1:1/', roots: authority.roots }] },
    };
    const kept = await keepHeads(one);
    const cosigned = await witness.cosign(one);
    await anchorNewest(one, 'timestamp', 'tsa', ({ note }) => stamp(authority, note));
    await projectPending(one.storage);
    const bundle = await exportRecord(one, position, join(folder, 'bundle'));
    await one.seal();
    const fromBundle = headsOfBundle(bundle);
    const settings = { ...timestamps, ...witness.settings };
    assert.equal((await holdAgainst(one, [...kept, cosigned, ...fromBundle])).verdict, 'verified');
    assert.deepEqual(await inForce(one, settings), ['T0', 'T3', 'T4']);

    await rewriteDenied(one, position);
    await forge(one, ownKeys(one));
    assert.equal(await verifyHere(one), 'tampered', 'the view still shows the denial');
    const place = [one.treeOf('audit', 0), position];
    const success = "UPDATE evident.events SET result = 'success' WHERE tree = $1 AND position = $2";
    assert.equal((await one.asSuperuser(success, place)).rowCount, 1);
    assert.equal(await restart(one), 0, 'the server starts as if nothing were');
    await grow(one, 1);
    await projectPending(one.storage);
    assert.equal(
      await verifyHere(one),
      'verified',
      'T0: what is stored agrees with itself, and this finds nothing',
    );

    for (const [what, heads] of [
      ['heads that were written down', kept],
      ['a head that a witness cosigned', [cosigned]],
      ['heads of a bundle that was exported before', fromBundle],
    ] as const) {
      const { verdict, findings } = await holdAgainst(one, heads);
      assert.equal(verdict, 'tampered', what);
      assert.ok(findings.every(({ check }) => check === 'kept-head'));
    }
    const anchors = await checkAnchors(one, settings);
    assert.equal(anchors.verdict, 'tampered', 'a token is over the bytes of the head that was');
    assert.deepEqual(checksOf(anchors.findings), new Set(['timestamp heads', 'cosignature heads']));
    assert.deepEqual(await inForce(one, settings), ['T0'], 'no tier is claimed on what contradicts the log');
    assert.equal((await witness.ask(one)).kind, 'refused');

    await one.asSuperuser('DELETE FROM evident.anchors');
    const removed = await checkAnchors(one, settings);
    assert.equal(removed.verdict, 'not checked', 'their records in heads/0 tell of anchors that are gone');
    assert.deepEqual(checksOf(removed.findings), new Set(['anchor-record heads']));
  });
});

/** Audit events as an application sends them. */
async function ingestEvents({ storage }: Installation, count: number): Promise<void> {
  const { logs, objects } = storage;
  const log = logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit');
  const events = generateEvents(1, count, { tenants: ['acme'] });
  const bytes = encodeUtf8(events.map(envelopeLine).join('\n'));
  const results = await ingest({ log, objects }, { format: 'ndjson', bytes, tenant: 'acme', source: 'test' });
  assert.ok(results.every(({ status }) => status === 'appended'));
}

/** A token, and the time that it says. */
async function stamp(
  authority: OpensslAuthority,
  note: Uint8Array,
): Promise<{ bytes: Uint8Array; at: bigint }> {
  const bytes = authority.stamp(note);
  const verdict = await timestampCheck(new Uint8Array(readFileSync(authority.roots)))(bytes, note);
  assert.ok(verdict.ok);
  return { bytes, at: verdict.at };
}

/** A bundle of the record that will be rewritten. */
async function exportRecord(one: Installation, position: bigint, folder: string): Promise<string> {
  const [record] = (await one.storage.logs.get('audit')?.read(0, position, 1)) ?? [];
  const scope = { kind: 'record' as const, what: { id: record.id } };
  return exportFolder(evidenceDepsOf(one.storage, queryDepsOf(one.storage)), folder, { scope });
}

/** The checkpoints of a bundle, as its holder has them. */
function headsOfBundle(folder: string): KeptHead[] {
  return readdirSync(join(folder, 'heads'))
    .filter((name) => name.endsWith('.checkpoint'))
    .map((label) => ({ label, note: new Uint8Array(readFileSync(join(folder, 'heads', label))) }));
}

async function inForce(one: Installation, settings: ConfigInput): Promise<string[]> {
  return (await tiersOf(one, settings)).filter(({ isInForce }) => isInForce).map(({ tier }) => tier);
}

describe('a signer elsewhere (T1)', { timeout: 300_000 }, () => {
  /** A log whose signing key is in another process; the declared place is the operator's word. */
  async function logWithSigner(t: TestContext): Promise<{ one: Installation; signer: ConfigInput }> {
    const signer = makeSigner(t);
    await signer.start();
    const settings = { signer: { address: signer.address, elsewhere: true } };
    return { one: await filledLog(t, settings), signer: settings };
  }

  it('signs no other history: rewriting is found by verify, and nothing can be sealed on it', async (t) => {
    const { one, signer } = await logWithSigner(t);
    assert.deepEqual(await inForce(one, signer), ['T0', 'T1']);
    const origin = treeOrigin(one.storage.name, 'audit', 0);
    const last = await one.storage.signerMemory.last(origin);
    await rewriteDenied(one, EARLY);
    const forged = await forge(one, null);
    const newest = forged.at(-1);
    assert.ok(last !== null && newest !== undefined && newest.size === last.size);

    for (const request of [
      { origin, size: newest.size, root: newest.root, after: last, proof: [] },
      { origin, size: newest.size + 1n, root: newest.root, after: last, proof: [] },
      { origin, size: forged[0].size, root: forged[0].root, after: null, proof: [] },
    ]) {
      const [signature] = await one.storage.signer.sign([request]);
      assert.equal(signature.ok, false, 'the signer signs no head that does not follow the last one');
    }
    assert.equal((await one.verify()).verdict, 'tampered');
    const breaks = await restart(one);
    assert.ok(breaks > 0, 'and a start on it stops the partitions');
  });

  it('remembers a newer head than an older machine that is put back', async (t) => {
    const folder = makeFolder(t);
    const { one } = await logWithSigner(t);
    await one.stop();
    one.copy(one.dir, join(folder, 'older'));
    await one.start();
    await grow(one, 2);
    await one.stop();
    one.copy(join(folder, 'older'), one.dir);
    assert.ok((await one.start()).length > 0, 'found at the next start');
    const { verdict, findings } = await one.verify();
    assert.equal(verdict, 'tampered');
    assert.ok(findings.some(({ check }) => check === 'signer'));
  });
});

describe('an older machine, put back whole', { timeout: 300_000 }, () => {
  it('is not found at T0, and is by whoever holds a newer head; so is another future grown from it', async (t) => {
    const folder = makeFolder(t);
    const one = await filledLog(t);
    const witness = await OthersWitness.start(t, one);
    const earlier = await keepHeads(one);
    await one.stop();
    one.copy(one.dir, join(folder, 'older'));
    await one.start();
    await grow(one, 2);
    const later = await keepHeads(one);
    const cosigned = await witness.cosign(one);
    await one.seal();

    await one.stop();
    one.copy(join(folder, 'older'), one.dir);
    assert.deepEqual(await one.start(), [], 'the memory of the signer was put back with the rest');
    assert.equal((await one.verify()).verdict, 'verified', 'T0: all of it is genuine, only old');
    assert.equal(
      (await holdAgainst(one, earlier)).verdict,
      'verified',
      'an older head says nothing about it',
    );
    for (const kept of [later, [cosigned]]) {
      const { verdict, findings } = await holdAgainst(one, kept);
      assert.equal(verdict, 'tampered');
      assert.match(findings[0].detail, /are sealed now: an older copy was put back/);
    }
    assert.equal((await witness.ask(one)).kind, 'refused', 'and by the witness itself');

    await grow(one, 4, (index) => `{"other":${index}}`);
    assert.equal((await one.verify()).verdict, 'verified', 'T0: the other future agrees with itself, too');
    assert.equal((await holdAgainst(one, earlier)).verdict, 'verified');
    const { verdict, findings } = await holdAgainst(one, later);
    assert.equal(verdict, 'tampered');
    assert.match(findings[0].detail, /forked, or history was written anew/);
  });

  it('shown to one reader as a fork has no cosignature, and never gets one (T4)', async (t) => {
    const folder = makeFolder(t);
    const one = await filledLog(t);
    const witness = await OthersWitness.start(t, one);
    await one.stop();
    one.copy(one.dir, join(folder, 'fork'));
    await one.start();
    await grow(one, 2);
    await witness.cosign(one);
    await one.seal();
    assert.deepEqual(await inForce(one, witness.settings), ['T0', 'T4'], 'what everybody else is shown');

    // The fork, with the same key, for one reader.
    await one.stop();
    one.copy(join(folder, 'fork'), one.dir);
    await one.start();
    await grow(one, 3, (index) => `{"fork":${index}}`);
    assert.equal((await one.verify()).verdict, 'verified', 'a reader who demands no cosignature is deceived');
    const answer = await witness.ask(one);
    assert.equal(answer.kind, 'refused');
    assert.match(answer.kind === 'refused' ? answer.reason : '', /fork/);
    assert.deepEqual(
      await inForce(one, witness.settings),
      ['T0'],
      'and the log itself claims none for the fork',
    );
  });
});

describe('heads that are held against the log', { timeout: 300_000 }, () => {
  it('are not checked when they are of another log, of no key of ours, or changed', async (t) => {
    const one = await filledLog(t);
    const [kept] = await keepHeads(one);
    const note = Buffer.from(kept.note).toString();
    const other = {
      label: 'other',
      note: Buffer.from(note.replaceAll(one.storage.name, 'else.example/log')),
    };
    const changed = { label: 'changed', note: Buffer.from(note.replace(/\n(\d+)\n/, '\n1\n')) };
    for (const head of [other, changed]) {
      const { verdict, findings } = await holdAgainst(one, [head]);
      assert.equal(verdict, 'not checked', head.label);
      assert.equal(findings[0].check, 'kept-head');
    }
    await assert.rejects(
      () => holdAgainst(one, [{ label: 'junk', note: Buffer.from('no note') }]),
      /junk is no signed tree head/,
    );
    assert.equal((await holdAgainst(one, [kept])).verdict, 'verified');
  });

  it('are not believed to be contradicted because a tile was changed: the leaves decide', async (t) => {
    const one = await filledLog(t);
    const [kept] = await keepHeads(one);
    await grow(one, 2);
    const pack = one.path('tiles', 'audit', '0', '0-00000000');
    const bytes = readFileSync(pack);
    bytes[65_536 * 32] ^= 1;
    writeFileSync(pack, bytes);
    assert.equal(
      (await holdAgainst(one, [kept])).verdict,
      'verified',
      'an upper tile changed; the leaves did not',
    );
    bytes[3 * 32] ^= 1;
    writeFileSync(pack, bytes);
    const { verdict, findings } = await holdAgainst(one, [kept]);
    assert.equal(verdict, 'tampered');
    assert.match(findings[0].detail, /leaves give another root/);
    rmSync(pack);
    assert.equal((await holdAgainst(one, [kept])).verdict, 'not checked');
  });
});
