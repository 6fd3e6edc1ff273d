/** What goes wrong where nobody waits for it: told to the application, and never thrown at it. */

/** A best-effort write that failed, or a state that somebody should look at. */
export interface Problem {
  /** What was attempted, in a sentence. */
  readonly what: string;
  readonly error?: unknown;
  /** The event it concerns. */
  readonly event?: { readonly id: string; readonly tenant: string; readonly body: string };
}

export type OnProblem = (problem: Problem) => void;
export type OnWarning = (message: string) => void;

/** The default: a warning of the process, so that silence never means that all is well. */
export function warnOfProblem({ what, error }: Problem): void {
  const why = error === undefined ? '' : `: ${error instanceof Error ? error.message : String(error)}`;
  process.emitWarning(`${what}${why}`, 'EvidentWarning');
}

export function warn(message: string): void {
  process.emitWarning(message, 'EvidentWarning');
}

/** A callback of the application that throws must not reach the business code that happened to run it. */
export function guarded<T>(callback: (value: T) => void): (value: T) => void {
  return (value) => {
    try {
      callback(value);
    } catch (error) {
      process.emitWarning(`a callback of the audit SDK threw: ${String(error)}`, 'EvidentWarning');
    }
  };
}
