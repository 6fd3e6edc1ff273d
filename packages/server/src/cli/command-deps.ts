/** What commands need of the rest: given by `main`, so that a command names no store. */

import type { Verifier } from '@evident/core/note.ts';
import type { AlertBoard } from '../alerts/ports.ts';
import type { OwnActor } from '../audit/own-event.ts';
import type { ConfigInput } from '../config.ts';
import type { ImportDependencies } from '../ingest/import/import-records.ts';
import type { Log } from '../log/log.ts';
import type { ObjectStore } from '../log/propose.ts';
import type { DeadLetterDeps } from '../project/dead-letters.ts';
import type { Projection } from '../project/projection.ts';
import type { RebuildDeps } from '../project/rebuild.ts';
import type { ViewSnapshots } from '../project/view-snapshot.ts';
import type { QueryDeps } from '../query/ports.ts';
import type { TileStore } from '../seal/ports.ts';
import type { Recovery } from '../seal/recover.ts';
import type { SealBreak } from '../seal/seal.ts';
import type { CopyReader, HeadReader, ObjectReader } from '../verify/ports.ts';
import type { VerifyDeps } from '../verify/verify.ts';
import type { VerifyViewDeps } from '../verify/verify-view.ts';

export interface StartedServer {
  readonly url: string;
  readonly vkey: string;
  readonly keyFile: string;
  readonly dataDir: string;
  readonly breaks: readonly SealBreak[];
  stop(): Promise<void>;
}

/** A source as it is stored. */
export interface SourceSummary {
  readonly name: string;
  readonly log: string;
  readonly tenants: readonly string[] | null;
  readonly wantedMode: 'polling' | 'wal';
  /** Null before the first connection. */
  readonly mode: 'sweep' | 'polling' | 'wal' | null;
  readonly epoch: number | null;
}

/** The outboxes that are relayed into this log. */
export interface SourceRegistry {
  list(): Promise<readonly SourceSummary[]>;
  register(
    name: string,
    log: string,
    tenants: readonly string[] | null,
    mode: 'polling' | 'wal',
  ): Promise<void>;
  /** Keeps where an outbox is, readable by the owner of the data directory alone. */
  storeConnection(name: string, connection: string): void;
}

/** Views: dead letters, rebuilds, verification. */
export interface ViewOperation {
  readonly projections: ReadonlyMap<string, Projection>;
  readonly letters: DeadLetterDeps;
  readonly rebuild: RebuildDeps;
  readonly snapshots: ViewSnapshots;
  readonly verify: VerifyViewDeps;
}

/** Whoever works at the machine itself: audit events name no more, because nothing proves more. */
export const OPERATOR: OwnActor = { id: 'operator', role: 'operator' };

/** A data directory, opened by this process or through the server that holds it. */
export interface OpenedData {
  readonly name: string;
  readonly dataDir: string;
  readonly logs: ReadonlyMap<string, Log>;
  readonly tiles: TileStore;
  readonly heads: HeadReader;
  readonly objects: ObjectReader & ObjectStore;
  readonly verify: VerifyDeps;
  readonly views: ViewOperation;
  readonly sources: SourceRegistry;
  /** Hears what verification found. */
  readonly alerts: Pick<AlertBoard, 'raise' | 'settle'>;
  /** Reads of the view, which are recorded. */
  readonly query: QueryDeps;
  readonly copies: CopyReader;
  /** Brings the view up to date; where a server holds the directory that is its work, and nothing is done. */
  catchUp(): Promise<void>;
  verifierOf(origin: string): Verifier;
  vkeyOf(origin: string): string;
  /** Seals what waits: only for a directory that this process holds. */
  seal(): Promise<readonly SealBreak[]>;
  importDeps(tenant: string): Promise<ImportDependencies>;
  recover(log: Log, partition: number, reason: string): Promise<Recovery>;
  close(): Promise<void>;
}

/** The server that holds a data directory. */
export interface FoundServer {
  readonly url: string;
  readonly key: string;
}

/** Something of an outbox that is not as init made it. */
export interface OutboxDeviation {
  readonly object: string;
  readonly what: string;
  readonly heal: string;
}

export interface OutboxOptions {
  readonly slots?: number;
  readonly slotSeconds?: number;
  readonly writer?: string;
  readonly relay?: string;
}

/** What init has made, put right and granted. */
export interface OutboxSummary {
  readonly database: string;
  readonly made: boolean;
  readonly slots: number;
  readonly slotSeconds: number;
  readonly healed: readonly OutboxDeviation[];
  readonly granted: readonly string[];
  readonly warnings: readonly string[];
}

export interface CommandDeps {
  readonly environment: NodeJS.ProcessEnv;
  start(input: ConfigInput): Promise<StartedServer>;
  /** The server that holds a directory, or null. */
  findServer(dataDir: string): Promise<FoundServer | null>;
  /** @param alone the directory must not be held by a server: the command writes */
  open(input: ConfigInput, options: { alone: boolean }): Promise<OpenedData>;
  /** @param url of the application's database; undefined: the one that the environment names */
  initOutbox(url: string | undefined, options: OutboxOptions): Promise<OutboxSummary>;
  checkOutbox(url: string | undefined): Promise<readonly OutboxDeviation[]>;
  randomId(): string;
  /** Microseconds since the Unix epoch. */
  clock(): bigint;
}

/** Exit codes (design §5): usage 64, anything else that fails 70. */
export const EXIT = { success: 0, tampered: 1, differs: 1, notChecked: 2, usage: 64, failed: 70 } as const;
