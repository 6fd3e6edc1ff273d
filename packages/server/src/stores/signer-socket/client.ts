/**
 * A signer that lies elsewhere. It is asked over one connection, one request at a time; when that breaks, the next
 * call opens another, not before a pause that grows. Nothing that it answers is believed: keys and inception are held
 * against what this log was begun with on every connection, and each signature is verified before it is given on.
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { openKeyRotation } from '@evident/core/evidence/key-rotation.ts';
import { formatVkey, parseVkey, type VerifyFunctions, verifierKey, verifierOf } from '@evident/core/note.ts';
import type { Parsed, Refusal } from '@evident/core/parsed.ts';
import type {
  RotationAnswer,
  RotationProof,
  Signature,
  SignedHead,
  SignerRotation,
  SignRequest,
} from '../../seal/ports.ts';
import { formatSignerAddress, type SignerTarget } from '../../signer/address.ts';
import { type InceptionMark, sameInception } from '../../signer/memory.ts';
import type { Signer, SignerDescription } from '../../signer/ports.ts';
import {
  type Failure,
  formatRequest,
  HEADS_MAX,
  isFailure,
  parseBegun,
  parseDescription,
  parseLast,
  parseRotation,
  parseRotationAnswer,
  parseSignatures,
  type Request,
} from '../../signer/protocol.ts';
import { SIGNER_ROTATIONS_MAX } from '../../signer/rotations.ts';
import { SignerConnection, unreachable } from './connection.ts';

const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5_000;
/** A connection that was idle for longer may have been ended by the other side: a new one is opened. */
const IDLE_MS_MAX = 60_000;

export interface SocketSignerDeps {
  readonly verify: VerifyFunctions;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class SocketSigner implements Signer {
  readonly #target: SignerTarget;
  readonly #deps: SocketSignerDeps;
  #connection: SignerConnection | null = null;
  #usedAt = 0;
  /** The log that this signer must be of; null until `begin`. */
  #mark: InceptionMark | null = null;
  #keys: readonly Uint8Array[] = [];
  #pauseMs = 0;
  #retryAt = Number.NEGATIVE_INFINITY;
  #lastFault: EvidentError | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(target: SignerTarget, deps: SocketSignerDeps) {
    this.#target = target;
    this.#deps = deps;
  }

  describe(): Promise<SignerDescription> {
    return this.#inTurn(async () => this.#describe(await this.#open()));
  }

  /** Also what every later connection is held against. */
  begin(mark: InceptionMark): Promise<{ ok: true } | Refusal> {
    this.#mark = mark;
    return this.#inTurn(async () => {
      // One that was opened before has not been held against the mark.
      this.#connection?.close();
      try {
        await this.#open();
        return { ok: true };
      } catch (error) {
        if (!isEvidentError(error) || error.code !== 'inception-refused') throw error;
        return { ok: false, reason: error.message };
      }
    });
  }

  last(origin: string): Promise<SignedHead | null> {
    return this.#inTurn(async () => {
      const connection = await this.#open();
      const { head } = await this.#ask(connection, { do: 'last', origin }, parseLast);
      return head;
    });
  }

  async sign(heads: readonly SignRequest[]): Promise<Signature[]> {
    const signatures: Signature[] = [];
    for (let from = 0; from < heads.length; from += HEADS_MAX) {
      const some = heads.slice(from, from + HEADS_MAX);
      signatures.push(...(await this.#inTurn(() => this.#sign(some))));
    }
    return signatures;
  }

  rotation(number: number): Promise<SignerRotation | null> {
    return this.#inTurn(async () => this.#rotation(await this.#open(), number));
  }

  rotate(number: number): Promise<RotationAnswer> {
    return this.#changeKeys({ do: 'rotate', number });
  }

  closeRotation(proof: RotationProof): Promise<RotationAnswer> {
    return this.#changeKeys({ do: 'close', proof });
  }

  close(): void {
    this.#connection?.close();
    this.#connection = null;
  }

  async #rotation(connection: SignerConnection, number: number): Promise<SignerRotation | null> {
    return (await this.#ask(connection, { do: 'rotation', number }, parseRotation)).rotation;
  }

  #changeKeys(request: Request): Promise<RotationAnswer> {
    return this.#inTurn(async () => {
      const connection = await this.#open();
      const answer = await this.#ask(connection, request, parseRotationAnswer);
      if (answer.ok) await this.#followKeys(connection);
      return answer;
    });
  }

  /** The keys that K leads to, each by a note that the one before it has signed: no others are taken for the signer's. */
  async #followKeys(connection: SignerConnection): Promise<void> {
    const key = this.#mark === null ? null : parseVkey(this.#mark.vkey);
    if (key?.ok !== true) return;
    const keys = [key.value];
    for (let number = 1; number <= SIGNER_ROTATIONS_MAX; number++) {
      const rotation = await this.#rotation(connection, number);
      if (rotation === null) break;
      const opened = await openKeyRotation(rotation.note, this.#deps.verify);
      if (!opened.ok || formatVkey(opened.value.old) !== formatVkey(keys[number - 1]))
        throw this.#strange(connection, `its rotation ${number} does not follow from the key before`);
      keys.push(opened.value.next);
    }
    this.#keys = keys.map(({ publicKey }) => publicKey);
  }

  async #sign(heads: readonly SignRequest[]): Promise<Signature[]> {
    const connection = await this.#open();
    const { list } = await this.#ask(connection, { do: 'sign', heads }, (line) =>
      parseSignatures(line, heads.length),
    );
    for (const [index, signature] of list.entries())
      if (signature.ok && !this.#isSignatureOf(heads[index], signature.note))
        throw this.#strange(connection, `its signature of ${heads[index].origin} is not valid`);
    return list;
  }

  #isSignatureOf({ origin, size, root }: SignRequest, note: Uint8Array): boolean {
    const verifiers = this.#keys.map((key) =>
      verifierOf(verifierKey(origin, 'ed25519', key), this.#deps.verify),
    );
    const opened = openTreeHead(note, verifiers, origin);
    if (!opened.ok) return false;
    const { head } = opened.value;
    return head.size === size && equalBytes(head.root, root) && head.extensions === undefined;
  }

  /** Calls run one after the other: there is one connection. */
  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(call);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** The connection, opened and checked. @throws signer-unreachable, at once while a pause lasts; key-mismatch, inception-refused */
  async #open(): Promise<SignerConnection> {
    const now = this.#deps.now();
    if (this.#connection?.isOpen && now - this.#usedAt < IDLE_MS_MAX) return this.#connection;
    this.#connection?.close();
    this.#connection = null;
    if (now < this.#retryAt && this.#lastFault !== null) throw this.#lastFault;
    try {
      const connection = await SignerConnection.open(this.#target);
      this.#connection = connection;
      await this.#check(connection);
      this.#pauseMs = 0;
      this.#lastFault = null;
      return connection;
    } catch (error) {
      this.close();
      if (!isEvidentError(error)) throw error;
      this.#lastFault = error;
      this.#pauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2));
      this.#retryAt = this.#deps.now() + this.#pauseMs;
      throw error;
    }
  }

  /** Holds the signer against what this log was begun with. */
  async #check(connection: SignerConnection): Promise<void> {
    const { publicKeys, inception } = await this.#describe(connection);
    this.#keys = publicKeys;
    const mark = this.#mark;
    if (mark === null) return;
    const key = parseVkey(mark.vkey);
    const where = formatSignerAddress(this.#target.address);
    if (!key.ok || !publicKeys.some((one) => equalBytes(one, key.value.publicKey)))
      throw new EvidentError(
        'key-mismatch',
        `the signer at ${where} has another key than ${mark.vkey}, with which this log was begun`,
      );
    if (inception === null || !sameInception(inception, mark)) {
      const begun = await this.#ask(connection, { do: 'begin', inception: mark }, parseBegun);
      if (!begun.ok) throw new EvidentError('inception-refused', `the signer at ${where}: ${begun.reason}`);
    }
    // The one key that K is: there is no rotation to follow.
    if (publicKeys.length > 1) await this.#followKeys(connection);
  }

  #describe(connection: SignerConnection): Promise<SignerDescription> {
    return this.#ask(connection, { do: 'describe' }, parseDescription);
  }

  async #ask<T extends object>(
    connection: SignerConnection,
    request: Request,
    parse: (line: Uint8Array) => Parsed<T | Failure>,
  ): Promise<T> {
    const line = await connection.ask(formatRequest(request));
    this.#usedAt = this.#deps.now();
    const answer = parse(line);
    if (!answer.ok) throw this.#strange(connection, answer.reason);
    if (isFailure(answer.value)) {
      const { failed, reason } = answer.value;
      throw unreachable(this.#target, `it failed (${failed}): ${reason}`);
    }
    return answer.value;
  }

  #strange(connection: SignerConnection, reason: string): EvidentError {
    connection.close(reason);
    return unreachable(this.#target, reason);
  }
}
