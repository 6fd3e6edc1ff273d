/** The ports `AlertStream`, `AlertBoard` and `RuleStore` on PostgreSQL (sql/postgres/0010_alerts*.sql, 0015_alert_windows.sql). */

import { isEvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import { type Increment, PLACES_MAX } from '../../alerts/evaluate.ts';
import {
  type Advance,
  type Alert,
  type AlertBoard,
  type AlertQuery,
  type AlertRetention,
  type AlertSpan,
  type AlertState,
  type AlertStream,
  type Condition,
  GROUPS_MAX,
  RULE_VERSIONS_MAX,
  type RuleStore,
} from '../../alerts/ports.ts';
import { type AlertRule, FIRST_RULES, type RuleDefinition } from '../../alerts/rule.ts';
import { describeFilter } from '../../query/check-filter.ts';
import { type AlertRow, alertOf, call, type RuleRow, readAs, ruleOf, storedTenant } from './alert-rows.ts';

/** Raised by evident.alert_rule_put. */
const TOO_MANY = 'EV020';

function ruleJson(rule: RuleDefinition): Record<string, unknown> {
  return {
    name: rule.name,
    filter: describeFilter(rule.filter),
    drift_over_us: rule.driftOverUs?.toString(),
    threshold: rule.threshold.toString(),
    window_us: rule.windowUs.toString(),
    group_by: rule.groupBy,
    severity: rule.severity,
    enabled: rule.enabled,
  };
}

/** SQLSTATE of the failure that an error of the catalogue wraps. */
function stateOf(error: unknown): string | undefined {
  return isEvidentError(error) ? (error.cause as { code?: string } | undefined)?.code : undefined;
}

export class PostgresAlertStore implements AlertStream, AlertBoard, AlertRetention {
  readonly #pool: pg.Pool;
  readonly #groupsMax: number;

  /** @param groupsMax smaller in tests */
  constructor(pool: pg.Pool, groupsMax = GROUPS_MAX) {
    this.#pool = pool;
    this.#groupsMax = groupsMax;
  }

  async load(): Promise<AlertState> {
    const first = FIRST_RULES.map((rule) => ({ ...ruleJson(rule), id: rule.id, tenant: storedTenant(null) }));
    await call(this.#pool, 'beginning alerts', 'SELECT evident.alerts_open($1)', [JSON.stringify(first)]);
    // The version before the rules: a change in between makes the next step stale, never wrong.
    const [state] = await readAs<{ rules_version: string }>(
      this.#pool,
      null,
      'reading the state of alerts',
      'SELECT rules_version FROM evident.alert_state',
      [],
    );
    const rules = await readAs<RuleRow>(
      this.#pool,
      null,
      'reading alert rules',
      'SELECT * FROM evident.alert_rules ORDER BY rule_id, version',
      [],
    );
    const checkpoints = await readAs<{ tree: number; next_position: string }>(
      this.#pool,
      null,
      'reading the checkpoints of alerts',
      'SELECT tree, next_position FROM evident.alert_checkpoints ORDER BY tree',
      [],
    );
    return {
      rulesVersion: BigInt(state.rules_version),
      rules: rules.map(ruleOf),
      checkpoints: checkpoints.map(({ tree, next_position }) => ({ tree, next: BigInt(next_position) })),
    };
  }

  async advance(
    rulesVersion: bigint,
    spans: readonly AlertSpan[],
    increments: readonly Increment[],
  ): Promise<Advance> {
    const [{ outcome, raised }] = await call<{ outcome: Advance['kind']; raised: string[] }>(
      this.#pool,
      'storing a step of alerts',
      'SELECT * FROM evident.alerts_advance($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)',
      [
        rulesVersion.toString(),
        spans.map(({ tree }) => tree),
        spans.map(({ from }) => from.toString()),
        spans.map(({ to }) => to.toString()),
        spans.map(({ seen }) => seen.toString()),
        increments.map(({ ruleId }) => ruleId),
        increments.map(({ version }) => version),
        increments.map(({ tenant }) => tenant),
        increments.map(({ sliceStart }) => sliceStart.toString()),
        increments.map(({ subject }) => subject),
        increments.map(({ count }) => count.toString()),
        increments.map(({ places }) => places.join(',')),
        this.#groupsMax,
        PLACES_MAX,
      ],
    );
    return outcome === 'advanced' ? { kind: outcome, raised } : { kind: outcome };
  }

  async prune(): Promise<number> {
    const [row] = await call<{ gone: string }>(
      this.#pool,
      'forgetting old windows of alerts',
      'SELECT evident.alerts_prune() AS gone',
      [],
    );
    return Number(row.gone);
  }

  async raise(condition: Condition): Promise<string | null> {
    const { key, tenant, name, severity, subject, detail, exceptWebhook } = condition;
    const [row] = await call<{ made: string | null }>(
      this.#pool,
      `raising the alert ${key}`,
      'SELECT evident.alert_raise($1, $2, $3, $4, $5, $6, $7) AS made',
      [key, storedTenant(tenant), name, severity, subject, detail, exceptWebhook ?? null],
    );
    return row.made;
  }

  async settle(key: string): Promise<boolean> {
    const [row] = await call<{ settled: boolean }>(
      this.#pool,
      `settling the alert ${key}`,
      'SELECT evident.alert_settle($1) AS settled',
      [key],
    );
    return row.settled;
  }

  async list({ tenant, state, before, limit }: AlertQuery): Promise<readonly Alert[]> {
    const rows = await readAs<AlertRow>(
      this.#pool,
      tenant,
      'listing alerts',
      `SELECT * FROM evident.alerts
        WHERE ($1::text IS NULL OR tenant = $1) AND ($2 = 'all' OR acknowledged_us IS NULL)
          AND ($3::bigint IS NULL OR (opened_us, alert_id) < ($3, $4::uuid))
        ORDER BY opened_us DESC, alert_id DESC LIMIT $5`,
      [tenant, state, before?.openedAt.toString() ?? null, before?.id ?? null, limit],
    );
    return rows.map(alertOf);
  }

  async find(ids: readonly string[]): Promise<readonly Alert[]> {
    const rows = await readAs<AlertRow>(
      this.#pool,
      null,
      'reading alerts',
      'SELECT * FROM evident.alerts WHERE alert_id = ANY ($1::uuid[]) ORDER BY opened_us, alert_id',
      [ids],
    );
    return rows.map(alertOf);
  }

  async acknowledge(id: string, tenant: string | null, by: string, note: string | null) {
    const [row] = await call<{ outcome: 'acknowledged' | 'before' | 'unknown' }>(
      this.#pool,
      `acknowledging the alert ${id}`,
      'SELECT evident.alert_acknowledge($1, $2, $3, $4) AS outcome',
      [id, tenant, by, note],
    );
    return row.outcome;
  }

  async removable(beforeUs: bigint, most: number): Promise<readonly string[]> {
    const rows = await call<{ id: string }>(
      this.#pool,
      'looking for old alerts',
      'SELECT evident.alerts_removable($1, $2) AS id',
      [beforeUs.toString(), most],
    );
    return rows.map(({ id }) => id);
  }

  async remove(ids: readonly string[], beforeUs: bigint): Promise<number> {
    const [row] = await call<{ gone: string }>(
      this.#pool,
      'removing old alerts',
      'SELECT evident.alerts_remove($1, $2) AS gone',
      [ids, beforeUs.toString()],
    );
    return Number(row.gone);
  }
}

export class PostgresRuleStore implements RuleStore {
  readonly #pool: pg.Pool;
  readonly #versionsMax: number;

  constructor(pool: pg.Pool, versionsMax = RULE_VERSIONS_MAX) {
    this.#pool = pool;
    this.#versionsMax = versionsMax;
  }

  async list(tenant: string | null): Promise<readonly AlertRule[]> {
    const rows = await readAs<RuleRow>(
      this.#pool,
      tenant,
      'listing alert rules',
      'SELECT * FROM evident.alert_rules WHERE active_to IS NULL AND ($1::text IS NULL OR tenant = $1) ORDER BY tenant, name',
      [tenant],
    );
    return rows.map(ruleOf);
  }

  async put(
    id: string,
    tenant: string | null,
    version: number,
    rule: RuleDefinition | null,
    by: string,
  ): Promise<'done' | 'conflict' | 'exists' | 'full'> {
    try {
      const [row] = await call<{ outcome: 'done' | 'conflict' }>(
        this.#pool,
        `storing the alert rule ${id}`,
        'SELECT evident.alert_rule_put($1, $2, $3, $4, $5, $6) AS outcome',
        [id, storedTenant(tenant), version, rule && JSON.stringify(ruleJson(rule)), by, this.#versionsMax],
      );
      return row.outcome;
    } catch (error) {
      const state = stateOf(error);
      if (state === '23505') return 'exists';
      if (state === TOO_MANY) return 'full';
      throw error;
    }
  }
}
