/** The promises of the ports `ViewStore` and `RecordSource`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EMPTY_ROW, type EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';
import fc from 'fast-check';
import type { Log } from '../src/log/log.ts';
import {
  type CommitOutcome,
  OutputRefused,
  type RecordSource,
  type ViewRef,
  type ViewStore,
} from '../src/project/ports.ts';

/** A row as it is shown, for comparison. */
export interface ShownRow extends EventRow {
  readonly place: string;
  readonly appendedAt: bigint;
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
}

export interface ShownLetter {
  readonly place: string;
  readonly class: string;
  readonly error: string;
  readonly attempts: number;
}

export interface ViewScene {
  readonly store: ViewStore;
  readonly source: RecordSource;
  /** A log of its own for each scene, with three partitions. */
  readonly log: Log;
  /** A view name that was not used before. */
  readonly view: string;
  /** What the view shows, by place. */
  rows(ref: ViewRef): Promise<ShownRow[]>;
  letters(ref: ViewRef): Promise<ShownLetter[]>;
  retire(ref: ViewRef): Promise<void>;
  resolve(ref: ViewRef, tree: number, position: bigint): Promise<void>;
}

const utf8 = new TextEncoder();

export const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

export function proposed(n: number, over: Partial<ProposedRecord> = {}): ProposedRecord {
  return {
    id: idOf(n),
    tenant: 'acme',
    source: 'test',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    key: 'acme/a',
    meta: null,
    body: { form: 'json', bytes: utf8.encode(`{"n":${n}}`) },
    ...over,
  };
}

export const plainRow: EventRow = { ...EMPTY_ROW, mapper: 'test/1' };

const fullRow: EventRow = {
  eventTime: 1_700_000_000_123_456n,
  actorId: 'usr_456',
  actorType: 'user',
  action: 'document.update',
  resourceType: 'document',
  resourceId: `d "1" \\ {x}, NULL \u{1f511} ${'é'.repeat(100)}`,
  result: 'denied',
  correlationId: '',
  ip: '2001:db8::1',
  corrects: idOf(99),
  mapper: 'audit.event/1',
};

const MEMBERS =
  'log partition position appendedAt id tenant source sourceSeq type schema key meta body'.split(
    ' ',
  ) as (keyof LogRecord)[];

interface TreeRecords {
  readonly tree: number;
  readonly records: readonly LogRecord[];
}

/** Everything of the scene's log, partition by partition. */
async function readAll({ store, source, log }: ViewScene, ref: ViewRef): Promise<TreeRecords[]> {
  const trees = (await store.checkpoints(ref)).filter((one) => one.log === log.name);
  const runs = await source.read(
    trees.map(({ tree }) => ({ tree, position: 0n })),
    { recordsMax: 10_000, bytesMax: 2 ** 24 },
  );
  return [...runs];
}

/** With all its members, so that it can be spread. */
export const plainRecord = (record: LogRecord): LogRecord =>
  Object.fromEntries(MEMBERS.map((name) => [name, record[name]])) as unknown as LogRecord;

type RowOf = (record: LogRecord) => EventRow | null;

/** Commits `records` of one partition, which follow each other. */
async function commitRun(
  { store }: ViewScene,
  ref: ViewRef,
  { tree, records }: TreeRecords,
  rowOf: RowOf = () => plainRow,
): Promise<CommitOutcome> {
  const output = store.newOutput([tree]);
  for (const record of records) {
    const row = rowOf(record);
    if (row !== null) output.addRow(tree, record, row);
  }
  const [first, last] = [records[0], records[records.length - 1]];
  return store.commit(ref, [{ tree, from: first.position, to: last.position + 1n, last }], output, 1);
}

const places = (rows: readonly { readonly place: string }[]): string[] =>
  rows.map(({ place }) => place).sort();

const KEYS = ['acme/a', 'acme/b', 'acme/c', 'acme/d', 'acme/e', 'acme/f'];

export function describeViewStore(name: string, open: () => Promise<ViewScene>): void {
  describe(`ViewStore: ${name}`, () => {
    describeGenerations(open);
    describeCommits(open);
    describeCounts(open);
    describeIdentities(open);
    describeSource(open);
  });
}

function describeGenerations(open: () => Promise<ViewScene>): void {
  it('begins a view with generation 1, at the beginning of every log but heads and windows', async () => {
    const scene = await open();
    const { ref, definition } = await scene.store.open(scene.view, 'a/1');
    assert.deepEqual({ ref, definition }, { ref: { view: scene.view, generation: 1 }, definition: 'a/1' });
    const checkpoints = await scene.store.checkpoints(ref);
    assert.ok(!checkpoints.some(({ log }) => log === 'heads' || log === 'windows'));
    const own = checkpoints.filter(({ log }) => log === scene.log.name);
    assert.deepEqual(
      own.map(({ partition, next, attempts }) => ({ partition, next, attempts })),
      [0, 1, 2].map((partition) => ({ partition, next: 0n, attempts: 0 })),
    );
  });

  it('opens what is shown, whoever asks, and says when rows are made otherwise from here on', async () => {
    const { store, view } = await open();
    const { ref } = await store.open(view, 'a/1');
    assert.deepEqual(await store.open(view, 'a/2'), { ref, definition: 'a/1' });
    assert.equal(await store.continueWith(ref, 'a/1'), null);
    assert.equal(await store.continueWith(ref, 'a/2'), 'a/1 then a/2');
    assert.equal(await store.continueWith(ref, 'a/2'), null);
    assert.equal((await store.open(view, 'a/2')).definition, 'a/1 then a/2');
  });

  it('begins a generation beside the one that is shown, with checkpoints of its own', async () => {
    const scene = await open();
    const { store, log, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await log.append([proposed(1)]);
    const [run] = await readAll(scene, ref);
    await commitRun(scene, ref, run);
    const second = await store.begin(view, 'a/2');
    assert.deepEqual(second, { view, generation: 2 });
    assert.ok((await store.checkpoints(second)).every(({ next }) => next === 0n));
    assert.equal((await scene.rows(second)).length, 0);
    await commitRun(scene, second, run);
    assert.deepEqual(places(await scene.rows(second)), places(await scene.rows(ref)));
  });

  it('stores nothing into a generation that was retired', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1)]);
    const [run] = await readAll(scene, ref);
    await scene.retire(ref);
    assert.deepEqual(await commitRun(scene, ref, run), { kind: 'retired' });
    assert.deepEqual(await scene.rows(ref), []);
  });
}

function describeCommits(open: () => Promise<ViewScene>): void {
  it('stores rows exactly as they were made', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1), proposed(2), proposed(3)]);
    const [run] = await readAll(scene, ref);
    const made = [fullRow, plainRow, null];
    const rowOf: RowOf = ({ id }) => made[Number(id.at(-1)) - 1];
    assert.deepEqual(await commitRun(scene, ref, run, rowOf), {
      kind: 'committed',
      shown: 2,
      repeats: 0,
      reused: 0,
    });
    const rows = await scene.rows(ref);
    assert.equal(rows.length, 2);
    for (const [index, record] of run.records.slice(0, 2).entries()) {
      const { log, partition, position, appendedAt, id, tenant, type } = record;
      const place = `${log}/${partition}/${position}`;
      assert.deepEqual(
        rows.find((row) => row.place === place),
        { ...made[index], place, appendedAt, id, tenant, type },
      );
    }
  });

  it('moves checkpoints with what they stand for, and changes nothing for a reader that was overtaken', async () => {
    const scene = await open();
    const { store, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await scene.log.append([proposed(1), proposed(2), proposed(3)]);
    const [{ tree, records }] = await readAll(scene, ref);
    const run = (from: number, to: number) => ({ tree, records: records.slice(from, to) });
    assert.equal((await commitRun(scene, ref, run(0, 2))).kind, 'committed');
    const before = await scene.rows(ref);
    for (const late of [run(0, 2), run(0, 3), run(1, 3)])
      assert.deepEqual(await commitRun(scene, ref, late), { kind: 'overtaken' });
    assert.deepEqual(await scene.rows(ref), before);
    assert.equal((await store.checkpoints(ref)).find((one) => one.tree === tree)?.next, 2n);
    assert.equal((await commitRun(scene, ref, run(2, 3))).kind, 'committed');
    assert.equal((await scene.rows(ref)).length, 3);
  });

  it('stores nothing of records that the log no longer holds as they were read', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [{ tree, records }] = await readAll(scene, ref);
    const [first, last] = records.map(plainRecord);
    for (const other of [
      { ...last, id: idOf(3) },
      { ...last, appendedAt: last.appendedAt + 1n },
    ])
      assert.deepEqual(await commitRun(scene, ref, { tree, records: [first, other] }), { kind: 'overtaken' });
    assert.deepEqual(
      await commitRun(scene, ref, { tree, records: [first, last, { ...last, position: 2n }] }),
      {
        kind: 'overtaken',
      },
    );
    assert.deepEqual(await scene.rows(ref), []);
    assert.equal((await commitRun(scene, ref, { tree, records })).kind, 'committed');
  });

  it('lets one of two readers store a batch, and tells the other', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [run] = await readAll(scene, ref);
    const outcomes = [];
    for (let reader = 0; reader < 2; reader++) outcomes.push(commitRun(scene, ref, run));
    const kinds = (await Promise.all(outcomes)).map(({ kind }) => kind).sort();
    assert.deepEqual(kinds, ['committed', 'overtaken']);
    assert.equal((await scene.rows(ref)).length, 2);
  });

  it('refuses what it can not store, and has stored nothing', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [run] = await readAll(scene, ref);
    const rowOf: RowOf = ({ id }) => (id === idOf(2) ? { ...plainRow, action: 'a\u0000b' } : plainRow);
    await assert.rejects(commitRun(scene, ref, run, rowOf), OutputRefused);
    assert.deepEqual(await scene.rows(ref), []);
    assert.ok((await scene.store.checkpoints(ref)).every(({ next }) => next === 0n));
  });

  it('stores dead letters with their checkpoint, whatever their text holds', async () => {
    const scene = await open();
    const { store, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [{ tree, records }] = await readAll(scene, ref);
    const output = store.newOutput([tree]);
    const letter = { error: 'bad \u0000 \ud800 byte', stack: null, attempts: 3, firstAt: 5n, lastAt: null };
    output.addDeadLetter(tree, { ...letter, record: records[0], class: 'validation' });
    output.addDeadLetter(tree, {
      ...letter,
      record: records[1],
      class: 'poison',
      error: 'x'.repeat(100_000),
    });
    await store.commit(ref, [{ tree, from: 0n, to: 2n, last: records[1] }], output, 1);
    const letters = await scene.letters(ref);
    assert.deepEqual(
      letters.map((one) => ({ class: one.class, attempts: one.attempts })),
      [
        { class: 'validation', attempts: 3 },
        { class: 'poison', attempts: 3 },
      ],
    );
    assert.match(letters[0].error, /^bad . . byte$/su);
    assert.equal((await scene.rows(ref)).length, 0);
  });
}

function describeCounts(open: () => Promise<ViewScene>): void {
  it('counts attempts until something is stored', async () => {
    const scene = await open();
    const { store, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await scene.log.append([proposed(1)]);
    const [run] = await readAll(scene, ref);
    const attempts = async () =>
      (await store.checkpoints(ref)).find(({ tree }) => tree === run.tree)?.attempts;
    await store.countAttempt(ref, [run.tree]);
    await store.countAttempt(ref, [run.tree]);
    assert.equal(await attempts(), 2);
    await commitRun(scene, ref, run);
    assert.equal(await attempts(), 1);
    await store.rest(ref);
    assert.equal(await attempts(), 0);
  });

  it('counts suspects, and forgets them when the checkpoint has passed', async () => {
    const scene = await open();
    const { store, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [{ tree, records }] = await readAll(scene, ref);
    assert.equal(await store.noteSuspect(ref, { tree, position: 1n }, 'first'), 1);
    assert.equal(await store.noteSuspect(ref, { tree, position: 1n }, 'second'), 2);
    const [{ firstAt, lastAt, ...suspect }] = await store.suspects(ref);
    assert.deepEqual(suspect, { tree, position: 1n, attempts: 2, error: 'second' });
    assert.ok(firstAt <= lastAt);
    await commitRun(scene, ref, { tree, records: records.slice(0, 1) });
    assert.equal((await store.suspects(ref)).length, 1);
    await commitRun(scene, ref, { tree, records: records.slice(1) });
    assert.deepEqual(await store.suspects(ref), []);
  });

  it('tells open dead letters with their keys, and a resolved one where a checkpoint stands', async () => {
    const scene = await open();
    const { store, view } = scene;
    const { ref } = await store.open(view, 'a/1');
    await scene.log.append([proposed(1), proposed(2)]);
    const [{ tree, records }] = await readAll(scene, ref);
    const output = store.newOutput([tree]);
    const letter = {
      class: 'validation',
      error: 'x',
      stack: null,
      attempts: 1,
      firstAt: null,
      lastAt: null,
    } as const;
    output.addDeadLetter(tree, { ...letter, record: records[0] });
    await store.commit(ref, [{ tree, from: 0n, to: 0n }], output, 1);
    assert.deepEqual(await store.halts(ref), [{ tree, position: 0n, key: 'acme/a', isOpen: true }]);
    await scene.resolve(ref, tree, 0n);
    assert.deepEqual(await store.halts(ref), [{ tree, position: 0n, key: 'acme/a', isOpen: false }]);
    await store.commit(ref, [{ tree, from: 0n, to: 1n }], store.newOutput([tree]), 1);
    assert.deepEqual(await store.halts(ref), []);
  });
}

/** What the rule of identities says of records that are all read, whatever the order. */
function expectedOf(records: readonly LogRecord[]): { shown: string[]; letters: string[] } {
  const byIdentity = Map.groupBy(records, ({ tenant, id }) => `${tenant} ${id}`);
  const order = (a: LogRecord, b: LogRecord): number =>
    Number(a.appendedAt - b.appendedAt) || a.partition - b.partition || Number(a.position - b.position);
  const shown: string[] = [];
  const letters: string[] = [];
  for (const group of byIdentity.values()) {
    const firsts = [...Map.groupBy([...group].sort(order), ({ body }) => JSON.stringify(body)).values()].map(
      ([one]) => one,
    );
    const [first, ...others] = firsts
      .sort(order)
      .map(({ log, partition, position }) => `${log}/${partition}/${position}`);
    shown.push(first);
    letters.push(...others);
  }
  return { shown: shown.sort(), letters: letters.sort() };
}

function describeIdentities(open: () => Promise<ViewScene>): void {
  it('shows the first of the repeats, and makes the first of every other body a dead letter, in every order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            id: fc.integer({ min: 1, max: 3 }),
            key: fc.constantFrom(...KEYS),
            body: fc.constantFrom('1', '2', '3'),
          }),
          { minLength: 2, maxLength: 14 },
        ),
        fc.array(fc.record({ turn: fc.nat(2), size: fc.integer({ min: 1, max: 4 }) }), { maxLength: 30 }),
        fc.boolean(),
        async (items, turns, atOnce) => {
          const scene = await open();
          const { ref } = await scene.store.open(scene.view, 'a/1');
          const records = items.map(({ id, key, body }) =>
            proposed(id, { key, body: { form: 'json', bytes: utf8.encode(body) } }),
          );
          // One append gives one time to all: partition and position decide then.
          if (atOnce) await scene.log.append(records);
          else for (const record of records) await scene.log.append([record]);
          const all = await readAll(scene, ref);
          await commitInterleaved(scene, ref, all, turns);
          const expected = expectedOf(all.flatMap((run) => [...run.records]));
          assert.deepEqual(places(await scene.rows(ref)), expected.shown);
          assert.deepEqual(places(await scene.letters(ref)), expected.letters);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('tells tenants and logs apart', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    await scene.log.append([proposed(1), proposed(1, { tenant: 'other' })]);
    const all = await readAll(scene, ref);
    await commitInterleaved(scene, ref, all, []);
    assert.equal((await scene.rows(ref)).length, 2);
  });
}

/** Commits everything, the partitions in turns of some records; several partitions in one batch at the end. */
async function commitInterleaved(
  scene: ViewScene,
  ref: ViewRef,
  all: readonly TreeRecords[],
  turns: readonly { turn: number; size: number }[],
): Promise<void> {
  const at = all.map(() => 0);
  for (const { turn, size } of turns) {
    const index = turn % all.length;
    const { tree, records } = all[index];
    const part = records.slice(at[index], at[index] + size);
    at[index] += part.length;
    if (part.length > 0)
      assert.equal((await commitRun(scene, ref, { tree, records: part })).kind, 'committed');
  }
  const rest = all
    .map(({ tree, records }, index) => ({ tree, records: records.slice(at[index]) }))
    .filter(({ records }) => records.length > 0);
  if (rest.length === 0) return;
  const output = scene.store.newOutput(rest.map(({ tree }) => tree));
  for (const { tree, records } of rest) for (const record of records) output.addRow(tree, record, plainRow);
  const spans = rest.map(({ tree, records }) => ({
    tree,
    from: records[0].position,
    to: (records.at(-1) as LogRecord).position + 1n,
    last: records.at(-1) as LogRecord,
  }));
  assert.equal((await scene.store.commit(ref, spans, output, 1)).kind, 'committed');
}

function describeSource(open: () => Promise<ViewScene>): void {
  it('reads several partitions in one go, as the log gives them, and goes on where it was cut', async () => {
    const scene = await open();
    const { ref } = await scene.store.open(scene.view, 'a/1');
    const own = (await scene.store.checkpoints(ref)).filter(({ log }) => log === scene.log.name);
    await scene.log.append(Array.from({ length: 60 }, (_, n) => proposed(n, { key: KEYS[n % KEYS.length] })));
    const next = new Map(own.map(({ tree }) => [tree, 0n]));
    const seen = new Map<number, LogRecord[]>();
    for (let reads = 0; reads < 100; reads++) {
      const from = [...next].map(([tree, position]) => ({ tree, position }));
      const runs = await scene.source.read(from, { recordsMax: 9, bytesMax: 2 ** 20 });
      const count = runs.reduce((sum, { records }) => sum + records.length, 0);
      assert.ok(count <= 9, `${count} records`);
      if (count === 0) break;
      for (const { tree, records } of runs) {
        seen.set(tree, [...(seen.get(tree) ?? []), ...records]);
        if (records.length > 0) next.set(tree, (records.at(-1) as LogRecord).position + 1n);
      }
    }
    for (const { tree, partition } of own) {
      const expected = await scene.log.read(partition, 0n, 1_000);
      assert.deepEqual(seen.get(tree)?.map(plainRecord), expected.map(plainRecord));
    }
    const heads = await scene.source.heads();
    for (const { tree, partition } of own)
      assert.equal(heads.find((head) => head.tree === tree)?.next, (await scene.log.head(partition)).next);
  });
}
