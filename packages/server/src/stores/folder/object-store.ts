/**
 * Large bodies: `<data>/objects/<tenant>/<sha256>`, written durably before the record that names them.
 * What a crash leaves: an object that no record names; the same body finds it there.
 */

import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex } from '@evident/core/bytes.ts';
import { isTenant, SYSTEM_TENANT } from '@evident/core/record.ts';
import { errnoOf, storageFault, syncDirectory } from '../durable-file.ts';

export class FolderObjectStore {
  readonly #folder: string;
  #temporaries = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Stores a body. Resolves when it is durable under its name. */
  async put(tenant: string, sha256: Uint8Array, body: Uint8Array): Promise<void> {
    const path = this.#path(tenant, sha256);
    try {
      if (await this.#holds(path, body.length, sha256)) return;
      const folder = join(path, '..');
      const made = await mkdir(folder, { recursive: true, mode: 0o700 });
      if (made !== undefined)
        for (let up = folder; up !== join(made, '..'); up = join(up, '..')) syncDirectory(join(up, '..'));
      const temporary = `${path}.new-${process.pid}-${++this.#temporaries}`;
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(body);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      syncDirectory(folder);
    } catch (error) {
      throw storageFault(error, this.#folder, `store an object of ${tenant}`);
    }
  }

  /** The bytes under a name, whatever they are; null when there are none. The caller checks the hash. */
  async get(tenant: string, sha256: Uint8Array): Promise<Uint8Array | null> {
    try {
      return new Uint8Array(await readFile(this.#path(tenant, sha256)));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** An object of another content under this name is written anew: a damaged one heals when its body comes again. */
  async #holds(path: string, size: number, sha256: Uint8Array): Promise<boolean> {
    try {
      const found = await readFile(path);
      return found.length === size && createHash('sha256').update(found).digest().equals(sha256);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw error;
    }
  }

  #path(tenant: string, sha256: Uint8Array): string {
    // Both are checked here again: they name a file.
    if (!isTenant(tenant) && tenant !== SYSTEM_TENANT)
      throw new RangeError(`no tenant is named ${JSON.stringify(tenant)}`);
    if (sha256.length !== 32) throw new RangeError('an object is named by a SHA-256');
    return join(this.#folder, tenant, toHex(sha256));
  }
}
