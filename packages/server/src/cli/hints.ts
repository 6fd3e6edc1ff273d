/** What to do about an error on the command line: the catalogue's advice speaks to whoever sends requests. */

import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';

const CREDENTIAL = 'Give another key: --key-file FILE, or EVIDENT_API_KEY.';
const ADDRESS = 'Check the address behind --url: it is that of an Evident server of this version.';
const LATER = 'Wait a minute, and run the same command again.';

/** Of codes whose advice in the catalogue names headers, routes or requests. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  'field-invalid': 'Correct the named option or argument; --help of the command lists them.',
  'field-reserved': 'Choose another value for the named option or argument.',
  'field-unknown': 'Leave it out, or name one of those that there are.',
  'body-too-large': 'Split the file, or leave the large record out.',
  'batch-too-large': 'Split the file.',
  'media-type-unsupported': ADDRESS,
  'tenant-forbidden': `Name a tenant that the key speaks for. ${CREDENTIAL}`,
  unauthenticated: CREDENTIAL,
  'credential-expired': `Its time is over. ${CREDENTIAL}`,
  forbidden: `Its role does not allow this. ${CREDENTIAL} evident api-key list shows roles.`,
  'not-found':
    'Check the id, the name or the place (LOG/PARTITION/POSITION): evident search finds events, evident status lists logs and views.',
  'log-unknown': 'Check the name: evident status lists the logs, evident start --logs NAME makes one.',
  'method-not-allowed': ADDRESS,
  'request-malformed': ADDRESS,
  'request-timeout': LATER,
  'headers-too-large': `${CREDENTIAL} This one is too long.`,
  overloaded: LATER,
  'tenant-busy': LATER,
  'rate-limited': LATER,
  'identity-unavailable': `${LATER} An API key needs no identity provider.`,
  'outcome-unknown':
    'Run the same command again; what an import appended is counted as repeats. evident status shows how the log stands.',
  'log-unavailable':
    'Check that the server, or the PostgreSQL of --postgres, runs and that its address is right; the log of the server says more.',
  'shutting-down': 'Run the same command again when the server is back.',
  internal: 'Run it again with EVIDENT_DEBUG=1, which prints where it failed, and report that.',
  'cursor-invalid': 'Search again without --cursor, or with the options that the cursor came with.',
  'read-unrecorded':
    'Reads are recorded before they are answered: wait until the log takes records; evident status shows what is stopped.',
  'alert-rule-changed': 'Look at evident alert-rules list, and make the change on what the rule is now.',
};

/** One sentence or two: what the person at the terminal should do. */
export function hintOf(code: ErrorCode): string {
  return HINTS[code] ?? ERRORS[code].action;
}
