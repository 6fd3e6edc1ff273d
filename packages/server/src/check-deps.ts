/** What `evident check` is composed of: no database, no network, nothing of the server. */

import { EvidentError } from '@evident/core/errors.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import type { CheckDeps } from './cli/check.ts';
import { nodeSha256, openBundle } from './stores/folder/bundle-source.ts';

export function checkDeps(): CheckDeps {
  return {
    signatures: webCryptoSignatures,
    makeHash: nodeSha256,
    openBundle,
    timestampCheck: async (roots) => {
      // Loaded when it is asked for: certificates take a library that is large, and most checks have none.
      const { timestampCheck } = await import('@evident/sdk/verify/timestamp');
      try {
        return timestampCheck(roots);
      } catch (cause) {
        throw new EvidentError('usage-invalid', `--roots: ${(cause as Error).message}`, { cause });
      }
    },
  };
}
