import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { OwnEvent } from '../audit/own-event.ts';
import type { Suspect } from './authorise.ts';
import {
  DENIED_PER_MINUTE_MAX,
  DENIED_PER_SOURCE_MAX,
  type Denial,
  DeniedRecorder,
  UNPROVEN_PER_MINUTE_MAX,
} from './denied.ts';

const NOBODY: Suspect = { subject: null, isProven: false, role: null, tenant: null };

function denial(over: Partial<Denial> = {}): Denial {
  return {
    route: 'GET /v1/logs',
    code: 'unauthenticated',
    suspect: NOBODY,
    address: '192.0.2.1',
    requestId: 'r1',
    ...over,
  };
}

function open(record: (events: readonly OwnEvent[]) => Promise<void> = async () => undefined) {
  const time = { ms: 0 };
  const recorded: OwnEvent[] = [];
  const faults: number[] = [];
  const recorder = new DeniedRecorder({
    record: async (events) => {
      await record(events);
      recorded.push(...events);
    },
    now: () => time.ms,
    onFault: (_error, events) => faults.push(events),
  });
  return { time, recorded, faults, recorder };
}

const counts = (events: readonly OwnEvent[]) => events.map(({ details }) => details?.not_recorded ?? 1);

describe('DeniedRecorder', () => {
  it('records who was refused what: the tenant of a proven credential, else nobody knows whose', async () => {
    const { recorder, recorded } = open();
    const suspect: Suspect = { subject: 'key:abc', isProven: true, role: 'writer', tenant: 'acme' };
    recorder.note(denial({ code: 'forbidden', suspect }));
    recorder.note(denial({ suspect: { ...suspect, isProven: false } }));
    recorder.note(denial());
    await recorder.close();
    assert.deepEqual(recorded[0], {
      actor: { id: 'key:abc', role: 'writer', ip: '192.0.2.1' },
      action: 'access.denied',
      resource: { type: 'route', id: 'GET /v1/logs' },
      result: 'denied',
      tenant: 'acme',
      details: { code: 'forbidden', proven: true },
      requestId: 'r1',
    });
    assert.deepEqual(
      recorded.slice(1).map(({ actor, tenant }) => [actor.id, actor.role, tenant]),
      [
        ['key:abc', 'none', null],
        ['address:192.0.2.1', 'none', null],
      ],
    );
  });

  it('records so many a minute of one source, and counts the others in one event', async () => {
    const { recorder, recorded, time } = open();
    for (let i = 0; i < 1_000; i++) recorder.note(denial());
    time.ms = 60_000;
    recorder.note(denial({ address: '192.0.2.2' }));
    await recorder.close();
    assert.deepEqual(counts(recorded), [
      ...Array(DENIED_PER_SOURCE_MAX).fill(1),
      1_000 - DENIED_PER_SOURCE_MAX,
      1,
    ]);
    const { actor, tenant, action, result } = recorded[DENIED_PER_SOURCE_MAX];
    assert.deepEqual([actor.id, tenant, action, result], ['evident', null, 'access.denied', 'denied']);
  });

  it('records so many a minute of all sources, however many there are', async () => {
    const { recorder, recorded, time } = open();
    const flood = () => {
      for (let i = 0; i < 5_000; i++) recorder.note(denial({ address: `192.0.2.${i}` }));
    };
    flood();
    assert.equal(recorded.length, 0, 'nobody waits for the log');
    time.ms = 60_000;
    flood();
    await recorder.close();
    const left = 5_000 - UNPROVEN_PER_MINUTE_MAX;
    assert.equal(counts(recorded).filter((count) => Number(count) >= left).length, 2);
    assert.equal(
      counts(recorded).reduce<number>((sum, count) => sum + Number(count), 0),
      10_000,
    );
    assert.ok(recorded.length <= 2 * (DENIED_PER_MINUTE_MAX + 1));
  });

  it('leaves room for credentials that proved themselves, however many addresses send junk', async () => {
    const { recorder, recorded } = open();
    for (let i = 0; i < 1_000; i++) recorder.note(denial({ address: `2001:db8::${i.toString(16)}` }));
    const suspect: Suspect = { subject: 'key:abc', isProven: true, role: 'investigator', tenant: 'acme' };
    recorder.note(denial({ code: 'tenant-forbidden', suspect }));
    await recorder.close();
    assert.equal(recorded.filter(({ tenant }) => tenant === 'acme').length, 1);
    assert.ok(UNPROVEN_PER_MINUTE_MAX < DENIED_PER_MINUTE_MAX);
  });

  it('never fails, and holds no more than a minute of events, while the log does not answer', async () => {
    const gate = Promise.withResolvers<void>();
    const { recorder, recorded, time } = open(() => gate.promise);
    for (let minute = 0; minute < 20; minute++) {
      time.ms = minute * 60_000;
      for (let i = 0; i < 200; i++) recorder.note(denial({ address: `192.0.2.${i}` }));
      await Promise.resolve();
    }
    gate.resolve();
    await recorder.close();
    // Those that were being written, those that waited, and what counts the rest.
    assert.ok(recorded.length <= 2 * (DENIED_PER_MINUTE_MAX + 1) + 1, `${recorded.length}`);
    assert.equal(
      counts(recorded).reduce<number>((sum, count) => sum + Number(count), 0),
      4_000,
    );
  });

  it('counts what could not be recorded, and says so in the next minute', async () => {
    let isUp = false;
    const { recorder, recorded, faults, time } = open(async () => {
      if (!isUp) throw new Error('the log is away');
    });
    recorder.note(denial());
    recorder.note(denial());
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(faults, [2]);
    isUp = true;
    time.ms = 60_000;
    recorder.note(denial());
    await recorder.close();
    assert.deepEqual(counts(recorded), [2, 1]);
  });

  it('takes nothing after it was closed', async () => {
    const { recorder, recorded } = open();
    await recorder.close();
    recorder.note(denial());
    await recorder.close();
    assert.deepEqual(recorded, []);
  });
});
