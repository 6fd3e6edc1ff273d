/** The background self-audit on real storage: what is changed is found within a pass, what can't be read is said, a restart goes on. */

import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { verifyDepsOf } from '../src/compose.ts';
import { FolderAuditState } from '../src/stores/folder/audit-state.ts';
import type { Finding } from '../src/verify/finding.ts';
import { PASS_MS_MIN, SelfAudit, TRIES_MAX } from '../src/verify/self-audit.ts';
import type { AuditState } from '../src/verify/self-audit-state.ts';
import { type Installation, makeInstallation } from './installation.ts';

const RECORDS = 6_000;
/** Steps after which a pass over the logs of these tests must have ended. */
const STEPS_MAX = 50;

/** An audit that is driven step by step, on a clock that goes by itself only when it is asked to. */
class DrivenAudit {
  readonly found: Finding[] = [];
  readonly unread: (string | null)[] = [];
  readonly errors: unknown[] = [];
  read = 0;
  state: AuditState | null = null;
  readonly audit: SelfAudit;
  #ms = 0;

  constructor(one: Installation, recordsPerSecond = 1_000_000) {
    this.audit = new SelfAudit({
      ...verifyDepsOf(one.storage),
      state: new FolderAuditState(one.dir),
      recordsPerSecond,
      now: () => this.#ms,
      clock: () => BigInt(Math.round(this.#ms * 1_000)),
      onRecords: (count) => {
        this.read += count;
      },
      onTampered: (findings) => void this.found.push(...findings),
      onUnread: (reason) => void this.unread.push(reason),
      onState: (state) => {
        this.state = state;
      },
      onError: (error) => void this.errors.push(error),
    });
  }

  /** Goes on to the end of a full pass, or as many steps as one may take. @returns whether there was an end */
  async pass(): Promise<boolean> {
    const before = this.state?.last ?? null;
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#ms += Math.max(1, await this.audit.step());
      const last = this.state?.last ?? null;
      if (last !== null && last !== before) return true;
    }
    return false;
  }

  async step(): Promise<number> {
    const wait = await this.audit.step();
    this.#ms += wait;
    return wait;
  }
}

async function sealed(t: TestContext): Promise<Installation> {
  const one = await makeInstallation(t);
  await one.append(RECORDS);
  await one.appendLarge(100_000);
  await one.seal();
  await one.seal();
  return one;
}

async function flipBody(one: Installation, position: number): Promise<void> {
  await one.asSuperuser(
    'UPDATE evident.records SET body = set_byte(body, 1, get_byte(body, 1) # 1) WHERE tree = $1 AND position = $2',
    [one.treeOf('audit', 1), position],
  );
}

describe('the self-audit', { timeout: 120_000 }, () => {
  it('reads every sealed record in a pass, finds nothing in a good log, and rests before the next', async (t) => {
    const one = await sealed(t);
    const driven = new DrivenAudit(one);
    assert.equal(await driven.pass(), true);
    const whole = (await one.verify()).partitions.reduce((sum, { sealed: size }) => sum + Number(size), 0);
    assert.equal(driven.state?.last?.records, whole);
    assert.equal(driven.read, whole);
    assert.deepEqual(driven.found, []);
    assert.deepEqual(driven.errors, []);
    const rest = await driven.step();
    assert.ok(rest > 0 && rest <= PASS_MS_MIN, `a small log is not read all the time, but after ${rest} ms`);
    assert.equal(driven.read, whole, 'nothing is read meanwhile');
  });

  it('finds a flipped byte within one pass, wherever it is; without the audit nobody is told', async (t) => {
    const one = await sealed(t);
    const driven = new DrivenAudit(one);
    assert.equal(await driven.pass(), true);
    await flipBody(one, 2_500);
    const pack = one.path('tiles', 'audit', '0', '0-00000000');
    const bytes = readFileSync(pack);
    bytes[700 * 32] ^= 1;
    writeFileSync(pack, bytes);
    assert.deepEqual(driven.found, [], 'nothing finds it while nothing reads it');
    assert.equal(await driven.pass(), true);
    const found = driven.found.map(({ partition, from, check }) => `${check} ${partition}/${from}`);
    assert.deepEqual(found.sort(), ['record 1/2500', 'tile 0/700']);
    assert.equal(driven.state?.last?.tampered, 2);
    assert.match(driven.state?.last?.newest ?? '', /^tampered: audit\//);
    const report = await one.verify();
    assert.equal(report.verdict, 'tampered', 'verify says the same');
  });

  it('keeps to its rate', async (t) => {
    const one = await sealed(t);
    const driven = new DrivenAudit(one, 100);
    let waited = 0;
    while (driven.read < 2_000) waited += await driven.step();
    assert.equal(waited, driven.read * 10, '100 records a second: 10 ms for each');
  });

  it('goes on where it was after a restart, and begins anew where its file says nothing', async (t) => {
    const one = await sealed(t);
    const first = new DrivenAudit(one);
    for (let step = 0; step < 3; step++) await first.step();
    await first.audit.stop();
    const places = [...(first.state?.pass?.places.values() ?? [])];
    assert.ok(
      places.some(({ next, to }) => next > 0n && next < to),
      'it was cut in the middle',
    );

    const second = new DrivenAudit(one);
    assert.equal(await second.pass(), true);
    assert.equal(first.read + second.read, second.state?.last?.records, 'nothing is read twice');

    writeFileSync(one.path('self-audit.json'), '{"v":1,"pass":');
    const third = new DrivenAudit(one);
    assert.equal(await third.pass(), true);
    assert.equal(third.read, second.state?.last?.records);
  });

  it('says what it cannot read, tries again, and counts no pass that left something out', async (t) => {
    const one = await sealed(t);
    const pack = one.path('tiles', 'audit', '0', '0-00000000');
    renameSync(pack, `${pack}.away`);
    const driven = new DrivenAudit(one);
    assert.equal(await driven.pass(), false, 'no pass is full');
    assert.match(driven.unread.find((reason) => reason !== null) ?? '', /^audit\/0: the tile is missing/);
    assert.equal(driven.state?.isIncomplete || (driven.state?.pass?.passedOver ?? 0) > 0, true);
    assert.deepEqual(driven.found, [], 'what is missing is not said to be tampered');

    renameSync(`${pack}.away`, pack);
    assert.equal(await driven.pass(), true, 'readable again, the next pass is full');
    assert.equal(driven.unread.at(-1), null, 'and the alert is settled');
    assert.equal(driven.state?.isIncomplete, false);
  });

  it('pauses while the database is gone, and passes nothing over', async (t) => {
    const one = await sealed(t);
    const driven = new DrivenAudit(one);
    await driven.step();
    await one.asSuperuser('ALTER TABLE evident.seals RENAME TO seals_away');
    for (let step = 0; step < 2 * TRIES_MAX; step++) await driven.step();
    assert.equal(driven.errors.length, 2 * TRIES_MAX);
    assert.ok(driven.unread.some((reason) => reason !== null));
    assert.equal(driven.state?.pass?.passedOver ?? 0, 0);
    await one.asSuperuser('ALTER TABLE evident.seals_away RENAME TO seals');
    assert.equal(await driven.pass(), true);
    assert.equal(driven.unread.at(-1), null);
  });
});
