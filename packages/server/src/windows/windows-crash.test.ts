/** A loop that dies between any two steps, and two loops at once, leave the windows that one undisturbed loop writes. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { toHex } from '@evident/core/bytes.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { Random } from '../../simulation/random.ts';
import type { Outcome, Proposal } from '../log/log.ts';
import { MemoryLog, type MemoryLogHooks, type MemoryLogState } from '../stores/memory/log.ts';
import { WindowScene } from './window-fixture.ts';
import type { WindowLoopDeps } from './window-loop.ts';

/** Passes of two tenants: several appends an hour. */
const SMALL: Partial<WindowLoopDeps> = { passTenantsMax: 2 };
const SEEDS = process.env.EVIDENT_PROVE === '1' ? 2_000 : 60;

/** Two hours of five tenants, sealed, without windows. */
async function prepared(): Promise<WindowScene> {
  const scene = new WindowScene({ audit: 2 });
  await scene.append(['a', 'b', 'c', 'd', 'e', 'a', 'c']);
  await scene.goTo(1);
  await scene.append(['b', 'd']);
  await scene.goTo(2);
  await scene.seal();
  return scene;
}

/** Leaf hashes of the log `windows`: bodies, ids, order, all that stands there. */
async function leaves(scene: WindowScene): Promise<string[]> {
  const records = await scene.log('windows').read(0, 0n, 10_000);
  return records.map((record) => `${record.type} ${record.tenant} ${toHex(hashLeaf(leafOf(record)))}`);
}

async function runToEnd(scene: WindowScene, hooks: MemoryLogHooks, over = SMALL): Promise<void> {
  const loop = scene.loop(hooks, over);
  while (await loop.turn());
}

/** Counts calls, and dies at one: before it had its effect, or after it and before the loop hears of it. */
class Death implements MemoryLogHooks {
  calls = 0;
  readonly #at: number;
  readonly #when: 'before' | 'after';
  #isDead = false;

  constructor(at: number, when: 'before' | 'after') {
    this.#at = at;
    this.#when = when;
  }

  before(): void {
    this.calls++;
    this.#die('before');
  }

  after(): void {
    this.#die('after');
  }

  #die(when: 'before' | 'after'): void {
    this.#isDead ||= this.calls === this.#at && this.#when === when;
    if (this.#isDead) throw new Error('killed');
  }
}

describe('windows of a loop that is killed', () => {
  it('are those of one that is not, wherever it dies, and dies again', async () => {
    const before = await prepared();
    const undisturbed = before.copy();
    const counted = new Death(-1, 'before');
    await runToEnd(undisturbed, counted);
    const expected = await leaves(undisturbed);
    assert.equal(expected.filter((one) => one.startsWith('window ')).length, 8);
    assert.ok(counted.calls > 40, `${counted.calls} calls`);
    let died = 0;
    for (let at = 1; at <= counted.calls; at++) {
      for (const when of ['before', 'after'] as const) {
        const scene = before.copy();
        await assert.rejects(runToEnd(scene, new Death(at, when)), /killed/);
        // The next one dies, too, a few steps on.
        await runToEnd(scene, new Death(7 + (at % 11), when)).catch((error: Error) => {
          assert.equal(error.message, 'killed');
          died++;
        });
        await runToEnd(scene, {});
        assert.deepEqual(await leaves(scene), expected, `killed ${when} call ${at}`);
      }
    }
    assert.ok(died > counted.calls);
  });
});

/** Lets the other go on between any two calls. */
function jitter(random: Random): MemoryLogHooks {
  const wait = async (): Promise<void> => {
    for (let turns = random.below(4); turns > 0; turns--) await new Promise(setImmediate);
  };
  return { before: wait, after: wait };
}

async function runTwo(scene: WindowScene, seed: number, over: Partial<WindowLoopDeps>): Promise<void> {
  const random = new Random(seed);
  await Promise.all([runToEnd(scene, jitter(random), over), runToEnd(scene, jitter(random), over)]);
}

/** Takes whatever it is given, known or not. */
class ForgetfulLog extends MemoryLog {
  override async appendOnce(proposals: readonly Proposal[]): Promise<Outcome[]> {
    const places = await this.append(proposals.map(({ record }) => record));
    return places.map((place) => ({ kind: 'appended', ...place }));
  }
}

describe('two loops at once', () => {
  it('write each window once, and what one of them would', async () => {
    const before = await prepared();
    const undisturbed = before.copy();
    await runToEnd(undisturbed, {});
    const expected = await leaves(undisturbed);
    for (let seed = 1; seed <= SEEDS; seed++) {
      const scene = before.copy();
      await runTwo(scene, seed, SMALL);
      assert.deepEqual(await leaves(scene), expected, `seed ${seed}`);
    }
  });

  it('would write some twice if the log did not know their ids, and verification tells', async () => {
    const before = await prepared();
    let doubled = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const scene = before.copy();
      const state = scene.states.get('windows') as MemoryLogState;
      const forgetful = new ForgetfulLog(state, () => scene.now, jitter(new Random(seed)));
      await runTwo(scene, seed, { ...SMALL, windows: forgetful });
      await scene.seal();
      const { findings } = await scene.verify();
      const windows = (await leaves(scene)).filter((one) => one.startsWith('window '));
      if (windows.length > 8) {
        doubled++;
        assert.equal(findings.verdict, 'tampered', `seed ${seed}`);
      }
    }
    assert.ok(doubled > 0);
  });
});
