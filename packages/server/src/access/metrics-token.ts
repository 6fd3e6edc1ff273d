/**
 * The metrics token: a bearer token that reads `/metrics` and nothing else, so that whoever scrapes needs no key that may
 * look into the log. Prometheus sends one by `authorization.credentials_file`.
 */

import { hash, timingSafeEqual } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';

/** `open`: everybody reads metrics; else whoever has the token of this SHA-256, besides credentials that may. */
export type MetricsAccess = 'open' | { readonly tokenHash: Uint8Array };

/** The characters of a bearer token (RFC 6750 §2.1). Shorter ones could be guessed. */
const TOKEN = /^[A-Za-z0-9\-._~+/]{32,512}=*$/;
const BEARER = /^bearer +([^ ]+)$/i;

/**
 * @param text of the file; white space at its end, as editors leave it, is no part of the token
 * @throws usage-invalid naming the file
 */
export function readMetricsToken(text: string, file: string): MetricsAccess {
  const token = text.trimEnd();
  if (!TOKEN.test(token))
    throw new EvidentError(
      'usage-invalid',
      `${file}: a metrics token is one line of 32 to 512 of A-Z a-z 0-9 - . _ ~ + /`,
      { context: { field: 'metricsTokenFile' } },
    );
  return { tokenHash: hash('sha256', token, 'buffer') };
}

/** @param credential the Authorization header, or undefined */
export function isMetricsToken(access: MetricsAccess | undefined, credential: string | undefined): boolean {
  if (access === undefined || access === 'open' || credential === undefined) return false;
  const token = BEARER.exec(credential)?.[1] ?? '';
  // Hashes are of one length, so the comparison says nothing of how much of a guess was right.
  return timingSafeEqual(hash('sha256', token, 'buffer'), access.tokenHash);
}
