import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';
import { STATUS_OF } from './problem.ts';

/** The page `docs/reference/errors.md`; written by `scripts/write-error-reference.ts`, held equal by a test. */
export function formatErrorReference(): string {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const rows = codes.map((code) => {
    const { sentence, retryable, action } = ERRORS[code];
    return `| \`${code}\` | ${STATUS_OF[code]} | ${sentence} | ${retryable ? 'yes' : 'no'} | ${action} |`;
  });
  return [
    '# Errors',
    '',
    'Written by `scripts/write-error-reference.ts` from the catalogue; do not edit.',
    '',
    'Over HTTP each is a problem document (RFC 9457, `application/problem+json`) with `type` (`/errors/<code>`), `title`,',
    '`status`, `code`, `detail`, `field` (where one is at fault), `retryable` and `action`. A code is never renamed.',
    '',
    '| code | status | what happened | retry | what to do |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
