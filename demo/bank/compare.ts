/** Rows against events, one by one: nothing but the two lists is known here. */

export type Facts = Readonly<Record<string, string | number | null>>;

/** Rows of one table, and the events that should be about them. */
export interface Kind {
  readonly name: string;
  readonly rows: ReadonlyMap<string, Facts>;
  readonly events: readonly { readonly key: string; readonly facts: Facts }[];
}

export interface KindReport {
  readonly name: string;
  readonly rows: number;
  readonly events: number;
  /** Keys of rows without an event. */
  readonly missing: readonly string[];
  /** Keys of events without a row. */
  readonly orphans: readonly string[];
  /** Keys of rows with more than one event. */
  readonly twice: readonly string[];
  /** Rows whose event tells something else. */
  readonly different: readonly string[];
}

const text = (facts: Facts): string =>
  JSON.stringify(Object.entries(facts).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));

export function compareKind({ name, rows, events }: Kind): KindReport {
  const byKey = Map.groupBy(events, ({ key }) => key);
  const missing: string[] = [];
  const twice: string[] = [];
  const different: string[] = [];
  for (const [key, row] of rows) {
    const found = byKey.get(key) ?? [];
    if (found.length === 0) missing.push(key);
    if (found.length > 1) twice.push(key);
    for (const { facts } of found)
      if (text(facts) !== text(row))
        different.push(`${key}: the row says ${text(row)}, the event ${text(facts)}`);
  }
  const orphans = [...byKey.keys()].filter((key) => !rows.has(key));
  return { name, rows: rows.size, events: events.length, missing, orphans, twice, different };
}

export function agrees({ missing, orphans, twice, different }: KindReport): boolean {
  return missing.length + orphans.length + twice.length + different.length === 0;
}
