/**
 * Ends a client with its process.
 *
 * A signal closes the client, within its bound, and is then raised again, so that the process ends as it would have.
 * Where the application has a handler of its own for that signal, the handler decides when the process ends: call
 * `close()` in it, before it exits. A second signal ends the process at once.
 */

import type { FlushOptions, FlushResult } from './client.ts';

/** The part of `process` that is used. */
export interface ExitingProcess {
  readonly pid: number;
  once(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
  listenerCount(event: string): number;
  kill(pid: number, signal: string): unknown;
}

export interface ExitOptions extends FlushOptions {
  /** Default SIGTERM and SIGINT. */
  readonly signals?: readonly string[];
}

interface Flushed {
  flush(options?: FlushOptions): Promise<FlushResult>;
  close(options?: FlushOptions): Promise<FlushResult>;
}

export function flushOnExit(client: Flushed, process: ExitingProcess, options: ExitOptions = {}): () => void {
  const { signals = ['SIGTERM', 'SIGINT'], ...bound } = options;
  const listeners = new Map<string, () => void>();
  const stop = () => {
    for (const [event, listener] of listeners) process.off(event, listener);
  };
  for (const signal of signals) {
    listeners.set(signal, () => {
      void client.close(bound).finally(() => {
        stop();
        if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
      });
    });
  }
  // Once: a flush gives the process something to do, and it would come here again.
  listeners.set('beforeExit', () => void client.flush(bound));
  for (const [event, listener] of listeners) process.once(event, listener);
  return stop;
}
