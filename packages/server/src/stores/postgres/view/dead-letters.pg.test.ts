/** Dead letters on PostgreSQL: replayed, discarded and resolved, each with its audit event in one transaction. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import type { LogRecord } from '@evident/core/record.ts';
import {
  type DeadLetterEntry,
  deadLetterName,
  replayDeadLetter,
  replayDeadLetters,
  resolveDeadLetter,
  showDeadLetter,
} from '../../../project/dead-letters.ts';
import { HotView, noteProjection, notes, OPERATOR } from './view-fixture.ts';

const OPEN = { view: 'hot', state: 'open' } as const;
const BY = { actor: OPERATOR };

async function openView(): Promise<HotView> {
  const it = await HotView.open();
  await it.appendMany(notes(40, 0, true));
  await it.project();
  return it;
}

/** Audit events that resolutions left, in order. */
async function resolutionEvents(it: HotView): Promise<{ id: string; body: Record<string, unknown> }[]> {
  const log = it.log();
  const found: LogRecord[] = [];
  for (const { partition } of await log.heads()) found.push(...(await log.read(partition, 0n, 1_000)));
  return found
    .filter(({ source, type }) => source === 'evident' && type === 'audit.event')
    .map(({ id, body }) => ({
      id,
      body: JSON.parse(Buffer.from(body.form === 'json' ? body.bytes : []).toString()),
    }));
}

async function rows(it: HotView): Promise<number> {
  return Number(
    (await it.asSuperuser("SELECT count(*) FROM evident.events WHERE type = 'note'")).rows[0].count,
  );
}

describe('dead letters', () => {
  it('are listed by filter, page by page, in (log, partition, position) order', async () => {
    const view = await openView();
    const all = await view.letters.list(OPEN, null, 100);
    assert.equal(all.length, 4);
    assert.ok(
      all.every(
        ({ class: kind, error, attempts }) =>
          kind === 'validation' && error === 'fault: a test' && attempts === 1,
      ),
    );
    const paged: DeadLetterEntry[] = [];
    for (let after: DeadLetterEntry | null = null; ; ) {
      const page: DeadLetterEntry[] = await view.letters.list(OPEN, after, 1);
      if (page.length === 0) break;
      paged.push(...page);
      after = page[0];
    }
    assert.deepEqual(paged, all);
    for (const nothing of [
      { log: 'other' },
      { tenant: 'other' },
      { type: 'other' },
      { class: 'poison' as const },
      { view: 'cold' },
    ])
      assert.deepEqual(
        await view.letters.list({ ...OPEN, ...nothing }, null, 10),
        [],
        JSON.stringify(nothing),
      );
    assert.deepEqual(await view.letters.list({ ...OPEN, state: 'resolved' }, null, 10), []);
  });

  it('are shown with the leaf of their record and the head of its body', async () => {
    const view = await openView();
    const [letter] = await view.letters.list(OPEN, null, 1);
    const shown = await showDeadLetter(view.deadLetterDeps(), letter);
    assert.deepEqual(shown?.letter, letter);
    assert.match(Buffer.from(shown?.leaf ?? []).toString(), /^\{"v":1,"log":"audit".*"fault":"a test"\}\}$/);
    assert.match(Buffer.from(shown?.bodyHead as Uint8Array).toString(), /"fault":"a test"/);
    assert.equal(await showDeadLetter(view.deadLetterDeps(), { ...letter, position: 9_999n }), null);
  });

  it('are cleared by a replay with a fixed mapper, and each has an audit event', async () => {
    const view = await openView();
    const before = await rows(view);
    const fixed = view.deadLetterDeps(noteProjection(2));
    const first = await replayDeadLetters(fixed, { view: 'hot' }, null, 3, BY);
    assert.deepEqual(first.counts, { replayed: 3, failed: 0, already: 0 });
    const rest = await replayDeadLetters(fixed, { view: 'hot' }, first.next, 3, BY);
    assert.deepEqual([rest.counts.replayed, rest.next], [1, null]);
    assert.equal(await rows(view), before + 4);
    const letters = await view.letters.list({ ...OPEN, state: 'all' }, null, 10);
    const events = await resolutionEvents(view);
    assert.deepEqual(letters.map(({ eventId }) => eventId).sort(), events.map(({ id }) => id).sort());
    for (const letter of letters) {
      assert.deepEqual([letter.resolution, letter.resolvedBy, letter.attempts], ['replayed', 'operator', 2]);
      const event = events.find(({ id }) => id === letter.eventId);
      assert.equal(event?.body.action, 'dead_letter.replay');
      assert.deepEqual(event?.body.resource, { type: 'dead_letter', id: deadLetterName(letter) });
    }
    const { rows: definitions } = await view.asSuperuser('SELECT definition FROM evident.generations');
    assert.equal(definitions[0].definition, 'note/1 then note/2');
  });

  it('stay, with the new error and an attempt more, when mapping fails again', async () => {
    const view = await openView();
    const [letter] = await view.letters.list(OPEN, null, 1);
    const again = await replayDeadLetter(view.deadLetterDeps(), letter, BY);
    assert.deepEqual([again.kind, again.letter.attempts, again.letter.resolution], ['failed', 2, null]);
    assert.deepEqual(await resolutionEvents(view), []);
    assert.equal((await view.letters.list(OPEN, null, 10)).length, 4);
  });

  it('are discarded and resolved by hand for a reason, once', async () => {
    const view = await openView();
    const deps = view.deadLetterDeps();
    const [first, second] = await view.letters.list(OPEN, null, 2);
    for (const reason of ['', '   ', 'x'.repeat(2_001), 'a\u0000b'])
      await assert.rejects(
        resolveDeadLetter(deps, first, { ...BY, resolution: 'discarded', reason }),
        (error) => isEvidentError(error) && error.code === 'field-invalid',
      );
    const discarded = await resolveDeadLetter(deps, first, {
      ...BY,
      resolution: 'discarded',
      reason: 'a test line',
    });
    assert.deepEqual(
      [discarded.kind, discarded.letter.resolution, discarded.letter.reason],
      ['resolved', 'discarded', 'a test line'],
    );
    const again = await resolveDeadLetter(deps, first, { ...BY, resolution: 'manual', reason: 'other' });
    assert.deepEqual([again.kind, again.letter.resolution], ['already', 'discarded']);
    assert.equal((await replayDeadLetter(view.deadLetterDeps(noteProjection(2)), first, BY)).kind, 'already');
    await resolveDeadLetter(deps, second, { ...BY, resolution: 'manual', reason: 'entered elsewhere' });
    const events = await resolutionEvents(view);
    assert.deepEqual(events.map(({ body }) => body.action).sort(), [
      'dead_letter.discard',
      'dead_letter.resolve',
    ]);
    await assert.rejects(
      resolveDeadLetter(deps, { ...first, position: 9_999n }, { ...BY, resolution: 'manual', reason: 'x' }),
      {
        code: 'not-found',
      },
    );
  });

  it('are resolved once, with one event, by replays that run at the same time', async () => {
    const view = await openView();
    const deps = view.deadLetterDeps(noteProjection(2));
    const [letter] = await view.letters.list(OPEN, null, 1);
    const kinds = await Promise.all(
      Array.from({ length: 6 }, async () => (await replayDeadLetter(deps, letter, BY)).kind),
    );
    assert.deepEqual(kinds.sort(), ['already', 'already', 'already', 'already', 'already', 'resolved']);
    assert.equal((await resolutionEvents(view)).length, 1);
  });

  it('give way to neither the projector nor one another: replays beside a running projector lose nothing', async () => {
    const view = await openView();
    const deps = view.deadLetterDeps(noteProjection(2));
    await Promise.all([
      (async () => {
        for (let first = 100; first < 400; first += 50) {
          await view.appendMany(notes(50, first));
          await view.project(noteProjection(2));
        }
      })(),
      replayDeadLetters(deps, { view: 'hot' }, null, 10, BY),
    ]);
    await view.project(noteProjection(2));
    assert.equal(await rows(view), 340);
    assert.deepEqual(await view.letters.list(OPEN, null, 10), []);
  });

  it('leave no trace when the event can not be appended: both or neither', async () => {
    const view = await openView();
    const [letter] = await view.letters.list(OPEN, null, 1);
    await view.asSuperuser("UPDATE evident.partitions SET stopped = 'a test'");
    const deps = view.deadLetterDeps(noteProjection(2));
    const before = await rows(view);
    await assert.rejects(replayDeadLetter(deps, letter, BY), { code: 'partition-stopped' });
    await assert.rejects(resolveDeadLetter(deps, letter, { ...BY, resolution: 'discarded', reason: 'x' }), {
      code: 'partition-stopped',
    });
    assert.equal(await rows(view), before);
    assert.equal((await view.letters.find(letter))?.resolution, null);
  });

  it('follow the rules of identities: a repeat needs no row, another body stays a dead letter', async () => {
    const view = await HotView.open();
    // Three records of one identity: a faulty one, and two bodies that the first mapper takes.
    const id = await view.append({ n: 1, fault: 'first' }, { key: 'acme/a' });
    await view.append({ n: 2 }, { id, key: 'acme/b' });
    await view.append({ n: 3 }, { id, key: 'acme/c' });
    await view.project();
    const open = await view.letters.list(OPEN, null, 10);
    assert.deepEqual(open.map(({ error }) => error.replace(/audit.*/, '…')).sort(), [
      'fault: first',
      'id-reused: …',
    ]);
    const faulty = open.find(({ error }) => error === 'fault: first') as DeadLetterEntry;
    const deps = view.deadLetterDeps(noteProjection(2));
    // It stands first, so it is shown now, and the one that was becomes a dead letter.
    assert.equal((await replayDeadLetter(deps, faulty, BY)).kind, 'resolved');
    const after = await view.letters.list(OPEN, null, 10);
    assert.equal(after.length, 2);
    assert.ok(after.every(({ error }) => error.startsWith('id-reused: ')));
    assert.equal(await rows(view), 1);
    for (const letter of after) {
      const again = await replayDeadLetter(deps, letter, BY);
      assert.deepEqual([again.kind, again.letter.attempts], ['failed', letter.attempts + 1]);
    }
    assert.equal((await view.letters.list(OPEN, null, 10)).length, 2);
  });
});
