/**
 * The error catalogue: every code that Evident can answer with, in one place.
 *
 * A code is a promise: it is never renamed and never reused (style rule 27). `http` maps codes to statuses,
 * `docs/reference/errors.md` lists them for readers, and a test holds the three equal.
 */

interface CatalogueEntry {
  /** What happened, in one sentence, for a person. */
  sentence: string;
  /** Whether the same call may succeed later without a change. */
  retryable: boolean;
  /** What the caller should do about it. */
  action: string;
}

export const ERRORS = {
  // Input that is refused: nothing was taken.
  'field-invalid': {
    sentence: 'A field has a value that the log does not take.',
    retryable: false,
    action: 'Correct the named field and send the item again.',
  },
  'field-reserved': {
    sentence: 'A field has a value that is reserved for Evident itself.',
    retryable: false,
    action: 'Choose another value for the named field.',
  },
  'field-unknown': {
    sentence: 'An object has a member that its schema does not know.',
    retryable: false,
    action: 'Remove the named member, or put it into details.',
  },
  'json-invalid': {
    sentence: 'The bytes are not strict UTF-8 JSON.',
    retryable: false,
    action: 'Correct the JSON at the named offset.',
  },
  'json-duplicate-member': {
    sentence: 'An object names one member twice.',
    retryable: false,
    action: 'Send each member once.',
  },
  'json-too-deep': {
    sentence: 'The JSON is nested deeper than the limit.',
    retryable: false,
    action: 'Flatten the value; the limit is stated in the detail.',
  },
  'body-too-large': {
    sentence: 'A body is larger than 16 MiB, or a request larger than its limit.',
    retryable: false,
    action: 'Store the large content elsewhere and record its hash.',
  },
  'batch-too-large': {
    sentence: 'The request holds more items than one request may.',
    retryable: false,
    action: 'Split the batch; the limit is stated in the detail.',
  },
  'media-type-unsupported': {
    sentence: 'The media type of the request is not one that this route reads.',
    retryable: false,
    action: 'Send a media type that the route reads: the detail names them.',
  },
  'id-reused': {
    sentence: 'The identity (log, tenant, id) is in the log already, with another body.',
    retryable: false,
    action: 'Give the new event an id of its own, or record an audit.correction.',
  },
  'tenant-forbidden': {
    sentence: 'The credential does not speak for this tenant.',
    retryable: false,
    action: 'Use a credential of that tenant.',
  },
  unauthenticated: {
    sentence: 'The request carries no credential, or one that is not known or was revoked.',
    retryable: false,
    action: 'Send a valid API key, or a token of the identity provider, as a bearer token.',
  },
  'credential-expired': {
    sentence: 'The credential was good, but its time is over.',
    retryable: false,
    action: 'Get a new token from the identity provider, or use the key that took the place of this one.',
  },
  'api-key-ended': {
    sentence: 'The API key has ended, or was rotated before.',
    retryable: false,
    action: 'Rotate the key that took its place, or make a new one.',
  },
  forbidden: {
    sentence: 'The role of the credential does not allow this.',
    retryable: false,
    action: 'Use a credential whose role allows it.',
  },
  'not-found': {
    sentence: 'There is nothing at this address.',
    retryable: false,
    action: 'Check the log, partition and position, or the route.',
  },
  'log-unknown': {
    sentence: 'There is no log of this name.',
    retryable: false,
    action: 'Check the name, or create the log first.',
  },
  'method-not-allowed': {
    sentence: 'There is something at this address, but not for this method.',
    retryable: false,
    action: 'Use a method that the Allow header names.',
  },
  'request-malformed': {
    sentence: 'The request is not HTTP that this server understands.',
    retryable: false,
    action: 'Correct the request line, the headers or the framing of the body.',
  },
  'request-timeout': {
    sentence: 'The request did not arrive in time.',
    retryable: true,
    action: 'Send the same request again, all of it within the limit.',
  },
  'headers-too-large': {
    sentence: 'The headers of the request are larger than the limit.',
    retryable: false,
    action: 'Send fewer or shorter headers.',
  },
  'usage-invalid': {
    sentence: 'The command was called with arguments that it does not take.',
    retryable: false,
    action: 'See --help of the command.',
  },
  // Operation.
  overloaded: {
    sentence: 'The server has as much work waiting as it may hold.',
    retryable: true,
    action: 'Send the same request again after the time in Retry-After.',
  },
  'rate-limited': {
    sentence: 'There were more requests in a minute than this credential or address may send.',
    retryable: true,
    action: 'Send the same request again after the time in Retry-After.',
  },
  'identity-unavailable': {
    sentence: 'The identity provider cannot be reached, and the key of this token is not known yet.',
    retryable: true,
    action: 'Wait and try again, or use an API key; nothing of the request was taken.',
  },
  'outcome-unknown': {
    sentence: 'The log went away while it was appending; the records may or may not be in it.',
    retryable: true,
    action: 'Send the same items with the same ids again: what is there is answered as a repeat.',
  },
  'log-unavailable': {
    sentence: 'The log cannot be reached.',
    retryable: true,
    action: 'Wait and try again; look at /readyz and the server log.',
  },
  'partition-stopped': {
    sentence: 'The partition is stopped because what is stored contradicts what was signed.',
    retryable: false,
    action: 'Run evident verify, then evident recover with a reason.',
  },
  'shutting-down': {
    sentence: 'The server is stopping.',
    retryable: true,
    action: 'Send the same request to the server when it is back.',
  },
  internal: {
    sentence: 'Evident failed in a way that it does not know.',
    retryable: false,
    action:
      'Report it with the request id; the server log holds the cause. What was sent may or may not be in the log.',
  },
  'trim-not-archived': {
    sentence: 'Nothing may be trimmed before the archive is verified to hold it.',
    retryable: false,
    action: 'Archive the records first.',
  },
  'position-trimmed': {
    sentence: 'The position was trimmed from the log.',
    retryable: false,
    action: 'Read it from the archive.',
  },
  // Search.
  'cursor-invalid': {
    sentence: 'The cursor is not one of this search.',
    retryable: false,
    action: 'Begin the search anew without a cursor, or send the filter that the cursor came with.',
  },
  'read-unrecorded': {
    sentence: 'The read could not be recorded, so it is not answered.',
    retryable: true,
    action: 'Wait until the log takes records again; look at /readyz and the server log.',
  },
  'query-too-slow': {
    sentence: 'The query took longer than it may.',
    retryable: false,
    action: 'Narrow the span of time or the filter.',
  },
  'tenant-busy': {
    sentence: 'As many queries of this tenant run and wait as may.',
    retryable: true,
    action: 'Send the same request again after the time in Retry-After, and ask fewer questions at once.',
  },
  // Evidence.
  'not-sealed': {
    sentence: 'The record is in the log, and no signed head covers it yet.',
    retryable: true,
    action: 'Ask again after a second: records are sealed several times a second.',
  },
  'not-anchored': {
    sentence: 'No signed head of the log heads covers what was asked for yet.',
    retryable: true,
    action: 'Ask again after ten seconds: heads are listed that often.',
  },
  'position-lost': {
    sentence: 'The record at this position was lost, and a recovery says so.',
    retryable: false,
    action: 'See the record seal.recovery that the detail names; its leaf hash is all that is left.',
  },
  'evidence-broken': {
    sentence:
      'What is stored does not give the evidence: a record, a tile or a signed head is missing or contradicts another.',
    retryable: false,
    action: 'Run evident verify, then evident investigate; nothing is repaired by asking again.',
  },
  'windows-missing': {
    sentence: 'The log has not committed yet to what these hours hold.',
    retryable: true,
    action: 'Ask again when the hours are closed and processed, some minutes after the last of them ended.',
  },
  'view-behind': {
    sentence: 'The view has not read as far as the head that the evidence ends in.',
    retryable: true,
    action: 'Ask again later; evident status shows how far the view has read.',
  },
  // Alerts.
  'alert-rule-changed': {
    sentence: 'The alert rule was changed by somebody else meanwhile.',
    retryable: false,
    action: 'Read the rule again, and make the change on what it is now.',
  },
  'replay-refused': {
    sentence: 'The record ended or stalled a worker, so the server does not map it again.',
    retryable: false,
    action: 'Replay it with evident dlq replay on the server machine: a process of its own maps it.',
  },
  'view-changed': {
    sentence: 'The generation of the view is no longer built, or another process builds it, too.',
    retryable: true,
    action: 'Look at evident status, and begin again with evident rebuild.',
  },
  // Capture in an application.
  'context-missing': {
    sentence: 'Nobody said who acts: there is no actor in the event, and no context of a request.',
    retryable: false,
    action:
      'Name actor and tenant in the event, or capture inside the request, through the middleware or runWithContext.',
  },
  'context-ended': {
    sentence: 'The request whose context is here has ended, so its actor may not be the one who acts now.',
    retryable: false,
    action: 'Bind the function to its request with bindContext, or name actor and tenant in the event.',
  },
  'outbox-missing': {
    sentence: 'The database has no outbox, or its role may not write to it.',
    retryable: false,
    action: 'Run evident outbox init, with the role of the application as --writer.',
  },
  'outbox-refused': {
    sentence: 'The outbox refused the row, and the business transaction with it.',
    retryable: false,
    action: 'Correct the named field; nothing of the transaction was committed.',
  },
  'outbox-unavailable': {
    sentence: 'The row could not be written to the outbox.',
    retryable: true,
    action: 'Roll the transaction back and try it again; the cause says what the database answered.',
  },
  'sync-timeout': {
    sentence: 'The event is committed in the outbox, but the log did not have it in time.',
    retryable: false,
    action: 'Nothing is lost: the relay brings it. Look at evident outbox status.',
  },
  'buffer-full': {
    sentence: 'The buffer of the HTTP client is full; the event was not taken.',
    retryable: true,
    action: 'Wait until the log answers again, or allow a larger buffer.',
  },
  // Relay.
  'source-unknown': {
    sentence: 'No source of this name is registered.',
    retryable: false,
    action: 'Register it with evident outbox add, or check the name.',
  },
  'source-unavailable': {
    sentence: 'The database of a source cannot be reached, or does not let the relay read.',
    retryable: true,
    action: 'Check the connection and the rights of its role; what waits in the outbox is not lost.',
  },
  'outbox-damaged': {
    sentence: 'The outbox is not as evident outbox init made it.',
    retryable: false,
    action: 'Run evident outbox init as its owner; the detail names what differs.',
  },
  'cursor-moved': {
    sentence: 'Another relay of this source has moved the cursor.',
    retryable: true,
    action: 'Let one relay work; the other waits for it to end.',
  },
  // Start.
  'data-locked': {
    sentence: 'Another Evident process holds this data directory.',
    retryable: true,
    action: 'Use the running server, or stop it first.',
  },
  'data-unwritable': {
    sentence: 'The data directory cannot be written.',
    retryable: false,
    action: 'Check its owner, its mode and the mount.',
  },
  'disk-full': {
    sentence: 'The file system has no space left.',
    retryable: true,
    action: 'Free space, then start again; nothing that was acknowledged is lost.',
  },
  'data-version': {
    sentence: 'The data directory was made by another version.',
    retryable: false,
    action: 'Start it with the version that made it, or migrate it.',
  },
  'engine-missing': {
    sentence: 'The embedded PostgreSQL is not installed on this platform.',
    retryable: false,
    action: 'Run npm ci with optional dependencies, or give an external PostgreSQL with --postgres.',
  },
  'engine-failed': {
    sentence: 'PostgreSQL did not start.',
    retryable: true,
    action: 'Read the last lines of its log, which the detail quotes.',
  },
  'postgres-version': {
    sentence: 'This PostgreSQL is too old.',
    retryable: false,
    action: 'Use PostgreSQL 16 or later.',
  },
  'key-mismatch': {
    sentence: 'The signing key of this data directory is not the one that this database was begun with.',
    retryable: false,
    action: 'Start with the data directory whose signer made this log.',
  },
  // Breaks: what is stored contradicts what was signed.
  'seal-break': {
    sentence: 'The stored log contradicts a head that was signed.',
    retryable: false,
    action: 'Run evident verify; after an inquiry, evident recover with a reason.',
  },
  'window-conflict': {
    sentence: 'The log windows holds another window of that tenant and hour than the log gives.',
    retryable: false,
    action: 'Nothing is overwritten; run evident verify, which says which of them is wrong.',
  },
  'signer-refused': {
    sentence: 'The signer refused a head that contradicts one it has signed.',
    retryable: false,
    action: 'Run evident verify; the database may be an older copy.',
  },
  'signer-unreachable': {
    sentence: 'The signer cannot be reached, or does not answer as one.',
    retryable: true,
    action:
      'Start the signer, or look at the connection to it; capture and search go on, and sealing catches up.',
  },
  'inception-refused': {
    sentence: 'A log of this name was begun before, with another database.',
    retryable: false,
    action:
      'Put the database of that log back; to begin another log take a new data directory, and a signer of its own.',
  },
  'witness-refused': {
    sentence: 'The memory of a witness is lost, cut or changed.',
    retryable: false,
    action:
      'Put its newest memory back, or begin a witness with a key of its own: without the memory it could cosign a fork.',
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** Where an error happened, as far as it is known. */
export interface ErrorContext {
  log?: string;
  partition?: number;
  position?: bigint;
  /** The field, as a dotted path from the item. */
  field?: string;
  [name: string]: unknown;
}

/** An operating fault or a refusal that travels as an exception. Expected outcomes are results, not errors. */
export class EvidentError extends Error {
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  /**
   * @param code one of the catalogue
   * @param detail what was attempted, where, and with which limit; a sentence for a person
   */
  constructor(code: ErrorCode, detail: string, options: { cause?: unknown; context?: ErrorContext } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EvidentError';
    this.code = code;
    this.context = options.context ?? {};
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

export function isEvidentError(error: unknown): error is EvidentError {
  return error instanceof EvidentError;
}
