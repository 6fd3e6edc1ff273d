/**
 * Whether the bank and the log agree. What is asked of each kind of event:
 *
 *   success                exactly one for each row, with the same facts, and no other: they commit together
 *   failure, denied        written after the rollback, best effort. Whoever was *answered* so has an event, unless the
 *                          bank said that it could not write it, or (of a critical action) its intent is open
 *   intents                each has one outcome or is open; none is open that told its client that it had booked
 *
 * More failure and denied events than answers are no disagreement: the client of a bank that died got no answer.
 */

import type { Journal } from './clients.ts';
import { agrees, compareKind, type Facts, type Kind, type KindReport } from './compare.ts';
import type { BankTables, EventBody, LoggedRecord } from './records.ts';

export interface Agreement {
  readonly kinds: readonly KindReport[];
  /** Intents whose action died before it could say how it ended. */
  readonly openIntents: readonly EventBody[];
  readonly intents: number;
  readonly denied: BestEffort;
  readonly failed: BestEffort;
  /** None was made or lost, and the log alone gives every balance. */
  readonly isMoneyRight: boolean;
  /** Sentences about what does not agree; empty when all does. */
  readonly complaints: readonly string[];
}

interface BestEffort {
  readonly answered: number;
  readonly events: number;
  /** Answered, and not in the log for a known reason. */
  readonly excused: number;
}

const SHOWN_MAX = 3;

export function judge(
  tables: BankTables,
  records: readonly LoggedRecord[],
  journal: Journal,
  unwritten: ReadonlySet<string>,
): Agreement {
  // Evident's own events stand beside the bank's: this comparison, which reads the log, is one of them.
  const bodies = records
    .filter(({ type, source }) => type === 'audit.event' && source !== 'evident')
    .map(({ body }) => body);
  const intents = records.filter(({ type }) => type === 'audit.intent').map(({ body }) => body);
  const closed = Map.groupBy(
    bodies.filter(({ intent_id: intent }) => intent !== undefined),
    ({ intent_id: intent }) => intent as string,
  );
  const openIntents = intents.filter(({ event_id: id }) => !closed.has(id));
  const kinds = kindsOf(
    tables,
    bodies.filter(({ result }) => result === 'success'),
  ).map(compareKind);
  const openRequests = new Set(openIntents.map(requestOf));
  const isExcused = (request: string) => unwritten.has(request) || openRequests.has(request);
  const bestEffort = (result: string, answered: ReadonlySet<string>) => {
    const events = bodies.filter((body) => body.result === result);
    const known = new Set(events.map(requestOf));
    const absent = [...answered].filter((request) => !known.has(request));
    const unexplained = absent.filter((request) => !isExcused(request));
    return {
      report: { answered: answered.size, events: events.length, excused: absent.length - unexplained.length },
      unexplained,
    };
  };
  const denied = bestEffort('denied', journal.denied);
  const failed = bestEffort('failure', journal.failed);
  const aboutMoney = complainOfMoney(tables, bodies);
  const complaints = [
    ...kinds.flatMap(complaintsOf),
    ...complain('denied answers without an event, which nobody reported', denied.unexplained),
    ...complain('failed answers without an event, whose intent is not open', failed.unexplained),
    ...complain(
      'intents with two outcomes',
      [...closed].filter(([, outcomes]) => outcomes.length > 1).map(([id]) => id),
    ),
    ...complain('booked by an action whose intent is open', bookedInVain(journal, openRequests)),
    ...complain('promised to a client, and not in the bank', brokenPromises(tables, journal)),
    ...complain('records twice in the log', repeatedIds(records)),
    ...complain(
      'records that the relay rejected',
      records.filter(({ type }) => type === 'relay.rejected').map(({ id }) => id),
    ),
    ...aboutMoney,
  ];
  const counts = { intents: intents.length, denied: denied.report, failed: failed.report };
  return { kinds, openIntents, ...counts, isMoneyRight: aboutMoney.length === 0, complaints };
}

const requestOf = ({ context }: EventBody): string => context?.request_id ?? '';

function complain(what: string, keys: readonly string[]): string[] {
  if (keys.length === 0) return [];
  const more = keys.length > SHOWN_MAX ? ', …' : '';
  return [`${what}: ${keys.length} (${keys.slice(0, SHOWN_MAX).join(', ')}${more})`];
}

function complaintsOf(report: KindReport): string[] {
  if (agrees(report)) return [];
  const { name, missing, orphans, twice, different } = report;
  return [
    ...complain(`${name} without an event`, missing),
    ...complain(`events without one of the ${name}`, orphans),
    ...complain(`${name} with more than one event`, twice),
    ...complain(`${name} whose event says something else`, different),
  ];
}

/** Rows of the four tables, and the events that tell of them, in the same words. */
function kindsOf(tables: BankTables, events: readonly EventBody[]): Kind[] {
  const eventsOf = (action: string, facts: (body: EventBody) => Facts, key = resourceOf) =>
    events.filter((body) => body.action === action).map((body) => ({ key: key(body), facts: facts(body) }));
  const who = ({ tenant, actor }: EventBody) => ({ organisation: tenant, by: actor.id });
  return [
    {
      name: 'accounts',
      rows: factsBy(tables.accounts, 'id', ({ organisation, holder, currency, opened_with: deposit }) => {
        return { organisation, holder, currency, deposit };
      }),
      events: eventsOf('account.open', ({ tenant, details }) => ({ organisation: tenant, ...details })),
    },
    {
      name: 'transfers',
      rows: factsBy(tables.transfers, 'id', (row) => ({
        organisation: row.organisation,
        by: row.ordered_by,
        from: row.from_account,
        to: row.to_account,
        amount: row.amount,
        currency: row.currency,
        ...(row.payout === '' ? {} : { payout: row.payout }),
      })),
      events: eventsOf('transfer.create', (body) => ({ ...who(body), ...body.details })),
    },
    {
      name: 'payouts',
      rows: factsBy(tables.payouts, 'id', (row) => ({
        organisation: row.organisation,
        by: row.ordered_by,
        from: row.from_account,
        total: row.total,
        currency: row.currency,
        payments: Number(row.payments),
      })),
      events: eventsOf('payout.create', (body) => ({ ...who(body), ...body.details })),
    },
    {
      name: 'plan changes',
      rows: new Map(
        tables.planChanges.map((row) => [
          `${row.organisation}/${row.revision}`,
          { organisation: row.organisation, by: row.changed_by, plan: changeOf(row.old_name, row.new_name) },
        ]),
      ),
      events: eventsOf(
        'plan.change',
        (body) => ({ ...who(body), plan: changeOf(body.changes?.name?.old, body.changes?.name?.new) }),
        ({ tenant, details }) => `${tenant}/${details?.revision}`,
      ),
    },
  ];
}

const resourceOf = ({ resource }: EventBody): string => resource.id;

function factsBy(
  rows: readonly Readonly<Record<string, string>>[],
  key: string,
  facts: (row: Readonly<Record<string, string>>) => Facts,
): Map<string, Facts> {
  return new Map(rows.map((row) => [row[key], facts(row)]));
}

/** A plan that is changed to itself has no changes. */
function changeOf(from: string | undefined, to: string | undefined): string {
  return from === to ? 'as it was' : `${from} → ${to}`;
}

function bookedInVain({ transfers, payouts }: Journal, openRequests: ReadonlySet<string>): string[] {
  return [...transfers, ...payouts]
    .filter(([, request]) => request !== '' && openRequests.has(request))
    .map(([id]) => id);
}

function brokenPromises(tables: BankTables, journal: Journal): string[] {
  const kept = new Set([
    ...[...tables.accounts, ...tables.transfers, ...tables.payouts].map(({ id }) => id),
    ...tables.planChanges.map(({ organisation, revision }) => `${organisation}/${revision}`),
  ]);
  const promised = [
    ...journal.accounts,
    ...journal.transfers.keys(),
    ...journal.payouts.keys(),
    ...journal.planChanges,
  ];
  return promised.filter((id) => !kept.has(id));
}

function repeatedIds(records: readonly LoggedRecord[]): string[] {
  const seen = new Map<string, number>();
  for (const { tenant, id } of records) seen.set(`${tenant}/${id}`, (seen.get(`${tenant}/${id}`) ?? 0) + 1);
  return [...seen].filter(([, times]) => times > 1).map(([key]) => key);
}

/** Money is neither made nor lost, and the log alone gives every balance. */
function complainOfMoney({ accounts }: BankTables, bodies: readonly EventBody[]): string[] {
  const sum = (column: string) => accounts.reduce((total, row) => total + BigInt(row[column]), 0n);
  const [deposits, balances] = [sum('opened_with'), sum('balance')];
  const byLog = new Map<string, bigint>();
  const add = (account: string | number, amount: bigint) =>
    byLog.set(String(account), (byLog.get(String(account)) ?? 0n) + amount);
  for (const { action, result, resource, details = {} } of bodies) {
    if (result !== 'success') continue;
    if (action === 'account.open') add(resource.id, BigInt(details.deposit));
    if (action !== 'transfer.create') continue;
    add(details.from, -BigInt(details.amount));
    add(details.to, BigInt(details.amount));
  }
  const wrong = accounts.filter(({ id, balance }) => byLog.get(id) !== BigInt(balance)).map(({ id }) => id);
  return [
    ...(deposits === balances ? [] : [`deposits are ${deposits}, balances ${balances}`]),
    ...complain('accounts whose balance the log does not give', wrong),
  ];
}
