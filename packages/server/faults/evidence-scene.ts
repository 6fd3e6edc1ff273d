/** What tests of evidence share: bundles of an installation as files, commands of their README, a timestamp authority. */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import type { CheckReport } from '@evident/core/evidence/check-report.ts';
import { bundleFiles } from '../src/evidence/bundle.ts';
import type { BundleRequest } from '../src/evidence/bundle-plan.ts';
import type { EvidenceDeps } from '../src/evidence/ports.ts';
import { writeFolder } from '../src/evidence/write-folder.ts';
import type { Reader } from '../src/query/ports.ts';
import { VERIFY_FUNCTIONS } from '../src/stores/folder/signing-keys.ts';
import type { Installation } from './installation.ts';

export const AUDITOR: Reader = { actor: { id: 'auditor', role: 'auditor' }, tenant: null };

export const SELECTION: BundleRequest = {
  scope: { kind: 'selection', filter: { log: 'audit', type: 'note' } },
  head: null,
  proofs: null,
};

export async function exportFolder(
  deps: EvidenceDeps,
  folder: string,
  request: Partial<BundleRequest> = {},
  reader: Reader = AUDITOR,
): Promise<string> {
  await writeFolder(bundleFiles(deps, reader, { ...SELECTION, ...request }), folder);
  return folder;
}

/** Every file of a folder by its path. */
export function readFolder(folder: string, below = ''): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const name of readdirSync(join(folder, below)).sort()) {
    const path = join(below, name);
    if (statSync(join(folder, path)).isDirectory())
      for (const [inner, bytes] of readFolder(folder, path)) files.set(inner, bytes);
    else files.set(path, readFileSync(join(folder, path)));
  }
  return files;
}

/** The commands that a bundle's README.txt prints: the lines that are indented by four spaces. */
export function commandsOf(folder: string): string[] {
  return readFileSync(join(folder, 'README.txt'), 'utf8')
    .split('\n')
    .filter((line) => /^ {4}\S/.test(line))
    .map((line) => line.slice(4));
}

/** Runs commands in a folder as one script. */
export function runCommands(
  folder: string,
  commands: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): { readonly ok: boolean; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('sh', ['-e'], {
    cwd: folder,
    input: `${commands.join('\n')}\n`,
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', ...environment },
  });
  return { ok: status === 0, output: `${stdout}${stderr}` };
}

const AUTHORITY_CONFIG = `
[tsa]
serial = serial
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
[stamping]
extendedKeyUsage = critical,timeStamping
`;

/** A timestamp authority out of the commands of openssl. */
export class OpensslAuthority {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder);
    writeFileSync(join(folder, 'config'), AUTHORITY_CONFIG);
    writeFileSync(join(folder, 'serial'), '01\n');
    const subject = (name: string) => ['-subj', `/CN=${name}`, '-nodes', '-newkey', 'rsa:2048', '-days', '2'];
    this.#openssl('req', '-x509', ...subject('test root'), '-keyout', 'root.key', '-out', 'roots.pem');
    this.#openssl('req', ...subject('test authority').slice(0, 5), '-keyout', 'tsa.key', '-out', 'tsa.csr');
    this.#openssl(
      ...['x509', '-req', '-in', 'tsa.csr', '-CA', 'roots.pem', '-CAkey', 'root.key', '-days', '2'],
      ...['-extfile', 'config', '-extensions', 'stamping', '-out', 'tsa.crt'],
    );
  }

  /** File with the certificate that its tokens lead to. */
  get roots(): string {
    return join(this.#folder, 'roots.pem');
  }

  /** The RFC 3161 reply over some bytes. */
  stamp(data: Uint8Array): Uint8Array {
    writeFileSync(join(this.#folder, 'data'), data);
    this.#openssl('ts', '-query', '-data', 'data', '-sha256', '-cert', '-out', 'query');
    this.#openssl(
      ...['ts', '-reply', '-queryfile', 'query', '-signer', 'tsa.crt', '-inkey', 'tsa.key'],
      ...['-config', 'config', '-section', 'tsa', '-out', 'reply'],
    );
    return new Uint8Array(readFileSync(join(this.#folder, 'reply')));
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.#folder, stdio: 'pipe' });
  }
}

/** Files in memory as the checker takes them. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): BundleSource {
  return {
    list: async () => [...files].map(([path, bytes]) => ({ path, size: BigInt(bytes.length) })),
    read: async function* (path) {
      yield files.get(path) as Uint8Array;
    },
  };
}

/** What a stranger finds who holds the key. */
export function checkWith(vkey: string, files: ReadonlyMap<string, Uint8Array>): Promise<CheckReport> {
  return checkBundle(memorySource(files), { vkey, signatures: VERIFY_FUNCTIONS });
}

export function check(one: Installation, files: ReadonlyMap<string, Uint8Array>): Promise<CheckReport> {
  return checkWith(one.storage.vkeyOf(`${one.storage.name}/heads/0`, 0n), files);
}

/** Changes the records of a bundle, and its manifest so that it tells of the changed file. */
export function withRecords(
  files: ReadonlyMap<string, Uint8Array>,
  change: (lines: string[]) => string[],
): Map<string, Uint8Array> {
  const changed = new Map(files);
  const lines = Buffer.from(files.get('records.ndjson') as Uint8Array)
    .toString()
    .trimEnd()
    .split('\n');
  const now = change(lines);
  const records = Buffer.from(now.map((line) => `${line}\n`).join(''));
  const manifest = JSON.parse(Buffer.from(files.get('manifest.json') as Uint8Array).toString());
  manifest.records = String(now.length);
  const entry = manifest.files.find(({ path }: { path: string }) => path === 'records.ndjson');
  entry.size = String(records.length);
  entry.sha256 = createHash('sha256').update(records).digest('hex');
  changed.set('records.ndjson', records);
  changed.set('manifest.json', Buffer.from(`${JSON.stringify(manifest)}\n`));
  return changed;
}
