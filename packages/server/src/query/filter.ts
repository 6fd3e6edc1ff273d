/** What is sought: one shape for search, counts, export, saved searches and alert rules. All that is given must hold. */

import type { EventResult } from '@evident/core/mapping/row.ts';

export interface EventFilter {
  /** Only this log. */
  readonly log?: string;
  /** Only this tenant; a credential of one tenant can't name another. */
  readonly tenant?: string;
  /** The record's type, such as `cloudtrail`. */
  readonly type?: string;
  readonly actor?: string;
  readonly actorType?: string;
  /** The whole action. */
  readonly action?: string;
  /** Actions that begin with this. */
  readonly actionPrefix?: string;
  readonly resourceType?: string;
  readonly resource?: string;
  readonly result?: EventResult;
  readonly correlationId?: string;
  readonly ip?: string;
  /** Event time, inclusive, microseconds since the Unix epoch. */
  readonly from?: bigint;
  /** Event time, exclusive. */
  readonly to?: bigint;
  /** Time of the append, inclusive and exclusive. */
  readonly appendedFrom?: bigint;
  readonly appendedTo?: bigint;
  /** Words that the body holds, without regard to the case of ASCII letters: a scan of what the rest of the filter leaves. */
  readonly text?: string;
}
