/** What a stream is believed to have brought (design §4 Relay). More of it in simulation/ and faults/. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { ApplicationDatabase } from '../stores/memory/application-database.ts';
import { MemoryLog, makeMemoryLogState } from '../stores/memory/log.ts';
import { MemoryOutbox } from '../stores/memory/outbox.ts';
import { MemoryRelayLog } from '../stores/memory/relay.ts';
import { beginEpoch, strangenessOf } from './epoch.ts';
import { finishHandover } from './handover.ts';
import type { PollingState } from './poll.ts';
import type { Source } from './ports.ts';
import { relayRows } from './relay-rows.ts';
import { StreamRelay, type WalState } from './stream.ts';

const CLOCK_US = 1_800_000_000_000_000n;
const SLOT = 'evident_bank';
const BOUNDS = { rowsMax: 10, bytesMax: 1_000 };
const never = new AbortController().signal;

function commit(database: ApplicationDatabase): void {
  const transaction = database.begin();
  const said = { tenant: 'acme', type: 'note', key: 'acme/1', schema: 0, meta: null };
  database.insert(transaction, { ...said, eventId: randomUUID(), body: encodeUtf8('{}') });
  database.writeCommit(transaction);
  database.finishCommit(transaction);
}

async function makeRelay() {
  const database = new ApplicationDatabase({ clock: () => CLOCK_US, slots: 4, slotUs: 1_000_000n });
  const state = makeMemoryLogState('audit', 1, CLOCK_US);
  const logs = new Map([['audit', new MemoryLog(state, () => CLOCK_US)]]);
  const registered = { log: 'audit', tenants: null, wantedMode: 'wal' as const, state: null, version: 0n };
  const sources = new Map([['bank', registered]]);
  const log = new MemoryRelayLog({
    sources,
    claims: new Map(),
    logs,
    heads: { stored: new Map(), published: [] },
  });
  let now = 0;
  const silent = { onRejected: () => undefined, onRelayed: () => undefined };
  const deps = {
    ...silent,
    log,
    objects: { put: async () => undefined },
    now: () => now,
    randomId: () => randomUUID(),
  };
  const outbox = new MemoryOutbox(database);
  const read = async (): Promise<Source> => (await log.readSource('bank')) as Source;
  const identity = await outbox.identify();
  const begun = await relayRows(deps, await read(), await beginEpoch(outbox, identity, 1, randomUUID()), []);
  const handover = await outbox.createSlot(SLOT, never);
  await finishHandover(deps, handover, outbox, begun, begun.state as PollingState, randomUUID());
  let session = { isOpen: true };
  /** A new process; the one before has died. */
  const stream = async () => {
    session.isOpen = false;
    session = { isOpen: true };
    const over = new MemoryOutbox(database, { session });
    const { confirmed } = (await over.slotState(SLOT)) as { confirmed: bigint };
    const source = await read();
    const opened = await over.stream(SLOT, confirmed);
    return new StreamRelay(deps, over, opened, source, source.state as WalState, confirmed);
  };
  const pass = (milliseconds: number) => {
    now += milliseconds;
  };
  return { database, outbox, read, stream, pass, state };
}

it('acknowledges a copy that was put back no further than the copy itself has come', async () => {
  const { database, read, stream, pass, state } = await makeRelay();
  commit(database);
  const first = await stream();
  await first.step();
  // The horizon is passed, and a token left, some time before the state is stored that names it.
  await first.step();
  const copy = database.copyFiles();
  // The database goes on without the outbox; the relay passes over that, and stores how far it has come.
  for (let quiet = 0; quiet < 20; quiet++) {
    const transaction = database.begin();
    database.write(transaction);
    database.writeCommit(transaction);
    database.finishCommit(transaction);
  }
  pass(5_000);
  await first.step();
  const { through } = (await read()).state as WalState;
  database.restart(copy);
  assert.ok(database.walEnd < through, 'the copy lacks what was passed over');

  const outbox = new MemoryOutbox(database);
  const known = (await read()).state as WalState;
  assert.equal(
    await strangenessOf(outbox, await outbox.identify(), known),
    null,
    'nothing tells the copy from the original',
  );
  const second = await stream();
  await second.step();
  const confirmed = (await outbox.slotState(SLOT))?.confirmed as bigint;
  assert.ok(confirmed <= database.walEnd, 'the slot was moved to a place that the log has not reached');
  commit(database);
  commit(database);
  // This relay dies with what it was brought; the next begins where the slot stands.
  const third = await stream();
  for (let step = 0; step < 3; step++) await third.step();
  assert.equal(state.partitions[0].records.length, 3);
  assert.equal((await outbox.read({ xid: 0n, id: 0n }, BOUNDS)).length, 3);
});

it('knows its database again, though relays died again and again before they stored the token that they left', async () => {
  const { database, read, stream } = await makeRelay();
  for (let deaths = 0; deaths < 4; deaths++) {
    const relay = await stream();
    // Reads the horizon; passes it, and leaves a token that is not stored yet.
    await relay.step();
    await relay.step();
  }
  const outbox = new MemoryOutbox(database);
  const known = (await read()).state as WalState;
  assert.notEqual((await outbox.tokens())[0], known.token);
  assert.equal(await strangenessOf(outbox, await outbox.identify(), known), null);
});

it('waits with its judgement while the row of the cursor is committed and not visible', async () => {
  const { database, read, stream } = await makeRelay();
  const transaction = database.begin();
  const said = { tenant: 'acme', type: 'note', key: 'acme/1', schema: 0, meta: null };
  database.insert(transaction, { ...said, eventId: randomUUID(), body: encodeUtf8('{}') });
  database.writeCommit(transaction);
  await (await stream()).step();
  const known = (await read()).state as WalState;
  assert.equal(known.row?.xid, transaction.xid);
  const outbox = new MemoryOutbox(database);
  const identity = await outbox.identify();
  await assert.rejects(strangenessOf(outbox, identity, known), { code: 'source-unavailable' });
  database.finishCommit(transaction);
  assert.equal(await strangenessOf(outbox, identity, known), null);
});
