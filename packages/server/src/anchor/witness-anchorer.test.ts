/** A witness as an anchorer: with a real witness behind it, and with ones that answer what they must not. */

import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import {
  type CosignerKey,
  cosignatureMessage,
  cosignerKey,
  formatTimestampedSignature,
} from '@evident/core/cosignature.ts';
import { perfectRoot, rootOf } from '@evident/core/merkle/tree.ts';
import { parseNote } from '@evident/core/note.ts';
import {
  formatKnownSize,
  formatSignatureLine,
  parseAddCheckpoint,
  SIZE_MEDIA_TYPE,
} from '@evident/core/tlog-witness.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import type { TileStore } from '../seal/ports.ts';
import type { WitnessedHead } from '../witness/ports.ts';
import { Witness } from '../witness/witness.ts';
import { HONEST, historyOf, ScriptedLog, secretOf } from '../witness/witness-fixture.ts';
import type { AnchorAnswer, HeadToAnchor } from './ports.ts';
import { type AskWitness, type WitnessReply, witnessAnchorer } from './witness-anchorer.ts';

const LOG = new ScriptedLog('log.example/heads/0', 1);
const NOW = 1_795_000_000n;
const SECRET = secretOf(9);
const KEY = keyOf(9);

function keyOf(seed: number, name = 'witness.example/w'): CosignerKey {
  const { x } = secretOf(seed).export({ format: 'jwk' }) as { x: string };
  return cosignerKey(name, 'ed25519', Uint8Array.from(Buffer.from(x, 'base64url')));
}

function tilesOf(leaves: Uint8Array[]): TileStore {
  const store: Pick<TileStore, 'read'> = {
    async read(_log, _partition, level, index, count) {
      const width = 256 ** level;
      const hashes = Array.from({ length: count }, (_, at) => {
        const from = (Number(index) + at) * width;
        return perfectRoot(Buffer.concat(leaves.slice(from, from + width)));
      });
      return Buffer.concat(hashes);
    },
  };
  return store as TileStore;
}

function headOf(size: number, leaves = HONEST): HeadToAnchor {
  return {
    epoch: 0,
    origin: LOG.origin,
    size: BigInt(size),
    root: rootOf(leaves.slice(0, size)),
    note: LOG.head(size, leaves),
  };
}

function reply(status: number, body: string, mediaType = 'text/plain'): WitnessReply {
  return { status, mediaType, body: Buffer.from(body), retryAfterMs: null };
}

/** A witness that keeps nothing on disk. */
function realWitness(): { ask: AskWitness; heads: Map<string, WitnessedHead>; requests: bigint[] } {
  const heads = new Map<string, WitnessedHead>();
  const requests: bigint[] = [];
  const witness = new Witness({
    logs: new Map([[LOG.origin, [LOG.verifier]]]),
    memory: {
      last: (origin) => heads.get(origin) ?? null,
      all: () => heads,
      replace: async (origin, head) => void heads.set(origin, head),
    },
    key: { key: KEY, sign: (message) => new Uint8Array(sign(null, message, SECRET)) },
    clock: () => NOW * 1_000_000n,
  });
  const ask: AskWitness = async (_url, request) => {
    const parsed = parseAddCheckpoint(request);
    if (parsed.ok) requests.push(parsed.value.oldSize);
    const answer = await witness.add(request);
    if (answer.kind === 'cosigned') return reply(200, answer.lines);
    if (answer.kind === 'busy') return reply(503, '');
    const { status, reason, knownSize } = answer.refused;
    return knownSize === undefined
      ? reply(status, reason)
      : reply(status, formatKnownSize(knownSize), SIZE_MEDIA_TYPE);
  };
  return { ask, heads, requests };
}

interface Asked {
  readonly ask: AskWitness;
  readonly head: HeadToAnchor;
  readonly leaves?: Uint8Array[];
  /** Size that is stored as cosigned. */
  readonly known?: number;
  readonly newest?: HeadToAnchor;
}

function anchor({ ask, head, leaves = HONEST, known = 0, newest = head }: Asked): Promise<AnchorAnswer> {
  const deps = {
    ask,
    tiles: tilesOf(leaves),
    newestHead: async () => newest,
    cosigned: async () => BigInt(known),
    signatures: webCryptoSignatures,
    clock: () => NOW * 1_000_000n,
  };
  const witness = { url: 'http://witness.example', key: KEY, runByOthers: true };
  return witnessAnchorer(deps, witness, 60).anchor(head, new AbortController().signal);
}

function lineOf(head: HeadToAnchor, { seed = 9, at = NOW, key = KEY, text = '' } = {}): string {
  const note = parseNote(head.note);
  assert.ok(note.ok);
  const message = cosignatureMessage(key, text === '' ? note.value.text : text, at);
  const signature = new Uint8Array(sign(null, message, secretOf(seed)));
  return formatSignatureLine(key.name, key.keyId, formatTimestampedSignature(at, signature));
}

async function assertRefused(asked: Asked, reason: RegExp): Promise<void> {
  const answer = await anchor(asked);
  assert.equal(answer.kind, 'refused');
  assert.match(answer.kind === 'refused' ? answer.reason : '', reason);
}

describe('a witness that is asked for a cosignature', () => {
  it('gets the proof from what it cosigned last, and its line is what is kept', async () => {
    const { ask, requests } = realWitness();
    const first = await anchor({ ask, head: headOf(5) });
    assert.deepEqual(first, { kind: 'anchored', bytes: encodeUtf8(lineOf(headOf(5))), at: NOW * 1_000_000n });
    for (const [known, size] of [
      [5, 6],
      [6, 256],
      [256, 257],
      [257, 300],
    ])
      assert.equal(
        (await anchor({ ask, head: headOf(size), known })).kind,
        'anchored',
        `${known} to ${size}`,
      );
    assert.deepEqual(requests, [0n, 5n, 6n, 256n, 257n], 'one request each');
  });

  it('is asked once more from the size that it names, when we had forgotten, or thought of more', async () => {
    const { ask, requests } = realWitness();
    await anchor({ ask, head: headOf(5) });
    assert.equal((await anchor({ ask, head: headOf(9) })).kind, 'anchored');
    assert.equal((await anchor({ ask, head: headOf(20), known: 15 })).kind, 'anchored');
    assert.equal((await anchor({ ask, head: headOf(20) })).kind, 'anchored', 'the same head again');
    assert.deepEqual(requests, [0n, 0n, 5n, 15n, 9n, 0n, 20n]);
  });

  it('is asked no third time', async () => {
    let size = 1n;
    const ask: AskWitness = async () => reply(409, formatKnownSize(size++), SIZE_MEDIA_TYPE);
    assert.equal((await anchor({ ask, head: headOf(9) })).kind, 'unreachable');
    assert.equal(size, 3n);
  });

  it('raises an alert when it has seen a larger tree than we hold', async () => {
    const { ask } = realWitness();
    await anchor({ ask, head: headOf(9) });
    await assertRefused({ ask, head: headOf(5) }, /size 9, larger than ours of 5.*older copy/);
  });

  it('raises none when another process of this log was faster', async () => {
    const { ask } = realWitness();
    await anchor({ ask, head: headOf(9) });
    assert.equal((await anchor({ ask, head: headOf(5), newest: headOf(9) })).kind, 'unreachable');
  });

  it('raises an alert when it has seen another history, at this size or at an earlier one', async () => {
    const { ask, heads } = realWitness();
    await anchor({ ask, head: headOf(9) });
    for (const evil of [historyOf('evil'), historyOf('evil', 8)]) {
      await assertRefused(
        { ask, head: headOf(9, evil), leaves: evil },
        /another root of size 9: the log was forked/,
      );
      await assertRefused(
        { ask, head: headOf(20, evil), leaves: evil, known: 9 },
        /does not follow.*at size 9/,
      );
      await assertRefused(
        { ask, head: headOf(20, evil), leaves: evil, known: 5 },
        /does not follow.*at size 9/,
      );
    }
    assert.equal(heads.get(LOG.origin)?.size, 9n);
  });

  it('is not asked at all when our own tiles do not lead to the head', async () => {
    let asked = 0;
    const ask: AskWitness = async () => {
      asked++;
      return reply(200, '');
    };
    await assert.rejects(
      anchor({ ask, head: headOf(9), leaves: historyOf('evil'), known: 5 }),
      /tiles of .* do not give/,
    );
    assert.equal(asked, 0);
  });
});

describe('an answer of a witness', () => {
  const head = headOf(9);
  const answered = (given: WitnessReply): Asked => ({ ask: async () => given, head });

  it('counts by the line of the key that is pinned; others are left out, and the newest is kept', async () => {
    const stranger = lineOf(head, { seed: 8, key: keyOf(8, 'stranger.example/w') });
    const namesake = lineOf(head, { seed: 8, key: keyOf(8) });
    const older = lineOf(head, { at: NOW - 5n });
    const answer = await anchor(answered(reply(200, stranger + older + namesake + lineOf(head))));
    assert.deepEqual(answer.kind === 'anchored' && Buffer.from(answer.bytes).toString(), lineOf(head));
  });

  it('is refused without a good line of that key, whatever stands beside it', async () => {
    const other = lineOf(headOf(10));
    const forged = lineOf(head, { seed: 8 });
    for (const [body, reason] of [
      [lineOf(head, { seed: 8, key: keyOf(8) }), /none but other keys/],
      [forged, /not valid/],
      [other, /not valid/],
      [lineOf(head) + forged, /not valid/],
      ['', /answer is none/],
      ['\n', /answer is none/],
      [lineOf(head).slice(0, -1), /answer is none/],
      [`${lineOf(head)}\n${lineOf(head)}`, /answer is none/],
      ['<html>not a witness</html>\n', /answer is none/],
      [lineOf(head, { at: NOW + 601n }), /yet to come/],
    ] as const)
      await assertRefused(answered(reply(200, body)), reason);
  });

  it('is refused with a status that waiting does not change, and says what the witness said, made harmless', async () => {
    await assertRefused(
      answered(reply(404, 'unknown log\n')),
      /knows no log log\.example.*\(it says: unknown log\)/,
    );
    await assertRefused(
      answered(reply(403, 'bad\u0000\u001b[31m key\n')),
      /trust.*\(it says: bad {1,2}\[31m key\)/,
    );
    await assertRefused(answered(reply(400, 'x'.repeat(5_000))), /status 400 \(it says: x{200}\)/);
    await assertRefused(answered(reply(301, '', 'text/html')), /status 301$/);
    await assertRefused(answered(reply(409, 'the roots differ')), /forked/);
    await assertRefused(answered(reply(409, '9 or so\n', SIZE_MEDIA_TYPE)), /forked/);
    await assertRefused(
      { ask: async () => reply(409, '5\n', SIZE_MEDIA_TYPE), head, known: 5 },
      /knows size 5, from which it was asked/,
    );
  });

  it('is waited for with a status that says so, for as long as it says', async () => {
    for (const status of [429, 500, 503]) {
      const answer = await anchor(answered({ ...reply(status, 'later'), retryAfterMs: 7_000 }));
      assert.ok(answer.kind === 'unreachable' && answer.retryAfterMs === 7_000, String(status));
    }
  });
});
