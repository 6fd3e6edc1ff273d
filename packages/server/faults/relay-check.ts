/** Holds the log against what the business committed: exactly once, byte for byte, in the order of I4. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { LogRecord } from '@evident/core/record.ts';
import type { Transaction } from './business-session.ts';
import type { BusinessRow, OutboxScene } from './outbox-scene.ts';

/**
 * `xid`      polling: (xid, row) order
 * `commits`  the write-ahead log: order of the commits
 * `apart`    both, and any change between them: transactions that do not overlap keep their order
 */
export type Order = 'xid' | 'commits' | 'apart';

/** Rows that the business committed and the log lacks. */
export async function missing(scene: OutboxScene): Promise<string[]> {
  const there = new Set((await scene.relayed()).map(({ id }) => id));
  return (await scene.committed()).map(({ id }) => id).filter((id) => !there.has(id));
}

/** Checks everything, and verifies the whole log from its bytes. */
export async function checkScene(scene: OutboxScene, order: Order): Promise<void> {
  await checkRecords(scene, order);
  await scene.seal();
  const report = await scene.installation.verify();
  assert.equal(report.verdict, 'verified', JSON.stringify(report.findings.slice(0, 3), stringifyBigint));
}

/** Checks the records of the scene against the rows of the business. */
export async function checkRecords(scene: OutboxScene, order: Order): Promise<void> {
  const rows = new Map((await scene.committed()).map((row) => [row.id, row]));
  const records = await scene.relayed();
  const seen = new Set<string>();
  for (const record of records) {
    const row = rows.get(record.id);
    assert.ok(row !== undefined, `the log holds ${record.id}, which no business transaction committed`);
    assert.ok(!seen.has(record.id), `the log holds ${record.id} twice`);
    seen.add(record.id);
    checkRecord(record, row);
  }
  assert.deepEqual(await missing(scene), [], 'committed, and not in the log');
  checkOrder(records, rows, scene.schedule.transactions, order);
}

const stringifyBigint = (_name: string, value: unknown) => (typeof value === 'bigint' ? `${value}` : value);

function checkRecord(record: LogRecord, row: BusinessRow): void {
  assert.deepEqual(
    [record.tenant, record.type, record.key, record.schema, record.meta],
    [row.tenant, row.type, row.key, 0, null],
  );
  const bytes = Buffer.from(row.body);
  if (record.body.form === 'object') {
    assert.deepEqual(Buffer.from(record.body.sha256), createHash('sha256').update(bytes).digest());
    assert.equal(record.body.size, BigInt(bytes.length));
  } else {
    assert.ok(bytes.equals(record.body.bytes), `the body of ${row.id} is another one in the log`);
  }
}

function checkOrder(
  records: readonly LogRecord[],
  rows: ReadonlyMap<string, BusinessRow>,
  transactions: readonly Transaction[],
  order: Order,
): void {
  const transactionOf = new Map(transactions.flatMap((one) => one.ids.map((id) => [id, one] as const)));
  for (const partition of new Set(records.map((record) => record.partition))) {
    const line = records
      .filter((record) => record.partition === partition)
      .map(({ id }) => ({
        row: rows.get(id) as BusinessRow,
        transaction: transactionOf.get(id) as Transaction,
      }));
    checkInside(line);
    if (order === 'apart') checkApart(line);
    else checkSorted(line, order);
  }
}

interface Standing {
  readonly row: BusinessRow;
  readonly transaction: Transaction;
}

/** Rows of one transaction stand in the order in which they were written. */
function checkInside(line: readonly Standing[]): void {
  const last = new Map<bigint, bigint>();
  for (const { row } of line) {
    assert.ok((last.get(row.xid) ?? -1n) < row.seq, `rows of the transaction ${row.xid} changed places`);
    last.set(row.xid, row.seq);
  }
}

function checkSorted(line: readonly Standing[], order: 'xid' | 'commits'): void {
  const placeOf = ({ row, transaction }: Standing): [bigint, bigint] => [
    order === 'xid' ? row.xid : BigInt(transaction.endedAt ?? 0),
    row.seq,
  ];
  for (const [index, one] of line.slice(1).entries()) {
    const [a, b] = [placeOf(line[index]), placeOf(one)];
    const isSorted = a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
    assert.ok(isSorted, `${one.transaction.name} stands behind ${line[index].transaction.name}`);
  }
}

function checkApart(line: readonly Standing[]): void {
  let latest: Transaction | undefined;
  for (const { transaction } of line) {
    const end = transaction.endedAt as number;
    if (latest !== undefined)
      assert.ok(
        end > latest.begunAt,
        `${transaction.name} ended before ${latest.name} began, and stands behind it`,
      );
    if (latest === undefined || transaction.begunAt > latest.begunAt) latest = transaction;
  }
}
