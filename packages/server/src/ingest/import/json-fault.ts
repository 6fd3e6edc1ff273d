import { EvidentError } from '@evident/core/errors.ts';
import { scanDocument } from '@evident/core/json/scan.ts';

/** Why the bytes are not one strict JSON value, in words, or '' if they are. */
export function faultIn(bytes: Uint8Array): string {
  return faultOf(() => scanDocument(bytes, 0, bytes.length, { loneSurrogates: 'keep' }));
}

/** The fault, in words, that a scan of JSON throws, or ''. */
export function faultOf(scan: () => void): string {
  try {
    scan();
    return '';
  } catch (error) {
    if (!(error instanceof EvidentError)) throw error;
    return `byte ${error.context.offset}: ${error.context.reason}`;
  }
}
