/**
 * The keys with which an identity provider signs, fetched and kept within bounds.
 *
 *   none ──first token──► fresh ──KEYS_FRESH_MS──► stale ──KEYS_STALE_MS──► none
 *                           ▲  unknown key: fetched anew      │ used, and fetched anew beside
 *                           └─────────────────────────────────┘
 *
 * One fetch at a time, and none within FETCH_PAUSE_MS of the one before, whatever tokens come: whoever sends tokens
 * with keys that nobody knows makes this server ask the provider six times a minute, and no more.
 */

import { EvidentError } from '@evident/core/errors.ts';
import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWTHeaderParameters,
} from 'jose';
import { isSafeAddress, type OidcSettings } from './oidc-settings.ts';

/** How long keys are used without another look, milliseconds: how late a key is noticed that was withdrawn. */
export const KEYS_FRESH_MS = 300_000;
/** How long they are used when the provider does not answer. */
export const KEYS_STALE_MS = 3_600_000;
/** Least time between two fetches. */
export const FETCH_PAUSE_MS = 10_000;
/** Longest that a fetch may take, both documents together. */
const FETCH_MS_MAX = 5_000;
const DOCUMENT_BYTES_MAX = 262_144;
const KEYS_MAX = 100;

export interface ProviderKeysDeps {
  readonly fetch: (url: string, options: { signal: AbortSignal; redirect: 'error' }) => Promise<Response>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Told once a fetch that failed. */
  readonly onFault: (error: unknown) => void;
}

type KeySet = ReturnType<typeof createLocalJWKSet>;

/** A class because it has a life: keys grow old, and a fetch is under way or not. */
export class ProviderKeys {
  readonly #settings: Pick<OidcSettings, 'issuer' | 'jwksUri'>;
  readonly #deps: ProviderKeysDeps;
  #held: { readonly keys: KeySet; readonly at: number } | null = null;
  #fetching: Promise<void> | null = null;
  #triedAt = Number.NEGATIVE_INFINITY;
  #fault: unknown = null;

  constructor(settings: Pick<OidcSettings, 'issuer' | 'jwksUri'>, deps: ProviderKeysDeps) {
    this.#settings = settings;
    this.#deps = deps;
  }

  /**
   * The key that a token's header names.
   * @throws identity-unavailable when it is not known and the provider does not answer
   * @throws JWKSNoMatchingKey, JWKSMultipleMatchingKeys and other errors of jose when the provider has no such key
   */
  async keyOf(header: JWTHeaderParameters): Promise<CryptoKey> {
    const held = this.#usable();
    if (held !== null) {
      try {
        const key = await held.keys(header);
        // Beside the request, which need not wait for it.
        if (this.#deps.now() - held.at > KEYS_FRESH_MS) void this.#refresh();
        return key;
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      }
    }
    await this.#refresh();
    const fresh = this.#usable();
    if (fresh !== null) {
      try {
        return await fresh.keys(header);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey) || this.#fault === null) throw error;
      }
    }
    throw new EvidentError('identity-unavailable', 'the identity provider does not answer', {
      cause: this.#fault,
    });
  }

  #usable(): { readonly keys: KeySet; readonly at: number } | null {
    return this.#held !== null && this.#deps.now() - this.#held.at <= KEYS_STALE_MS ? this.#held : null;
  }

  /** Fetches, or waits for the fetch that is under way, or does nothing when the last one was a moment ago. Never fails. */
  #refresh(): Promise<void> {
    if (this.#fetching !== null) return this.#fetching;
    if (this.#deps.now() - this.#triedAt < FETCH_PAUSE_MS) return Promise.resolve();
    this.#triedAt = this.#deps.now();
    this.#fetching = this.#fetchKeys().then(
      (keys) => {
        this.#held = { keys, at: this.#deps.now() };
        this.#fault = null;
        this.#fetching = null;
      },
      (error: unknown) => {
        this.#fault = error;
        this.#fetching = null;
        this.#deps.onFault(error);
      },
    );
    return this.#fetching;
  }

  async #fetchKeys(): Promise<KeySet> {
    const signal = AbortSignal.timeout(FETCH_MS_MAX);
    const address = this.#settings.jwksUri ?? (await this.#discover(signal));
    const document = (await this.#fetchJson(address, signal)) as Partial<JSONWebKeySet>;
    if (!Array.isArray(document.keys) || document.keys.length > KEYS_MAX)
      throw new Error(`${address} holds no list of at most ${KEYS_MAX} keys`);
    return createLocalJWKSet({ keys: document.keys });
  }

  /** OpenID Connect Discovery 1.0, section 4: the document has to name the issuer that it was asked for. */
  async #discover(signal: AbortSignal): Promise<string> {
    const { issuer } = this.#settings;
    const address = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const document = (await this.#fetchJson(address, signal)) as { issuer?: unknown; jwks_uri?: unknown };
    if (document.issuer !== issuer) throw new Error(`${address} speaks for another issuer`);
    if (typeof document.jwks_uri !== 'string' || !isSafeAddress(document.jwks_uri))
      throw new Error(`${address} names no https address of keys`);
    return document.jwks_uri;
  }

  async #fetchJson(address: string, signal: AbortSignal): Promise<object> {
    const answer = await this.#deps.fetch(address, { signal, redirect: 'error' });
    if (answer.status !== 200 || answer.body === null)
      throw new Error(`${address} answered ${answer.status}`);
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of answer.body) {
      bytes += part.length;
      if (bytes > DOCUMENT_BYTES_MAX)
        throw new Error(`${address} is longer than ${DOCUMENT_BYTES_MAX} bytes`);
      parts.push(part);
    }
    const parsed: unknown = JSON.parse(Buffer.concat(parts).toString());
    if (typeof parsed !== 'object' || parsed === null) throw new Error(`${address} is no JSON object`);
    return parsed;
  }
}
