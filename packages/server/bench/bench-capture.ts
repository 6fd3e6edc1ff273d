/**
 * What an audit event costs a business transaction: the same transfers without, with a row of the outbox through the
 * SDK, and with a message in the write-ahead log. Nothing relays meanwhile.
 */

import { setTimeout as wait } from 'node:timers/promises';
import { createAudit } from '@evident/sdk';
import { pgDriver } from '@evident/sdk/drivers';
import pg from 'pg';
import { initOutbox } from '../src/stores/postgres/outbox/init.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, median, percentile, type Sample } from './measure.ts';

const ACCOUNTS = 10_000;
const CALLERS = 8;
const SATURATED_MS = Number(process.env.EVIDENT_BENCH_CAPTURE_MS ?? 6_000);
const PACED_MS = SATURATED_MS;
const ROUNDS = 3;

type Way = 'none' | 'outbox' | 'message';
const WAYS: readonly Way[] = ['none', 'outbox', 'message'];

interface Scene extends Opened {
  readonly pool: pg.Pool;
  transfer(way: Way): Promise<void>;
}

let scene: Promise<Scene> | undefined;

async function openScene(): Promise<Scene> {
  const opened = await openInstallation();
  const pool = new pg.Pool({ ...opened.storage.connection, max: CALLERS * 4 });
  pool.on('error', () => undefined);
  const client = await pool.connect();
  await initOutbox(client, { slots: 16, slotSeconds: 60 });
  await client.query(
    `CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
     INSERT INTO accounts SELECT g, 1000000 FROM generate_series(1, ${ACCOUNTS}) g;
     CREATE TABLE transfers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, debit int, credit int, amount bigint, made_at timestamptz DEFAULT now())`,
  );
  client.release();
  const audit = createAudit({ service: 'bank', tenant: 'acme', driver: pgDriver(pool) });
  let number = 0;
  const transfer = async (way: Way): Promise<void> => {
    const [debit, credit] = [
      1 + Math.floor(Math.random() * ACCOUNTS),
      1 + Math.floor(Math.random() * ACCOUNTS),
    ];
    const event = {
      actor: { id: `usr_${number++ % 500}`, type: 'user' as const },
      action: 'transfer.create',
      resource: { type: 'account', id: String(debit) },
      details: { credit, amount: 5, purpose: 'rent for the month, as agreed in the contract of March' },
    };
    const tx = await pool.connect();
    try {
      await tx.query('BEGIN');
      const text = 'UPDATE accounts SET balance = balance + $2 WHERE id = $1';
      const both: [number, number][] = [
        [debit, -5],
        [credit, 5],
      ];
      // In one order, so that no two transfers wait for each other.
      for (const values of both.sort(([a], [b]) => a - b)) await tx.query({ name: 'move', text, values });
      await tx.query({
        name: 'note',
        text: 'INSERT INTO transfers (debit, credit, amount) VALUES ($1, $2, 5)',
        values: [debit, credit],
      });
      if (way === 'outbox') await audit.log(tx, event);
      if (way === 'message')
        await tx.query({
          name: 'emit',
          text: "SELECT pg_logical_emit_message(true, 'evident', $1)",
          values: [JSON.stringify(event)],
        });
      await tx.query('COMMIT');
    } finally {
      tx.release();
    }
  };
  return { ...opened, pool, transfer };
}

export async function closeCaptureBench(): Promise<void> {
  const opened = await scene;
  await opened?.pool.end();
  await opened?.close();
  scene = undefined;
}

/** As many transfers as go. */
async function saturate(one: Scene, way: Way): Promise<{ rate: number; cpu: number }> {
  const end = performance.now() + SATURATED_MS;
  const cpu = cpuOfTree(one.postgresPid);
  const node = process.cpuUsage();
  let done = 0;
  const call = async (): Promise<void> => {
    while (performance.now() < end) {
      await one.transfer(way);
      done++;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  const { user, system } = process.cpuUsage(node);
  return {
    rate: (done * 1_000) / SATURATED_MS,
    cpu: (cpuOfTree(one.postgresPid) - cpu + user + system) / done,
  };
}

/** Transfers at a steady pace, whether or not the one before is done. @returns p99 in milliseconds */
async function pace(one: Scene, way: Way, rate: number): Promise<number> {
  const times: number[] = [];
  const running: Promise<void>[] = [];
  const begun = performance.now();
  const count = Math.floor((rate * PACED_MS) / 1_000);
  for (let sent = 0; sent < count; sent++) {
    const due = begun + (sent * 1_000) / rate;
    const early = due - performance.now();
    if (early > 0) await wait(early);
    running.push(
      one.transfer(way).then(() => {
        times.push(performance.now() - due);
      }),
    );
  }
  await Promise.all(running);
  return percentile(times, 0.99);
}

/** Rounds of all three ways in turn, so that what drifts drifts for all. */
async function compare(): Promise<Record<Way, { rate: number; cpu: number; p99: number }>> {
  scene ??= openScene();
  const one = await scene;
  await saturate(one, 'none');
  const found = new Map<Way, { rate: number[]; cpu: number[]; p99: number[] }>(
    WAYS.map((way) => [way, { rate: [], cpu: [], p99: [] }]),
  );
  const of = (way: Way) => found.get(way) as { rate: number[]; cpu: number[]; p99: number[] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of WAYS) {
      const { rate, cpu } = await saturate(one, way);
      of(way).rate.push(rate);
      of(way).cpu.push(cpu);
    }
  }
  // Half of what the business does without any audit: the same load for all.
  const half = median(of('none').rate) / 2;
  for (let round = 0; round < ROUNDS; round++)
    for (const way of WAYS) of(way).p99.push(await pace(one, way, half));
  const middle = (way: Way) => ({
    rate: median(of(way).rate),
    cpu: median(of(way).cpu),
    p99: median(of(way).p99),
  });
  return { none: middle('none'), outbox: middle('outbox'), message: middle('message') };
}

let compared: ReturnType<typeof compare> | undefined;

async function costOf(way: 'outbox' | 'message'): Promise<Sample> {
  compared ??= compare();
  const { none, [way]: audited } = await compared;
  return {
    value: (audited.p99 / none.p99 - 1) * 100,
    more: {
      'p99 without, ms': none.p99,
      'p99 with, ms': audited.p99,
      'saturated without, per s': none.rate,
      'saturated with, per s': audited.rate,
      'saturated ratio': audited.rate / none.rate,
      'CPU without, µs': none.cpu,
      'CPU with, µs': audited.cpu,
    },
  };
}

export const CAPTURE_BENCHMARKS: Benchmark[] = [
  {
    name: 'capture: cost to the p99 of a transfer at half of saturation, row in the outbox through the SDK',
    unit: '%',
    goal: { text: '≤ 10 %', most: 10 },
    runs: 1,
    run: () => costOf('outbox'),
  },
  {
    name: 'capture: the same, message in the write-ahead log',
    unit: '%',
    goal: null,
    runs: 1,
    run: () => costOf('message'),
  },
];
