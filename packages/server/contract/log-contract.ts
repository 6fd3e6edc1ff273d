/**
 * The promises of the port `Log`, run over memory and over PostgreSQL. After each step the whole log is read
 * and verified: positions gapless from 0, time never going back, every record where its key belongs, hours
 * closed before a record of a later one.
 */

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { hourId } from '@evident/core/derived-id.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { formatHour, leafOf } from '@evident/core/leaf.ts';
import { partitionOf } from '@evident/core/partition.ts';
import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';
import type { Log, Proposal } from '../src/log/log.ts';

const utf8 = new TextEncoder();

/** One log under test, fresh for each test. */
export interface LogUnderTest {
  readonly log: Log;
  /** Lets `hours` pass for the log: its last records look that much older, or its clock is moved on. */
  passHours(hours: number): Promise<void>;
  /** Says that the archive holds a partition below `next`, and that it is sealed so far. */
  archive(partition: number, next: bigint): Promise<void>;
  stop(partition: number, reason: string): Promise<void>;
  /** Smallest unit that `trim` removes. */
  readonly trimUnit: bigint;
}

export function makeRecord(over: Partial<ProposedRecord> & { text?: string } = {}): ProposedRecord {
  const { text = '{"n":1}', ...rest } = over;
  return {
    id: randomUUID(),
    tenant: 'acme',
    source: 'key-1',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    key: `acme/${Math.floor(Math.random() * 1000)}`,
    meta: null,
    body: { form: 'json', bytes: utf8.encode(text) },
    ...rest,
  };
}

export function propose(record: ProposedRecord, reused: Proposal['reused'] = 'refuse'): Proposal {
  const bytes = record.body.form === 'object' ? record.body.sha256 : record.body.bytes;
  return { record, bodyHash: createHash('sha256').update(bytes).digest(), reused };
}

/** Reads everything in small pages and checks what holds of every log at every moment. */
export async function readAndVerify(log: Log): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  for (const head of await log.heads()) {
    let next = head.first;
    let last: LogRecord | undefined;
    for (;;) {
      const page = await log.read(head.partition, next, 777);
      for (const record of page) {
        assert.equal(record.position, next, `position in ${log.name}/${head.partition}`);
        checkRecord(log, head.partition, record, last);
        last = record;
        next++;
      }
      all.push(...page);
      if (page.length === 0) break;
    }
    assert.ok(
      next >= head.next,
      `${log.name}/${head.partition} ends at ${next}, its counter says ${head.next}`,
    );
  }
  return all;
}

function checkRecord(log: Log, partition: number, record: LogRecord, last: LogRecord | undefined): void {
  assert.equal(record.partition, partition);
  assert.equal(record.log, log.name);
  if (record.source !== 'evident') assert.equal(partitionOf(record.key, log.partitions), partition);
  if (last !== undefined) {
    assert.ok(record.appendedAt >= last.appendedAt, 'appended_at went back');
    if (formatHour(record.appendedAt) !== formatHour(last.appendedAt)) {
      assert.equal(record.type, 'log.hour', 'the first record of a later hour closes the hours before it');
    }
  }
  if (record.type === 'log.hour') {
    const closes = formatHour(record.appendedAt - 3_600_000_000n);
    assert.equal(
      new TextDecoder().decode((record.body as { bytes: Uint8Array }).bytes),
      `{"closes":"${closes}"}`,
    );
    assert.equal(record.id, hourId(log.name, partition, closes));
  }
  leafOf(record);
}

const code = (expected: string) => (error: unknown) => isEvidentError(error) && error.code === expected;

export function describeLog(name: string, open: (partitions: number) => Promise<LogUnderTest>): void {
  describe(`port Log: ${name}`, () => {
    describeAppending(open);
    describeIdentities(open);
    describeReading(open);
    describeHours(open);
    describeOperating(open);
  });
}

function describeAppending(open: (partitions: number) => Promise<LogUnderTest>): void {
  it('keeps what was appended, field by field and byte by byte', async () => {
    const { log } = await open(4);
    const records = [
      makeRecord({
        text: '{"a":"\\u00e9 \u20ac \u{1f600}","b":[1,2.50,-0]}',
        meta: '{"line":7,"region":"eu-1"}',
        sourceSeq: '1.991',
      }),
      makeRecord({
        body: { form: 'base64', bytes: Uint8Array.from([0, 255, 10, 13, 0x80]) },
        key: 'quote " and \\ backslash',
      }),
      makeRecord({ body: { form: 'object', sha256: new Uint8Array(32).fill(7), size: 16_777_216n } }),
      makeRecord({ text: '""', type: 'audit.event', schema: 1, source: 'import:0198' }),
      makeRecord({ body: { form: 'base64', bytes: new Uint8Array(0) } }),
    ];
    const places = await log.append(records);
    const stored = await readAndVerify(log);
    assert.equal(stored.length, records.length);
    for (const [index, record] of records.entries()) {
      const place = places[index];
      const found = stored.find(
        (one) => one.partition === place.partition && one.position === place.position,
      );
      assert.deepEqual(found && { ...found, body: plain(found.body) }, {
        ...record,
        body: plain(record.body),
        log: log.name,
        ...place,
      });
    }
  });

  it('numbers each partition from 0 without gaps, in the order of the calls', async () => {
    const { log } = await open(3);
    const order: string[] = [];
    for (let call = 0; call < 12; call++) {
      const batch = Array.from({ length: call % 4 }, (_, i) =>
        makeRecord({ key: `acme/k${(call + i) % 5}`, text: `${call * 10 + i}` }),
      );
      await log.append(batch);
      for (const record of batch)
        order.push(new TextDecoder().decode((record.body as { bytes: Uint8Array }).bytes));
      await readAndVerify(log);
    }
    const stored = await readAndVerify(log);
    for (let partition = 0; partition < 3; partition++) {
      const here = stored
        .filter((one) => one.partition === partition)
        .map((one) => new TextDecoder().decode((one.body as { bytes: Uint8Array }).bytes));
      assert.deepEqual(
        here,
        order.filter((text) => here.includes(text)),
      );
    }
  });

  it('gives concurrent callers places of their own, and loses none', async () => {
    const { log } = await open(4);
    const calls = Array.from({ length: 60 }, (_, i) =>
      log.append([makeRecord({ key: `k${i % 7}` }), makeRecord({ key: `k${(i + 3) % 7}` })]),
    );
    const places = (await Promise.all(calls)).flat();
    assert.equal(new Set(places.map(({ partition, position }) => `${partition}/${position}`)).size, 120);
    assert.equal((await readAndVerify(log)).length, 120);
  });

  it('takes an empty batch, and refuses one over the limit as a whole', async () => {
    const { log } = await open(2);
    assert.deepEqual(await log.append([]), []);
    const one = makeRecord();
    await assert.rejects(log.append(Array.from({ length: 10_001 }, () => one)), code('batch-too-large'));
    assert.equal((await readAndVerify(log)).length, 0);
  });
}

function plain(body: LogRecord['body']): unknown {
  return body.form === 'object'
    ? { form: body.form, sha256: Buffer.from(body.sha256).toString('hex'), size: body.size }
    : { form: body.form, bytes: Buffer.from(body.bytes).toString('hex') };
}

function describeIdentities(open: (partitions: number) => Promise<LogUnderTest>): void {
  it('answers a repeat with the place of the first, and appends nothing', async () => {
    const { log } = await open(4);
    const record = makeRecord();
    const [first] = await log.appendOnce([propose(record)]);
    assert.equal(first.kind, 'appended');
    const [again] = await log.appendOnce([propose({ ...record, key: 'elsewhere', source: 'key-2' })]);
    assert.deepEqual(again, { kind: 'repeat', partition: first.partition, position: first.position });
    assert.equal((await readAndVerify(log)).length, 1);
  });

  it('refuses another body under a known identity, but not the same id of another tenant', async () => {
    const { log } = await open(4);
    const record = makeRecord();
    const other = { ...record, body: { form: 'json' as const, bytes: utf8.encode('{"n":2}') } };
    await log.appendOnce([propose(record)]);
    assert.equal((await log.appendOnce([propose(other)]))[0].kind, 'reused');
    assert.equal((await log.appendOnce([propose({ ...other, tenant: 'globex' })]))[0].kind, 'appended');
    assert.equal((await readAndVerify(log)).length, 2);
  });

  it('takes another body once when its capture cannot be refused', async () => {
    const { log } = await open(4);
    const record = makeRecord();
    const other = { ...record, body: { form: 'json' as const, bytes: utf8.encode('{"n":2}') } };
    await log.appendOnce([propose(record, 'take')]);
    const [taken] = await log.appendOnce([propose(other, 'take')]);
    assert.equal(taken.kind, 'appended');
    const [again] = await log.appendOnce([propose(other, 'take')]);
    assert.deepEqual(again, { kind: 'repeat', partition: taken.partition, position: taken.position });
    assert.equal((await readAndVerify(log)).length, 2);
  });

  it('leaves no hole where repeats stood among new records of one batch', async () => {
    const { log } = await open(2);
    const known = Array.from({ length: 20 }, () => makeRecord());
    const places = await log.appendOnce(known.map((record) => propose(record)));
    const mixed = Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? known[i / 3] : makeRecord()));
    mixed.push(mixed[1], mixed[1]);
    const outcomes = await log.appendOnce(mixed.map((record) => propose(record)));
    for (const [i, outcome] of outcomes.entries()) {
      assert.equal(outcome.kind, i >= 60 || i % 3 === 0 ? 'repeat' : 'appended', `record ${i}`);
      if (i < 60 && i % 3 === 0) assert.equal(outcome.position, places[i / 3].position);
      if (i >= 60) assert.equal(outcome.position, outcomes[1].position);
    }
    const stored = await readAndVerify(log);
    assert.equal(stored.length, 60);
    for (const [i, outcome] of outcomes.entries()) {
      const at = stored.find(
        (one) => one.partition === outcome.partition && one.position === outcome.position,
      );
      assert.equal(at?.id, mixed[i].id);
    }
    const again = await log.appendOnce(mixed.map((record) => propose(record)));
    assert.deepEqual(
      again.map(({ kind, partition, position }) => ({ kind, partition, position })),
      outcomes.map(({ partition, position }) => ({ kind: 'repeat', partition, position })),
    );
  });

  it('lets one of many concurrent writers of one identity append it', async () => {
    const { log } = await open(4);
    const record = makeRecord();
    const outcomes = (
      await Promise.all(Array.from({ length: 25 }, () => log.appendOnce([propose(record)])))
    ).flat();
    assert.equal(outcomes.filter(({ kind }) => kind === 'appended').length, 1);
    assert.equal((await readAndVerify(log)).length, 1);
  });
}

function describeReading(open: (partitions: number) => Promise<LogUnderTest>): void {
  it('reads every partition to its end when resumed by the vector of positions', async () => {
    const { log } = await open(3);
    await log.append(Array.from({ length: 200 }, (_, i) => makeRecord({ key: `k${i}` })));
    const next = [0n, 0n, 0n];
    const seen: string[] = [];
    for (;;) {
      const page = await log.readMany(next, 17);
      if (page.length === 0) break;
      assert.ok(page.length <= 17);
      for (const record of page) {
        assert.equal(record.position, next[record.partition]++);
        seen.push(record.id);
      }
    }
    assert.equal(new Set(seen).size, 200);
  });

  it('answers nothing beyond the end, and refuses a partition that is not there', async () => {
    const { log } = await open(2);
    assert.deepEqual(await log.read(1, 1000n, 10), []);
    await assert.rejects(log.read(2, 0n, 10), code('not-found'));
    await assert.rejects(log.readMany([0n], 10), RangeError);
  });
}

function describeHours(open: (partitions: number) => Promise<LogUnderTest>): void {
  it('closes the hours before a record of a later hour, once', async () => {
    const { log, passHours } = await open(2);
    await log.append(Array.from({ length: 6 }, (_, i) => makeRecord({ key: `k${i}` })));
    await passHours(3);
    await log.append(Array.from({ length: 6 }, (_, i) => makeRecord({ key: `k${i}` })));
    await log.append(Array.from({ length: 6 }, (_, i) => makeRecord({ key: `k${i}` })));
    const stored = await readAndVerify(log);
    assert.equal(stored.filter(({ type }) => type === 'log.hour').length, 2);
    assert.equal(stored.length, 20);
  });

  it('closes the hours of idle and of empty partitions on request', async () => {
    const { log, passHours } = await open(3);
    assert.equal(await log.closeHours(), 0);
    await passHours(1);
    assert.equal(await log.closeHours(), 3);
    assert.equal(await log.closeHours(), 0);
    assert.deepEqual(
      (await readAndVerify(log)).map(({ type }) => type),
      ['log.hour', 'log.hour', 'log.hour'],
    );
  });
}

function describeOperating(open: (partitions: number) => Promise<LogUnderTest>): void {
  it('appends nothing to a stopped partition, and says so', async () => {
    const { log, stop } = await open(2);
    await log.append(Array.from({ length: 10 }, (_, i) => makeRecord({ key: `k${i}` })));
    const before = await readAndVerify(log);
    await stop(1, 'a test');
    const key = Array.from({ length: 50 }, (_, i) => `k${i}`).find(
      (one) => partitionOf(one, 2) === 1,
    ) as string;
    await assert.rejects(log.append([makeRecord({ key })]), code('partition-stopped'));
    await assert.rejects(log.appendOnce([propose(makeRecord({ key }))]), code('partition-stopped'));
    assert.equal((await log.head(1)).stopped, 'a test');
    assert.equal((await readAndVerify(log)).length, before.length);
  });

  it('trims nothing that is not archived, and what is archived from the front', async () => {
    const { log, archive, trimUnit } = await open(1);
    await log.append(Array.from({ length: 20 }, () => makeRecord()));
    await assert.rejects(log.trim(0, trimUnit), code('trim-not-archived'));
    assert.equal((await readAndVerify(log)).length, 20);
    if (trimUnit > 20n) return;
    await archive(0, trimUnit);
    assert.equal(await log.trim(0, trimUnit), trimUnit);
    assert.equal((await readAndVerify(log))[0].position, trimUnit);
  });
}
