/** The promises of the port `DeadLetterStore`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { EMPTY_ROW, type EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { ownEventRecord } from '../src/audit/own-event.ts';
import type { Log } from '../src/log/log.ts';
import type { DeadLetterEntry, DeadLetterStore, Settlement } from '../src/project/dead-letters.ts';
import type { RecordSource, ViewRef, ViewStore } from '../src/project/ports.ts';
import { idOf, proposed } from './view-store-contract.ts';

export interface LetterScene {
  readonly letters: DeadLetterStore;
  readonly store: ViewStore;
  readonly source: RecordSource;
  /** The log `audit`, with three partitions. */
  readonly log: Log;
  /** Places of rows that the view shows. */
  rows(ref: ViewRef): Promise<string[]>;
}

const OPEN = { view: 'hot', state: 'open' } as const;

function rowOf(record: LogRecord): EventRow {
  return { ...EMPTY_ROW, actorId: record.key, mapper: 'note/1' };
}

/** Brings what is new into the view; records of type `bad` become dead letters, those of `poison` as poison. */
async function project({ store, source }: LetterScene, only?: number): Promise<ViewRef> {
  const { ref } = await store.open('hot', 'note/1');
  for (const { tree, partition, next } of await store.checkpoints(ref)) {
    if (only !== undefined && partition !== only) continue;
    const [run] = await source.read([{ tree, position: next }], { recordsMax: 1_000, bytesMax: 1 << 24 });
    if (run === undefined) continue;
    const output = store.newOutput([tree]);
    for (const record of run.records) {
      if (record.type !== 'bad' && record.type !== 'poison') {
        if (record.type === 'note') output.addRow(tree, record, rowOf(record));
        continue;
      }
      const kind = record.type === 'poison' ? 'poison' : 'validation';
      output.addDeadLetter(tree, {
        record,
        class: kind,
        error: 'bad',
        stack: null,
        attempts: 1,
        firstAt: null,
        lastAt: null,
      });
    }
    const last = run.records.at(-1) as LogRecord;
    const outcome = await store.commit(ref, [{ tree, from: next, to: last.position + 1n }], output, 0);
    assert.equal(outcome.kind, 'committed');
  }
  return ref;
}

function settlement(resolution: Settlement['resolution'], reason: string | null = 'a test'): Settlement {
  const record = ownEventRecord(
    { newId: randomUUID, instant: () => '2026-11-20T10:00:00.000000Z' },
    {
      actor: { id: 'operator', role: 'operator' },
      action: 'dead_letter.discard',
      resource: { type: 'dead_letter', id: 'hot' },
      result: 'success',
      tenant: 'acme',
    },
  );
  const bytes = record.body.form === 'object' ? record.body.sha256 : record.body.bytes;
  const bodyHash = createHash('sha256').update(bytes).digest();
  return { resolution, by: 'operator', reason, event: { record, bodyHash, reused: 'refuse' } };
}

async function recordsOf(log: Log): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (const { partition } of await log.heads()) records.push(...(await log.read(partition, 0n, 1_000)));
  return records;
}

async function eventIds({ log }: LetterScene): Promise<string[]> {
  return (await recordsOf(log))
    .filter(({ source, type }) => source === 'evident' && type === 'audit.event')
    .map(({ id }) => id);
}

async function recordAt({ log }: LetterScene, { partition, position }: DeadLetterEntry): Promise<LogRecord> {
  return (await log.read(partition, position, 1))[0];
}

export function describeDeadLetterStore(name: string, open: () => Promise<LetterScene>): void {
  describe(`the dead letter store over ${name}`, () => {
    it('lists open letters in order, by filter, from a place on, and counts them', async () => {
      const scene = await open();
      await scene.log.append([1, 2, 3, 4].map((n) => proposed(n, { type: 'bad', key: `acme/${n}` })));
      await scene.log.append([proposed(5, { type: 'poison', tenant: 'other', key: 'other/a' }), proposed(6)]);
      await project(scene);
      const all = await scene.letters.list(OPEN, null, 10);
      assert.equal(all.length, 5);
      assert.deepEqual(await scene.letters.list(OPEN, all[1], 2), all.slice(2, 4));
      assert.equal((await scene.letters.list({ ...OPEN, tenant: 'other' }, null, 10)).length, 1);
      assert.equal((await scene.letters.list({ ...OPEN, type: 'bad' }, null, 10)).length, 4);
      assert.equal((await scene.letters.list({ ...OPEN, class: 'poison' }, null, 10)).length, 1);
      assert.equal((await scene.letters.list({ ...OPEN, log: 'other' }, null, 10)).length, 0);
      assert.deepEqual(await scene.letters.countOpen('hot', null), { validation: 4, poison: 1 });
      assert.deepEqual(await scene.letters.countOpen('hot', 'acme'), { validation: 4, poison: 0 });
      assert.deepEqual(await scene.letters.find(all[2]), all[2]);
      assert.equal(await scene.letters.find({ ...all[2], position: 999n }), null);
    });

    it('resolves an open letter once, with its event', async () => {
      const scene = await open();
      await scene.log.append([proposed(1, { type: 'bad' })]);
      await project(scene);
      const [letter] = await scene.letters.list(OPEN, null, 1);
      const first = settlement('discarded');
      assert.equal(await scene.letters.resolve(letter, first), 'resolved');
      assert.equal(await scene.letters.resolve(letter, settlement('manual')), 'changed');
      assert.equal(
        await scene.letters.replay(letter, await recordAt(scene, letter), null, settlement('replayed', null)),
        'changed',
      );
      assert.equal(await scene.letters.noteFailure(letter, 'again', null), 'changed');
      assert.deepEqual(await eventIds(scene), [first.event.record.id]);
      const held = await scene.letters.find(letter);
      assert.deepEqual(
        [held?.resolution, held?.reason, held?.resolvedBy, held?.eventId],
        ['discarded', 'a test', 'operator', first.event.record.id],
      );
      assert.equal((await scene.letters.list({ ...OPEN, state: 'resolved' }, null, 10)).length, 1);
    });

    it('replays a letter: its row is shown, or it needs none, and an attempt is counted', async () => {
      const scene = await open();
      await scene.log.append([proposed(1, { type: 'bad' }), proposed(2, { type: 'bad' })]);
      const ref = await project(scene);
      const [one, two] = await scene.letters.list(OPEN, null, 2);
      assert.equal(await scene.letters.noteFailure(one, 'still bad', 'at a test'), 'resolved');
      const failed = (await scene.letters.find(one)) as DeadLetterEntry;
      assert.deepEqual([failed.error, failed.stack, failed.attempts], ['still bad', 'at a test', 2]);
      const record = await recordAt(scene, one);
      assert.equal(
        await scene.letters.replay(failed, record, rowOf(record), settlement('replayed', null)),
        'shown',
      );
      assert.equal(
        await scene.letters.replay(two, await recordAt(scene, two), null, settlement('replayed', null)),
        'repeat',
      );
      assert.deepEqual(await scene.rows(ref), [`audit/${one.partition}/${one.position}`]);
      assert.equal((await scene.letters.find(one))?.attempts, 3);
      assert.equal((await eventIds(scene)).length, 2);
      assert.deepEqual(await scene.letters.list(OPEN, null, 10), []);
    });

    it('lets a replayed record that has another body than what is shown stay a dead letter, without event', async () => {
      const scene = await open();
      const body = (text: string) => ({ form: 'json' as const, bytes: new TextEncoder().encode(text) });
      await scene.log.append([
        proposed(1, { body: body('1') }),
        proposed(1, { type: 'bad', body: body('2') }),
      ]);
      const ref = await project(scene);
      const [letter] = await scene.letters.list(OPEN, null, 1);
      const record = await recordAt(scene, letter);
      assert.equal(
        await scene.letters.replay(letter, record, rowOf(record), settlement('replayed', null)),
        'reused',
      );
      const held = (await scene.letters.find(letter)) as DeadLetterEntry;
      assert.deepEqual([held.resolution, held.attempts], [null, 2]);
      assert.match(held.error, /^id-reused: audit\//);
      assert.equal((await scene.rows(ref)).length, 1);
      assert.deepEqual(await eventIds(scene), []);
    });

    it('opens a replayed letter again when an earlier record with another body is read later', async () => {
      const scene = await open();
      const body = (text: string) => ({ form: 'json' as const, bytes: new TextEncoder().encode(text) });
      // The first stands in another partition than the second, and is read after it.
      const keys = Array.from({ length: 20 }, (_, n) => `acme/${n}`);
      const places = await scene.log.append(keys.map((key, n) => proposed(100 + n, { key })));
      const other = keys[places.findIndex(({ partition }) => partition !== places[0].partition)];
      await project(scene);
      const [early] = await scene.log.append([proposed(1, { key: keys[0], body: body('1') })]);
      const [late] = await scene.log.append([proposed(1, { key: other, type: 'bad', body: body('2') })]);
      assert.ok(early.appendedAt < late.appendedAt);
      await project(scene, late.partition);
      const [letter] = await scene.letters.list(OPEN, null, 1);
      const record = await recordAt(scene, letter);
      assert.equal(
        await scene.letters.replay(letter, record, rowOf(record), settlement('replayed', null)),
        'shown',
      );
      const ref = await project(scene);
      const held = (await scene.letters.find(letter)) as DeadLetterEntry;
      assert.deepEqual([held.resolution, held.eventId], [null, null]);
      assert.match(held.error, /^id-reused: /);
      const shown = await scene.rows(ref);
      assert.ok(shown.includes(`audit/${early.partition}/${early.position}`));
      assert.ok(!shown.includes(`audit/${late.partition}/${late.position}`));
      assert.equal(idOf(1), held.id);
    });
  });
}
