/** The file of the metrics token: read at start, and made in the data directory at the first one. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { type MetricsAccess, readMetricsToken } from './access/metrics-token.ts';
import type { Config } from './config.ts';
import { writeFileDurably } from './stores/durable-file.ts';

const TOKEN_BYTES = 32;

/**
 * @param randomBytes cryptographically strong
 * @throws usage-invalid when a file that the settings name can't be read, or holds no token
 */
export function openMetricsAccess(
  config: Pick<Config, 'dataDir' | 'metrics' | 'metricsTokenFile'>,
  randomBytes: (count: number) => Buffer,
): MetricsAccess {
  if (config.metrics === 'open') return 'open';
  const file = config.metricsTokenFile ?? join(config.dataDir, 'metrics.token');
  const known = readText(file, config.metricsTokenFile === null);
  const text = known ?? randomBytes(TOKEN_BYTES).toString('base64url');
  if (known === null) writeFileDurably(file, `${text}\n`, 0o600);
  return readMetricsToken(text, file);
}

/** @param mayLack a file that is not there is null, and no fault */
function readText(file: string, mayLack: boolean): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if (mayLack && (cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new EvidentError('usage-invalid', `${file} can't be read: ${(cause as Error).message}`, {
      cause,
      context: { field: 'metricsTokenFile' },
    });
  }
}
