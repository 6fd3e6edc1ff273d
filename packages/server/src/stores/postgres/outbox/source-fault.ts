import { EvidentError, isEvidentError } from '@evident/core/errors.ts';

/** What a failure of the source's database means to the relay. */
export function sourceFault(error: unknown, what: string): EvidentError {
  if (isEvidentError(error)) return error;
  const { code, message } = error as { code?: string; message: string };
  const detail = `${what}: ${message}${code === undefined ? '' : ` (SQLSTATE ${code})`}`;
  return new EvidentError('source-unavailable', detail, { cause: error });
}
