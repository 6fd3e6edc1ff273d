/**
 * A time stamp authority for tests, made with nothing but openssl: certificates of every kind, replies as `openssl ts`
 * gives them, and tokens that it would refuse to make.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Why tests of time stamps can't run here, or false: the `skip` of node:test. */
export const noOpenssl: string | false = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'SKIPPED: there is no openssl here, and time stamps are not tested';
  }
})();

const CONFIG = `[req]
distinguished_name = dn
[dn]
[tsa]
default_tsa = t
[t]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`;

/** Extensions of a certificate, as openssl writes them. */
export const CA_EXTENSIONS = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign';
export const TSA_EXTENSIONS =
  'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping';

export class TestAuthority {
  readonly dir = mkdtempSync(join(tmpdir(), 'evident-tsa-'));
  #server: Server | null = null;
  #busy: Promise<unknown> = Promise.resolve();
  /** What the next requests are answered with instead of a token. */
  answer: { readonly status: number; readonly type: string; readonly body: Uint8Array } | null = null;
  /** Requests that came. */
  asked = 0;

  /** Root `root`, and the authority `tsa` under it. */
  constructor() {
    writeFileSync(join(this.dir, 'tsa.cnf'), CONFIG);
    writeFileSync(join(this.dir, 'serial'), '01\n');
    this.root('root');
    this.issue('tsa', 'root', TSA_EXTENSIONS);
  }

  /** A root certificate that has issued itself. */
  root(name: string): void {
    this.#openssl(
      'req',
      '-x509',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-days',
      '3650',
      '-subj',
      `/CN=test ${name}`,
      '-config',
      'tsa.cnf',
      ...CA_EXTENSIONS.split('\n').flatMap((one) => ['-addext', one]),
    ); // prettier-ignore
  }

  issue(name: string, issuer: string, extensions: string, subject = `/CN=test ${name}`): void {
    writeFileSync(join(this.dir, `${name}.ext`), `${extensions}\n`);
    this.#openssl(
      'req',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      subject,
      '-config',
      'tsa.cnf',
    );
    this.#openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${issuer}.pem`,
      '-CAkey',
      `${issuer}.key`,
      '-CAcreateserial',
      '-days',
      '3000',
      '-extfile',
      `${name}.ext`,
      '-out',
      `${name}.pem`,
    ); // prettier-ignore
  }

  /** Certificates in PEM, one behind the other. */
  pem(...names: readonly string[]): Uint8Array {
    return new Uint8Array(Buffer.concat(names.map((name) => readFileSync(join(this.dir, `${name}.pem`)))));
  }

  /** The path of a file of this authority, such as `root.pem`. */
  path(file: string): string {
    return join(this.dir, file);
  }

  query(data: Uint8Array, hash = 'sha256', ...options: readonly string[]): Uint8Array {
    writeFileSync(join(this.dir, 'data'), data);
    this.#openssl('ts', '-query', '-data', 'data', `-${hash}`, '-cert', '-out', 'query.tsq', ...options);
    return new Uint8Array(readFileSync(join(this.dir, 'query.tsq')));
  }

  /** As `openssl ts` answers. */
  reply(query: Uint8Array): Uint8Array {
    writeFileSync(join(this.dir, 'query.tsq'), query);
    this.#openssl(...REPLY);
    return new Uint8Array(readFileSync(join(this.dir, 'reply.tsr')));
  }

  /** A reply with any content, signed by any certificates: also what no authority should sign. */
  sign(content: Uint8Array, signers: readonly string[] = ['tsa'], ...options: readonly string[]): Uint8Array {
    writeFileSync(join(this.dir, 'content'), content);
    this.#openssl(
      'cms',
      '-sign',
      '-binary',
      '-nodetach',
      '-econtent_type',
      '1.2.840.113549.1.9.16.1.4',
      '-in',
      'content',
      ...signers.flatMap((name) => ['-signer', `${name}.pem`, '-inkey', `${name}.key`]),
      ...(options.length === 0 ? ['-cades', '-md', 'sha256'] : options),
      '-outform',
      'DER',
      '-out',
      'token',
    ); // prettier-ignore
    const token = new Uint8Array(readFileSync(join(this.dir, 'token')));
    return der(0x30, der(0x30, der(0x02, Uint8Array.of(0))), token);
  }

  /** Serves on 127.0.0.1. @param port 0: any that is free. @returns the URL */
  async listen(port = 0): Promise<string> {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.asked++;
        const { answer } = this;
        if (answer !== null)
          response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.body);
        else
          this.#later(Buffer.concat(chunks)).then(
            (reply) => response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(reply),
            (error: Error) => response.writeHead(500).end(error.message),
          );
      });
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(port, '127.0.0.1', () => resolve());
    await promise;
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** One at a time: openssl reads and writes the file of serial numbers. */
  #later(query: Uint8Array): Promise<Uint8Array> {
    const done = this.#busy.then(async () => {
      writeFileSync(join(this.dir, 'query.tsq'), query);
      await promisify(execFile)('openssl', [...REPLY], { cwd: this.dir });
      return new Uint8Array(readFileSync(join(this.dir, 'reply.tsr')));
    });
    this.#busy = done.catch(() => undefined);
    return done;
  }

  /** Stops to listen: from then on nobody answers. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  async close(): Promise<void> {
    await this.down();
    await this.#busy;
    rmSync(this.dir, { recursive: true, force: true });
  }

  #openssl(...words: readonly string[]): void {
    execFileSync('openssl', [...words], { cwd: this.dir, stdio: ['ignore', 'ignore', 'pipe'] });
  }
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;
const REPLY = [
  'ts',
  '-reply',
  '-config',
  'tsa.cnf',
  '-queryfile',
  'query.tsq',
  '-signer',
  'tsa.pem',
  '-inkey',
  'tsa.key',
  '-out',
  'reply.tsr',
] as const; // prettier-ignore

/** One element of DER. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const { length } = content;
  const octets =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return new Uint8Array(Buffer.concat([Buffer.from([tag, ...octets]), content]));
}

const text = (value: string) => new TextEncoder().encode(value);
const SHA_256_OID = Uint8Array.fromHex('0609608648016503040201');

export interface TokenContent {
  readonly version?: number;
  readonly policy?: Uint8Array;
  readonly hashOid?: Uint8Array;
  readonly digest: Uint8Array;
  readonly time?: string;
  /** Behind the time. */
  readonly rest?: readonly Uint8Array[];
}

/** A TSTInfo of any content. */
export function tokenContent({
  version = 1,
  policy,
  hashOid,
  digest,
  time,
  rest = [],
}: TokenContent): Uint8Array {
  return der(
    0x30,
    der(0x02, Uint8Array.of(version)),
    policy ?? Uint8Array.fromHex('06042a030405'),
    der(0x30, der(0x30, hashOid ?? SHA_256_OID, der(0x05)), der(0x04, digest)),
    der(0x02, Uint8Array.of(9)),
    der(0x18, text(time ?? '20300101000000Z')),
    ...rest,
  );
}
