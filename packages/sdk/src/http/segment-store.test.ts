import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { EvidentError } from '@evident/core/errors.ts';
import { type EncodedEvent, encodeEvent } from './envelope.ts';
import { eventually } from './fake-log-fixture.ts';
import type { Files } from './files.ts';
import { prepareFolder, readFolder } from './segment-folder.ts';
import { SegmentStore } from './segment-store.ts';

const MIB = 1024 * 1024;

function makeFolder(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'evident-buffer-'));
  t.after(async () => {
    for (const store of opened.splice(0)) await store.close().catch(() => undefined);
    rmSync(root, { recursive: true, force: true });
  });
  return join(root, 'buffer');
}

/** Every store, closed after its test: what a crash would close. */
const opened: SegmentStore[] = [];

function openStore(folder: string, { bytesMax = 64 * MIB, files = { open, rm } as Files } = {}) {
  prepareFolder(folder);
  const found = readFolder(folder);
  const store = new SegmentStore(folder, bytesMax, found, files);
  opened.push(store);
  return { found, store };
}

function makeEvent(text = ''): EncodedEvent {
  return encodeEvent({ id: randomUUID(), type: 'note', key: 'k', schema: 0, body: { text } }, 'event');
}

/** Takes out everything that the store holds. */
async function drain(store: SegmentStore, eventsMax = 100): Promise<EncodedEvent[]> {
  const events: EncodedEvent[] = [];
  for (
    let chunk = await store.next(eventsMax, MIB);
    chunk !== null;
    chunk = await store.next(eventsMax, MIB)
  ) {
    events.push(...chunk.events);
    store.acknowledge(chunk, chunk.events.length);
    await store.makeRoom();
  }
  return events;
}

function idsOf(events: readonly EncodedEvent[]): string[] {
  return events.map(({ id, bytes }) => {
    assert.equal((JSON.parse(Buffer.from(bytes).toString()) as { id: string }).id, id);
    return id;
  });
}

/** Files whose steps a test can watch, and break: `before` may throw, `short` cuts a write. */
function stepped(before: (step: string) => void, short = (bytes: number) => bytes): Files {
  const wrap = (file: FileHandle, name: string): FileHandle =>
    new Proxy(file, {
      get: (target, member) => {
        const value = Reflect.get(target, member) as unknown;
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          before(`${String(member)} ${name}`);
          if (member === 'write') given[2] = short(given[2] as number);
          return Reflect.apply(value, target, given);
        };
      },
    });
  return {
    open: async (path, flags, mode) => {
      const name = path.split('/').at(-1)!;
      before(`open ${flags} ${name}`);
      return wrap(await open(path, flags, mode), name);
    },
    rm: async (path) => {
      before(`rm ${path.split('/').at(-1)}`);
      await rm(path);
    },
  };
}

describe('segments', { timeout: 120_000 }, () => {
  it('give back what was appended, in order, over files and starts, and leave nothing behind', async (t) => {
    const folder = makeFolder(t);
    const { store } = openStore(folder, { bytesMax: 64 * 1024 });
    const events = Array.from({ length: 100 }, (_, n) => makeEvent('x'.repeat(n * 10)));
    await Promise.all(events.map((event) => store.append([event])));
    const names = readdirSync(folder);
    assert.ok(names.length > 3, `${names.length} segments`);
    for (const name of names) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    const first = await store.next(7, MIB);
    assert.deepEqual(idsOf(first!.events), idsOf(events.slice(0, 7)));
    assert.deepEqual(
      idsOf((await store.next(7, MIB))!.events),
      idsOf(events.slice(0, 7)),
      'next does not move on',
    );
    store.acknowledge(first!, 5);
    await store.close();
    const { found, store: again } = openStore(folder);
    assert.deepEqual([found.tornBytes, found.damaged], [0, []]);
    assert.deepEqual(
      idsOf(await drain(again, 9)),
      idsOf(events),
      'what was acknowledged is there until its file is done',
    );
    await again.close();
    assert.deepEqual(readdirSync(folder), []);
    assert.equal(again.bytes, 0);
  });

  it('share a sync between appends that come together', async (t) => {
    const folder = makeFolder(t);
    let syncs = 0;
    const files = stepped((step) => void (syncs += step.startsWith('datasync') ? 1 : 0));
    const { store } = openStore(folder, { files });
    await Promise.all(Array.from({ length: 500 }, () => store.append([makeEvent()])));
    assert.ok(syncs <= 3, `${syncs} syncs for 500 appends`);
    await store.append([makeEvent()]);
    await store.append([makeEvent()]);
    await store.close();
  });

  it('are synced before append resolves, the name of a new file included', async (t) => {
    const folder = makeFolder(t);
    for (const awaited of ['sync', 'datasync']) {
      let letGo: () => void = () => undefined;
      let isWaiting = false;
      const gate = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      const files: Files = {
        rm,
        open: async (...given) => {
          const file = await open(...given);
          const wait = async () => {
            isWaiting = true;
            await gate;
          };
          return new Proxy(file, {
            get: (target, member) => {
              const value = Reflect.get(target, member) as unknown;
              if (member === awaited) return wait;
              return typeof value === 'function' ? value.bind(target) : value;
            },
          });
        },
      };
      const { store } = openStore(folder, { files });
      let isResolved = false;
      const appended = store.append([makeEvent()]).then(() => {
        isResolved = true;
      });
      await eventually(`${awaited} is asked for`, () => isWaiting);
      assert.deepEqual([isResolved, store.appended, await store.next(1, MIB)], [false, 0, null]);
      letGo();
      await appended;
      await drain(store);
      await store.close();
    }
  });

  it('take events of any size, and read on past a chunk that is too small for one', async (t) => {
    const { store } = openStore(makeFolder(t));
    const events = [makeEvent('a'), makeEvent('x'.repeat(5 * MIB)), makeEvent('b')];
    await store.append(events);
    assert.deepEqual(idsOf(await drain(store)), idsOf(events));
    await store.close();
  });

  it('are cut where a write did not end, and only there', async (t) => {
    const folder = makeFolder(t);
    const { store } = openStore(folder);
    const events = [makeEvent('a'), makeEvent('b'), makeEvent('c')];
    for (const event of events) await store.append([event]);
    await store.close();
    const [name] = readdirSync(folder);
    const path = join(folder, name);
    const whole = readFileSync(path);
    const last = SegmentStore.bytesOf(events.slice(2));
    for (let cut = 1; cut <= last; cut++) {
      writeFileSync(path, whole.subarray(0, whole.length - cut));
      const { found } = openStore(folder);
      assert.deepEqual(
        [found.segments[0].events, found.tornBytes],
        [2, last - cut],
        `${cut} bytes are missing`,
      );
      assert.equal(statSync(path).size, whole.length - last);
      assert.equal(openStore(folder).found.tornBytes, 0, 'the cut is durable');
    }
    const changed = Buffer.from(whole);
    changed[changed.length - 3] ^= 1;
    writeFileSync(path, changed);
    assert.equal(openStore(folder).found.segments[0].events, 2, 'a changed byte is no event');
    writeFileSync(path, whole);
    appendFileSync(path, Buffer.alloc(4096));
    const { found, store: again } = openStore(folder);
    assert.equal(found.tornBytes, 4096, 'zeros that a file system left are no event');
    assert.deepEqual(idsOf(await drain(again)), idsOf(events));
  });

  it('that were whole once and are not any more are kept aside, and what can be read is delivered', async (t) => {
    const folder = makeFolder(t);
    const { store } = openStore(folder, { bytesMax: 4_000 });
    const events = Array.from({ length: 12 }, () => makeEvent('x'.repeat(100)));
    for (const event of events) await store.append([event]);
    await store.close();
    const names = readdirSync(folder).sort();
    assert.ok(names.length >= 3);
    const whole = readFileSync(join(folder, names[0]));
    truncateSync(join(folder, names[0]), whole.length - 1);
    const { found, store: again } = openStore(folder);
    assert.equal(found.tornBytes, 0);
    assert.deepEqual(found.damaged, [join(folder, names[0].replace('segment', 'damaged'))]);
    assert.equal(readFileSync(found.damaged[0]).length, whole.length - 1);
    const rest = idsOf(await drain(again));
    const missing = idsOf(events).filter((id) => !rest.includes(id));
    assert.equal(missing.length, 1);
    assert.deepEqual(openStore(folder).found.damaged, [], 'it is told once');
  });

  it('tell a folder that is not theirs from their own', (t) => {
    const folder = makeFolder(t);
    prepareFolder(folder);
    writeFileSync(join(folder, 'letter.txt'), 'x', { mode: 0o644 });
    const { found } = openStore(folder);
    assert.deepEqual(found.segments, []);
    assert.deepEqual(readdirSync(folder), ['letter.txt']);
  });
});

describe('a write that fails', { timeout: 120_000 }, () => {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  const codeOf = (error: unknown) => (error as EvidentError).code;

  it('is taken back: nothing of it is delivered, and the next one is taken', async (t) => {
    for (const failing of ['write', 'datasync', 'open wx', 'sync buffer']) {
      const folder = makeFolder(t);
      let isFull = false;
      const files = stepped((step) => {
        if (!isFull || !step.startsWith(failing)) return;
        isFull = false;
        throw full;
      });
      const { store } = openStore(folder, { files, bytesMax: 1_000 });
      const [before, lost, after] = [makeEvent('x'.repeat(150)), makeEvent(), makeEvent()];
      await store.append([before]);
      isFull = true;
      await assert.rejects(store.append([lost]), (error) => codeOf(error) === 'disk-full', failing);
      await store.append([after]);
      await store.written();
      const { store: again } = openStore(folder);
      assert.deepEqual(idsOf(await drain(again)), idsOf([before, after]), failing);
    }
  });

  it('is taken back when only a part of it was written', async (t) => {
    const folder = makeFolder(t);
    let part = Number.POSITIVE_INFINITY;
    let writes = 0;
    const files = stepped(
      (step) => {
        if (step.startsWith('write') && Number.isFinite(part) && writes++ > 0) throw full;
      },
      (bytes) => Math.min(bytes, part),
    );
    const { store } = openStore(folder, { files });
    const [before, lost, after] = [makeEvent(), makeEvent(), makeEvent()];
    await store.append([before]);
    part = 20;
    await assert.rejects(store.append([lost]), (error) => codeOf(error) === 'disk-full');
    part = Number.POSITIVE_INFINITY;
    await store.append([after]);
    const { store: again } = openStore(folder);
    assert.deepEqual(idsOf(await drain(again)), idsOf([before, after]));
  });

  it('and cannot be taken back leaves its outcome open, and stops the buffer until it is opened anew', async (t) => {
    const folder = makeFolder(t);
    let fails = false;
    const files = stepped((step) => {
      if (fails && /^(datasync|truncate)/.test(step))
        throw Object.assign(new Error('i/o error'), { code: 'EIO' });
    });
    const { store } = openStore(folder, { files });
    const [before, open] = [makeEvent(), makeEvent()];
    await store.append([before]);
    fails = true;
    await assert.rejects(store.append([open]), (error) => codeOf(error) === 'outcome-unknown');
    fails = false;
    await assert.rejects(store.append([makeEvent()]), (error) => codeOf(error) === 'data-unwritable');
    assert.deepEqual(
      idsOf(await drain(store)),
      idsOf([before]),
      'this process does not deliver what is in doubt',
    );
    const { store: again } = openStore(folder);
    const ids = idsOf(await drain(again));
    assert.deepEqual(ids, idsOf([before, open]));
  });
});

it('a crash between any two steps loses nothing that append has resolved', {
  timeout: 120_000,
}, async (t) => {
  const folder = makeFolder(t);
  const durable = new Set<string>();
  const delivered = new Set<string>();
  const crashes: { step: string; copy: string; durable: Set<string>; delivered: Set<string> }[] = [];
  const files = stepped((step) => {
    // What a kill leaves: the files as they are now.
    const copy = `${folder}-${crashes.length}`;
    cpSync(folder, copy, { recursive: true });
    crashes.push({ step, copy, durable: new Set(durable), delivered: new Set(delivered) });
  });
  const { store } = openStore(folder, { files, bytesMax: 4_000 });
  const deliver = async (count: number) => {
    const chunk = await store.next(count, MIB);
    if (chunk === null) return;
    for (const { id } of chunk.events) delivered.add(id);
    store.acknowledge(chunk, chunk.events.length);
    await store.makeRoom();
  };
  for (let round = 0; round < 12; round++) {
    const events = Array.from({ length: 3 }, () => makeEvent('x'.repeat(80)));
    await Promise.all(events.map((event) => store.append([event]).then(() => durable.add(event.id))));
    await deliver(2);
    if (round % 4 === 3) while (store.acknowledged < store.appended) await deliver(5);
  }
  await store.close();
  assert.ok(crashes.length > 100, `${crashes.length} steps`);
  assert.ok(crashes.some(({ step }) => step.startsWith('rm')));
  for (const { step, copy, durable, delivered } of crashes) {
    const { store: after } = openStore(copy);
    const found = idsOf(await drain(after));
    const known = new Set([...found, ...delivered]);
    for (const id of durable) assert.ok(known.has(id), `before ${step}: ${id} was acknowledged and is gone`);
    assert.equal(new Set(found).size, found.length, `before ${step}: an event stands twice`);
    await after.close();
  }
});
