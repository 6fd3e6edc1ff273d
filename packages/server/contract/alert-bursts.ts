/** What alerts events have to raise, told from their times alone: for the tests of whatever counts them. */

import type { AlertRule } from '../src/alerts/rule.ts';

type Span = Pick<AlertRule, 'windowUs' | 'threshold'>;

/** When an event was appended, microseconds since the Unix epoch, and by what it is counted. */
export interface Occurrence {
  readonly subject: string | null;
  readonly at: bigint;
}

export interface ExpectedAlert {
  readonly subject: string | null;
  readonly windowStart: bigint;
  readonly count: bigint;
}

const floor = (at: bigint, length: bigint): bigint => at - (at % length);

/** The most events of one subject that lie no further apart than `length`, by subject. */
export function mostWithin(events: readonly Occurrence[], length: bigint): Map<string | null, number> {
  return new Map(
    [...Map.groupBy(events, ({ subject }) => subject)].map(([subject, own]) => [
      subject,
      Math.max(...own.map(({ at }) => own.filter((one) => one.at >= at && one.at - at <= length).length)),
    ]),
  );
}

/** The alerts that README.md of `alerts` promises, by subject and time: of each period the earliest full window. */
export function expectedAlerts(
  events: readonly Occurrence[],
  { windowUs, threshold }: Span,
): ExpectedAlert[] {
  const slice = windowUs / 10n;
  const alerts = [...Map.groupBy(events, ({ subject }) => subject)].flatMap(([subject, own]) => {
    const starts = [...new Set(own.map(({ at }) => floor(at, slice)))].sort((a, b) => Number(a - b));
    const full = starts
      .map((windowStart) => ({
        subject,
        windowStart,
        count: BigInt(
          own.filter(({ at }) => at >= windowStart && at < windowStart + windowUs + slice).length,
        ),
      }))
      .filter(({ count }) => count >= threshold);
    return [...Map.groupBy(full, ({ windowStart }) => floor(windowStart, windowUs))].map(
      ([, [first]]) => first,
    );
  });
  return alerts.sort(byTime);
}

/** An order for what is compared. */
export function byTime(a: ExpectedAlert, b: ExpectedAlert): number {
  if (a.windowStart !== b.windowStart) return a.windowStart < b.windowStart ? -1 : 1;
  return String(a.subject) < String(b.subject) ? -1 : 1;
}
