/** The loop that writes windows, with its metrics and the alert that it lags. */

import { hourName } from '@evident/core/evidence/window-hours.ts';
import { RESERVED_LOGS } from '@evident/core/record.ts';
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Storage } from './compose.ts';
import type { OnRelayAlert } from './relays.ts';
import { PostgresHourSource } from './stores/postgres/hour-source.ts';
import { PostgresWindowIndex } from './stores/postgres/window-index.ts';
import { WINDOWS_LOG } from './verify/verify-windows.ts';
import { WindowLoop, type WindowState } from './windows/window-loop.ts';

/** Seconds that an hour may be over before it is an alert that it is not done. */
const LAG_SECONDS_MAX = 7_200;

function lagCondition({ log, hour, waiting }: WindowState) {
  const held = waiting.find(({ stopped }) => stopped !== null) ?? waiting.at(0);
  const since = hour === null ? 'no hour of it is done' : `the last hour that is done is ${hourName(hour)}`;
  const why =
    held === undefined
      ? 'they are being written'
      : `partition ${held.partition} ${held.stopped === null ? 'has no sealed log.hour behind it' : 'is stopped'}`;
  return {
    key: `windows-lag:${log}`,
    tenant: null,
    name: 'windows lag',
    severity: 'high' as const,
    subject: log,
    detail: `${since}, for over ${LAG_SECONDS_MAX / 3_600} hours; ${why}`,
  };
}

export function makeWindowLoop(
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  report: OnRelayAlert,
  clock: () => bigint,
): WindowLoop {
  const { pool, treeOf, tiles, logs } = storage;
  const windows = logs.get(WINDOWS_LOG);
  if (windows === undefined) throw new Error('there is no log windows, which every start makes');
  const counter = (name: string, help: string) => new Counter({ name, help, registers: [metrics] });
  const written = counter('evident_windows_total', 'Windows of tenants that were written');
  const hours = counter('evident_window_hours_total', 'Hours of logs whose windows are all written');
  const records = counter('evident_window_records_total', 'Records that were counted into windows');
  const failures = counter('evident_window_failures_total', 'Hours that failed and were tried again');
  const lag = new Gauge({
    name: 'evident_windows_lag_seconds',
    help: 'Seconds since the first hour without windows was over, by log',
    labelNames: ['log'],
    registers: [metrics],
  });
  const late = new Map<string, boolean>();
  return new WindowLoop(
    {
      source: new PostgresHourSource(pool, treeOf),
      index: new PostgresWindowIndex(pool),
      tiles,
      windows,
      clock,
      onHour: (_log, _hour, made) => {
        hours.inc();
        written.inc(Number(made.windows));
        records.inc(Number(made.records));
      },
      onState: (state) => {
        lag.set({ log: state.log }, state.lagSeconds);
        const isLate = state.lagSeconds > LAG_SECONDS_MAX;
        // At the first look whatever it says: an alert of a process before this one may be open.
        if (late.get(state.log) !== isLate) report(lagCondition(state), isLate);
        late.set(state.log, isLate);
      },
      onError: (error) => {
        failures.inc();
        logger.error({ err: error }, 'writing windows failed; it is tried again');
      },
    },
    [...logs.values()].filter(({ name }) => !RESERVED_LOGS.includes(name)),
  );
}
