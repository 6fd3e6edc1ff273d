/**
 * Named bounds of the HTTP server. All are safe to change on a live log. Of pages, exports, tails and waits the
 * credentials of one tenant get three quarters at most, so that no tenant can keep all others from reading.
 */

export interface HttpLimits {
  /** Largest body of an ingest request, bytes: one body of 16 MiB and its envelope fit. */
  readonly requestBytesMax: number;
  /** Bytes of ingest requests in flight and of records that wait for the log together; beyond: 503 overloaded. */
  readonly inFlightBytesMax: number;
  /** Milliseconds in which the body of an ingest request has to arrive. */
  readonly bodyMsMax: number;
  /** Milliseconds in which the headers of a request have to arrive. */
  readonly headersMsMax: number;
  /** Milliseconds without a byte in either direction after which a connection is closed. */
  readonly idleMsMax: number;
  /** Milliseconds that `close()` waits for requests that have begun; then their connections are cut. */
  readonly closeMsMax: number;
  /** Imports that run at once; each may hold about 100 MiB. */
  readonly importsMax: number;
  /** Most records of one page. */
  readonly pageRecordsMax: number;
  /** A page ends with the record that carries it over this, bytes. */
  readonly pageBytesMax: number;
  /** Records that are read from the log at once. */
  readonly readRecordsMax: number;
  /** Positions that one page looks at for a reader who sees one tenant. */
  readonly scanPositionsMax: number;
  /** Bytes of pages that are being made or sent; beyond: 503 overloaded. */
  readonly pagesBytesMax: number;
  /** Exports at once; each holds a page of records, about 100 MiB at most. */
  readonly exportsMax: number;
  /** Tail connections at once. */
  readonly tailsMax: number;
  /** Milliseconds between two looks at a log in which nothing is new. */
  readonly tailPollMs: number;
  /** Milliseconds after which a silent tail sends a comment, so that both sides see that it lives. */
  readonly tailHeartbeatMs: number;
  /** Longest that a request may ask to wait for an event, milliseconds; below `idleMsMax`. */
  readonly waitMsMax: number;
  /** Requests that wait for an event at once. */
  readonly waitsMax: number;
  /** Milliseconds between two looks for events that are waited for, when nothing is known to have changed. */
  readonly waitPollMs: number;
  /** Requests a minute of one address to what is public; 0: no limit. */
  readonly publicPerAddressMax: number;
  /** Credentials a minute of one address that are not good; 0: no limit. */
  readonly failuresPerAddressMax: number;
  /** Requests a minute of one credential that are not capture; 0: no limit. */
  readonly readsPerCredentialMax: number;
  /** Requests a minute of one credential that write records, or wait for one; 0: no limit. Bytes are bounded by admission. */
  readonly capturesPerCredentialMax: number;
  /** What Retry-After says, seconds. */
  readonly retryAfterSeconds: number;
}

const MIB = 1024 * 1024;

export const HTTP_LIMITS: HttpLimits = {
  requestBytesMax: 17 * MIB,
  inFlightBytesMax: 64 * MIB,
  bodyMsMax: 60_000,
  headersMsMax: 20_000,
  idleMsMax: 75_000,
  closeMsMax: 10_000,
  importsMax: 2,
  pageRecordsMax: 1_000,
  pageBytesMax: 4 * MIB,
  readRecordsMax: 64,
  scanPositionsMax: 10_000,
  pagesBytesMax: 64 * MIB,
  exportsMax: 4,
  tailsMax: 64,
  tailPollMs: 200,
  tailHeartbeatMs: 15_000,
  waitMsMax: 30_000,
  waitsMax: 1_000,
  waitPollMs: 100,
  publicPerAddressMax: 6_000,
  failuresPerAddressMax: 300,
  readsPerCredentialMax: 12_000,
  capturesPerCredentialMax: 600_000,
  retryAfterSeconds: 1,
};

/** Largest body of a request that is not records, bytes. */
export const SMALL_BODY_BYTES_MAX = 64 * 1024;
/** Most keys of one page. */
export const API_KEYS_PAGE_MAX = 1_000;
/** Longest path parameter, characters; longer ones name nothing. */
export const PARAMETER_LENGTH_MAX = 256;
