/** The keys of a log as everybody who reads it takes them: from K, and from the rotations that are stored. */

import { openTreeHead, parseTreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { BundleKey } from '@evident/core/evidence/bundle-files.ts';
import {
  followPlaced,
  type KeyHistory,
  keysOfTree,
  singleKeyHistory,
} from '@evident/core/evidence/key-history.ts';
import { treeOf } from '@evident/core/evidence/key-rotation.ts';
import { compareText } from '@evident/core/evidence/manifest.ts';
import {
  formatVkey,
  type KeyId,
  parseNote,
  type Verifier,
  type VerifierKey,
  verifierOf,
} from '@evident/core/note.ts';
import type { KeySource } from './evidence/ports.ts';
import type { StoredRotation } from './seal/ports.ts';
import { VERIFY_FUNCTIONS } from './stores/folder/signing-keys.ts';

interface KnownKeys {
  readonly history: KeyHistory;
  /** Rotations, oldest first. */
  readonly rotations: readonly StoredRotation[];
}

export class KeyRing {
  readonly #read: (from: number) => Promise<readonly StoredRotation[]>;
  #known: KnownKeys;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param read rotations from a number on, oldest first */
  constructor(k: VerifierKey, read: (from: number) => Promise<readonly StoredRotation[]>) {
    this.#read = read;
    const history = singleKeyHistory(k);
    if (!history.ok) throw new EvidentError('key-mismatch', history.reason);
    this.#known = { history: history.value, rotations: [] };
  }

  /** As they were read last. */
  get known(): KnownKeys {
    return this.#known;
  }

  /**
   * As they are now: a head that was stored before this call verifies with them.
   * @throws key-mismatch when what is stored does not follow from K; log-unavailable
   */
  async read(): Promise<KnownKeys> {
    const turn = this.#turn.then(async () => {
      for (const next of await this.#read(this.#known.rotations.length + 1)) await this.#follow(next);
    });
    this.#turn = turn.catch(() => undefined);
    await turn;
    return this.#known;
  }

  /** The verifier of a head, with the keys that were read last. Where no key of the log signs it: one that nothing satisfies. */
  verifierOf(origin: string, size: bigint): Verifier {
    const key = this.#known.history.keyFor(origin, size);
    if (key === null) return { name: origin, keyId: '00000000' as KeyId, verify: () => false };
    return verifierOf(key, VERIFY_FUNCTIONS);
  }

  /** The keys of a tree, with the sizes that each signs, as they are now. */
  async keysOf(origin: string): Promise<BundleKey[]> {
    return keysOfTree((await this.read()).history, origin, null);
  }

  /** @throws RangeError for a tree that is not of this installation */
  vkeyOf(origin: string, size: bigint): string {
    const key = this.#known.history.keyFor(origin, size);
    if (key === null) throw new RangeError(`${origin} is no tree of ${this.#known.history.name}`);
    return formatVkey(key);
  }

  async #follow(rotation: StoredRotation): Promise<void> {
    const { history, rotations } = this.#known;
    const number = rotations.length + 1;
    const refuse = (reason: string): never => {
      throw new EvidentError('key-mismatch', `the stored rotation ${number} of the key: ${reason}`);
    };
    const note = parseNote(rotation.head);
    if (!note.ok) return refuse(note.reason);
    const [origin, sizeText] = note.value.text.split('\n');
    const key = /^\d+$/.test(sizeText) ? history.keyFor(origin, BigInt(sizeText)) : null;
    if (key === null) return refuse('its head is of no log heads of this installation');
    const head = openTreeHead(rotation.head, [verifierOf(key, VERIFY_FUNCTIONS)], origin);
    if (!head.ok) return refuse(head.reason);
    const { position } = rotation;
    const next = await followPlaced(
      history,
      { position, note: rotation.note, head: head.value.head },
      VERIFY_FUNCTIONS,
    );
    if (!next.ok) return refuse(next.reason);
    this.#known = { history: next.value, rotations: [...rotations, rotation] };
  }
}

/** Keys for evidence that ends in a head of heads/0: what handed over behind that head is no part of it. */
export function keySourceOf(ring: Pick<KeyRing, 'read'>): KeySource {
  return {
    keysOf: async (origins, before) => {
      const { history } = await ring.read();
      return origins.toSorted(compareText).flatMap((origin) => keysOfTree(history, origin, before));
    },
    rotations: async (before) => {
      const { history, rotations } = await ring.read();
      return rotations.flatMap(({ position, head: note }, index) => {
        const { origin, size } = history.steps[index].heads;
        if (size >= before) return [];
        const parsed = parseNote(note);
        const head = parsed.ok ? parseTreeHead(parsed.value.text) : parsed;
        const epoch = treeOf(history.name, origin)?.epoch;
        if (!head.ok || epoch === undefined)
          throw new EvidentError('key-mismatch', `rotation ${index + 1} has no head`);
        return [{ position, head: { epoch, size, root: head.value.root, note } }];
      });
    },
  };
}
