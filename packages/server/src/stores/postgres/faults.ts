/** What a failure of PostgreSQL means, in one table (style rule 13). */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';

/** Classes of SQLSTATE after which a transaction surely did nothing, and may be tried again. */
const RETRY_SAFELY = new Set(['40001', '40P01', '55P03', '57P03', '53300', '53400']);
/** Raised by evident.append when a partition of the call is stopped; nothing of the call was appended. */
const STOPPED = 'EV008';
/** Failures in which the server itself said that nothing was committed; trying again would fail the same way. */
const DID_NOTHING = /^(?:EV|22|23|25|28|2B|34|3D|3F|42|44|53|54|55|58|XX)/;

interface PostgresFailure {
  code?: string;
  message: string;
}

export type FaultKind = 'retry' | 'refused' | 'unknown' | 'unavailable';

/**
 * @param sent whether the statement may have reached the server
 */
export function classifyFault(error: unknown, sent: boolean): FaultKind {
  const { code } = error as PostgresFailure;
  if (code !== undefined && RETRY_SAFELY.has(code)) return 'retry';
  if (code !== undefined && code.length === 5 && DID_NOTHING.test(code)) return 'refused';
  return sent ? 'unknown' : 'unavailable';
}

/** An error of the driver as one of the catalogue. `what` says what was attempted. */
export function asEvidentError(error: unknown, what: string, sent: boolean): EvidentError {
  if (isEvidentError(error)) return error;
  const { code, message } = error as PostgresFailure;
  const kind = classifyFault(error, sent);
  const detail = `${what}: ${message}${code === undefined ? '' : ` (SQLSTATE ${code})`}`;
  if (code === '53100') return new EvidentError('disk-full', detail, { cause: error });
  if (code === STOPPED)
    return new EvidentError('partition-stopped', `${what}: a partition is stopped; nothing was appended`, {
      cause: error,
    });
  if (kind === 'unknown') return new EvidentError('outcome-unknown', detail, { cause: error });
  return new EvidentError('log-unavailable', detail, { cause: error });
}
