/** What commands need of the rest: given by `main`, so that a command names no store. */

import type { CosignatureAlgorithm } from '@evident/core/cosignature.ts';
import type { BundleKey } from '@evident/core/evidence/bundle-files.ts';
import type { Verifier } from '@evident/core/note.ts';
import type { AlertBoard } from '../alerts/ports.ts';
import type { OwnActor } from '../audit/own-event.ts';
import type { ConfigInput } from '../config.ts';
import type { EvidenceDeps } from '../evidence/ports.ts';
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
import type { Rotated } from '../seal/rotate-key.ts';
import type { SealBreak } from '../seal/seal.ts';
import type { SignerAddress, TlsFiles } from '../signer/address.ts';
import type { InceptionMark } from '../signer/memory.ts';
import type { KeptHeadDeps } from '../verify/kept-heads.ts';
import type { CopyReader, HeadReader, ObjectReader } from '../verify/ports.ts';
import type { AuditStanding } from '../verify/self-audit-state.ts';
import type { Tier, TierStanding } from '../verify/tiers.ts';
import type { VerifyDeps } from '../verify/verify.ts';
import type { VerifyAnchorsDeps } from '../verify/verify-anchors.ts';
import type { VerifyViewDeps } from '../verify/verify-view.ts';
import type { WitnessAddress, WitnessEvent } from '../witness/serve.ts';
import type { CheckDeps } from './check.ts';

export interface StartedServer {
  readonly url: string;
  readonly vkey: string;
  readonly keyFile: string;
  readonly dataDir: string;
  readonly breaks: readonly SealBreak[];
  /** Tiers in force as it started. */
  readonly tiers: readonly Tier[];
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
  /** Proofs, the static layout of trees, bundles. */
  readonly evidence: EvidenceDeps;
  /** Tiers, and what others keep or say of heads. */
  readonly trust: {
    readonly tiers: () => Promise<readonly TierStanding[]>;
    readonly anchors: VerifyAnchorsDeps;
    readonly keptHeads: KeptHeadDeps;
  };
  /** The background self-audit; null: there is none, or it was not begun yet. */
  selfAudit(): Promise<AuditStanding | null>;
  /** This process holds the directory, and no server does. */
  readonly isHeldHere: boolean;
  /** Brings the view up to date; where a server holds the directory that is its work, and nothing is done. */
  catchUp(): Promise<void>;
  /** Of the key that signs a tree at a size, as keys were read last (`verify.refreshKeys`). */
  verifierOf(origin: string, size: bigint): Verifier;
  vkeyOf(origin: string, size?: bigint): string;
  /** Keys of every tree with the sizes that each signs, as they are now. */
  keys(): Promise<readonly BundleKey[]>;
  /** Replaces the signing key: only in a directory that this process holds. */
  rotateKey(reason: string): Promise<Rotated>;
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

/** What `evident signer` is asked to do. */
export interface SignerInput {
  readonly stateDir: string;
  /** Of the log that it signs for; null: the first that asks. */
  readonly name: string | null;
  readonly listen: SignerAddress;
  readonly tls: TlsFiles | null;
  /** Origins of trees that may begin anew. */
  readonly beginAnew: readonly string[];
  readonly onEvent: (event: { what: string; from: string; error?: unknown }) => void;
}

export interface StartedSigner {
  readonly address: string;
  readonly publicKeys: readonly Uint8Array[];
  readonly inception: InceptionMark | null;
  stop(): Promise<void>;
}

/** What `evident witness` is asked to do. */
export interface WitnessInput {
  readonly stateDir: string;
  readonly listen: WitnessAddress;
  readonly name: string;
  /** Vkeys of the logs that it follows. */
  readonly logs: readonly string[];
  readonly algorithm: CosignatureAlgorithm;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly onEvent: (event: WitnessEvent) => void;
}

export interface StartedWitness {
  readonly url: string;
  readonly vkey: string;
  readonly ownerKeyFile: string;
  /** Origins. */
  readonly logs: readonly string[];
  stop(): Promise<void>;
}

export interface CommandDeps {
  readonly environment: NodeJS.ProcessEnv;
  start(input: ConfigInput): Promise<StartedServer>;
  /** The server that holds a directory, or null. */
  findServer(dataDir: string): Promise<FoundServer | null>;
  /**
   * @param alone the directory must not be held by a server: the command writes. One that is not there is made then,
   * unless it `mustExist`
   */
  open(input: ConfigInput, options: { alone: boolean; mustExist?: boolean }): Promise<OpenedData>;
  /** @param url of the application's database; undefined: the one that the environment names */
  initOutbox(url: string | undefined, options: OutboxOptions): Promise<OutboxSummary>;
  checkOutbox(url: string | undefined): Promise<readonly OutboxDeviation[]>;
  startSigner(input: SignerInput): Promise<StartedSigner>;
  startWitness(input: WitnessInput): Promise<StartedWitness>;
  /** What a check of a bundle needs: nothing of the server. */
  check(): CheckDeps;
  randomId(): string;
  /** Microseconds since the Unix epoch. */
  clock(): bigint;
}

/** Exit codes (design §5): usage 64, anything else that fails 70. */
export const EXIT = { success: 0, tampered: 1, differs: 1, notChecked: 2, usage: 64, failed: 70 } as const;
