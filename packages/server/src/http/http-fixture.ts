/** A server over memory for the tests of this folder. Every answer is held against the document of the server. */

import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { Registry } from 'prom-client';
import { Compile } from 'typebox/schema';
import { type AccessDeps, createApiKey, type Role } from '../access/api-keys.ts';
import type { TokenVerifier } from '../access/tokens.ts';
import { VerifiedKeys } from '../access/verified-keys.ts';
import type { OwnEvent } from '../audit/own-event.ts';
import { MemoryAlertStore, MemoryRuleStore, MemoryWebhookStore } from '../stores/memory/alert-store.ts';
import { MemoryApiKeyStore } from '../stores/memory/api-keys.ts';
import {
  MemoryLog,
  type MemoryLogHooks,
  type MemoryLogState,
  makeMemoryLogState,
} from '../stores/memory/log.ts';
import { type MemoryDeadLetters, openMemoryDeadLetters } from './dead-letter-fixture.ts';
import type { HttpDeps, IdentityPlace, SoughtIdentity } from './deps.ts';
import { type MemoryEvidence, openMemoryEvidence } from './evidence-fixture.ts';
import { openMemoryQuery, type Reads } from './query-fixture.ts';
import { buildServer } from './server.ts';

export const NOTE = new TextEncoder().encode('evident.invalid/x/audit/0\n3\nAAAA\n\n\u2014 x y\n');

export interface TestServer {
  readonly app: FastifyInstance;
  readonly states: ReadonlyMap<string, MemoryLogState>;
  readonly access: AccessDeps;
  readonly objects: Map<string, Uint8Array>;
  readonly logged: { fields: Record<string, unknown>; message: string }[];
  /** Evident's own audit events, which this server records here and not in its log. */
  readonly recorded: OwnEvent[];
  /** Alerts in memory. */
  readonly alerts: HttpDeps['alerts'];
  /** What was recorded of reads. */
  readonly reads: Reads;
  /** Feeds the view with what the logs hold; until then it is empty. */
  readonly project: () => Promise<void>;
  /** The view whose dead letters the routes handle; its mapper refuses bodies that hold "faulty". */
  readonly letters: MemoryDeadLetters;
  /** Sealed trees over the logs, once a test seals them. */
  readonly evidence: MemoryEvidence;
  /** The breaker of that view: why it is open, and what it was reset with. */
  readonly breaker: { reason: string | null; readonly resets: number[] };
  /** Keys by role and tenant: `writer:acme`, `auditor:acme`, `auditor`, … `admin`, `writer:other`. */
  readonly keys: Readonly<Record<string, string>>;
  /** Sends a request as one of the keys (null: without credential) and checks the answer against the document. */
  send(as: string | null, request: InjectOptions): Promise<LightMyRequestResponse>;
  /** Appends items to the log `audit` as JSON. */
  append(items: readonly unknown[], as?: string): Promise<LightMyRequestResponse>;
  /** Everything that the logs hold, for saying that nothing has changed. */
  content(): string;
  /** Listens on 127.0.0.1. */
  listen(): Promise<{ port: number; url: string }>;
}

export interface TestServerOptions extends Partial<HttpDeps> {
  readonly hooks?: MemoryLogHooks;
  readonly tokens?: TokenVerifier;
}

const LOGS = ['audit', 'clicks', 'heads', 'windows'];
const WHO = [
  'writer:acme',
  'writer:other',
  'investigator:acme',
  'investigator',
  'auditor:acme',
  'auditor',
  'compliance:acme',
  'compliance',
  'admin:acme',
  'admin',
];

export async function openTestServer(
  test: TestContext,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const { hooks, tokens = null, ...over } = options;
  const parts = makeParts(hooks, tokens);
  const { access, states, objects, logged, recorded, reads, project } = parts;
  const app = buildServer({ ...parts.deps, ...over, limits: { ...parts.deps.limits, ...over.limits } });
  await app.ready();
  test.after(() => app.close());
  const keys: Record<string, string> = {};
  for (const who of WHO) {
    const [role, tenant = null] = who.split(':');
    keys[who] = (await createApiKey(access, { role: role as Role, tenant, note: null }, null)).text;
  }
  const document = new DocumentCheck(app);
  const send: TestServer['send'] = async (as, request) => {
    const authorization = as === null ? {} : { authorization: `Bearer ${keys[as] ?? as}` };
    const response = await app.inject({ ...request, headers: { ...authorization, ...request.headers } });
    document.check(request, response);
    return response;
  };
  const append: TestServer['append'] = (items, as = 'writer:acme') =>
    send(as, {
      method: 'POST',
      url: '/v1/logs/audit/records',
      headers: { 'content-type': 'application/json' },
      payload: JSON.stringify(items),
    });
  const listen = async () => {
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    return { url, port: Number(new URL(url).port) };
  };
  const content = () => textOf(states);
  return {
    app,
    states,
    access,
    objects,
    logged,
    recorded,
    reads,
    project,
    letters: parts.letters,
    breaker: parts.breaker,
    evidence: parts.evidence,
    alerts: parts.deps.alerts,
    keys,
    send,
    append,
    content,
    listen,
  };
}

interface Parts
  extends Pick<
    TestServer,
    | 'states'
    | 'access'
    | 'objects'
    | 'logged'
    | 'recorded'
    | 'reads'
    | 'project'
    | 'letters'
    | 'breaker'
    | 'evidence'
  > {
  readonly deps: HttpDeps;
}

function makeParts(hooks: MemoryLogHooks | undefined, tokens: TokenVerifier | null): Parts {
  const now = 1_800_000_000_000_000n;
  const states = new Map(LOGS.map((name) => [name, makeMemoryLogState(name, name === 'audit' ? 3 : 1, now)]));
  const monotonic = () => performance.now();
  const verified = new VerifiedKeys(monotonic);
  const recorded: OwnEvent[] = [];
  const access: AccessDeps = {
    store: new MemoryApiKeyStore(),
    verified,
    randomBytes,
    clock: () => now,
    record: async (event) => void recorded.push(event),
    tokens,
  };
  const objects = new Map<string, Uint8Array>();
  const logged: TestServer['logged'] = [];
  const query = openMemoryQuery(states, objects, () => now);
  const note = (fields: object, message: string) => logged.push({ fields: { ...fields }, message });
  const origin = 'evident.invalid/x/audit/0';
  const logs = new Map([...states].map(([name, state]) => [name, new MemoryLog(state, () => now, hooks)]));
  const bodies = {
    get: async (tenant: string, sha256: Uint8Array) =>
      objects.get(`${tenant}/${Buffer.from(sha256).toString('hex')}`) ?? null,
  };
  const breaker: TestServer['breaker'] = { reason: null, resets: [] };
  const evidence = openMemoryEvidence(states, logs, query.deps);
  const letters = openMemoryDeadLetters(logs, bodies, () => now);
  const deps: HttpDeps = {
    logs,
    deadLetters: letters.deadLetters,
    viewStatuses: letters.viewStatuses,
    breaker: {
      view: 'hot',
      reason: () => breaker.reason,
      reset: (allowance) => breaker.resets.push(allowance),
    },
    objects: {
      put: async (tenant, sha256, body) =>
        void objects.set(`${tenant}/${Buffer.from(sha256).toString('hex')}`, body),
    },
    apiKeys: access,
    recordOwn: async (events) => void recorded.push(...events),
    alerts: makeAlerts(recorded),
    tenantSecret: async (tenant) => createHash('sha256').update(tenant).digest(),
    openOccurrenceStore: () => assert.fail('no test has that many lines'),
    heads: {
      newest: async (log, partition) => (log === 'audit' && partition === 0 ? NOTE : null),
      keys: async () => [{ origin, vkey: `${origin}+00000000+AQ==`, from: 0n, to: null }],
    },
    identities: {
      find: async (sought) => sought.map((one) => placeOf(states, one)),
      onAppended: () => () => undefined,
    },
    query: query.deps,
    evidence: evidence.deps,
    standing: async () => ({ tiers: [], selfAudit: null }),
    mappers: makeRegistry(),
    sources: async () => [],
    status: { sealedSizes: async (log) => states.get(log)!.partitions.map(() => 0n) },
    metrics: new Registry(),
    ready: async () => ({ ready: true, reasons: [] }),
    waitingBytes: () => 0,
    now: monotonic,
    randomId: randomUUID,
    logger: { info: note, warn: note, error: note },
    // Tests leave half requests behind.
    limits: { closeMsMax: 200 },
  };
  const { reads, project } = query;
  return { states, access, objects, logged, recorded, reads, project, letters, breaker, evidence, deps };
}

function makeAlerts(recorded: OwnEvent[]): HttpDeps['alerts'] {
  let now = 1_800_000_000_000_000n;
  const source = { heads: async () => [] };
  const board = new MemoryAlertStore({ source, clock: () => ++now, newId: randomUUID });
  return {
    board,
    rules: new MemoryRuleStore(board),
    webhooks: new MemoryWebhookStore(board),
    record: async (events) => void recorded.push(...events),
    newId: randomUUID,
    randomBytes,
  };
}

/** Where the memory logs hold an identity. */
export function placeOf(
  states: TestServer['states'],
  { log, tenant, id }: SoughtIdentity,
): IdentityPlace | null {
  return states.get(log)?.identities.get(`${tenant} ${id}`) ?? null;
}

function textOf(states: ReadonlyMap<string, MemoryLogState>): string {
  return JSON.stringify([...states], (_name, value) =>
    typeof value === 'bigint' ? `${value}` : value instanceof Map ? [...value] : value,
  );
}

/** An envelope of a foreign type; `over` replaces members, and `undefined` takes one out. */
export function envelope(over: Record<string, unknown> = {}): Record<string, unknown> {
  return { id: randomUUID(), type: 'note', key: 'acme/usr_1', schema: 0, body: { n: 1 }, ...over };
}

export function auditEvent(
  over: Record<string, unknown> = {},
  bodyOver: Record<string, unknown> = {},
): Record<string, unknown> {
  const id = randomUUID();
  const body = {
    event_id: id,
    event_time: '2026-11-20T10:00:00Z',
    tenant: 'acme',
    actor: { id: 'usr_1', type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    criticality: 'normal',
    ...bodyOver,
  };
  return { id, type: 'audit.event', key: 'acme/usr_1', schema: 1, body, ...over };
}

export interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: Record<string, object> };
}

export interface Operation {
  operationId?: string;
  summary?: string;
  security?: object[];
  parameters?: { name: string; in: string; required?: boolean; schema?: object }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}

/** Holds answers against what the document says of their route, status and media type. */
class DocumentCheck {
  readonly #document: Document;
  readonly #compiled = new Map<object, ReturnType<typeof Compile>>();

  constructor(app: FastifyInstance) {
    this.#document = app.swagger() as unknown as Document;
  }

  check(request: InjectOptions, response: LightMyRequestResponse): void {
    assert.match(String(response.headers['x-request-id']), /^[A-Za-z0-9-]{1,64}$/);
    const path = String(request.url).split('?', 1)[0];
    const method = (request.method ?? 'GET').toLowerCase();
    const known = Object.entries(this.#document.paths).find(([template]) =>
      new RegExp(`^${template.replace('{tile}', '.+').replaceAll(/\{[^}]+\}/g, '[^/]+')}$`).test(path),
    );
    const operation = known?.[1][method];
    if (operation === undefined) return;
    const where = `${method} ${known?.[0]} ${response.statusCode}`;
    const declared = operation.responses[response.statusCode];
    assert.ok(declared, `${where} is not in the document: ${response.body.slice(0, 300)}`);
    if (declared.content === undefined) {
      assert.equal(response.body, '', `${where} has no body`);
      return;
    }
    const type = String(response.headers['content-type']).split(';', 1)[0];
    const [, media] = Object.entries(declared.content).find(([name]) => name.split(';', 1)[0] === type) ?? [];
    assert.ok(media, `${where}: ${type} is not in the document`);
    if (!/[/+]json$/.test(type)) return;
    assert.ok(
      this.#schemaOf(media.schema).Check(response.json()),
      `${where} is not as its schema says: ${response.body.slice(0, 600)}`,
    );
  }

  #schemaOf(schema: object): ReturnType<typeof Compile> {
    const known = this.#compiled.get(schema);
    if (known !== undefined) return known;
    const text = JSON.stringify(schema).replaceAll('#/components/schemas/', '#/$defs/');
    const defs = JSON.parse(
      JSON.stringify(this.#document.components.schemas).replaceAll('#/components/schemas/', '#/$defs/'),
    );
    const compiled = Compile({ ...JSON.parse(text), $defs: defs });
    this.#compiled.set(schema, compiled);
    return compiled;
  }
}
