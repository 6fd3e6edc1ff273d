/** What checking a bundle finds, and the three answers (design §5). */

export type CheckVerdict = 'verified' | 'tampered' | 'not checked';

/** Names of the checks, as reports and docs use them. */
export type CheckName =
  | 'manifest'
  | 'file'
  | 'key'
  | 'head'
  | 'head-listed'
  | 'record'
  | 'record-order'
  | 'time-order'
  | 'proof'
  | 'tile'
  | 'body'
  | 'scope'
  | 'window'
  | 'timestamp'
  | 'cosignature'
  | 'known-head'
  | 'check';

/** Where a record stands, as its leaf says. */
export interface RecordPlace {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
}

export interface CheckFinding {
  readonly verdict: 'tampered' | 'not checked';
  /** The file concerned. */
  readonly path: string;
  readonly check: CheckName;
  readonly detail: string;
  readonly record?: RecordPlace;
}

/** Most findings that a report holds; all are counted. */
export const CHECK_FINDINGS_MAX = 1_000;

export class CheckFindings {
  readonly list: CheckFinding[] = [];
  #tampered = 0;
  #notChecked = 0;

  tampered(path: string, check: CheckName, detail: string, record?: RecordPlace): void {
    this.#tampered++;
    this.#add({ verdict: 'tampered', path, check, detail, ...(record === undefined ? {} : { record }) });
  }

  notChecked(path: string, check: CheckName, detail: string, record?: RecordPlace): void {
    this.#notChecked++;
    this.#add({ verdict: 'not checked', path, check, detail, ...(record === undefined ? {} : { record }) });
  }

  get count(): { tampered: number; notChecked: number } {
    return { tampered: this.#tampered, notChecked: this.#notChecked };
  }

  get verdict(): CheckVerdict {
    if (this.#tampered > 0) return 'tampered';
    return this.#notChecked > 0 ? 'not checked' : 'verified';
  }

  #add(finding: CheckFinding): void {
    if (this.list.length < CHECK_FINDINGS_MAX) this.list.push(finding);
  }
}

/** A token whose signature, chain and imprint were good. */
export interface CheckedTimestamp {
  readonly authority: string;
  /** Microseconds since the Unix epoch. */
  readonly at: bigint;
}

/** A cosignature of a witness that was named. */
export interface CheckedCosignature {
  readonly witness: string;
  /** Seconds since the Unix epoch, by the witness's clock. */
  readonly at: bigint;
}

export interface CheckReport {
  readonly verdict: CheckVerdict;
  /** At most `CHECK_FINDINGS_MAX`; `tampered` and `notChecked` count all. */
  readonly findings: readonly CheckFinding[];
  readonly tampered: number;
  readonly notChecked: number;
  /** What holds, in sentences; empty unless everything was verified. */
  readonly shown: readonly string[];
  /** What a bundle, or this check of it, does not show. */
  readonly notShown: readonly string[];
  /** Records read. */
  readonly records: bigint;
  /** The head of the bundle, if its signature was good. */
  readonly head: { readonly origin: string; readonly size: bigint; readonly root: Uint8Array } | null;
  /** Tiers of evidence (design §5) that this check saw at work; T1 and T2 cannot be seen from a bundle. */
  readonly tiers: readonly ('T3' | 'T4')[];
  readonly timestamps: readonly CheckedTimestamp[];
  readonly cosignatures: readonly CheckedCosignature[];
}
