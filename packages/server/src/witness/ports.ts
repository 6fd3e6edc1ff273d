/** What the witness needs of others: a memory that survives, a key, the keys of the logs that it follows. */

import type { CosignerKey } from '@evident/core/cosignature.ts';
import type { Verifier } from '@evident/core/note.ts';

/** The last head of a log that the witness has cosigned, or has made up its mind to. */
export interface WitnessedHead {
  readonly size: bigint;
  readonly root: Uint8Array;
  /** Seconds since the Unix epoch, as in the cosignature. */
  readonly at: bigint;
  /** The signed note, as the log has sent it: whoever holds it can show what the log has signed. */
  readonly note: Uint8Array;
}

/** Heads by origin. Implemented in `stores/folder`; one process has it open. */
export interface WitnessMemory {
  last(origin: string): WitnessedHead | null;
  /** Every log of which a head was seen, ascending by origin. */
  all(): ReadonlyMap<string, WitnessedHead>;
  /**
   * Durable when it resolves; when it fails nothing is known, and the memory answers as before. Never two at a time.
   * @throws data-unwritable, disk-full
   */
  replace(origin: string, head: WitnessedHead): Promise<void>;
}

/** The key of the witness. `sign` returns the bare signature. */
export interface CosignatureKey {
  readonly key: CosignerKey;
  sign(message: Uint8Array): Uint8Array;
}

/** Keys of a log by origin. More than one: a rotation is under way, and heads of either are taken. */
export type FollowedLogs = ReadonlyMap<string, readonly Verifier[]>;
