/** Wiring of the background self-audit: its rate, its metrics, and the alerts that it raises. */

import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Condition } from './alerts/ports.ts';
import { type Storage, verifyDepsOf } from './compose.ts';
import type { Config } from './config.ts';
import type { HttpDeps } from './http/deps.ts';
import type { OnRelayAlert } from './relays.ts';
import { FolderAuditState } from './stores/folder/audit-state.ts';
import { PostgresRecordReader } from './stores/postgres/record-reader.ts';
import { trustOf } from './trust.ts';
import { describeFinding, type Finding } from './verify/finding.ts';
import { PASS_MS_MIN, SelfAudit } from './verify/self-audit.ts';
import { type AuditStanding, type AuditState, auditStanding } from './verify/self-audit-state.ts';

/** Characters of a finding that an alert tells. */
const DETAIL_LENGTH_MAX = 1_000;
const UNREAD_KEY = 'self-audit:not-checked';

/** The same alert as that of `evident verify`, which alone settles it: it looks at everything. */
function tamperedCondition(findings: readonly Finding[]): Condition {
  return {
    key: 'verification',
    tenant: null,
    name: 'verification: tampered',
    severity: 'critical',
    subject: null,
    detail: `self-audit: ${findings.length === 0 ? 'tampered' : describeFinding(findings[0])}`.slice(
      0,
      DETAIL_LENGTH_MAX,
    ),
  };
}

function unreadCondition(reason: string): Condition {
  return {
    key: UNREAD_KEY,
    tenant: null,
    name: 'self-audit: not checked',
    severity: 'medium',
    subject: null,
    detail: `the self-audit can't read what is stored, and pauses: ${reason}`.slice(0, DETAIL_LENGTH_MAX),
  };
}

/** Records that are sealed now, of all logs. @throws log-unavailable */
async function sealedRecords({ logs, records }: Storage): Promise<number> {
  let sealed = 0;
  for (const log of logs.values())
    for (const { partition, first } of await log.heads())
      sealed += Math.max(0, Number(((await records.readSeal(log.name, partition))?.size ?? 0n) - first));
  return sealed;
}

/**
 * How the audit of a directory stands, by what it has left there.
 * @returns null when there is none, as before its first start
 */
export async function readAuditStanding(
  storage: Storage,
  recordsPerSecond: number,
  clock: () => bigint,
): Promise<AuditStanding | null> {
  const state = recordsPerSecond === 0 ? null : await new FolderAuditState(storage.dataDir).load();
  if (state === null) return null;
  const sealed = await sealedRecords(storage);
  return auditStanding(state, { recordsPerSecond, sealed, passMsMin: PASS_MS_MIN, now: clock() });
}

/** What `GET /v1/status` tells. */
export function standingOf(storage: Storage, config: Config, clock: () => bigint): HttpDeps['standing'] {
  const trust = trustOf(storage, config, clock);
  return async () => ({
    tiers: await trust.tiers(),
    selfAudit: await readAuditStanding(storage, config.selfAuditRate, clock),
  });
}

class AuditMetrics {
  readonly records: Counter;
  readonly tampered: Counter;
  readonly failures: Counter;
  readonly #pass: Gauge;
  readonly #unseen: Gauge;
  readonly #unread: Gauge;
  #standing: AuditStanding | null = null;
  readonly #rate: number;

  constructor(metrics: Registry, rate: number, clock: () => bigint) {
    this.#rate = rate;
    const registers = [metrics];
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    this.records = counter('evident_audit_records_total', 'Records that the self-audit has read again');
    this.tampered = counter(
      'evident_audit_tampered_total',
      'Findings of the self-audit that say tampered, each time that they are met',
    );
    this.failures = counter(
      'evident_audit_failures_total',
      'Steps of the self-audit that failed and were tried again',
    );
    this.#pass = new Gauge({
      name: 'evident_audit_pass_seconds',
      help: 'How long the last full pass of the self-audit took; none before the first',
      registers,
    });
    this.#unseen = new Gauge({
      name: 'evident_audit_unseen_seconds_max',
      help: 'Longest that a change of a sealed record stays unseen while the self-audit runs; none before its first full pass',
      registers,
    });
    this.#unread = new Gauge({
      name: 'evident_audit_not_checked',
      help: '1 while the self-audit can not read something that is stored',
      registers,
    });
    const lastEnded = (): bigint | undefined => this.#standing?.last?.endedAt;
    const age = new Gauge({
      name: 'evident_audit_pass_age_seconds',
      help: 'Seconds since the last full pass of the self-audit ended; none before the first',
      registers,
      collect() {
        const ended = lastEnded();
        if (ended !== undefined) this.set(Number((clock() - ended) / 1_000n) / 1_000);
      },
    });
    // A gauge without labels begins with 0, which would say that all was read just now.
    for (const gauge of [this.#pass, this.#unseen, age]) gauge.remove();
  }

  noteUnread(isUnread: boolean): void {
    this.#unread.set(isUnread ? 1 : 0);
  }

  noteState(state: AuditState, now: bigint): void {
    // What was sealed when the pass began: close enough, and asks nobody.
    const places = [...(state.pass?.places.values() ?? [])];
    const sealed =
      places.length === 0 ? (state.last?.records ?? 0) : places.reduce((sum, { to }) => sum + Number(to), 0);
    const standing = auditStanding(state, {
      recordsPerSecond: this.#rate,
      sealed,
      passMsMin: PASS_MS_MIN,
      now,
    });
    this.#standing = standing;
    if (standing.passSeconds !== null) this.#pass.set(standing.passSeconds);
    if (standing.unseenSecondsMax !== null) this.#unseen.set(standing.unseenSecondsMax);
  }
}

/** @returns null when the settings want none */
export function makeSelfAudit(
  { selfAuditRate }: Config,
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  report: OnRelayAlert,
  clock: () => bigint,
): SelfAudit | null {
  if (selfAuditRate === 0) return null;
  const { pool, treeOf, logs, dataDir } = storage;
  const told = new AuditMetrics(metrics, selfAuditRate, clock);
  // Its own: a reader reads one run at a time, and recovery must not wait for this.
  const records = new PostgresRecordReader(pool, treeOf, (log) => logs.get(log)?.partitions ?? 1);
  return new SelfAudit({
    ...verifyDepsOf(storage),
    records,
    heads: records,
    state: new FolderAuditState(dataDir),
    recordsPerSecond: selfAuditRate,
    now: () => performance.now(),
    clock,
    onRecords: (count) => told.records.inc(count),
    onTampered: (findings) => {
      told.tampered.inc(findings.length);
      report(tamperedCondition(findings), true);
      logger.error(
        { finding: describeFinding(findings[0]) },
        'the self-audit found what contradicts a signed head',
      );
    },
    onUnread: (reason) => {
      told.noteUnread(reason !== null);
      report(unreadCondition(reason ?? ''), reason !== null);
      if (reason !== null)
        logger.warn({ reason }, 'the self-audit can not read what is stored; it is tried again');
    },
    onState: (state) => told.noteState(state, clock()),
    onError: (error) => {
      told.failures.inc();
      logger.warn({ err: error }, 'the self-audit failed; it is tried again');
    },
  });
}
