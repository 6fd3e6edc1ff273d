/**
 * The result of reading a document that someone else wrote: its value, or the reason why it was refused.
 * Refusals are results and not exceptions, because bad input is expected (style rule 10).
 */
export type Parsed<T> = { readonly ok: true; readonly value: T } | Refusal;

export interface Refusal {
  readonly ok: false;
  /** What is wrong, in a short sentence for a person, without a full stop. */
  readonly reason: string;
}

export function accept<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

export function refuse(reason: string): Refusal {
  return { ok: false, reason };
}
