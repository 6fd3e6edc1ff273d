/** From a head to a token that is worth keeping, against a real authority on 127.0.0.1. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { readRoots, verifyTimestamp } from '@evident/sdk/verify/timestamp';
import { noOpenssl, TestAuthority } from '@evident/sdk/verify/tsa-fixture';
import { askTsa } from '../stores/tsa/ask.ts';
import type { AnchorAnswer, Anchorer, HeadToAnchor } from './ports.ts';
import { formatTimestampRequest, type TsaAnswer, timestampAnchorer } from './timestamp-request.ts';

const NOTE = encodeUtf8('test.example/heads/0\n7\n…\n');
const HEAD: HeadToAnchor = {
  epoch: 0,
  origin: 'test.example/heads/0',
  size: 7n,
  root: new Uint8Array(32),
  note: NOTE,
};

describe('a request for a time stamp', { skip: noOpenssl }, () => {
  let tsa: TestAuthority;
  let url: string;
  before(async () => {
    tsa = new TestAuthority();
    url = await tsa.listen();
  });
  after(() => tsa.close());

  function anchorer(roots: Uint8Array, ask: typeof askTsa = askTsa): Anchorer {
    const certificates = readRoots(roots);
    return timestampAnchorer(
      { ask, randomBytes },
      {
        name: 'a',
        url,
        everySeconds: 3_600,
        check: (reply, data, request) => verifyTimestamp(reply, data, { certificates, request }),
      },
    );
  }

  const anchor = (one: Anchorer, head = HEAD): Promise<AnchorAnswer> =>
    one.anchor(head, new AbortController().signal);

  it('is DER that openssl reads as it was meant', () => {
    const nonce = Uint8Array.fromHex('ff00000000000000000000000000ff01');
    writeFileSync(tsa.path('own.tsq'), formatTimestampRequest(sha256(NOTE), nonce));
    const shown = execFileSync('openssl', ['ts', '-query', '-in', tsa.path('own.tsq'), '-text'], {
      encoding: 'utf8',
    });
    assert.match(shown, /Version: 1/);
    assert.match(shown, /Hash Algorithm: sha256/);
    assert.match(shown, /Nonce: 0x7F00000000000000000000000000FF01/);
    assert.match(shown, /Certificate required: yes/);
    for (const length of [0, 33])
      assert.throws(() => formatTimestampRequest(sha256(NOTE), new Uint8Array(length)), RangeError);
    assert.throws(() => formatTimestampRequest(new Uint8Array(20), nonce), RangeError);
  });

  it('brings a token that is kept, and that openssl verifies over the note', async () => {
    const answer = await anchor(anchorer(tsa.pem('root')));
    assert.ok(
      answer.kind === 'anchored',
      JSON.stringify(answer, (_, value) => String(value)),
    );
    assert.ok(answer.at > BigInt(Date.now() - 60_000) * 1_000n);
    writeFileSync(tsa.path('kept.tsr'), answer.bytes);
    writeFileSync(tsa.path('kept.note'), NOTE);
    execFileSync(
      'openssl',
      ['ts', '-verify', '-data', 'kept.note', '-in', 'kept.tsr', '-CAfile', 'root.pem'],
      {
        cwd: tsa.dir,
        stdio: 'ignore',
      },
    );
  });

  it('is new each time: what answered another one is refused', async () => {
    let earlier: TsaAnswer | null = null;
    const replay: typeof askTsa = async (...of) => {
      earlier ??= await askTsa(...of);
      return earlier;
    };
    const one = anchorer(tsa.pem('root'), replay);
    assert.equal((await anchor(one)).kind, 'anchored');
    const again = await anchor(one);
    assert.ok(again.kind === 'refused');
    assert.match(again.reason, /nonce/);
    const other = await anchor(one, { ...HEAD, note: encodeUtf8('another head\n') });
    assert.ok(other.kind === 'refused');
    assert.match(other.reason, /other data/);
  });

  it('refuses the token of a stranger, and what is none', async () => {
    const stranger = new TestAuthority();
    try {
      const answer = await anchor(anchorer(stranger.pem('root')));
      assert.ok(answer.kind === 'refused');
      assert.match(answer.reason, /no way leads/);
    } finally {
      await stranger.close();
    }
    tsa.answer = { status: 200, type: 'application/timestamp-reply', body: encodeUtf8('no token') };
    assert.equal((await anchor(anchorer(tsa.pem('root')))).kind, 'refused');
    tsa.answer = { status: 503, type: 'text/plain', body: encodeUtf8('later') };
    const busy = await anchor(anchorer(tsa.pem('root')));
    assert.deepEqual(busy, {
      kind: 'unreachable',
      reason: 'it answered with status 503',
      retryAfterMs: null,
    });
    tsa.answer = null;
  });
});
