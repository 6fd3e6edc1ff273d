/** Mapping files of a data directory: `<data>/mappings/*.json`, read by the server and by commands alike. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { type MapperRegistry, makeRegistry } from '@evident/core/mapping/registry.ts';

const FILES_MAX = 200;
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * The files, parsed from JSON, by name. A folder that is not there holds none.
 * @throws usage-invalid naming the file
 */
export function readMappings(dataDir: string): unknown[] {
  const folder = join(dataDir, 'mappings');
  const names = namesIn(folder);
  if (names.length > FILES_MAX)
    throw new EvidentError('usage-invalid', `${folder}: more than ${FILES_MAX} mapping files`);
  return names.map((name) => {
    const path = join(folder, name);
    try {
      if (statSync(path).size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
      const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
      parseMappingFile(parsed);
      return parsed;
    } catch (cause) {
      throw new EvidentError('usage-invalid', `the mapping file ${path}: ${(cause as Error).message}`, {
        cause,
      });
    }
  });
}

/** The mappers of a data directory: those that are built in, and those of its files. */
export function registryOf(dataDir: string): MapperRegistry {
  return makeRegistry(readMappings(dataDir).map(parseMappingFile));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new EvidentError('usage-invalid', `${folder} can't be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
