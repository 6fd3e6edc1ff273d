/** How statements reach the application's database: the port that every driver and query builder fits behind. */

/** One INSERT, in the forms that drivers and query builders take. */
export interface OutboxStatement {
  /** With placeholders $1, $2, … */
  readonly text: string;
  /** Strings and nulls only: every database library can send those. */
  readonly values: readonly (string | null)[];
  /** The text between the placeholders, so that a tagged template can be called: `tag(strings, ...values)`. */
  readonly strings: TemplateStringsArray;
  /** The same rows, for a driver that speaks no SQL. */
  readonly rows: readonly OutboxRow[];
  /**
   * A name to prepare the statement under: in every process of one text always. There are two, for an event and for an
   * intent; a statement of several rows has none, for their number would have no bound.
   */
  readonly name?: string;
}

/** A row of the outbox, less what its defaults give. */
export interface OutboxRow {
  /** UUIDv7 in lower case; identity of the record. */
  readonly eventId: string;
  readonly tenant: string;
  readonly type: 'audit.event' | 'audit.intent';
  readonly key: string;
  /** 1 for audit.event, 0 for audit.intent. */
  readonly schema: 0 | 1;
  /** Serialised facts of capture. */
  readonly meta: string;
  /** The serialised event; these bytes reach the log as they are. */
  readonly body: string;
}

/**
 * A driver has two methods, of one line each:
 *
 *     { query: (tx, s) => tx.execute(sql(s.strings, ...s.values)), transaction: (fn) => db.transaction(fn) }
 */
export interface OutboxDriver<Tx> {
  /** Runs the statement in the caller's transaction; rejects with the database's own error. */
  query(tx: Tx, statement: OutboxStatement): PromiseLike<unknown>;
  /**
   * Runs `fn` in a new transaction on a connection of its own: commits when it resolves, rolls back when it rejects,
   * and rejects with that very error. `capture` and `logAlone` need it.
   */
  transaction?<T>(fn: (tx: Tx) => Promise<T>): PromiseLike<T>;
  /** Rows of a SELECT, outside of any transaction. Only `growth` needs it; default: `query` in a `transaction`. */
  read?(statement: OutboxStatement): PromiseLike<readonly object[]>;
}
