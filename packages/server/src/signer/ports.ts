/** A signer as an installation meets it, in its own folder or behind a socket. */

import type { Refusal } from '@evident/core/parsed.ts';
import type { HeadSigner, KeyRotator } from '../seal/ports.ts';
import type { InceptionMark } from './memory.ts';

export interface SignerDescription {
  /** Public keys that it signs with or has signed with, Ed25519, 32 bytes each; the first is the one in use. */
  readonly publicKeys: readonly Uint8Array[];
  /** The name of the log that it was made for; null: any, until inception. */
  readonly name: string | null;
  /** The log that it signs for; null before its inception. */
  readonly inception: InceptionMark | null;
  /** Whether its key has ever signed, also where its memory is gone. */
  readonly hasSigned: boolean;
}

/** @throws signer-unreachable, data-unwritable, disk-full */
export interface Signer extends HeadSigner, KeyRotator {
  describe(): Promise<SignerDescription>;
  /** Takes the mark of a log, for ever: durable when this resolves. Refused if it has another one, or heads of another name. */
  begin(mark: InceptionMark): Promise<{ readonly ok: true } | Refusal>;
}
