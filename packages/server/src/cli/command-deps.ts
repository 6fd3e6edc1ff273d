/** What commands need of the rest: given by `main`, so that a command names no store. */

import type { Verifier } from '@evident/core/note.ts';
import type { ConfigInput } from '../config.ts';
import type { ImportDependencies } from '../ingest/import/import-records.ts';
import type { ObjectStore } from '../ingest/ingest.ts';
import type { Log } from '../log/log.ts';
import type { TileStore } from '../seal/ports.ts';
import type { Recovery } from '../seal/recover.ts';
import type { SealBreak } from '../seal/seal.ts';
import type { HeadReader, ObjectReader } from '../verify/ports.ts';
import type { VerifyDeps } from '../verify/verify.ts';

export interface StartedServer {
  readonly url: string;
  readonly vkey: string;
  readonly keyFile: string;
  readonly dataDir: string;
  readonly breaks: readonly SealBreak[];
  stop(): Promise<void>;
}

/** A data directory, opened by this process or through the server that holds it. */
export interface OpenedData {
  readonly name: string;
  readonly dataDir: string;
  readonly logs: ReadonlyMap<string, Log>;
  readonly tiles: TileStore;
  readonly heads: HeadReader;
  readonly objects: ObjectReader & ObjectStore;
  readonly verify: VerifyDeps;
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

export interface CommandDeps {
  readonly environment: NodeJS.ProcessEnv;
  start(input: ConfigInput): Promise<StartedServer>;
  /** The server that holds a directory, or null. */
  findServer(dataDir: string): Promise<FoundServer | null>;
  /** @param alone the directory must not be held by a server: the command writes */
  open(input: ConfigInput, options: { alone: boolean }): Promise<OpenedData>;
  randomId(): string;
}

/** Exit codes (design §5): usage 64, anything else that fails 70. */
export const EXIT = { success: 0, tampered: 1, notChecked: 2, usage: 64, failed: 70 } as const;
