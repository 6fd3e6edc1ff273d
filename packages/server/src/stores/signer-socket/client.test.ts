/** The client and the server of the signer's protocol together, over both kinds of socket, and against liars. */

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { toBase64 } from '@evident/core/bytes.ts';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { type ErrorCode, isEvidentError } from '@evident/core/errors.ts';
import { rootOf } from '@evident/core/merkle/tree.ts';
import { formatVkey, signNote, verifierKey, verifierOf } from '@evident/core/note.ts';
import { sha256 } from '@evident/core/sha256.ts';
import fc from 'fast-check';
import type { SignRequest } from '../../seal/ports.ts';
import { readTlsFiles, type SignerTarget, type TlsFiles } from '../../signer/address.ts';
import type { InceptionMark } from '../../signer/memory.ts';
import { formatDescription, formatSignatures, LINE_BYTES_MAX } from '../../signer/protocol.ts';
import { serveSigner } from '../../signer/serve.ts';
import { FolderSigner } from '../folder/signer.ts';
import { SigningKeys, VERIFY_FUNCTIONS } from '../folder/signing-keys.ts';
import { makeAuthority, makeCertificate } from './certificates-fixture.ts';
import { SocketSigner } from './client.ts';

const NAME = 'test.invalid';
const ORIGIN = `${NAME}/audit/0`;
const base = mkdtempSync(join(tmpdir(), 'evident-signer-'));
after(() => rmSync(base, { recursive: true, force: true }));
makeAuthority(base, 'ca');
makeAuthority(base, 'other-ca');
const SIGNER_FILES = makeCertificate(base, 'signer', 'ca');
const SEALER_FILES = makeCertificate(base, 'sealer', 'ca');

let folders = 0;

function newFolder(): string {
  const folder = join(base, String(++folders));
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

function markOf(publicKey: Uint8Array, begunAt = '2026-11-21T10:00:00.000001Z'): InceptionMark {
  return { name: NAME, vkey: formatVkey(verifierKey(`${NAME}/heads/0`, 'ed25519', publicKey)), begunAt };
}

function headOf(size: number): SignRequest {
  const leaves = Array.from({ length: size }, (_, index) => sha256(Buffer.from(`${index}`)));
  return { origin: ORIGIN, size: BigInt(size), root: rootOf(leaves), after: null, proof: [] };
}

const codeIs =
  (code: ErrorCode, pattern = /./) =>
  (error: unknown) =>
    isEvidentError(error) && error.code === code && pattern.test(error.message);

interface Served {
  readonly folder: string;
  readonly target: SignerTarget;
  readonly mark: InceptionMark;
  readonly events: string[];
  close(): Promise<void>;
}

async function serve(t: Pick<TestContext, 'after'>, kind: 'unix' | 'tls', at?: Served): Promise<Served> {
  const folder = at?.folder ?? newFolder();
  const signer = FolderSigner.open(join(folder, 'state'), { mayMakeKey: true });
  const events: string[] = [];
  const listen =
    at?.target.address ??
    (kind === 'unix'
      ? ({ kind, path: join(folder, 'signer.sock') } as const)
      : ({ kind, host: '127.0.0.1', port: 0 } as const));
  const deps = { signer, onEvent: ({ what }: { what: string }) => void events.push(what) };
  const served = await serveSigner(deps, listen, kind === 'tls' ? SIGNER_FILES : null);
  t.after(() => served.close());
  const target = { address: served.address, tls: kind === 'tls' ? SEALER_FILES : null };
  const [key] = (await signer.describe()).publicKeys;
  return { folder, target, mark: markOf(key), events, close: () => served.close() };
}

/** A clock in the test's hand: pauses end when it says so. */
function clientOf(
  t: Pick<TestContext, 'after'>,
  target: SignerTarget,
): { client: SocketSigner; wait(ms: number): void } {
  let time = 0;
  const client = new SocketSigner(target, { verify: VERIFY_FUNCTIONS, now: () => time });
  t.after(() => client.close());
  return {
    client,
    wait: (ms) => {
      time += ms;
    },
  };
}

for (const kind of ['unix', 'tls'] as const) {
  describe(`over ${kind}`, () => {
    it('begins, signs, remembers, and refuses', async (t) => {
      const { target, mark, folder } = await serve(t, kind);
      const { client } = clientOf(t, target);
      assert.deepEqual((await client.describe()).inception, null);
      assert.deepEqual(await client.begin(mark), { ok: true });
      const [signed, strange] = await client.sign([
        headOf(3),
        { ...headOf(3), origin: 'other.invalid/audit/0' },
      ]);
      assert.ok(signed.ok);
      const key = SigningKeys.open(join(folder, 'state'), false).publicKeys[0];
      const verifier = verifierOf(verifierKey(ORIGIN, 'ed25519', key), VERIFY_FUNCTIONS);
      assert.equal(openTreeHead(signed.note, [verifier], ORIGIN).ok, true);
      assert.match(strange.ok ? '' : strange.reason, /signs for test.invalid alone/);
      assert.deepEqual(await client.last(ORIGIN), { size: 3n, root: headOf(3).root });
      assert.equal(await client.last(`${NAME}/audit/1`), null);
      const [again] = await client.sign([headOf(2)]);
      assert.equal(again.ok, false);
      const { inception, hasSigned } = await client.describe();
      assert.deepEqual([inception, hasSigned], [mark, true]);
    });

    it('signs one of two heads of one size in one request, and what follows within it', async (t) => {
      const { target, mark } = await serve(t, kind);
      const { client } = clientOf(t, target);
      await client.begin(mark);
      const other = { ...headOf(3), root: sha256(Buffer.from('another')) };
      const after = { size: 3n, root: headOf(3).root };
      const leaf = sha256(Buffer.from('3'));
      const proven = {
        ...headOf(4),
        after,
        proof: [sha256(Buffer.from('2')), leaf, rootOf([0, 1].map((n) => sha256(Buffer.from(`${n}`))))],
      };
      const answers = await client.sign([
        headOf(3),
        other,
        { ...other, after },
        { ...other, size: 4n, after },
        proven,
      ]);
      assert.deepEqual(
        answers.map(({ ok }) => ok),
        [true, false, false, false, true],
      );
      assert.deepEqual(await client.last(ORIGIN), { size: 4n, root: headOf(4).root });
    });

    it('signs more heads than one request may hold', async (t) => {
      const { target, mark } = await serve(t, kind);
      const { client } = clientOf(t, target);
      await client.begin(mark);
      const heads = Array.from({ length: 300 }, (_, index) => ({
        ...headOf(1),
        origin: `${NAME}/audit/${index}`,
      }));
      assert.equal((await client.sign(heads)).filter(({ ok }) => ok).length, 300);
    });

    it('comes back after the signer was gone, not before its pause is over', async (t) => {
      const first = await serve(t, kind);
      const { client, wait } = clientOf(t, first.target);
      await client.begin(first.mark);
      await first.close();
      await assert.rejects(client.last(ORIGIN), codeIs('signer-unreachable'));
      await assert.rejects(client.sign([headOf(1)]), codeIs('signer-unreachable'));
      await serve(t, kind, first);
      await assert.rejects(client.last(ORIGIN), codeIs('signer-unreachable'));
      wait(5_000);
      assert.equal(await client.last(ORIGIN), null);
      assert.equal((await client.sign([headOf(1)]))[0].ok, true);
    });

    it('refuses a signer of another key, and of another log', async (t) => {
      const { target, mark } = await serve(t, kind);
      const other = await serve(t, kind);
      await assert.rejects(clientOf(t, target).client.begin(other.mark), codeIs('key-mismatch'));
      assert.deepEqual(await clientOf(t, target).client.begin(mark), { ok: true });
      const later = { ...mark, begunAt: '2026-11-22T10:00:00.000001Z' };
      const refused = await clientOf(t, target).client.begin(later);
      assert.match(refused.ok ? '' : refused.reason, /signs for no other log/);
      // A connection that is opened later is held against the same mark.
      const { client, wait } = clientOf(t, target);
      await client.begin(later);
      wait(60_000);
      await assert.rejects(client.sign([headOf(1)]), codeIs('inception-refused'));
    });

    it('is not ended by what strangers send', async (t) => {
      const { target, mark } = await serve(t, kind);
      const junk = fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
        fc.json().map((text) => Buffer.from(`${text}\n`)),
      );
      await fc.assert(
        fc.asyncProperty(junk, async (bytes) => {
          const socket = await dial(target);
          await talk(socket, bytes);
        }),
        { numRuns: 40 },
      );
      const long = await dial(target);
      assert.match(await talk(long, Buffer.alloc(LINE_BYTES_MAX + 1, 'x')), /malformed.*longer than|^$/);
      assert.match(
        await talk(await dial(target), Buffer.from('{"v":9,"do":"describe"}\n')),
        /"failed":"malformed"/,
      );
      const { client } = clientOf(t, target);
      assert.deepEqual(await client.begin(mark), { ok: true });
    });
  });
}

/** A bare connection. @param options for TLS instead of those of the sealer */
function dial({ address, tls }: SignerTarget, options?: ConnectionOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const open = (): void => resolve(socket);
    const socket: Socket =
      address.kind === 'unix'
        ? connect({ path: address.path }, open)
        : connectTls(
            { host: address.host, port: address.port, ...(options ?? readTlsFiles(tls as TlsFiles)) },
            open,
          );
    socket.on('error', reject);
  });
}

/** Sends, hears until the other side ends or has nothing to say, and gives what came. */
function talk(socket: Socket, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let heard = '';
    const done = (): void => {
      socket.destroy();
      resolve(heard);
    };
    socket.on('data', (chunk) => (heard += String(chunk)));
    socket.on('error', done);
    socket.on('close', done);
    socket.end(bytes);
  });
}

describe('the socket of a folder', () => {
  it('is for its account alone', async (t) => {
    const { target } = await serve(t, 'unix');
    const { path } = target.address as { path: string };
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
  });

  it('is not made in a folder that is open to others, nor in place of a file or a living signer', async (t) => {
    const folder = newFolder();
    const signer = FolderSigner.open(join(folder, 'state'), { mayMakeKey: true });
    const listen = (name: string) =>
      serveSigner({ signer, onEvent: () => undefined }, { kind: 'unix', path: join(folder, name) }, null);
    chmodSync(folder, 0o755);
    await assert.rejects(listen('signer.sock'), codeIs('usage-invalid', /open to other accounts/));
    chmodSync(folder, 0o700);
    writeFileSync(join(folder, 'file'), '');
    await assert.rejects(listen('file'), codeIs('usage-invalid', /is no socket/));
    const { target } = await serve(t, 'unix');
    const { path } = target.address as { path: string };
    await assert.rejects(
      serveSigner({ signer, onEvent: () => undefined }, { kind: 'unix', path }, null),
      codeIs('usage-invalid', /another process listens/),
    );
  });
});

describe('TLS', () => {
  it('takes no client without a certificate of its authority, and no version below 1.3', async (t) => {
    const { target, events } = await serve(t, 'tls');
    makeCertificate(base, 'stranger', 'other-ca', 'ca');
    const ca = readTlsFiles(SEALER_FILES).ca;
    const stranger = readTlsFiles({
      ...SEALER_FILES,
      cert: join(base, 'stranger.crt'),
      key: join(base, 'stranger.key'),
    });
    for (const options of [{ ca }, { ...stranger, ca }]) {
      // In TLS 1.3 the client hears of its refusal after its handshake: it gets no answer.
      const heard = await dial(target, options).then(
        (socket) => talk(socket, Buffer.from('{"v":1,"do":"describe"}\n')),
        () => '',
      );
      assert.equal(heard, '');
    }
    const old = { ...readTlsFiles(SEALER_FILES), maxVersion: 'TLSv1.2' as const };
    await assert.rejects(dial(target, old), /alert protocol version|wrong version/i);
    assert.ok(events.includes('a client was refused'));
    // The pair: the same words with the right certificate are answered.
    assert.match(await talk(await dial(target), Buffer.from('{"v":1,"do":"describe"}\n')), /"keys"/);
  });

  it('is not spoken with a signer that another authority has signed, or of another name', async (t) => {
    const { target } = await serve(t, 'tls');
    const wrong = { ...target, tls: { ...SEALER_FILES, ca: join(base, 'other-ca.crt') } };
    await assert.rejects(
      clientOf(t, wrong).client.describe(),
      codeIs('signer-unreachable', /self-signed|certificate/),
    );
    const named = { ...target, address: { ...target.address, host: 'localhost' } } as SignerTarget;
    await assert.rejects(
      clientOf(t, named).client.describe(),
      codeIs('signer-unreachable', /altnames|ECONNREFUSED/),
    );
    const lacking = { ...target, tls: { ...SEALER_FILES, key: join(base, 'no-such.key') } };
    await assert.rejects(clientOf(t, lacking).client.describe(), codeIs('usage-invalid', /key: .*no-such/));
  });
});

it('waits for the end of a line as long as it may, and goes on with others meanwhile', async (t) => {
  const folder = newFolder();
  const signer = FolderSigner.open(join(folder, 'state'), { mayMakeKey: true });
  const listen = { kind: 'unix', path: join(folder, 'signer.sock') } as const;
  const served = await serveSigner({ signer, onEvent: () => undefined, lineMs: 50 }, listen, null);
  t.after(() => served.close());
  const target = { address: served.address, tls: null };
  const slow = await dial(target);
  const ended = new Promise((resolve) => slow.on('close', resolve));
  slow.write('{"v":1,');
  assert.match(await talk(await dial(target), Buffer.from('{"v":1,"do":"describe"}\n')), /"keys"/);
  await ended;
});

/** A signer that answers what the test says; each line of a request gets the next answer. */
async function lie(
  t: TestContext,
  answers: (line: string) => Uint8Array | string | null,
): Promise<SignerTarget> {
  const path = join(newFolder(), 'liar.sock');
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      const answer = answers(String(chunk));
      if (answer === null) socket.destroy();
      else socket.write(answer);
    });
  });
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { address: { kind: 'unix', path }, tls: null };
}

describe('a signer that lies', () => {
  const keys = SigningKeys.open(newFolder(), true);
  const mark = markOf(keys.publicKeys[0]);
  const description = `${formatDescription({ publicKeys: keys.publicKeys, name: null, inception: mark, hasSigned: true })}\n`;
  const signAs = (text: string, origin = ORIGIN): string =>
    `${formatSignatures([{ ok: true, note: signNote(text, keys.signersOf(origin)) }])}\n`;
  const head = headOf(3);
  const root = toBase64(head.root);

  it('is believed when it signs what was asked for', async (t) => {
    const target = await lie(t, (line) =>
      line.includes('describe') ? description : signAs(`${ORIGIN}\n3\n${root}\n`),
    );
    assert.equal((await clientOf(t, target).client.sign([head]))[0].ok, true);
  });

  const lies: Record<string, () => Uint8Array | string | null> = {
    'signs another size': () => signAs(`${ORIGIN}\n4\n${root}\n`),
    'signs another root': () => signAs(`${ORIGIN}\n3\n${toBase64(sha256(new Uint8Array(1)))}\n`),
    'signs another tree': () => signAs(`${NAME}/audit/1\n3\n${root}\n`, `${NAME}/audit/1`),
    'signs with another name': () => signAs(`${ORIGIN}\n3\n${root}\n`, `${NAME}/audit/1`),
    'signs more than was asked for': () => signAs(`${ORIGIN}\n3\n${root}\nmore\n`),
    'gives one signature too many': () =>
      `${formatSignatures([
        { ok: false, reason: 'a' },
        { ok: false, reason: 'b' },
      ])}\n`,
    'answers another question': () => description,
    'answers twice': () => `${signAs(`${ORIGIN}\n3\n${root}\n`)}{}\n`,
    'answers without an end': () => Buffer.alloc(LINE_BYTES_MAX + 1, 'x'),
    'ends the connection': () => null,
    'answers no JSON': () => 'what?\n',
    'says that it failed': () => '{"v":1,"failed":"disk-full","reason":"no space"}\n',
  };
  for (const [what, answer] of Object.entries(lies)) {
    it(`is unreachable when it ${what}`, async (t) => {
      const target = await lie(t, (line) => (line.includes('describe') ? description : answer()));
      await assert.rejects(clientOf(t, target).client.sign([head]), codeIs('signer-unreachable'));
    });
  }

  it('is unreachable whatever bytes it sends', async (t) => {
    let bytes: Uint8Array = new Uint8Array(0);
    const target = await lie(t, (line) => (line.includes('describe') ? description : bytes));
    const junk = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 500 }).map((some) => Buffer.concat([some, Buffer.from('\n')])),
      fc.json().map((text) => Buffer.from(`{"v":1,"signatures":${text}}\n`)),
    );
    await fc.assert(
      fc.asyncProperty(junk, async (some) => {
        bytes = some;
        const { client } = clientOf(t, target);
        await assert.rejects(client.sign([head]), codeIs('signer-unreachable'));
        client.close();
      }),
      { numRuns: 60 },
    );
  });
});
