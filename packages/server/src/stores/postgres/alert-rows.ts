/** Rows of the alert tables as the ports have them, and the ways to ask for them. */

import { SYSTEM_TENANT } from '@evident/core/record.ts';
import type pg from 'pg';
import type { Alert, Webhook } from '../../alerts/ports.ts';
import type { AlertRule, Grouping, Severity } from '../../alerts/rule.ts';
import { checkFilter } from '../../query/check-filter.ts';
import { asEvidentError } from './faults.ts';

/** Everybody's, in tables whose rows each belong to a tenant. */
export const storedTenant = (tenant: string | null): string => tenant ?? SYSTEM_TENANT;
const tenantOfRow = (tenant: string): string | null => (tenant === SYSTEM_TENANT ? null : tenant);
export const bigintOrNull = (text: string | null): bigint | null => (text === null ? null : BigInt(text));

/** Calls a function of 0010_alerts_functions.sql. They run as the owner, whatever tenant the connection is of. */
export async function call<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  what: string,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  try {
    return (await pool.query<Row>(text, values)).rows;
  } catch (error) {
    throw asEvidentError(error, what, true);
  }
}

/**
 * Reads under the policies of one tenant, or of all (null): a condition that a query forgot would not show another's.
 */
export async function readAs<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  tenant: string | null,
  what: string,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  let client: pg.PoolClient | undefined;
  let broken: Error | undefined;
  try {
    client = await pool.connect();
    await client.query('BEGIN READ ONLY');
    await client.query("SELECT set_config('evident.tenant', $1, true)", [tenant ?? '*']);
    const { rows } = await client.query<Row>(text, values);
    await client.query('COMMIT');
    return rows;
  } catch (error) {
    broken = error as Error;
    throw asEvidentError(error, what, false);
  } finally {
    client?.release(broken);
  }
}

export interface RuleRow {
  rule_id: string;
  version: number;
  tenant: string;
  name: string;
  filter: Record<string, unknown>;
  drift_over_us: string | null;
  threshold: string;
  window_us: string;
  group_by: Grouping;
  severity: Severity;
  enabled: boolean;
  made_by: string;
  active_from: string;
  active_to: string | null;
}

export function ruleOf(row: RuleRow): AlertRule {
  return {
    id: row.rule_id,
    version: row.version,
    tenant: tenantOfRow(row.tenant),
    name: row.name,
    filter: checkFilter(row.filter),
    driftOverUs: bigintOrNull(row.drift_over_us),
    threshold: BigInt(row.threshold),
    windowUs: BigInt(row.window_us),
    groupBy: row.group_by,
    severity: row.severity,
    enabled: row.enabled,
    madeBy: row.made_by,
    activeFrom: BigInt(row.active_from),
    activeTo: bigintOrNull(row.active_to),
  };
}

export interface AlertRow {
  alert_id: string;
  tenant: string;
  rule_id: string | null;
  rule_version: number | null;
  name: string;
  severity: Severity;
  group_by: string | null;
  subject: string | null;
  others: boolean;
  window_start: string | null;
  window_end: string | null;
  threshold: string | null;
  count: string;
  places: string[];
  detail: string;
  opened_us: string;
  closed_us: string | null;
  acknowledged_us: string | null;
  acknowledged_by: string | null;
  note: string | null;
}

export function alertOf(row: AlertRow): Alert {
  return {
    id: row.alert_id,
    tenant: row.tenant,
    rule: row.rule_id === null ? null : { id: row.rule_id, version: row.rule_version! },
    name: row.name,
    severity: row.severity,
    groupBy: row.group_by,
    subject: row.subject,
    others: row.others,
    windowStart: bigintOrNull(row.window_start),
    windowEnd: bigintOrNull(row.window_end),
    threshold: bigintOrNull(row.threshold),
    count: BigInt(row.count),
    places: row.places,
    detail: row.detail,
    openedAt: BigInt(row.opened_us),
    closedAt: bigintOrNull(row.closed_us),
    acknowledgedAt: bigintOrNull(row.acknowledged_us),
    acknowledgedBy: row.acknowledged_by,
    note: row.note,
  };
}

export interface WebhookRow {
  webhook_id: string;
  tenant: string;
  name: string;
  url: string;
  payload: Webhook['payload'];
  made_by: string;
  made_us: string;
}

export function webhookOf(row: WebhookRow): Webhook {
  return {
    id: row.webhook_id,
    tenant: tenantOfRow(row.tenant),
    name: row.name,
    url: row.url,
    payload: row.payload,
    madeBy: row.made_by,
    madeAt: BigInt(row.made_us),
  };
}
