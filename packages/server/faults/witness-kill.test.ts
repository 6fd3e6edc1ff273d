/**
 * SIGKILL to the witness between any two of its steps. Whoever asks is the worst log there is: it signs every history,
 * and after each death it asks for others. Of all heads that were ever cosigned no two contradict each other, and the
 * honest history goes on.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { rootOf } from '@evident/core/merkle/tree.ts';
import { parseCosignatureLines, parseKnownSize } from '@evident/core/tlog-witness.ts';
import { HONEST, historyOf, ScriptedLog } from '../src/witness/witness-fixture.ts';
import { until } from './server-process.ts';

const SCRIPT = fileURLToPath(new URL('witness-process.ts', import.meta.url));
const LOG = new ScriptedLog('log.example/heads/0', 1);
const STEPS = [
  ...['read', 'checked', 'written', 'synced', 'renamed', 'durable', 'marked', 'remembered', 'cosigned'],
  ...['answering', 'answered'],
];
/** Larger than what is ever cosigned. */
const KNOWN_MAX = 80;
const base = mkdtempSync(join(tmpdir(), 'evident-witness-kill-'));
after(() => rmSync(base, { recursive: true, force: true }));

class Scene {
  readonly state = mkdtempSync(join(base, 'scene-'));
  readonly #how: readonly string[];
  #child: ChildProcess | null = null;
  #url = '';
  /** What was cosigned: the leaves of the head, and its size. */
  readonly cosigned: { readonly leaves: Uint8Array[]; readonly size: number }[] = [];

  constructor(how: readonly string[] = []) {
    this.#how = how;
  }

  async start(step = 'none', nth = 1): Promise<void> {
    const args = [SCRIPT, this.state, LOG.vkey, step, String(nth), ...this.#how];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    this.#url = '';
    child.stdout?.on('data', (chunk) => (this.#url += String(chunk)));
    await until('the witness listens, or died', () => this.#url.endsWith('\n') || this.isDead);
  }

  get isDead(): boolean {
    return this.#child === null || this.#child.signalCode !== null || this.#child.exitCode !== null;
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await until('the witness is gone', () => this.isDead);
  }

  /** @returns what came, or null when the witness died under it */
  async #post(
    from: number,
    size: number,
    leaves: Uint8Array[],
  ): Promise<{ status: number; body: Uint8Array } | null> {
    const body = await LOG.request(from, size, leaves);
    try {
      const url = `${this.#url.trim()}add-checkpoint`;
      const response = await fetch(url, { method: 'POST', body: body as BodyInit });
      return { status: response.status, body: await response.bytes() };
    } catch {
      return null;
    }
  }

  async ask(from: number, size: number, leaves = HONEST): Promise<number> {
    const answer = await this.#post(from, size, leaves);
    if (answer?.status === 200) {
      const text = Buffer.from(LOG.head(size, leaves)).toString().split('\n\n')[0];
      assert.ok(parseCosignatureLines(`${text}\n`, answer.body).ok);
      this.cosigned.push({ leaves, size });
    }
    return answer?.status ?? 0;
  }

  /** The size that the witness knows, which it tells whoever has a signed head. */
  async known(): Promise<number> {
    const answer = await this.#post(KNOWN_MAX, KNOWN_MAX, HONEST);
    return answer?.status === 409 ? Number(parseKnownSize(answer.body)) : KNOWN_MAX;
  }

  /** Every way to get another history cosigned; a witness that knows nothing may begin with any. */
  async attack(): Promise<void> {
    const known = await this.known();
    if (known === 0) return;
    for (const evil of [historyOf('evil'), historyOf('evil', known - 1)])
      for (const size of [known, known + 1, known + 30])
        for (const from of [0, known]) await this.ask(from, size, evil);
  }

  /** Throws where two cosigned heads contradict each other. */
  check(): void {
    for (const one of this.cosigned)
      for (const other of this.cosigned) {
        if (one.size > other.size) continue;
        const [mine, theirs] = [one, other].map(({ leaves }) => rootOf(leaves.slice(0, one.size)));
        assert.deepEqual(mine, theirs, `heads of size ${one.size} and ${other.size} were cosigned`);
      }
  }
}

describe('a witness that dies', () => {
  for (const step of STEPS)
    for (const nth of step === 'renamed' || step === 'answering' ? [1, 2] : [1])
      it(`at the step ${step} of cosignature ${nth} after a start keeps to one history`, async (t) => {
        const scene = new Scene();
        t.after(() => scene.kill());
        await scene.start();
        assert.equal(await scene.ask(0, 2), 200);
        await scene.kill();
        await scene.start(step, nth);
        for (let asked = 0, size = 5; asked < nth; asked++, size += 3)
          await scene.ask(asked === 0 ? 2 : size - 3, size);
        await until(`the witness dies at ${step}`, () => scene.isDead, 10_000);
        await scene.start();
        await scene.attack();
        const known = await scene.known();
        assert.ok(known >= 2 && known <= 8, 'it remembers at least what it cosigned');
        assert.equal(await scene.ask(known, 40), 200, 'the honest history goes on');
        await scene.attack();
        scene.check();
        const sizes = scene.cosigned.map(({ leaves, size }) => (leaves === HONEST ? size : -1));
        assert.ok(!sizes.includes(-1) && sizes.includes(2) && sizes.includes(40));
      });

  for (const step of STEPS)
    it(`at the step ${step} of its first cosignature keeps to the history that it began with`, async (t) => {
      const scene = new Scene();
      t.after(() => scene.kill());
      await scene.start(step);
      await scene.ask(0, 5);
      await until(`the witness dies at ${step}`, () => scene.isDead, 10_000);
      await scene.start();
      const known = await scene.known();
      // If nothing is remembered, nothing was given out, and another history may be the first.
      if (known === 0) assert.equal(await scene.ask(0, 4, historyOf('evil')), 200);
      else await scene.attack();
      await scene.ask(0, 9, historyOf('evil'));
      await scene.ask(known, 12);
      scene.check();
    });
});

it('is found when it remembers in memory only', async (t) => {
  const scene = new Scene(['forgetful']);
  t.after(() => scene.kill());
  await scene.start();
  assert.equal(await scene.ask(0, 5), 200);
  await scene.kill();
  // It has left the mark of a key that has cosigned, and no memory: it does not even start.
  await scene.start();
  assert.ok(scene.isDead);
  rmSync(join(scene.state, 'used'));
  await scene.start();
  assert.equal(await scene.ask(0, 5, historyOf('evil')), 200);
  assert.throws(() => scene.check(), /size 5 and 5/);
});
