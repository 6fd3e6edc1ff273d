/** Alerts, their rules and webhooks, through a server. */

import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { requestServer, type ServerRequest } from './request.ts';
import { requireTarget, type TargetOptions } from './target.ts';
import { countOf } from './wording.ts';

/** One command's deps, configuration, target and output. */
export interface AlertCommand {
  readonly deps: CommandDeps;
  readonly input: ConfigInput;
  readonly options: TargetOptions & { readonly tenant?: string };
  readonly output: Output;
}

async function ask({ deps, input, options }: AlertCommand, path: string, request?: ServerRequest) {
  const server = await requireTarget(deps, input, options);
  const { tenant } = options;
  const query =
    tenant === undefined ? '' : `${path.includes('?') ? '&' : '?'}tenant=${encodeURIComponent(tenant)}`;
  return requestServer(server, `${path}${query}`, request);
}

const json = (method: 'POST' | 'PATCH', body: unknown): ServerRequest => ({
  method,
  type: 'application/json',
  body: JSON.stringify(body),
});
const segment = encodeURIComponent;

interface ListedAlert {
  id: string;
  tenant: string;
  name: string;
  severity: string;
  subject: string | null;
  others: boolean;
  count: string;
  detail: string;
  opened_at: string;
  closed_at: string | null;
  acknowledged_by: string | null;
}

function alertLine(alert: ListedAlert): string {
  const who = alert.others ? '(others)' : (alert.subject ?? '');
  const state = alert.acknowledged_by !== null ? 'seen' : alert.closed_at !== null ? 'over' : 'open';
  const { id, opened_at, severity, tenant, name, count, detail } = alert;
  return `${opened_at}  ${severity.padEnd(8)} ${state}  ${tenant}  ${name}  ${who}  ${count}  ${id}  ${detail}`.trimEnd();
}

export async function runAlertList(
  command: AlertCommand,
  { isOpen, limit }: { isOpen: boolean; limit: string },
): Promise<number> {
  const { output } = command;
  const state = isOpen ? 'unacknowledged' : 'all';
  const answer = await ask(command, `/v1/alerts?state=${state}&limit=${limit}`);
  const page = (await answer.json()) as { alerts: ListedAlert[]; cursor: string | null };
  output.result(page);
  for (const alert of page.alerts) output.line(alertLine(alert));
  if (page.cursor !== null && !output.json)
    process.stderr.write('There are older ones: --limit shows more.\n');
  return EXIT.success;
}

/** Says who did when somebody did before: that is no failure. */
export async function runAlertAck(command: AlertCommand, id: string, note?: string): Promise<number> {
  const answer = await ask(
    command,
    `/v1/alerts/${segment(id)}/acknowledge`,
    json('POST', note === undefined ? {} : { note }),
  );
  const made = (await answer.json()) as { outcome: string; acknowledged_at: string; acknowledged_by: string };
  command.output.result({ alert: id, ...made });
  command.output.line(
    made.outcome === 'acknowledged'
      ? `acknowledged ${id}`
      : `${id} was acknowledged before, by ${made.acknowledged_by} at ${made.acknowledged_at}; nothing was done`,
  );
  return EXIT.success;
}

interface ListedRule {
  id: string;
  version: number;
  tenant: string | null;
  name: string;
  filter: Record<string, string>;
  drift_over_ms: number | null;
  threshold: number;
  window_seconds: number;
  group_by: string;
  severity: string;
  enabled: boolean;
}

function ruleLine(rule: ListedRule): string {
  const filter = Object.entries(rule.filter).map(([name, value]) => `${name}=${value}`);
  if (rule.drift_over_ms !== null) filter.push(`drift over ${rule.drift_over_ms} ms`);
  const what = filter.length === 0 ? 'any event' : filter.join(' ');
  const { id, severity, tenant, name, threshold, window_seconds, group_by, enabled } = rule;
  return `${id}  ${enabled ? 'on ' : 'off'} ${severity.padEnd(8)} ${tenant ?? '(all)'}  ${name}: ${threshold} in ${window_seconds} s by ${group_by}, ${what}`;
}

export async function runRuleList(command: AlertCommand): Promise<number> {
  const answer = await ask(command, '/v1/alert-rules');
  const list = (await answer.json()) as { rules: ListedRule[] };
  command.output.result(list);
  for (const rule of list.rules) command.output.line(ruleLine(rule));
  return EXIT.success;
}

/** Members of a rule as options give them; what is not given is left out. */
export interface RuleOptions {
  readonly where?: readonly string[];
  readonly driftOver?: string;
  readonly threshold?: string;
  readonly window?: string;
  readonly groupBy?: string;
  readonly severity?: string;
  readonly enable?: boolean;
  readonly disable?: boolean;
}

function ruleBody(options: RuleOptions): Record<string, unknown> {
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  return {
    filter: options.where && Object.fromEntries(options.where.map(pairOf)),
    drift_over_ms: number(options.driftOver),
    threshold: number(options.threshold),
    window_seconds: number(options.window),
    group_by: options.groupBy,
    severity: options.severity,
    enabled: options.enable ? true : options.disable ? false : undefined,
  };
}

function pairOf(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at <= 0)
    throw new EvidentError(
      'usage-invalid',
      `--where ${text}: MEMBER=VALUE is expected, such as result=denied`,
    );
  return [text.slice(0, at), text.slice(at + 1)];
}

async function showRule(command: AlertCommand, answer: Response): Promise<number> {
  const rule = (await answer.json()) as ListedRule;
  command.output.result(rule);
  command.output.line(ruleLine(rule));
  return EXIT.success;
}

export async function runRuleAdd(command: AlertCommand, name: string, options: RuleOptions): Promise<number> {
  return showRule(
    command,
    await ask(command, '/v1/alert-rules', json('POST', { name, ...ruleBody(options) })),
  );
}

export async function runRuleChange(
  command: AlertCommand,
  id: string,
  options: RuleOptions,
): Promise<number> {
  return showRule(
    command,
    await ask(command, `/v1/alert-rules/${segment(id)}`, json('PATCH', ruleBody(options))),
  );
}

export async function runRuleRemove(command: AlertCommand, id: string): Promise<number> {
  await ask(command, `/v1/alert-rules/${segment(id)}`, { method: 'DELETE' });
  command.output.result({ removed: id });
  command.output.line(`removed ${id}`);
  return EXIT.success;
}

interface ListedWebhook {
  id: string;
  tenant: string | null;
  name: string;
  url: string;
  payload: string;
  pending: number;
  delivered: number;
  failed: number;
  last_error: string | null;
}

export async function runWebhookList(command: AlertCommand): Promise<number> {
  const answer = await ask(command, '/v1/webhooks');
  const list = (await answer.json()) as { webhooks: ListedWebhook[] };
  command.output.result(list);
  for (const { id, tenant, name, url, payload, pending, delivered, failed, last_error } of list.webhooks)
    command.output.line(
      `${id}  ${tenant ?? '(all)'}  ${name}  ${payload}  ${url}  ${delivered} delivered, ${pending} waiting, ${failed} given up  ${last_error ?? ''}`.trimEnd(),
    );
  return EXIT.success;
}

export async function runWebhookAdd(
  command: AlertCommand,
  name: string,
  url: string,
  payload: string,
): Promise<number> {
  const { output } = command;
  const answer = await ask(command, '/v1/webhooks', json('POST', { name, url, payload }));
  const made = (await answer.json()) as { id: string; secret: string };
  output.result(made);
  output.line(`${made.id}  ${made.secret}`);
  if (!output.json) process.stderr.write('The secret signs what is sent. It is shown once.\n');
  return EXIT.success;
}

export async function runWebhookRemove(command: AlertCommand, id: string): Promise<number> {
  await ask(command, `/v1/webhooks/${segment(id)}`, { method: 'DELETE' });
  command.output.result({ removed: id });
  command.output.line(`removed ${id}`);
  return EXIT.success;
}

export async function runWebhookRetry(command: AlertCommand, id: string): Promise<number> {
  const answer = await ask(command, `/v1/webhooks/${segment(id)}/retry`, { method: 'POST' });
  const done = (await answer.json()) as { retried: number };
  command.output.result(done);
  command.output.line(`${countOf(done.retried, 'delivery is', 'deliveries are')} sent again`);
  return EXIT.success;
}
