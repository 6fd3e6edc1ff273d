/**
 * Changes of rules and webhooks, and acknowledgements. Each is recorded in the log before it is made: what is recorded
 * and was not made is found in the log, and does no harm; the other way round nobody would know.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant, checkText } from '@evident/core/record.ts';
import type { OwnActor, OwnEvent } from '../audit/own-event.ts';
import type { RecordOwn } from '../audit/record-own.ts';
import {
  type Alert,
  type AlertBoard,
  RULE_VERSIONS_MAX,
  type RuleStore,
  WEBHOOKS_MAX,
  type WebhookStore,
} from './ports.ts';
import { type AlertRule, checkRule, shownDefinition } from './rule.ts';
import { checkWebhook, SECRET_BYTES, secretText } from './webhook.ts';

export interface ChangeDeps {
  readonly board: AlertBoard;
  readonly rules: RuleStore;
  readonly webhooks: WebhookStore;
  readonly record: RecordOwn;
  /** A new UUID. */
  readonly newId: () => string;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** Who changes something. */
export interface Changer {
  readonly actor: OwnActor;
  /** For whom the credential speaks; null: for all. */
  readonly tenant: string | null;
  readonly requestId?: string;
}

const NOTE_BYTES_MAX = 1_024;

function note(
  { record }: ChangeDeps,
  { actor, requestId }: Changer,
  action: string,
  resource: OwnEvent['resource'],
  tenant: string | null,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const event = { actor, action, resource, result: 'success' as const, tenant, details };
  return record([{ ...event, ...(requestId === undefined ? {} : { requestId }) }]);
}

function missing(what: string, id: string): never {
  throw new EvidentError('not-found', `id: there is no ${what} ${id}`, { context: { field: 'id' } });
}

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

function checkOutcome(outcome: Awaited<ReturnType<RuleStore['put']>>, name: string): void {
  switch (outcome) {
    case 'done':
      return;
    case 'exists':
      refuse('name', `there is a rule ${name} already`);
      break;
    case 'full':
      refuse('name', `${RULE_VERSIONS_MAX} versions of rules have been made; no more are held`);
      break;
    case 'conflict':
      throw new EvidentError('alert-rule-changed', `the rule ${name} was changed by somebody else meanwhile`);
  }
}

/** @param tenant whose rule it is to be; null: one for all tenants. @throws field-invalid, field-reserved, field-unknown, tenant-forbidden, log-unavailable */
export async function createRule(
  deps: ChangeDeps,
  changer: Changer,
  tenant: string | null,
  input: Readonly<Record<string, unknown>>,
): Promise<AlertRule> {
  if (tenant !== null) checkTenant(tenant);
  const rule = checkRule(input, tenant);
  const id = deps.newId();
  const resource = { type: 'alert_rule', id };
  await note(deps, changer, 'alert_rule.create', resource, tenant, { rule: shownDefinition(rule) });
  checkOutcome(await deps.rules.put(id, tenant, 0, rule, changer.actor.id), rule.name);
  return await findRule(deps, changer, id);
}

/** A rule that the caller may see. @throws not-found */
export async function findRule(
  { rules }: Pick<ChangeDeps, 'rules'>,
  { tenant }: Pick<Changer, 'tenant'>,
  id: string,
): Promise<AlertRule> {
  const found = (await rules.list(tenant)).find((rule) => rule.id === id);
  return found ?? missing('alert rule', id);
}

/** Changes the members that are given. @throws as `createRule`, not-found, alert-rule-changed */
export async function changeRule(
  deps: ChangeDeps,
  changer: Changer,
  id: string,
  input: Readonly<Record<string, unknown>>,
): Promise<AlertRule> {
  const before = await findRule(deps, changer, id);
  const rule = checkRule({ ...shownDefinition(before), ...input }, before.tenant);
  const changes = { from_version: before.version, rule: shownDefinition(rule) };
  await note(deps, changer, 'alert_rule.change', { type: 'alert_rule', id }, before.tenant, changes);
  const outcome = await deps.rules.put(id, before.tenant, before.version, rule, changer.actor.id);
  checkOutcome(outcome, rule.name);
  return await findRule(deps, changer, id);
}

/** @throws not-found, alert-rule-changed, log-unavailable */
export async function removeRule(deps: ChangeDeps, changer: Changer, id: string): Promise<void> {
  const before = await findRule(deps, changer, id);
  const { name, tenant, version } = before;
  await note(deps, changer, 'alert_rule.remove', { type: 'alert_rule', id }, tenant, { name });
  checkOutcome(await deps.rules.put(id, tenant, version, null, changer.actor.id), name);
}

/** @returns its id, and the secret as text: it is shown to nobody again. @throws field-invalid, log-unavailable */
export async function addWebhook(
  deps: ChangeDeps,
  changer: Changer,
  tenant: string | null,
  input: Readonly<Record<string, unknown>>,
): Promise<{ id: string; secret: string }> {
  if (tenant !== null) checkTenant(tenant);
  const webhook = checkWebhook(input);
  const id = deps.newId();
  // The path of an address is often a secret itself.
  const details = { name: webhook.name, host: new URL(webhook.url).host, payload: webhook.payload };
  await note(deps, changer, 'webhook.create', { type: 'webhook', id }, tenant, details);
  const secret = deps.randomBytes(SECRET_BYTES);
  const outcome = await deps.webhooks.add({ ...webhook, id, tenant, madeBy: changer.actor.id }, secret);
  if (outcome === 'exists') refuse('name', `there is a webhook ${webhook.name} already`);
  if (outcome === 'full') refuse('name', `there are ${WEBHOOKS_MAX} webhooks already`);
  return { id, secret: secretText(secret) };
}

async function requireWebhook(deps: ChangeDeps, { tenant }: Changer, id: string) {
  const found = (await deps.webhooks.list(tenant)).find((webhook) => webhook.id === id);
  return found ?? missing('webhook', id);
}

/** @throws not-found, log-unavailable */
export async function removeWebhook(deps: ChangeDeps, changer: Changer, id: string): Promise<void> {
  const { name, tenant } = await requireWebhook(deps, changer, id);
  await note(deps, changer, 'webhook.remove', { type: 'webhook', id }, tenant, { name });
  if (!(await deps.webhooks.remove(id, changer.tenant))) missing('webhook', id);
}

/** Sends again what was given up. @returns how many. @throws not-found, log-unavailable */
export async function retryWebhook(deps: ChangeDeps, changer: Changer, id: string): Promise<number> {
  const { name, tenant } = await requireWebhook(deps, changer, id);
  await note(deps, changer, 'webhook.retry', { type: 'webhook', id }, tenant, { name });
  return deps.webhooks.retry(id, changer.tenant);
}

/** An acknowledgement as it stands. */
export interface Acknowledgement {
  /** False: somebody had acknowledged it before, and nothing was done or recorded. */
  readonly isNew: boolean;
  readonly at: bigint;
  readonly by: string;
  readonly note: string | null;
}

/** The first one stays; doing it again changes nothing, and answers the first. @throws not-found, field-invalid, log-unavailable */
export async function acknowledgeAlert(
  deps: ChangeDeps,
  changer: Changer,
  id: string,
  given: string | null,
): Promise<Acknowledgement> {
  const text = given === null ? null : checkText(given, 'note', NOTE_BYTES_MAX);
  const before = await findAlert(deps, changer, id);
  if (before.acknowledgedAt !== null) return acknowledgementOf(before, false);
  const tenant = before.tenant.startsWith('_') ? null : before.tenant;
  const details = { name: before.name, note: text };
  await note(deps, changer, 'alert.acknowledge', { type: 'alert', id }, tenant, details);
  const outcome = await deps.board.acknowledge(id, changer.tenant, changer.actor.id, text);
  // Somebody else was faster: both are on record, and the first stays.
  return acknowledgementOf(await findAlert(deps, changer, id), outcome === 'acknowledged');
}

async function findAlert({ board }: ChangeDeps, { tenant }: Changer, id: string): Promise<Alert> {
  const [alert] = await board.find([id]);
  if (alert === undefined || (tenant !== null && alert.tenant !== tenant)) return missing('alert', id);
  return alert;
}

function acknowledgementOf(
  { acknowledgedAt, acknowledgedBy, note: text }: Alert,
  isNew: boolean,
): Acknowledgement {
  if (acknowledgedAt === null || acknowledgedBy === null)
    throw new Error('an alert that was acknowledged is not');
  return { isNew, at: acknowledgedAt, by: acknowledgedBy, note: text };
}
