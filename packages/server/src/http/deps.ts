/** What the HTTP server needs of others. `compose` builds it. */

import type { MapperRegistry } from '@evident/core/mapping/registry.ts';
import type { Registry } from 'prom-client';
import type { AccessDeps } from '../access/api-keys.ts';
import type { MetricsAccess } from '../access/metrics-token.ts';
import type { ChangeDeps } from '../alerts/changes.ts';
import type { RecordOwn } from '../audit/record-own.ts';
import type { EvidenceDeps } from '../evidence/ports.ts';
import type { OccurrenceStore } from '../ingest/import/occurrence-counter.ts';
import type { Log } from '../log/log.ts';
import type { ObjectStore } from '../log/propose.ts';
import type { DeadLetterDeps } from '../project/dead-letters.ts';
import type { ViewStatus } from '../project/view-status.ts';
import type { QueryDeps } from '../query/ports.ts';
import type { AuditStanding } from '../verify/self-audit-state.ts';
import type { TierStanding } from '../verify/tiers.ts';
import type { HttpLimits } from './limits.ts';

/** A verifier key as `GET /v1/keys` lists it. */
export interface PublishedKey {
  readonly origin: string;
  readonly vkey: string;
  /** The first tree size that it signs, and the first that it signs no more (null: it is in use). */
  readonly from: bigint;
  readonly to: bigint | null;
}

/** Published heads and keys. */
export interface HeadsReader {
  /** The bytes of the newest signed note of a partition, or null before the first. */
  newest(log: string, partition: number): Promise<Uint8Array | null>;
  /** Every verifier key, retired ones among them. */
  keys(): Promise<readonly PublishedKey[]>;
}

export interface StatusReader {
  /** How many records of each partition are sealed: one number a partition. */
  sealedSizes(log: string): Promise<readonly bigint[]>;
}

/** A record by what a writer calls it. */
export interface SoughtIdentity {
  readonly log: string;
  readonly tenant: string;
  /** Lower-case UUID. */
  readonly id: string;
}

export interface IdentityPlace {
  readonly partition: number;
  readonly position: bigint;
}

/** Where logs hold identities. */
export interface IdentityReader {
  /**
   * The place of the first record of each identity, in order; null where its log holds none.
   * @throws log-unavailable
   */
  find(sought: readonly SoughtIdentity[]): Promise<(IdentityPlace | null)[]>;
  /** Calls `listener` after commits, as far as this process hears of them. @returns what ends it */
  onAppended(listener: () => void): () => void;
}

/** A source, and how its relay stands; null where that is not known yet. */
export interface SourceReport {
  readonly source: string;
  readonly log: string;
  readonly tenants: readonly string[] | null;
  readonly wantedMode: 'polling' | 'wal';
  readonly mode: 'sweep' | 'polling' | 'wal' | null;
  readonly epoch: number | null;
  readonly depth: bigint | null;
  readonly bytes: bigint | null;
  readonly oldestMs: number | null;
  readonly slotLagBytes: bigint | null;
  readonly alerts: readonly string[];
  readonly error: string | null;
}

interface Readiness {
  readonly ready: boolean;
  /** Why not, in words that anybody may read: the route needs no credential. */
  readonly reasons: readonly string[];
}

/** The part of pino that is used. `fields.err` is the error with its cause. */
interface HttpLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What stops a view when too many records fail in a row. */
export interface ViewBreaker {
  readonly view: string;
  /** Why it is open; null: it is closed. */
  readonly reason: () => string | null;
  /** @param allowance dead letters that were looked at, and are passed uncounted */
  readonly reset: (allowance: number) => void;
}

export interface HttpDeps {
  /** Every log of this server by name, `heads` and `windows` among them. May grow while the server runs. */
  readonly logs: ReadonlyMap<string, Log>;
  /** Where bodies go that do not fit into a leaf. */
  readonly objects: ObjectStore;
  /** API keys and tokens: `store`, one `VerifiedKeys` for the whole process, random bytes, clock, tokens. */
  readonly apiKeys: AccessDeps;
  /** Records Evident's own audit events. */
  readonly recordOwn: RecordOwn;
  /** Addresses and networks of proxies whose word on a client's address is taken (X-Forwarded-For); none by default. */
  readonly trustedProxies?: readonly string[];
  /** The secret from which ids of imported records derive; made at first use, and kept as long as the records. */
  readonly tenantSecret: (tenant: string) => Promise<Uint8Array>;
  /** Scratch space for the counts of an import's lines; closed by the import. */
  readonly openOccurrenceStore: () => OccurrenceStore;
  readonly heads: HeadsReader;
  readonly status: StatusReader;
  readonly identities: IdentityReader;
  /** The view, saved searches, and who records reads. */
  readonly query: QueryDeps;
  /** Proofs, the static layout of trees, bundles. */
  readonly evidence: EvidenceDeps;
  /** Which tiers are in force, and how the self-audit stands; null: there is none. */
  readonly standing: () => Promise<{
    readonly tiers: readonly TierStanding[];
    readonly selfAudit: AuditStanding | null;
  }>;
  /** Makes rows of records as they are appended, for tails with a filter. */
  readonly mappers: MapperRegistry;
  /** Alerts, their rules, and where they are sent. */
  readonly alerts: ChangeDeps;
  /** Dead letters of views. */
  readonly deadLetters: DeadLetterDeps;
  /** Views, with the open dead letters of a tenant, or of all. */
  readonly viewStatuses: (tenant: string | null) => Promise<readonly ViewStatus[]>;
  /** The view that this process feeds; null where another process does, or none. */
  readonly breaker: ViewBreaker | null;
  /** Every registered source. */
  readonly sources: () => Promise<readonly SourceReport[]>;
  /** Answers `GET /metrics`; the server adds its own metrics, so one server a registry. */
  readonly metrics: Registry;
  /** Who reads them besides credentials that may; absent: nobody. */
  readonly metricsAccess?: MetricsAccess;
  /** Replaces the signing key; absent where this process does not seal. */
  readonly rotateKey?: () => Promise<{ readonly number: number; readonly position: bigint }>;
  /** Asked by `GET /readyz`; has to answer within a second or so. */
  readonly ready: () => Promise<Readiness>;
  /** Bytes of records that wait for the log, over all logs: counts against `inFlightBytesMax`. Called per request. */
  readonly waitingBytes: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** A new unguessable id of [A-Za-z0-9-]{1,64}: request ids and import runs. */
  readonly randomId: () => string;
  readonly logger: HttpLogger;
  /**
   * Aborted when the process begins to stop: every route that needs a credential then answers 503 shutting-down,
   * tails end and imports break off. `close()` of the server does the same by itself.
   */
  readonly stopping?: AbortSignal;
  /** Bounds that differ from `HTTP_LIMITS`. */
  readonly limits?: Partial<HttpLimits>;
}
