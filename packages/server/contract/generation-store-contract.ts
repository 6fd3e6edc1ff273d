/** The promises of the port `GenerationStore`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { EMPTY_ROW } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { ownEventRecord } from '../src/audit/own-event.ts';
import type { Log, Proposal } from '../src/log/log.ts';
import type { DeadLetterStore } from '../src/project/dead-letters.ts';
import type { RecordSource, ViewRef, ViewStore } from '../src/project/ports.ts';
import type { GenerationStore } from '../src/project/rebuild.ts';
import { proposed } from './view-store-contract.ts';

export interface GenerationScene {
  readonly generations: GenerationStore;
  readonly letters: DeadLetterStore;
  readonly store: ViewStore;
  readonly source: RecordSource;
  /** The log `audit`, with three partitions. */
  readonly log: Log;
}

const DEFINITION = 'note/1';

function eventOf(action: string): Proposal {
  const record = ownEventRecord(
    { newId: randomUUID, instant: () => '2026-11-20T10:00:00.000000Z' },
    {
      actor: { id: 'operator', role: 'operator' },
      action,
      resource: { type: 'view', id: 'hot' },
      result: 'success',
      tenant: 'acme',
    },
  );
  const bytes = record.body.form === 'object' ? record.body.sha256 : record.body.bytes;
  return { record, bodyHash: createHash('sha256').update(bytes).digest(), reused: 'refuse' };
}

async function read({ store, source }: GenerationScene, ref: ViewRef): Promise<string> {
  for (const { tree, next } of await store.checkpoints(ref)) {
    const [run] = await source.read([{ tree, position: next }], { recordsMax: 1_000, bytesMax: 1 << 24 });
    if (run === undefined) continue;
    const output = store.newOutput([tree]);
    for (const record of run.records) {
      if (record.type === 'note') output.addRow(tree, record, { ...EMPTY_ROW, mapper: DEFINITION });
      if (record.type !== 'bad') continue;
      const letter = { record, error: 'bad', stack: null, attempts: 1, firstAt: null, lastAt: null };
      output.addDeadLetter(tree, { ...letter, class: 'validation' });
    }
    const to = (run.records.at(-1) as LogRecord).position + 1n;
    const { kind } = await store.commit(ref, [{ tree, from: next, to }], output, 0);
    if (kind !== 'committed') return kind;
  }
  return 'read';
}

async function actions({ log }: GenerationScene): Promise<string[]> {
  const found: string[] = [];
  for (const { partition } of await log.heads())
    for (const { source, type, body } of await log.read(partition, 0n, 1_000))
      if (source === 'evident' && type === 'audit.event' && body.form === 'json')
        found.push(JSON.parse(new TextDecoder().decode(body.bytes)).action);
  return found.sort();
}

const promote = ({ generations }: GenerationScene, ref: ViewRef, lagMax = 0) =>
  generations.promote(ref, lagMax, eventOf('view.promote'));

export function describeGenerationStore(name: string, open: () => Promise<GenerationScene>): void {
  describe(`the generation store over ${name}`, () => {
    it('goes on with what is being built by a definition, and gives up what another began', async () => {
      const scene = await open();
      const { generations, store } = scene;
      await store.open('hot', DEFINITION);
      assert.equal(await generations.building('hot'), null);
      const first = await generations.build('hot', DEFINITION, false);
      assert.deepEqual(first, { ref: { view: 'hot', generation: 2 }, resumed: false });
      assert.deepEqual(await generations.build('hot', DEFINITION, false), { ...first, resumed: true });
      assert.deepEqual(await generations.building('hot'), { ref: first.ref, definition: DEFINITION });
      const other = await generations.build('hot', 'note/2', false);
      assert.deepEqual(other, { ref: { view: 'hot', generation: 3 }, resumed: false });
      const anew = await generations.build('hot', 'note/2', true);
      assert.deepEqual(anew, { ref: { view: 'hot', generation: 4 }, resumed: false });
      assert.deepEqual(await generations.retired('hot'), [first.ref, other.ref]);
      await scene.log.append([proposed(1)]);
      assert.equal(await read(scene, first.ref), 'retired');
      assert.equal(await promote(scene, other.ref), 'gone');
      await assert.rejects(generations.build('cold', DEFINITION, false));
    });

    it('shows a generation that has read as far, once, with its event; the old one is fed no more', async () => {
      const scene = await open();
      const { generations, store } = scene;
      const { ref: live } = await store.open('hot', DEFINITION);
      await scene.log.append([1, 2, 3].map((n) => proposed(n, { key: 'acme/a' })));
      await read(scene, live);
      const { ref } = await generations.build('hot', DEFINITION, false);
      await store.checkpoints(ref);
      assert.equal(await promote(scene, ref), 'behind');
      assert.equal(await promote(scene, ref, 2), 'behind');
      assert.deepEqual((await store.open('hot', DEFINITION)).ref, live);
      assert.deepEqual(await actions(scene), []);
      await read(scene, ref);
      assert.equal(await promote(scene, ref), 'promoted');
      assert.equal(await promote(scene, ref), 'gone');
      assert.deepEqual((await store.open('hot', DEFINITION)).ref, ref);
      assert.deepEqual(await actions(scene), ['view.promote']);
      await scene.log.append([proposed(4)]);
      assert.equal(await read(scene, live), 'retired');
      assert.equal(await read(scene, ref), 'read');
    });

    it('shows one that lacks as many records as it may', async () => {
      const scene = await open();
      const { ref: live } = await scene.store.open('hot', DEFINITION);
      await scene.log.append([1, 2, 3].map((n) => proposed(n, { key: 'acme/a' })));
      await read(scene, live);
      const { ref } = await scene.generations.build('hot', DEFINITION, false);
      assert.equal(await promote(scene, ref, 3), 'promoted');
    });

    it('carries over what was discarded or done by hand, and nothing else', async () => {
      const scene = await open();
      const { generations, letters, store } = scene;
      const { ref: live } = await store.open('hot', DEFINITION);
      await scene.log.append([1, 2, 3, 4].map((n) => proposed(n, { type: 'bad', key: 'acme/a' })));
      await read(scene, live);
      const page = await letters.list({ view: 'hot', state: 'open' }, null, 10);
      const settle = (reason: string | null) => ({ by: 'operator', reason, event: eventOf('dead_letter.x') });
      await letters.resolve(page[0], { ...settle('a'), resolution: 'discarded' });
      await letters.resolve(page[1], { ...settle('b'), resolution: 'manual' });
      const record = (await scene.log.read(page[2].partition, page[2].position, 1))[0];
      await letters.replay(page[2], record, null, { ...settle(null), resolution: 'replayed' });
      const before = await letters.list({ view: 'hot', state: 'all' }, null, 10);
      const { ref } = await generations.build('hot', DEFINITION, false);
      await read(scene, ref);
      await read(scene, live);
      assert.equal(await promote(scene, ref), 'promoted');
      const after = await letters.list({ view: 'hot', state: 'all' }, null, 10);
      assert.deepEqual(
        after.map(({ resolution }) => resolution),
        ['discarded', 'manual', null, null],
      );
      for (const index of [0, 1]) {
        const { resolvedAt, resolvedBy, reason, eventId } = after[index];
        const { resolvedAt: at, resolvedBy: by, reason: why, eventId: id } = before[index];
        assert.deepEqual([resolvedAt, resolvedBy, reason, eventId], [at, by, why, id]);
      }
    });

    it('drops what was retired long enough ago, once, and uses no number again', async () => {
      const scene = await open();
      const { generations, store } = scene;
      await store.open('hot', DEFINITION);
      const { ref } = await generations.build('hot', DEFINITION, false);
      const { ref: next } = await generations.build('hot', DEFINITION, true);
      assert.equal(await generations.drop(ref, 3_600), false);
      assert.equal(await generations.drop(next, 0), false);
      assert.equal(await generations.drop(ref, 0), true);
      assert.equal(await generations.drop(ref, 0), false);
      assert.deepEqual(await generations.retired('hot'), []);
      assert.equal((await generations.build('hot', DEFINITION, true)).ref.generation, 4);
    });
  });
}
