import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ACTIONS_MAX, type PauseAction, TENANTS_MAX } from './missed-events.ts';
import { createPause } from './pause.ts';

interface Recorded {
  tenant: string;
  action: PauseAction;
  details: Record<string, unknown>;
}

/** A pause over an outbox whose size the test sets, and a clock that it moves. */
function setUp() {
  const state = { bytes: 0, now: 1_000, readFails: false, recordFails: false, reads: 0 };
  const recorded: Recorded[] = [];
  const problems: string[] = [];
  const pause = createPause(
    { bytesMax: 1_000, checkMs: 100 },
    {
      driver: {
        query: async () => undefined,
        read: async () => {
          state.reads += 1;
          if (state.readFails) throw new Error('gone');
          return [{ bytes: String(state.bytes) }];
        },
      },
      now: () => state.now,
      onProblem: ({ what }) => problems.push(what),
      record: async (tenant, action, details) => {
        if (state.recordFails) return false;
        recorded.push({ tenant, action, details });
        return true;
      },
    },
  );
  /** Time passes, and a capture pokes; the look it starts needs some turns of the loop. */
  const look = async (bytes: number) => {
    state.bytes = bytes;
    state.now += 100;
    pause.poke();
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  };
  return { pause, look, state, recorded, problems };
}

describe('the pause of capture', () => {
  it('begins past the limit, and ends under 80 % of it', async () => {
    const { pause, look } = setUp();
    const admits = () => pause.admits('acme', 'a', false);
    await look(1_000);
    assert.ok(admits());
    await look(1_001);
    assert.ok(!admits());
    assert.ok(pause.admits('acme', 'a', true));
    await look(800);
    assert.ok(!admits());
    await look(799);
    assert.ok(admits());
    assert.deepEqual(pause.state(), {
      paused: false,
      notCaptured: 2,
      notCapturedByAction: { a: 2 },
      outboxBytes: 799,
    });
    await pause.close();
  });

  it('reads no more often than it may', async () => {
    const { pause, look, state } = setUp();
    await look(0);
    for (let i = 0; i < 10; i++) pause.poke();
    state.now += 99;
    pause.poke();
    assert.equal(state.reads, 1);
    await look(0);
    assert.equal(state.reads, 2);
    await pause.close();
  });

  it('records begin and end per tenant, and what was missed', async () => {
    const { pause, look, recorded } = setUp();
    await look(2_000);
    pause.admits('acme', 'a', false);
    pause.admits('acme', 'b', false);
    pause.admits('acme', 'a', false);
    await look(0);
    assert.deepEqual(
      recorded.map(({ tenant, action, details }) => [tenant, action, details]),
      [
        [
          'acme',
          'audit.capture_paused',
          { paused_from: '1970-01-01T00:00:01.100Z', bytes: 2_000, bytes_max: 1_000 },
        ],
        [
          'acme',
          'audit.capture_resumed',
          {
            paused_from: '1970-01-01T00:00:01.100Z',
            paused_until: '1970-01-01T00:00:01.200Z',
            not_captured: { a: 2, b: 1 },
          },
        ],
      ],
    );
    await pause.close();
  });

  it('records nothing of a pause in which nothing was missed', async () => {
    const { pause, look, recorded } = setUp();
    await look(2_000);
    await look(0);
    await pause.close();
    assert.deepEqual(recorded, []);
  });

  it('writes the end again until it is taken', async () => {
    const { pause, look, recorded, state } = setUp();
    await look(2_000);
    pause.admits('acme', 'a', false);
    state.recordFails = true;
    await look(0);
    await look(0);
    assert.equal(recorded.filter(({ action }) => action === 'audit.capture_resumed').length, 0);
    state.recordFails = false;
    await look(0);
    await look(0);
    assert.equal(recorded.filter(({ action }) => action === 'audit.capture_resumed').length, 1);
    await pause.close();
  });

  it('records what was missed so far when the service closes in the middle of it', async () => {
    const { pause, look, recorded } = setUp();
    await look(2_000);
    pause.admits('acme', 'a', false);
    await pause.close();
    assert.deepEqual(
      recorded.map(({ action }) => action),
      ['audit.capture_paused', 'audit.capture_resumed'],
    );
  });

  it('stays as it is while the size cannot be read, and says so once', async () => {
    const { pause, look, state, problems } = setUp();
    await look(2_000);
    state.readFails = true;
    await look(0);
    await look(0);
    assert.ok(!pause.admits('acme', 'a', false));
    assert.deepEqual(problems, ['the size of the outbox could not be read']);
    state.readFails = false;
    await look(0);
    assert.ok(pause.admits('acme', 'a', false));
    await pause.close();
  });

  it('holds a bounded number of tenants and actions, and counts the rest', async () => {
    const { pause, look, recorded, problems } = setUp();
    await look(2_000);
    for (let i = 0; i < ACTIONS_MAX + 50; i++) pause.admits('acme', `action_${i}`, false);
    for (let i = 0; i < TENANTS_MAX + 50; i++) pause.admits(`tenant_${i}`, 'a', false);
    await look(0);
    const ends = recorded.filter(({ action }) => action === 'audit.capture_resumed');
    assert.equal(ends.length, TENANTS_MAX);
    const missed = ends[0].details.not_captured as Record<string, number>;
    assert.equal(Object.keys(missed).length, ACTIONS_MAX + 1);
    assert.equal(missed['(other)'], 50);
    assert.equal(problems.length, 1);
    assert.equal(pause.state().notCaptured, ACTIONS_MAX + TENANTS_MAX + 100);
    await pause.close();
  });
});
