/**
 * Audit events of a small company, as its software would send them: actors and resources by Zipf's law, sessions that
 * begin with a login, working hours and bursts, failures and denials in usual shares. A function of its seed: the same
 * seed gives the same bytes. Nobody's data: what importers, the demo and benchmarks are tried with.
 */

import type { AuditEvent } from '@evident/core/audit-event.ts';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import {
  type Action,
  type ChangeKind,
  DENIALS,
  ERRORS,
  GRANTS,
  LOGIN,
  LOGOUT,
  MACHINE_ACTIONS,
  SETTINGS,
  STATUSES,
  USER_ACTIONS,
  WORDS,
} from './actions.ts';
import { ACTORS_DEFAULT, type Company, type CompanyActor, makeCompany } from './company.ts';
import { SeededRandom, Weighted } from './random.ts';
import { WorkingClock } from './working-clock.ts';

export interface GeneratorOptions {
  /** Default acme. The first gets most of the events. */
  readonly tenants?: readonly string[];
  /** Actors of each tenant; default 200. */
  readonly actors?: number;
  /** When the first event happens, milliseconds since the Unix epoch; default Monday 2026-11-02, 06:00 UTC. */
  readonly startMs?: number;
  /** Events of a working day, on average; default 20,000. */
  readonly eventsPerDay?: number;
}

/** One event, ready to be sent. */
export interface GeneratedEvent {
  readonly id: string;
  readonly tenant: string;
  readonly type: 'audit.event';
  readonly key: string;
  readonly schema: 1;
  readonly body: Uint8Array;
}

/** 2026-11-02T06:00:00Z, a Monday. */
export const START_MS_DEFAULT = Date.UTC(2026, 10, 2, 6);
const EVENTS_PER_DAY_DEFAULT = 20_000;
/** Sessions that go on side by side in one tenant. */
const SESSIONS = 24;
const SESSION_EVENTS_MAX = 16;
const TENANT_ZIPF = 1.2;

interface Session {
  readonly id: string;
  readonly actor: CompanyActor;
  readonly correlation: string;
  left: number;
  begun: boolean;
}

interface Tenant {
  readonly company: Company;
  readonly sessions: Session[];
}

const BY_WEIGHT = {
  user: new Weighted(USER_ACTIONS.map(({ weight }) => weight)),
  machine: new Weighted(MACHINE_ACTIONS.map(({ weight }) => weight)),
};

/** Events without end, in the order of their times. */
export function* makeEventGenerator(
  seed: number,
  options: GeneratorOptions = {},
): Generator<GeneratedEvent, never> {
  const random = new SeededRandom(seed);
  const names = options.tenants ?? ['acme'];
  const tenants = names.map((name): Tenant => {
    const company = makeCompany(name, options.actors ?? ACTORS_DEFAULT, random);
    return { company, sessions: Array.from({ length: SESSIONS }, () => beginSession(company, random)) };
  });
  const byTenant = Weighted.zipf(tenants.length, TENANT_ZIPF);
  const start = options.startMs ?? START_MS_DEFAULT;
  const clock = new WorkingClock(random, start, options.eventsPerDay ?? EVENTS_PER_DAY_DEFAULT);
  for (;;) {
    const tenant = tenants[byTenant.draw(random)];
    const event = nextEvent(tenant, clock.next(), random);
    yield {
      id: event.event_id,
      tenant: event.tenant,
      type: 'audit.event',
      key: `${event.tenant}/${event.actor.id}`,
      schema: 1,
      body: encodeUtf8(JSON.stringify(event)),
    };
  }
}

/** The first events of a seed. */
export function generateEvents(
  seed: number,
  count: number,
  options: GeneratorOptions = {},
): GeneratedEvent[] {
  const generator = makeEventGenerator(seed, options);
  return Array.from({ length: count }, () => generator.next().value);
}

/** The envelope of an event as one line of NDJSON, without its LF. The body stands in it byte for byte. */
export function envelopeLine({ id, type, key, schema, body }: GeneratedEvent): string {
  const text = new TextDecoder().decode(body);
  return `{"id":"${id}","type":"${type}","key":${JSON.stringify(key)},"schema":${schema},"body":${text}}`;
}

function beginSession(company: Company, random: SeededRandom): Session {
  const actor = company.drawActor(random);
  return {
    id: `ses_${random.hex(12)}`,
    actor,
    correlation: `c_${random.hex(12)}`,
    left: random.between(2, SESSION_EVENTS_MAX),
    begun: actor.type !== 'user',
  };
}

function nextEvent({ company, sessions }: Tenant, now: number, random: SeededRandom): AuditEvent {
  const place = random.below(sessions.length);
  const session = sessions[place];
  const action = nextAction(session, random);
  const event = makeEvent(company, session, action, now, random);
  // A login that did not succeed is tried again; a session without one does nothing else.
  session.begun ||= event.result === 'success';
  if (--session.left <= 0) sessions[place] = beginSession(company, random);
  return event;
}

function nextAction({ actor, begun, left }: Session, random: SeededRandom): Action {
  if (actor.type !== 'user') return MACHINE_ACTIONS[BY_WEIGHT.machine.draw(random)];
  if (!begun) return LOGIN;
  if (left === 1 && random.chance(500)) return LOGOUT;
  return USER_ACTIONS[BY_WEIGHT.user.draw(random)];
}

function makeEvent(
  company: Company,
  session: Session,
  action: Action,
  now: number,
  random: SeededRandom,
): AuditEvent {
  const { actor } = session;
  const lot = random.below(1_000);
  const result =
    lot < action.failure ? 'failure' : lot < action.failure + action.denied ? 'denied' : 'success';
  const kept = company.drawResource(action.resource, random);
  const resource = action.resource === 'session' ? { type: 'session', id: session.id } : describe(kept);
  return {
    event_id: random.uuidAt(now),
    event_time: new Date(now).toISOString(),
    tenant: company.tenant,
    actor: {
      id: actor.id,
      type: actor.type,
      role: actor.role,
      department: actor.department,
      ip_address: actor.address,
      ...(actor.userAgent === null ? {} : { user_agent: actor.userAgent }),
    },
    action: action.name,
    resource,
    result,
    ...(action.changes !== undefined && result === 'success'
      ? { changes: changesOf(action.changes, random) }
      : {}),
    ...(result === 'denied' ? { reason: random.pick(DENIALS) } : {}),
    ...(result === 'failure' ? { error: action === LOGIN ? 'password is wrong' : random.pick(ERRORS) } : {}),
    ...(random.chance(300) ? { details: detailsOf(random) } : {}),
    context: {
      request_id: `req_${random.hex(16)}`,
      session_id: session.id,
      ...(random.chance(350) ? { correlation_id: session.correlation } : {}),
      traceparent: `00-${random.hex(32)}-${random.hex(16)}-0${random.below(2)}`,
    },
    criticality: action.critical === true ? 'critical' : 'normal',
  };
}

function describe({
  type,
  id,
  name,
}: {
  type: string;
  id: string;
  name: string | null;
}): AuditEvent['resource'] {
  return name === null ? { type, id } : { type, id, name };
}

function changesOf(kind: ChangeKind, random: SeededRandom): NonNullable<AuditEvent['changes']> {
  switch (kind) {
    case 'text':
      return {
        title: { old: phrase(random), new: phrase(random) },
        version: increment(random.between(1, 60)),
      };
    case 'access':
      return { grant: { old: random.chance(400) ? null : random.pick(GRANTS), new: random.pick(GRANTS) } };
    case 'status': {
      const before = random.below(STATUSES.length - 1);
      return {
        status: { old: STATUSES[before], new: STATUSES[random.between(before + 1, STATUSES.length - 1)] },
      };
    }
    case 'amount': {
      // Minor units, with the currency beside them.
      const cents = Math.round(900 + random.exponential(48_000));
      return {
        paid_cents: { old: 0, new: cents },
        currency: { old: null, new: random.pick(['EUR', 'CHF', 'USD']) },
      };
    }
    case 'setting': {
      const [name, low, high] = random.pick(SETTINGS);
      return { [name]: { old: random.between(low, high), new: random.between(low, high) } };
    }
  }
}

function increment(version: number): { old: number; new: number } {
  return { old: version, new: version + 1 };
}

function phrase(random: SeededRandom): string {
  return Array.from({ length: random.between(2, 4) }, () => random.pick(WORDS)).join(' ');
}

function detailsOf(random: SeededRandom): Record<string, unknown> {
  if (random.chance(500))
    return { took_ms: Math.round(random.exponential(90)), region: random.pick(['eu-1', 'eu-2', 'us-1']) };
  return {
    note: `${phrase(random)} – größer als “${random.pick(WORDS)}”`,
    tags: [random.pick(WORDS), random.pick(WORDS)],
  };
}
