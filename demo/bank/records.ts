/** The two sides: what stands in the log, read over HTTP as an auditor reads it, and what stands in the bank's tables. */

import type pg from 'pg';
import type { BankScene } from './bank-scene.ts';

const PAGE_RECORDS = 1_000;

export interface EventBody {
  readonly event_id: string;
  readonly tenant: string;
  readonly actor: { readonly id: string };
  readonly action: string;
  readonly result?: 'success' | 'failure' | 'denied';
  readonly resource: { readonly type: string; readonly id: string };
  readonly details?: Readonly<Record<string, string | number>>;
  readonly changes?: Readonly<Record<string, { readonly old: string; readonly new: string }>>;
  readonly context?: { readonly request_id?: string };
  readonly intent_id?: string;
}

export interface LoggedRecord {
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly type: string;
  readonly body: EventBody;
}

/** Every record of the log `audit`. */
export async function readLog({ evident }: BankScene): Promise<LoggedRecord[]> {
  const headers = { authorization: `Bearer ${evident.adminKey}` };
  const read = async (path: string): Promise<Response> => {
    const answer = await fetch(`${evident.url}${path}`, { headers });
    if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const { logs } = (await (await read('/v1/logs')).json()) as {
    logs: { log: string; partitions: { partition: number; first: string; next: string }[] }[];
  };
  const records: LoggedRecord[] = [];
  for (const { partition, first, next } of logs.find(({ log }) => log === 'audit')?.partitions ?? []) {
    for (let from = BigInt(first); from < BigInt(next); ) {
      const page = await read(
        `/v1/logs/audit/partitions/${partition}/records?from=${from}&limit=${PAGE_RECORDS}`,
      );
      from = BigInt(page.headers.get('evident-next-position') ?? next);
      const lines = (await page.text()).split('\n').filter((line) => line !== '');
      for (const line of lines) records.push(JSON.parse(line) as LoggedRecord);
    }
  }
  return records;
}

type Row = Readonly<Record<string, string>>;

/** The bank's tables; every value as text. */
export interface BankTables {
  readonly accounts: readonly Row[];
  readonly transfers: readonly Row[];
  readonly payouts: readonly Row[];
  readonly planChanges: readonly Row[];
}

/** Reads them as they stand at one moment. */
export async function readBank(client: pg.PoolClient): Promise<BankTables> {
  const rows = async (table: string): Promise<Row[]> =>
    (await client.query(`SELECT * FROM ${table}`)).rows.map((row: Record<string, unknown>) =>
      Object.fromEntries(
        Object.entries(row).map(([name, value]) => [name, value === null ? '' : String(value)]),
      ),
    );
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const tables = {
    accounts: await rows('accounts'),
    transfers: await rows('transfers'),
    payouts: await rows('payouts'),
    planChanges: await rows('plan_changes'),
  };
  await client.query('COMMIT');
  return tables;
}
