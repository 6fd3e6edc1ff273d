/**
 * Heads of a real log and real witnesses: what is cosigned, how an outage passes, and what a fork comes to. PostgreSQL, our
 * own witness and, where Go is, one that we did not write.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { headPaths } from '@evident/core/evidence/bundle-layout.ts';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import type { CheckReport } from '@evident/core/evidence/check-report.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import { AnchorLoop, type AnchorState } from '../src/anchor/anchor-loop.ts';
import { parseWitnessPolicy } from '../src/anchor/witness-policy.ts';
import { newestHeadOf } from '../src/anchoring.ts';
import type { BundleRequest } from '../src/evidence/bundle-plan.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import type { Log } from '../src/log/log.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import { PostgresAnchorStore } from '../src/stores/postgres/anchor-store.ts';
import { witnessAnchorers } from '../src/witnessing.ts';
import { exportFolder, memorySource, readFolder } from './evidence-scene.ts';
import { Installation, makeInstallation } from './installation.ts';
import {
  buildIndependentWitness,
  freePort,
  skipIndependent,
  startIndependentWitness,
  startOwnWitness,
  type TestWitness,
} from './witness-scene.ts';

const base = mkdtempSync(join(tmpdir(), 'evident-wa-'));
after(() => rmSync(base, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(base, String(++folders));

/** One process of an installation that has its heads cosigned, on a clock that the test moves. */
class Anchoring {
  readonly one: Installation;
  readonly store: PostgresAnchorStore;
  readonly states: AnchorState[] = [];
  readonly errors: unknown[] = [];
  readonly #loop: AnchorLoop;
  seconds = 0;

  constructor(one: Installation, witnesses: readonly TestWitness[]) {
    this.one = one;
    const { storage } = one;
    this.store = new PostgresAnchorStore(storage.pool);
    const newestHead = newestHeadOf(storage);
    const clock = () => BigInt(Date.now()) * 1_000n;
    const policy = parseWitnessPolicy({
      everySeconds: 60,
      list: witnesses.map(({ url, vkey }) => ({ url, vkey, runByOthers: true })),
    });
    this.#loop = new AnchorLoop(
      {
        name: storage.name,
        store: this.store,
        heads: storage.logs.get('heads') as Log,
        newestHead,
        now: () => this.seconds * 1_000,
        clock,
        random: () => 0.999,
        onAnchored: () => undefined,
        onFailure: () => undefined,
        onState: (state) => this.states.push(state),
        onError: (error) => this.errors.push(error),
      },
      witnessAnchorers({ tiles: storage.tiles, newestHead, store: this.store, clock }, policy),
    );
  }

  /** Looks, and once more when the interval that another process may have begun has passed. */
  async look(seconds = 61): Promise<void> {
    await this.#loop.look();
    this.seconds += seconds;
    await this.#loop.look();
    assert.deepEqual(this.errors, []);
  }

  async work(records: number): Promise<bigint> {
    await this.one.append(records);
    await this.one.seal();
    const head = await newestHeadOf(this.one.storage)();
    assert.ok(head !== null);
    return head.size;
  }

  async cosigned({ vkey }: TestWitness): Promise<bigint | null> {
    return (await this.store.newest(0, 'cosignature', vkey.split('+')[0] as string))?.size ?? null;
  }

  /** The state of a witness when it was last looked at. */
  state({ vkey }: TestWitness): AnchorState {
    const found = this.states.findLast(({ anchorer }) => vkey.startsWith(`${anchorer.name}+`));
    assert.ok(found !== undefined);
    return found;
  }

  async bundle(head: BundleRequest['head'] = 'with-anchor'): Promise<Map<string, Buffer>> {
    await projectPending(this.one.storage);
    const deps = evidenceDepsOf(this.one.storage, queryDepsOf(this.one.storage));
    return readFolder(await exportFolder(deps, newFolder(), { head }));
  }

  check(
    files: ReadonlyMap<string, Uint8Array>,
    witnesses: readonly TestWitness[],
    quorum: number,
  ): Promise<CheckReport> {
    const vkey = this.one.storage.vkeyOf(`${this.one.storage.name}/heads/0`);
    return checkBundle(memorySource(files), { vkey, signatures: webCryptoSignatures, witnesses, quorum });
  }
}

/** The bundle with these lines beside its head, and a manifest that tells of them. */
function withCosignatures(files: ReadonlyMap<string, Buffer>, lines: Buffer): Map<string, Buffer> {
  const changed = new Map(files);
  const manifest = JSON.parse(String(files.get('manifest.json')));
  const { origin, size } = manifest.head;
  const { cosignatures } = headPaths(origin, BigInt(size));
  const sha256 = createHash('sha256').update(lines).digest('hex');
  manifest.files.push({ path: cosignatures, size: String(lines.length), sha256 });
  manifest.files.sort((a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1));
  changed.set(cosignatures, lines);
  changed.set('manifest.json', Buffer.from(`${JSON.stringify(manifest)}\n`));
  return changed;
}

const vkeyOf = ({ storage }: Installation): string => storage.vkeyOf(`${storage.name}/heads/0`);

async function makeOwn(t: Pick<TestContext, 'after'>, one: Installation, name: string): Promise<TestWitness> {
  const witness = await startOwnWitness(newFolder(), [vkeyOf(one)], { name });
  t.after(() => witness.stop());
  return witness;
}

describe('heads of a log', { timeout: 300_000 }, () => {
  before(() => {
    if (skipIndependent === false) buildIndependentWitness(base);
  });

  it('are cosigned by a witness that we did not write, and by ours; a bundle holds both lines', {
    skip: skipIndependent,
  }, async (t) => {
    const one = await makeInstallation(t);
    const own = await makeOwn(t, one, 'own.example/w');
    const other = await startIndependentWitness(base, newFolder(), [vkeyOf(one)]);
    t.after(() => other.stop());
    const anchoring = new Anchoring(one, [own, other]);
    let size = 0n;
    for (const records of [30, 1, 400, 7]) {
      size = await anchoring.work(records);
      await anchoring.look();
      assert.equal(await anchoring.cosigned(own), size);
      assert.equal(await anchoring.cosigned(other), size);
    }
    await anchoring.look();
    assert.equal(await anchoring.cosigned(own), size, 'records of anchors alone are no news');

    const files = await anchoring.bundle();
    const paths = [...files.keys()].filter((path) => path.endsWith('.cosignatures'));
    assert.equal(paths.length, 1);
    const lines = files.get(paths[0])?.toString().split('\n') ?? [];
    assert.deepEqual(
      lines,
      lines.toSorted((a, b) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1)),
    );
    assert.equal(lines.length, 3);
    const report = await anchoring.check(files, [own, other], 2);
    assert.deepEqual([report.verdict, report.findings], ['verified', []]);

    const flipped = new Map(files);
    flipped.set(paths[0], Buffer.from(lines.toReversed().join('\n').slice(1).concat('\n')));
    assert.notEqual((await anchoring.check(flipped, [own, other], 2)).verdict, 'verified');
    const stranger = await makeOwn(t, one, 'stranger.example/w');
    const lacking = await anchoring.check(files, [own, other, stranger], 3);
    assert.equal(lacking.verdict, 'not checked');
  });

  it('go on while a witness is away for an hour: an alert, nothing else, and one request catches up', async (t) => {
    const one = await makeInstallation(t);
    const port = await freePort();
    const state = newFolder();
    const start = () => startOwnWitness(state, [vkeyOf(one)], { listen: { host: '127.0.0.1', port } });
    const witness = await start();
    const anchoring = new Anchoring(one, [witness]);
    const before = await anchoring.work(5);
    await anchoring.look();
    assert.equal(await anchoring.cosigned(witness), before);
    await witness.stop();

    for (let minute = 0; minute < 60; minute++) {
      const size = await anchoring.work(minute % 10 === 0 ? 3 : 0);
      assert.ok(size >= before, 'capture and sealing go on');
      await anchoring.look(60);
    }
    assert.equal(await anchoring.cosigned(witness), before);
    const { isAlert, isBad, failures, reason } = anchoring.state(witness);
    assert.ok(isAlert && !isBad && failures >= 30, `${failures} failures`);
    assert.match(reason ?? '', /ECONNREFUSED/);

    const again = await start();
    t.after(() => again.stop());
    const size = await anchoring.work(2);
    await anchoring.look();
    assert.equal(await anchoring.cosigned(again), size);
    assert.ok(!anchoring.state(again).isAlert, 'it is settled');
    const report = await anchoring.check(await anchoring.bundle(), [again], 1);
    assert.deepEqual([report.verdict, report.findings], ['verified', []]);
  });

  it('are asked for again after a crash that lost the answer: the witness tells the size that it knows', async (t) => {
    const one = await makeInstallation(t);
    const witness = await makeOwn(t, one, 'own.example/w');
    const size = await new Anchoring(one, [witness]).work(5);
    await new Anchoring(one, [witness]).look();
    await one.asSuperuser('DELETE FROM evident.anchors');
    const anchoring = new Anchoring(one, [witness]);
    await anchoring.look();
    assert.equal(await anchoring.cosigned(witness), size);
    assert.equal(anchoring.state(witness).failures, 0);
  });
});

describe('a log that was forked from a copy, with the same key', { timeout: 300_000 }, () => {
  const undo: (() => void | Promise<void>)[] = [];
  const scope = { after: (fn: () => unknown) => void undo.push(fn as () => Promise<void>) };
  let one: Installation;
  let fork: Installation;
  let witness: TestWitness;
  let [honest, forked]: Anchoring[] = [];

  before(async () => {
    one = await makeInstallation(scope);
    witness = await makeOwn(scope, one, 'own.example/w');
    await new Anchoring(one, [witness]).work(20);
    await new Anchoring(one, [witness]).look();
    await one.seal();
    await one.stop();
    mkdirSync(join(base, 'fork'));
    fork = new Installation(join(base, 'fork', 'data'));
    one.copy(one.dir, fork.dir);
    scope.after(() => fork.stop());
    assert.deepEqual(await one.start(), []);
    assert.deepEqual(await fork.start(), []);
    assert.equal(vkeyOf(one), vkeyOf(fork));
    honest = new Anchoring(one, [witness]);
    forked = new Anchoring(fork, [witness]);
  });
  after(async () => {
    for (const step of undo.toReversed()) await step();
  });

  it('is never cosigned by the witness that has seen the other one, whatever its size, and an alert says so at once', async () => {
    let size = 0n;
    for (let turn = 0; turn < 4; turn++) size = await honest.work(10);
    await honest.look();
    assert.equal(await honest.cosigned(witness), size);
    const before = await forked.cosigned(witness);

    // Smaller than what the witness knows, and then larger.
    const smaller = await forked.work(1);
    assert.ok(smaller < size);
    await forked.look();
    assert.match(forked.state(witness).reason ?? '', /older copy of the log, or a fork/);
    let larger = smaller;
    for (let turn = 0; turn < 20 && larger <= size; turn++) larger = await forked.work(10);
    assert.ok(larger > size);
    await forked.look();
    assert.match(forked.state(witness).reason ?? '', /does not follow from what it cosigned/);
    assert.ok(forked.state(witness).isAlert && forked.state(witness).isBad);
    assert.equal(await forked.cosigned(witness), before);
    await honest.work(1);
    await honest.look();
    assert.ok(!honest.state(witness).isAlert, 'the one that the witness follows goes on');
  });

  it('shows a reader who demands the witness nothing that is verified', async () => {
    const good = await honest.bundle();
    assert.equal((await honest.check(good, [witness], 1)).verdict, 'verified');

    const shown = await forked.bundle(null);
    assert.equal(
      (await forked.check(shown, [], 0)).verdict,
      'verified',
      'without the demand nothing is found',
    );
    const report = await forked.check(shown, [witness], 1);
    assert.equal(report.verdict, 'not checked');
    assert.deepEqual(
      report.findings.map(({ check }) => check),
      ['cosignature'],
    );

    // With the line that the witness gave for the other history.
    const [, lines] = [...good].find(([path]) => path.endsWith('.cosignatures')) as [string, Buffer];
    const lent = await forked.check(withCosignatures(shown, lines), [witness], 1);
    assert.equal(lent.verdict, 'tampered');
  });
});
