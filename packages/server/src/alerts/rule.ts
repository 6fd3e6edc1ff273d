/**
 * Alert rules: data that say which events, how many of them, in how long a time, raise an alert.
 *
 * Windows slide in steps. Time, by `appended_at`, is cut into slices of a tenth of the rule's window, at whole multiples
 * since the Unix epoch; what is kept is a count for each slice and group. A window is eleven slices that follow one
 * another and begin with one that holds an event:
 *
 *     slices   |··x·|··xx|····|x···|····|····|····|····|····|····|····|··x·|
 *     window   [0                                                    )            begins at the first x: 1.1 windows
 *                   [1                                                    )       begins at the second
 *
 * So a burst within the rule's time, wherever it lies, is inside one of them: its first event lies in the first slice,
 * and the ten behind that reach as far as the rule's time from any place of it. And what one of them holds lies within
 * 1.1 of the rule's time. Periods are the rule's time long, at whole multiples; of windows that begin in one period and
 * reach the threshold, the earliest is the alert of that group and period.
 */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { checkText } from '@evident/core/record.ts';
import type { EventFilter } from '../query/filter.ts';
import { filterOfNames, namesOfFilter } from '../query/filter-names.ts';

export const SEVERITIES = ['low', 'medium', 'high', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What events are counted by. `none`: all of a tenant together. */
export const GROUPINGS = ['actor', 'resource', 'ip', 'source', 'none'] as const;
export type Grouping = (typeof GROUPINGS)[number];

export interface RuleDefinition {
  readonly name: string;
  readonly filter: EventFilter;
  /** Only events whose own time and append lie further apart than this, microseconds; null: all. */
  readonly driftOverUs: bigint | null;
  /** So many events of one group within `windowUs` raise an alert; that many within 1.1 of it may. */
  readonly threshold: bigint;
  /** Whole seconds, in microseconds. */
  readonly windowUs: bigint;
  readonly groupBy: Grouping;
  readonly severity: Severity;
  readonly enabled: boolean;
}

/** One version of a rule. A change makes another one. */
export interface AlertRule extends RuleDefinition {
  readonly id: string;
  readonly version: number;
  /** Whose events; null: of every tenant, each counted by itself. */
  readonly tenant: string | null;
  readonly madeBy: string;
  /** Records appended from here on, and before there; null: until now. */
  readonly activeFrom: bigint;
  readonly activeTo: bigint | null;
}

/** Slices of a period; a window is one more. The functions of sql/postgres/0015_alert_windows.sql count on it. */
export const SLICES = 10n;

export function sliceUs({ windowUs }: Pick<RuleDefinition, 'windowUs'>): bigint {
  return windowUs / SLICES;
}

/** First instant of the period in which a slice lies. */
export function periodOf({ windowUs }: Pick<RuleDefinition, 'windowUs'>, sliceStart: bigint): bigint {
  return sliceStart - (sliceStart % windowUs);
}

export const RULE_NAME_BYTES_MAX = 128;
export const THRESHOLD_MAX = 1_000_000;
export const WINDOW_SECONDS_MAX = 86_400;
const DRIFT_MS_MAX = 86_400_000;
const MEMBERS = [
  'name',
  'filter',
  'drift_over_ms',
  'threshold',
  'window_seconds',
  'group_by',
  'severity',
  'enabled',
];
/** A rule looks at what rows tell; a body it does not read, and its time is that of its windows. */
const FILTER_EXCLUDES = ['text', 'from', 'to', 'appended_from', 'appended_to'] as const;

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

function wholeNumber(value: unknown, field: string, most: number): bigint {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > most)
    refuse(field, `a whole number from 1 to ${most} is expected`);
  return BigInt(value);
}

function oneOf<T extends string>(values: readonly T[], value: unknown, field: string): T {
  return values.find((one) => one === value) ?? refuse(field, `one of ${values.join(', ')} is expected`);
}

/** Names of members as they stand in the rule. */
function filterOf(given: Readonly<Record<string, unknown>>): EventFilter {
  try {
    return filterOfNames(given);
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    const { field } = error.context;
    throw new EvidentError(error.code, `filter.${error.message}`, { context: { field: `filter.${field}` } });
  }
}

/**
 * A rule as somebody sends it.
 * @param tenant whose rule it is to be; null: a rule for all tenants
 * @throws field-invalid, field-unknown, tenant-forbidden; the message names the member
 */
export function checkRule(input: Readonly<Record<string, unknown>>, tenant: string | null): RuleDefinition {
  for (const member of Object.keys(input))
    if (!MEMBERS.includes(member))
      throw new EvidentError('field-unknown', `${member}: a rule has ${MEMBERS.join(', ')}`, {
        context: { field: member },
      });
  const given = input.filter ?? {};
  if (typeof given !== 'object' || Array.isArray(given)) refuse('filter', 'an object is expected');
  const filter = filterOf(given as Record<string, unknown>);
  for (const member of FILTER_EXCLUDES)
    if (Object.hasOwn(given, member)) refuse(`filter.${member}`, 'a rule can not have it');
  if (tenant !== null && filter.tenant !== undefined && filter.tenant !== tenant)
    throw new EvidentError('tenant-forbidden', `filter.tenant: the rule is one of ${tenant}`, {
      context: { field: 'filter.tenant' },
    });
  const { drift_over_ms: drift, enabled = true } = input;
  if (typeof enabled !== 'boolean') refuse('enabled', 'true or false is expected');
  return {
    name: checkText(input.name, 'name', RULE_NAME_BYTES_MAX),
    filter,
    driftOverUs: drift == null ? null : wholeNumber(drift, 'drift_over_ms', DRIFT_MS_MAX) * 1_000n,
    threshold: wholeNumber(input.threshold ?? 1, 'threshold', THRESHOLD_MAX),
    windowUs: wholeNumber(input.window_seconds, 'window_seconds', WINDOW_SECONDS_MAX) * 1_000_000n,
    groupBy: oneOf(GROUPINGS, input.group_by ?? 'none', 'group_by'),
    severity: oneOf(SEVERITIES, input.severity ?? 'medium', 'severity'),
    enabled,
  };
}

/** A rule as JSON has it; `checkRule` makes the same of it. */
export function shownDefinition(rule: RuleDefinition) {
  return {
    name: rule.name,
    filter: namesOfFilter(rule.filter),
    drift_over_ms: rule.driftOverUs === null ? null : Number(rule.driftOverUs / 1_000n),
    threshold: Number(rule.threshold),
    window_seconds: Number(rule.windowUs / 1_000_000n),
    group_by: rule.groupBy,
    severity: rule.severity,
    enabled: rule.enabled,
  };
}

const rule = (id: string, over: Partial<RuleDefinition> & Pick<RuleDefinition, 'name'>) => ({
  id: `00000000-0000-8000-8000-0000000000${id}`,
  filter: {},
  driftOverUs: null,
  threshold: 1n,
  windowUs: 60_000_000n,
  groupBy: 'none' as const,
  severity: 'medium' as const,
  enabled: true,
  ...over,
});

/** Rules that every installation begins with. They are rules like others: changed, switched off and removed alike. */
export const FIRST_RULES: readonly (RuleDefinition & { readonly id: string })[] = [
  rule('d1', {
    name: 'clock drift',
    driftOverUs: 1_000_000n,
    windowUs: 3_600_000_000n,
    groupBy: 'source',
    severity: 'low',
  }),
  rule('d2', {
    name: 'denied burst',
    filter: { result: 'denied' },
    threshold: 10n,
    groupBy: 'actor',
    severity: 'high',
  }),
];
