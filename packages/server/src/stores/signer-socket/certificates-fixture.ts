/** Certificates made by openssl, as docs/operating/signer.md makes them. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { TlsFiles } from '../../signer/address.ts';

function openssl(folder: string, ...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
}

/** An authority of its own: files `<name>.crt` and `<name>.key`. */
export function makeAuthority(folder: string, name: string): void {
  openssl(
    folder,
    'req',
    '-x509',
    '-newkey',
    'ed25519',
    '-nodes',
    '-days',
    '30',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.crt`,
    '-subj',
    `/CN=${name}`,
  );
}

/** A certificate for 127.0.0.1 that an authority has signed. @returns the files of that side */
export function makeCertificate(
  folder: string,
  name: string,
  authority: string,
  trusted = authority,
): TlsFiles {
  openssl(
    folder,
    'req',
    '-newkey',
    'ed25519',
    '-nodes',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    `/CN=${name}`,
    '-addext',
    'subjectAltName=IP:127.0.0.1',
  );
  openssl(
    folder,
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-days',
    '30',
    '-CA',
    `${authority}.crt`,
    '-CAkey',
    `${authority}.key`,
    '-copy_extensions',
    'copy',
    '-out',
    `${name}.crt`,
  );
  return {
    cert: join(folder, `${name}.crt`),
    key: join(folder, `${name}.key`),
    ca: join(folder, `${trusted}.crt`),
  };
}
