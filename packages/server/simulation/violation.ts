/** A broken promise that the simulation has found. Never caught by a simulated process. */

export class Violation extends Error {
  /** `I1` … of design §7, or a promise of a stage in words. */
  readonly invariant: string;

  constructor(invariant: string, detail: string) {
    super(`${invariant}: ${detail}`);
    this.name = 'Violation';
    this.invariant = invariant;
  }
}

export function demand(holds: boolean, invariant: string, detail: () => string): asserts holds {
  if (!holds) throw new Violation(invariant, detail());
}
