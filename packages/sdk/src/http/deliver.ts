/** A batch into the log: one request, or several smaller ones where one item spoils it for the others. Never throws. */

import type { EvidentError } from '@evident/core/errors.ts';
import type { BatchAnswer, ItemAnswer } from './answer.ts';
import type { EncodedEvent } from './envelope.ts';

/** What became of one item, for now. */
export type Outcome =
  | Exclude<ItemAnswer, { kind: 'again' }>
  /** Not settled. `mayBeTaken`: it may be in the log all the same. */
  | { readonly kind: 'again'; readonly error: EvidentError; readonly mayBeTaken: boolean }
  /** Cannot pass as things are: a setting is wrong, or its partition is stopped. */
  | { readonly kind: 'held'; readonly error: EvidentError };

export interface Delivery {
  /** One an item, in order. */
  readonly outcomes: readonly Outcome[];
  /** How long the log asks to be left alone. */
  readonly retryAfterMs: number | null;
  readonly requests: number;
}

export type Post = (items: readonly EncodedEvent[]) => Promise<BatchAnswer>;

/**
 * Items go in their order. After a request that settles nothing the rest is not sent, because it would overtake.
 */
export async function deliver(post: Post, items: readonly EncodedEvent[]): Promise<Delivery> {
  const outcomes: Outcome[] = [];
  let retryAfterMs: number | null = null;
  let requests = 0;
  /** Groups still to send, in order. */
  const waiting: (readonly EncodedEvent[])[] = [items];
  for (let group = waiting.shift(); group !== undefined; group = waiting.shift()) {
    const answer = await post(group);
    requests++;
    const half = Math.ceil(group.length / 2);
    if ((answer.kind === 'content' || answer.kind === 'stopped') && group.length > 1) {
      waiting.unshift(group.slice(0, half), group.slice(half));
      continue;
    }
    outcomes.push(...outcomesOf(answer, group.length));
    if (answer.kind !== 'again' && answer.kind !== 'setting') continue;
    if (answer.kind === 'again') retryAfterMs = answer.retryAfterMs;
    const { error } = answer;
    const unsent: Outcome =
      answer.kind === 'again' ? { kind: 'again', error, mayBeTaken: false } : { kind: 'held', error };
    for (const { length } of waiting.splice(0)) outcomes.push(...repeat(unsent, length));
  }
  return { outcomes, retryAfterMs, requests };
}

function outcomesOf(answer: BatchAnswer, count: number): Outcome[] {
  switch (answer.kind) {
    case 'answered':
      return answer.items.map((item) =>
        item.kind === 'again' ? { kind: 'again', error: item.error, mayBeTaken: true } : item,
      );
    case 'again': {
      const { error, mayBeTaken } = answer;
      return repeat({ kind: 'again', error, mayBeTaken }, count);
    }
    case 'content':
      return repeat({ kind: 'refused', error: answer.error }, count);
    case 'stopped':
    case 'setting':
      return repeat({ kind: 'held', error: answer.error }, count);
  }
}

function repeat(outcome: Outcome, count: number): Outcome[] {
  return Array.from({ length: count }, () => outcome);
}
