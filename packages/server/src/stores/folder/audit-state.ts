/** The port `AuditStateStore` in a file of the data directory: `<data>/self-audit.json`. */

import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type AuditState,
  type AuditStateStore,
  formatAuditState,
  parseAuditState,
} from '../../verify/self-audit-state.ts';
import { errnoOf, replaceFileDurably, storageFault } from '../durable-file.ts';

export class FolderAuditState implements AuditStateStore {
  readonly #path: string;

  constructor(dataDir: string) {
    this.#path = join(dataDir, 'self-audit.json');
  }

  async load(): Promise<AuditState | null> {
    try {
      return parseAuditState(await readFile(this.#path, 'utf8'));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw storageFault(error, dirname(this.#path), 'read the state of the self-audit');
    }
  }

  async save(state: AuditState): Promise<void> {
    try {
      await replaceFileDurably(this.#path, formatAuditState(state), 0o644);
    } catch (error) {
      throw storageFault(error, dirname(this.#path), 'store the state of the self-audit');
    }
  }
}
