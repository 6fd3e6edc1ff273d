/**
 * The memory of a witness, in its folder:
 *
 *   last   what it has cosigned last of each log, see witness/memory.ts
 *   used   says that it has cosigned: a memory without heads beside it is lost, not new
 *
 * `used` is written behind the first head and before its cosignature: a death between them leaves a memory that holds
 * more than was cosigned, never less.
 */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { formatMemory, MEMORY_BYTES_MAX, parseMemory } from '../../witness/memory.ts';
import type { WitnessedHead, WitnessMemory } from '../../witness/ports.ts';
import { replaceFileDurably, storageFault, type WriteStep, writeFileDurably } from '../durable-file.ts';
import { readIfThere } from './signing-keys.ts';

export interface FolderWitnessMemoryOptions {
  /** Told of each step, so that a test can end the process there. */
  readonly passed?: (step: WriteStep | 'marked') => void;
}

export class FolderWitnessMemory implements WitnessMemory {
  readonly #folder: string;
  readonly #options: FolderWitnessMemoryOptions;
  #heads: ReadonlyMap<string, WitnessedHead>;
  #isUsed: boolean;

  /** @throws witness-refused when it is lost, cut or changed; errors of the file system */
  constructor(folder: string, options: FolderWitnessMemoryOptions = {}) {
    this.#folder = folder;
    this.#options = options;
    this.#heads = readMemory(folder);
    this.#isUsed = existsSync(join(folder, 'used'));
    if (this.#isUsed && this.#heads.size === 0)
      throw new EvidentError(
        'witness-refused',
        `${folder}: its memory of what it cosigned is gone: put back the file last as it was, or begin a witness with another key in another folder`,
      );
  }

  last(origin: string): WitnessedHead | null {
    return this.#heads.get(origin) ?? null;
  }

  all(): ReadonlyMap<string, WitnessedHead> {
    return new Map([...this.#heads].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async replace(origin: string, head: WitnessedHead): Promise<void> {
    const heads = new Map(this.#heads).set(origin, head);
    try {
      const path = join(this.#folder, 'last');
      await replaceFileDurably(path, formatMemory(heads), 0o600, this.#options.passed);
      if (!this.#isUsed) {
        const text = 'This key has cosigned heads; the file last holds them.\n';
        writeFileDurably(join(this.#folder, 'used'), text, 0o600);
        this.#isUsed = true;
      }
      this.#options.passed?.('marked');
    } catch (error) {
      throw storageFault(error, this.#folder, 'remember a head');
    }
    this.#heads = heads;
  }
}

function readMemory(folder: string): ReadonlyMap<string, WitnessedHead> {
  const path = join(folder, 'last');
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const text = bytes > MEMORY_BYTES_MAX ? ' '.repeat(MEMORY_BYTES_MAX + 1) : readIfThere(path);
  if (text === null) return new Map();
  const parsed = parseMemory(text);
  if (parsed.ok) return parsed.value;
  throw new EvidentError('witness-refused', `${path} is not the memory of a witness: ${parsed.reason}`);
}
