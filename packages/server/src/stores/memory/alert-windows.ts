/** Counts of alert rules in memory: slices, and the windows that are made of them (`alerts/rule.ts`). */

import { type Increment, PLACES_MAX } from '../../alerts/evaluate.ts';
import { type AlertRule, periodOf, SLICES, sliceUs } from '../../alerts/rule.ts';

interface Slice {
  count: bigint;
  places: readonly string[];
}

/** What is counted together. */
interface Group {
  readonly rule: AlertRule;
  readonly tenant: string;
  readonly others: boolean;
  readonly subject: string;
  readonly slices: Map<bigint, Slice>;
}

/** A window that has reached the threshold of its rule. */
export interface FullWindow extends Omit<Group, 'slices'> {
  readonly period: bigint;
  readonly start: bigint;
  readonly end: bigint;
  readonly count: bigint;
  readonly places: readonly string[];
}

const firstPlaces = (places: readonly string[]): string[] => [...new Set(places)].sort().slice(0, PLACES_MAX);
const byNumber = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

export class AlertWindows {
  readonly #groupsMax: number;
  readonly #groups = new Map<string, Group>();
  /** Subjects that are told apart, by rule, tenant and period. */
  readonly #subjects = new Map<string, { readonly end: bigint; readonly known: Set<string> }>();

  constructor(groupsMax: number) {
    this.#groupsMax = groupsMax;
  }

  /** @returns by group and period, the earliest window that reaches the threshold, of those that got events */
  add(items: readonly { readonly rule: AlertRule; readonly increment: Increment }[]): FullWindow[] {
    const touched = new Map<string, bigint[]>();
    for (const { rule, increment } of items) {
      const key = this.#count(rule, increment);
      touched.set(key, [...(touched.get(key) ?? []), increment.sliceStart]);
    }
    return [...touched].flatMap(([key, slices]) => fullWindows(this.#groups.get(key)!, slices));
  }

  #count(rule: AlertRule, { tenant, sliceStart, subject, count, places }: Increment): string {
    const period = periodOf(rule, sliceStart);
    const start = `${rule.id}:${rule.version}:${tenant}:`;
    const { known } = this.#subjects.get(`${start}${period}`) ?? { known: new Set<string>() };
    this.#subjects.set(`${start}${period}`, { end: period + 2n * rule.windowUs, known });
    const others = !known.has(subject) && known.size >= this.#groupsMax;
    if (!others) known.add(subject);
    const name = others ? '' : subject;
    const key = `${start}${others ? 'others' : 'one'}:${name}`;
    const group = this.#groups.get(key) ?? { rule, tenant, others, subject: name, slices: new Map() };
    const slice = group.slices.get(sliceStart) ?? { count: 0n, places: [] };
    group.slices.set(sliceStart, {
      count: slice.count + count,
      places: firstPlaces([...slice.places, ...places]),
    });
    this.#groups.set(key, group);
    return key;
  }

  /** Forgets periods of which no window reaches beyond `past`. @returns how many slices went */
  forget(past: bigint): number {
    let gone = 0;
    for (const { rule, slices } of this.#groups.values())
      for (const start of slices.keys())
        if (periodOf(rule, start) + 2n * rule.windowUs <= past && slices.delete(start)) gone++;
    for (const [key, { end }] of this.#subjects) if (end <= past) this.#subjects.delete(key);
    for (const [key, { slices }] of this.#groups) if (slices.size === 0) this.#groups.delete(key);
    return gone;
  }

  /** Whether a window that begins in this period may still get events. */
  isOpen(rule: AlertRule, tenant: string, period: bigint): boolean {
    return this.#subjects.has(`${rule.id}:${rule.version}:${tenant}:${period}`);
  }
}

function fullWindows({ slices, ...group }: Group, touched: readonly bigint[]): FullWindow[] {
  const { rule } = group;
  const length = (SLICES + 1n) * sliceUs(rule);
  const first = new Map<bigint, FullWindow>();
  for (const start of [...slices.keys()].sort(byNumber)) {
    const end = start + length;
    const period = periodOf(rule, start);
    if (first.has(period) || !touched.some((slice) => slice >= start && slice < end)) continue;
    const inside = [...slices].filter(([slice]) => slice >= start && slice < end);
    const count = inside.reduce((sum, [, one]) => sum + one.count, 0n);
    if (count < rule.threshold) continue;
    const places = firstPlaces(inside.flatMap(([, one]) => one.places));
    first.set(period, { ...group, period, start, end, count, places });
  }
  return [...first.values()];
}
