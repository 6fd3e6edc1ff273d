/** What verification finds, and the three answers (design §5). */

export type Verdict = 'verified' | 'tampered' | 'not checked';

/** Names of the checks, as reports and docs use them. */
export type Check =
  | 'record'
  | 'record-missing'
  | 'record-extra'
  | 'leaf-length'
  | 'time-order'
  | 'partition-of-key'
  | 'reserved-name'
  | 'object'
  | 'tile'
  | 'chain'
  | 'head'
  | 'head-signature'
  | 'heads-log'
  | 'window'
  | 'window-missing'
  | 'window-extra'
  | 'window-chain'
  | 'window-hour'
  | 'counter'
  | 'signer'
  | 'lost'
  | 'kept-head'
  | 'timestamp'
  | 'cosignature'
  | 'anchor-record'
  | 'view-row'
  | 'view-row-missing'
  | 'view-row-extra'
  | 'view-dead-letter'
  | 'view-identity'
  | 'view-checkpoint'
  | 'view-definition'
  | 'storage';

export interface Finding {
  readonly verdict: 'tampered' | 'not checked';
  readonly log: string;
  readonly partition: number;
  /** First position concerned, or null when it is not about positions. */
  readonly from: bigint | null;
  /** Position behind the last one concerned; null as `from`. */
  readonly to: bigint | null;
  /** Id of the record at `from`, where one can be read. */
  readonly id: string | null;
  readonly check: Check;
  readonly detail: string;
}

/** Exit codes of `evident verify` and `evident check`. */
export const EXIT_OF_VERDICT: Readonly<Record<Verdict, number>> = {
  verified: 0,
  tampered: 1,
  'not checked': 2,
};

/** Most findings that a report holds; all are counted. */
export const FINDINGS_MAX = 1_000;

export class Findings {
  readonly list: Finding[] = [];
  #tampered = 0;
  #notChecked = 0;

  add(finding: Finding): void {
    if (finding.verdict === 'tampered') this.#tampered++;
    else this.#notChecked++;
    if (this.list.length < FINDINGS_MAX) this.list.push(finding);
  }

  get count(): { tampered: number; notChecked: number } {
    return { tampered: this.#tampered, notChecked: this.#notChecked };
  }

  get verdict(): Verdict {
    if (this.#tampered > 0) return 'tampered';
    return this.#notChecked > 0 ? 'not checked' : 'verified';
  }
}

/** One finding, in a line: verdict, place, id, check, detail. */
export function describeFinding({ verdict, log, partition, from, to, id, check, detail }: Finding): string {
  let place = `${log}/${partition}`;
  if (from !== null) place += `/${from}`;
  if (from !== null && to !== null && to - from > 1n) place += `..${to - 1n}`;
  return `${verdict}: ${place}${id === null ? '' : ` (id ${id})`} [${check}] ${detail}`;
}
