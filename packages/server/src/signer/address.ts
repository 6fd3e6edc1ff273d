/** Where a signer listens: `unix:<path>` or `tls:<host>:<port>`. */

import { readFileSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';

export type SignerAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tls'; readonly host: string; readonly port: number };

/** Files in PEM: the certificate and key of this side, and the authorities that sign those of the other. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** A signer to connect to. */
export interface SignerTarget {
  readonly address: SignerAddress;
  /** Null for a socket in the file system, which its folder guards. */
  readonly tls: TlsFiles | null;
  /** The operator's word that it is on another machine, where its address does not show it. */
  readonly elsewhere?: boolean;
}

/** Longest path of a socket that Linux takes (unix(7): 108 bytes with the zero). */
const PATH_BYTES_MAX = 107;

/** @throws usage-invalid naming the field */
export function parseSignerAddress(text: unknown, field: string): SignerAddress {
  const refuse = (reason: string): never => {
    throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
  };
  if (typeof text !== 'string') return refuse('unix:/path or tls:host:port is expected');
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (!path.startsWith('/') || path.includes('\0')) return refuse('the path of the socket begins with /');
    if (Buffer.byteLength(path) > PATH_BYTES_MAX)
      return refuse(`the path of a socket has at most ${PATH_BYTES_MAX} bytes`);
    return { kind: 'unix', path };
  }
  const match = /^tls:(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return refuse('unix:/path or tls:host:port is expected');
  return { kind: 'tls', host: match[1] ?? match[2], port: Number(match[3]) };
}

export function formatSignerAddress(address: SignerAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `tls:${host}:${address.port}`;
}

export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

/** Read anew for each connection or start: a certificate that was renewed is taken up. @throws usage-invalid naming the file */
export function readTlsFiles(files: TlsFiles): TlsMaterial {
  const read = (name: keyof TlsFiles): Buffer => {
    try {
      return readFileSync(files[name]);
    } catch (cause) {
      throw new EvidentError(
        'usage-invalid',
        `${name}: ${files[name]} can't be read: ${(cause as Error).message}`,
        {
          cause,
          context: { field: name },
        },
      );
    }
  };
  return { cert: read('cert'), key: read('key'), ca: read('ca') };
}
