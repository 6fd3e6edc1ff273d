/** The port `ApiKeyStore` in memory. */

import { EvidentError } from '@evident/core/errors.ts';
import type { ApiKey, ApiKeyPage, ApiKeyStore } from '../../access/api-keys.ts';

export class MemoryApiKeyStore implements ApiKeyStore {
  readonly #keys = new Map<string, ApiKey>();

  async insert(key: ApiKey): Promise<void> {
    if (this.#keys.has(key.keyId)) {
      throw new EvidentError('log-unavailable', `storing API key ${key.keyId}: there is one of this id`);
    }
    this.#keys.set(key.keyId, { ...key });
  }

  async find(keyId: string): Promise<ApiKey | null> {
    return this.#keys.get(keyId) ?? null;
  }

  async list({ tenant, after, limit }: ApiKeyPage): Promise<ApiKey[]> {
    return [...this.#keys.values()]
      .filter((key) => (tenant === null || key.tenant === tenant) && (after === null || key.keyId > after))
      .sort((a, b) => (a.keyId < b.keyId ? -1 : 1))
      .slice(0, limit);
  }

  async revoke(keyId: string, at: bigint): Promise<boolean> {
    const key = this.#keys.get(keyId);
    if (key === undefined) return false;
    this.#keys.set(keyId, { ...key, revokedAt: key.revokedAt ?? at });
    return true;
  }

  async rotate(keyId: string, successor: ApiKey, endsAt: bigint, at: bigint): Promise<boolean> {
    const key = this.#keys.get(keyId);
    if (key === undefined || key.revokedAt !== null || key.rotatedTo !== null) return false;
    if (key.expiresAt !== null && key.expiresAt <= at) return false;
    const expiresAt = key.expiresAt !== null && key.expiresAt < endsAt ? key.expiresAt : endsAt;
    // In one turn of the event loop, as a transaction would.
    this.#keys.set(keyId, { ...key, expiresAt, rotatedTo: successor.keyId });
    await this.insert(successor);
    return true;
  }
}
