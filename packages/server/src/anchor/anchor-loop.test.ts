/** The loop on a simulated clock, over the log and the anchors in memory. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { MemoryAnchorStore, makeMemoryAnchorState } from '../stores/memory/anchors.ts';
import { MemoryLog, type MemoryLogHooks, makeMemoryLogState } from '../stores/memory/log.ts';
import { AnchorLoop, type AnchorState } from './anchor-loop.ts';
import type { AnchorAnswer, Anchorer, HeadToAnchor } from './ports.ts';

const START_US = 1_800_000_000_000_000n;
const ORIGIN = 'test.example/heads/0';

/** What is durable, and what a process over it sees and does. */
class Scene {
  seconds = 0;
  readonly logState = makeMemoryLogState('heads', 1, START_US);
  readonly anchorState = makeMemoryAnchorState((epoch, size) => epoch === 0 && size <= this.size);
  hooks: MemoryLogHooks = {};
  readonly asked: { by: string; size: bigint; second: number }[] = [];
  readonly errors: unknown[] = [];
  /** By name the states in which it was reported to be, without repeats. */
  readonly states = new Map<string, AnchorState[]>();
  answer: (by: string, head: HeadToAnchor) => AnchorAnswer | Promise<AnchorAnswer> = (by, { size }) => ({
    kind: 'anchored',
    bytes: encodeUtf8(`${by} ${size}`),
    at: this.clock(),
  });

  readonly log = new MemoryLog(this.logState, () => this.clock(), {
    before: (operation) => this.hooks.before?.(operation),
    after: (operation) => this.hooks.after?.(operation),
  });
  readonly store = new MemoryAnchorStore(this.anchorState, {
    before: (operation) => this.hooks.before?.(operation),
    after: (operation) => this.hooks.after?.(operation),
  });

  clock(): bigint {
    return START_US + BigInt(this.seconds) * 1_000_000n;
  }

  get size(): bigint {
    return this.logState.partitions[0]?.next ?? 0n;
  }

  /** A record `head`, as the sealer lists one. */
  async news(): Promise<void> {
    const record: ProposedRecord = {
      id: crypto.randomUUID(),
      tenant: '_system',
      source: 'evident',
      sourceSeq: null,
      type: 'head',
      schema: 0,
      key: '_system',
      meta: null,
      body: { form: 'json', bytes: encodeUtf8('{}') },
    };
    await this.log.append([record]);
  }

  anchorer(by: string, everySeconds = 3_600): Anchorer {
    return {
      kind: 'timestamp',
      name: by,
      everySeconds,
      anchor: async (head) => {
        this.asked.push({ by, size: head.size, second: this.seconds });
        return this.answer(by, head);
      },
    };
  }

  loop(...anchorers: Anchorer[]): AnchorLoop {
    return new AnchorLoop(
      {
        name: 'test.example',
        store: this.store,
        heads: this.log,
        newestHead: async () => ({
          epoch: 0,
          origin: ORIGIN,
          size: this.size,
          root: new Uint8Array(32),
          note: encodeUtf8(`note of ${this.size}`),
        }),
        now: () => this.seconds * 1_000,
        clock: () => this.clock(),
        random: () => 0.999,
        onAnchored: () => undefined,
        onFailure: () => undefined,
        onState: (state) => {
          const list = this.states.get(state.anchorer.name) ?? [];
          if (list.at(-1)?.isAlert !== state.isAlert) list.push(state);
          this.states.set(state.anchorer.name, list);
        },
        onError: (error) => this.errors.push(error),
      },
      anchorers.length === 0 ? [this.anchorer('a')] : anchorers,
    );
  }

  /** Looks as the loop does, until so many seconds have passed, and something happens in each hour. */
  async pass(
    loop: AnchorLoop,
    seconds: number,
    each: () => Promise<void> = async () => undefined,
  ): Promise<void> {
    const end = this.seconds + seconds;
    for (; this.seconds < end; this.seconds++) {
      await each();
      await loop.look();
    }
  }

  alerts(by = 'a'): boolean[] {
    return (this.states.get(by) ?? []).map(({ isAlert }) => isAlert);
  }

  async types(): Promise<string[]> {
    return (await this.log.read(0, 0n, 1_000)).map(({ type }) => type).filter((type) => type !== 'log.hour');
  }
}

describe('the loop that has heads anchored', () => {
  it('asks for the newest head once an interval, stores the answer and logs it', async () => {
    const scene = new Scene();
    const loop = scene.loop();
    await loop.look();
    assert.equal(scene.asked.length, 0, 'there is no head');
    await scene.news();
    const first = scene.size;
    await scene.pass(loop, 2 * 3_600 + 1, async () => {
      if (scene.seconds % 10 === 0) await scene.news();
    });
    assert.equal(scene.asked.length, 3);
    assert.deepEqual(
      scene.asked.map(({ second }) => second),
      [0, 3_600, 7_200],
    );
    assert.equal(scene.asked[0]?.size, first + 1n);
    const [anchor] = await scene.store.of(0, first + 1n);
    assert.equal(new TextDecoder().decode(anchor?.bytes), `a ${first + 1n}`);
    const records = (await scene.log.read(0, 0n, 1_000)).filter(({ type }) => type === 'seal.timestamp');
    assert.equal(records.length, 3);
    const { source, tenant, body } = records[0]!;
    assert.deepEqual([source, tenant], ['evident', '_system']);
    assert.ok(body.form === 'json');
    const said = JSON.parse(new TextDecoder().decode(body.bytes)) as Record<string, string>;
    assert.deepEqual(Object.keys(said), ['origin', 'size', 'by', 'at', 'sha256']);
    assert.deepEqual([said.origin, said.size, said.by], [ORIGIN, `${first + 1n}`, 'a']);
    assert.match(said.sha256 ?? '', /^[0-9a-f]{64}$/);
    assert.deepEqual(scene.errors, []);
    assert.deepEqual(await scene.store.unlogged(10), []);
  });

  it('asks nothing while all news is anchors, its own and those of others', async () => {
    const scene = new Scene();
    const loop = scene.loop(scene.anchorer('a', 60), scene.anchorer('b', 100));
    await scene.news();
    await scene.pass(loop, 3_000);
    assert.deepEqual(
      scene.asked.map(({ by }) => by),
      ['a', 'b'],
    );
    await scene.news();
    await scene.pass(loop, 3_000);
    assert.equal(scene.asked.length, 4);
  });

  it('asks those who are asked more often for the head that a slower one has vouched for', async () => {
    const scene = new Scene();
    const loop = scene.loop(scene.anchorer('slow', 3_600), scene.anchorer('fast', 61));
    await scene.pass(loop, 2 * 3_600 + 600, () => scene.news());
    const sizes = (by: string) => new Set(scene.asked.filter((one) => one.by === by).map(({ size }) => size));
    const [slow, fast] = [sizes('slow'), sizes('fast')];
    assert.ok(slow.size >= 3);
    assert.ok([...slow].every((size) => fast.has(size)));
    // The slow one is not asked at the pace of the fast one.
    assert.ok(scene.asked.filter(({ by }) => by === 'slow').length <= 4);
  });

  it('goes on after an hour without an answer: the alert is raised, and settled by the answer that covers all', async () => {
    const scene = new Scene();
    const good = scene.answer;
    const loop = scene.loop(scene.anchorer('a'), scene.anchorer('b'));
    const everyTen = async () => {
      if (scene.seconds % 10 === 0) await scene.news();
    };
    await scene.pass(loop, 3_599, everyTen);
    assert.equal(scene.asked.length, 2);
    // From the second anchor on nobody answers, for an hour.
    const down: AnchorAnswer = { kind: 'unreachable', reason: 'connect ECONNREFUSED', retryAfterMs: null };
    scene.answer = (by, head) => (by === 'a' ? down : good(by, head));
    await scene.pass(loop, 3_601, everyTen);
    const asked = scene.asked.filter(({ by, second }) => by === 'a' && second > 3_500);
    assert.ok(asked.length >= 12 && asked.length <= 30, `${asked.length} requests in an hour`);
    assert.deepEqual(scene.alerts('a'), [false, true]);
    assert.deepEqual(scene.alerts('b'), [false], 'the other one is not held up');
    assert.equal(
      (await scene.store.newest(0, 'timestamp', 'b'))?.size,
      scene.asked.findLast(({ by }) => by === 'b')?.size,
    );
    const before = await scene.store.newest(0, 'timestamp', 'a');
    scene.answer = good;
    // The longest pause.
    await scene.pass(loop, 301, everyTen);
    assert.deepEqual(scene.alerts('a'), [false, true, false]);
    const after = await scene.store.newest(0, 'timestamp', 'a');
    assert.ok((after?.size ?? 0n) > (before?.size ?? 0n) + 360n, 'it covers what was sealed in that hour');
    assert.deepEqual(scene.errors, []);
  });

  it('raises no alert for one request that is lost, and one at once for an answer that must not be', async () => {
    const scene = new Scene();
    const good = scene.answer;
    let failures = 1;
    scene.answer = (by, head) =>
      failures-- > 0 ? { kind: 'unreachable', reason: 'lost', retryAfterMs: null } : good(by, head);
    const loop = scene.loop(scene.anchorer('a', 10));
    await scene.news();
    await scene.pass(loop, 20);
    assert.deepEqual(scene.alerts(), [false]);
    await scene.news();
    scene.answer = () => ({ kind: 'refused', reason: 'the token is over other data', retryAfterMs: null });
    await scene.pass(loop, 20);
    assert.deepEqual(scene.alerts(), [false, true]);
    assert.equal(scene.states.get('a')?.at(-1)?.isBad, true);
    assert.equal((await scene.types()).filter((type) => type === 'seal.timestamp').length, 1);
  });

  it('waits as long as the answer asks for, and no longer than an hour', async () => {
    const scene = new Scene();
    scene.answer = () => ({ kind: 'unreachable', reason: 'busy', retryAfterMs: 120_000 });
    const loop = scene.loop();
    await scene.news();
    await scene.pass(loop, 130);
    assert.deepEqual(
      scene.asked.map(({ second }) => second),
      [0, 120],
    );
    scene.answer = () => ({ kind: 'unreachable', reason: 'busy', retryAfterMs: 10 ** 12 });
    await scene.pass(loop, 3_900);
    assert.equal(scene.asked.at(-1)?.second, 240 + 3_600);
  });

  it('counts what an anchorer throws as no answer', async () => {
    const scene = new Scene();
    scene.answer = () => Promise.reject(new Error('broken'));
    const loop = scene.loop();
    await scene.news();
    await scene.pass(loop, 10);
    assert.equal(scene.states.get('a')?.at(-1)?.reason, 'broken');
    assert.deepEqual(scene.alerts(), [false, true]);
    assert.deepEqual(scene.errors, []);
  });

  it('asks not again after a start before the interval has passed, by whatever clock the other has', async () => {
    for (const [skewSeconds, latest] of [
      [0, 3_600],
      [86_400 * 365, 3_700],
      [-86_400, 101],
    ] as const) {
      const scene = new Scene();
      const good = scene.answer;
      scene.answer = async (by, head) => {
        const answer = await good(by, head);
        return answer.kind === 'anchored'
          ? { ...answer, at: answer.at + BigInt(skewSeconds) * 1_000_000n }
          : answer;
      };
      await scene.news();
      await scene.pass(scene.loop(), 100, () => scene.news());
      assert.equal(scene.asked.length, 1);
      scene.states.clear();
      await scene.loop().look();
      assert.notEqual(scene.states.get('a')?.at(-1)?.at, null, 'how old it is, is known at once');
      await scene.pass(scene.loop(), 3_800, async () => {
        if (scene.seconds % 60 === 0) await scene.news();
      });
      const second = scene.asked[1]?.second ?? Number.POSITIVE_INFINITY;
      assert.ok(second <= latest, `skew ${skewSeconds}: asked again at ${second}`);
      if (skewSeconds >= 0) assert.ok(second >= 3_600);
    }
  });

  it('leaves at most an anchor without a record when it dies, and the next start logs it once', async () => {
    // Wherever it dies: before and after each step that stores.
    const steps = ['anchors.put', 'appendOnce', 'anchors.markLogged'];
    for (const step of steps) {
      for (const when of ['before', 'after'] as const) {
        const scene = new Scene();
        await scene.news();
        let died = false;
        scene.hooks = {
          [when]: (operation: string) => {
            if (operation.endsWith(step)) died = true;
            // Dead: nothing that this process does has an effect any more.
            if (died) throw new Error('died');
          },
        };
        await scene.loop().look();
        assert.ok(died, `${step} was not reached`);
        scene.hooks = {};
        scene.seconds += 3_700;
        await scene.pass(scene.loop(), 3);
        const types = await scene.types();
        const logged = types.filter((type) => type === 'seal.timestamp').length;
        const kept = scene.anchorState.anchors.length;
        assert.equal(logged, kept, `${when} ${step}: ${kept} anchors, ${logged} records`);
        assert.ok(kept >= 1);
        assert.deepEqual(await scene.store.unlogged(10), []);
      }
    }
  });

  it('keeps a pause when what fails is our own store, and blames nobody', async () => {
    const scene = new Scene();
    await scene.news();
    scene.hooks = {
      before: (operation) => {
        if (operation === 'anchors.put') throw new Error('the database is away');
      },
    };
    await scene.pass(scene.loop(), 120);
    assert.ok(scene.asked.length >= 3 && scene.asked.length <= 9, `${scene.asked.length} requests`);
    assert.equal(scene.errors.length, scene.asked.length);
    assert.deepEqual(scene.alerts(), []);
  });

  it('stops at once, whatever is under way', async () => {
    const scene = new Scene();
    await scene.news();
    const reached = Promise.withResolvers<void>();
    const never: Anchorer = {
      kind: 'timestamp',
      name: 'never',
      everySeconds: 60,
      anchor: (_head, signal) => {
        reached.resolve();
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
      },
    };
    const loop = scene.loop(never);
    loop.start();
    await reached.promise;
    await loop.stop();
    assert.deepEqual(scene.alerts('never'), [], 'a stop is no failure');
  });
});
