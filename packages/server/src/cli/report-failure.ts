/** What is said of a command that failed, and its exit code. */

import { ERRORS, type ErrorCode, isEvidentError } from '@evident/core/errors.ts';
import { CommanderError } from 'commander';
import { EXIT } from './command-deps.ts';
import { hintOf } from './hints.ts';

/** Codes of a command that was called wrongly: 64. What else fails is 70; what a command found is its own exit code. */
const USAGE_CODES: readonly ErrorCode[] = [
  'usage-invalid',
  'field-invalid',
  'field-reserved',
  'field-unknown',
  'cursor-invalid',
];

/** Errors say what, where and what to do; with --json as one object on standard error. */
export function reportFailure(error: unknown, isJson: boolean, isDebug: boolean): number {
  if (error instanceof CommanderError) return reportUsage(error, isJson);
  const code = isEvidentError(error) ? error.code : 'internal';
  const [detail, action] = [detailOf(error), hintOf(code)];
  if (isDebug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (isJson) {
    const { retryable } = ERRORS[code];
    process.stderr.write(`${JSON.stringify({ code, detail, action, retryable })}\n`);
  } else process.stderr.write(`evident: ${detail}\n  ${action} (${code})\n`);
  return USAGE_CODES.includes(code) ? EXIT.usage : EXIT.failed;
}

/** What commander has said already, with the help of the command; with --json nothing yet. */
function reportUsage({ exitCode, code, message }: CommanderError, isJson: boolean): number {
  if (exitCode === 0) return EXIT.success;
  if (isJson) {
    const detail = code === 'commander.help' ? 'no command is given' : message.replace(/^error: /, '');
    const usage = { code: 'usage-invalid', detail, action: hintOf('usage-invalid'), retryable: false };
    process.stderr.write(`${JSON.stringify(usage)}\n`);
  }
  return EXIT.usage;
}

/** What is said of an error in one line. Of several attempts at an address, as Node makes them, the first tells why. */
function detailOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== '') return error.message;
  const [first] = error instanceof AggregateError ? error.errors : [];
  return first instanceof Error ? first.message : ((error as NodeJS.ErrnoException).code ?? error.name);
}
