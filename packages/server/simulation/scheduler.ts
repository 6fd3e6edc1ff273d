/**
 * The scheduler: of all tasks that wait, the seed says which goes on.
 *
 *   running ──step(label)──► waiting ──chosen──► running … ──► ended
 *                              └──kill──► gone: its promise stays pending, nothing of it happens any more
 *
 * A simulated process awaits nothing but `step` and what follows from it. So after one task was resumed, all that
 * can run is microtasks, whose order is the code's; `setImmediate` only marks that none is left. No clock, timer or
 * I/O of the host is ever waited for: a run is a function of its seed.
 */

import type { Random } from './random.ts';
import type { Trace } from './trace.ts';

interface Waiting {
  readonly process: Process;
  readonly label: string;
  resume(): void;
}

/** One simulated operating system process: what dies together. */
export class Process {
  readonly name: string;
  readonly #scheduler: Scheduler;
  state: 'alive' | 'killed' | 'ended' = 'alive';
  /** What it waits to do; for reports. */
  label = '';

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.#scheduler = scheduler;
  }

  /** Waits until the seed lets this task go on. */
  step(label: string): Promise<void> {
    return this.#scheduler.wait(this, label);
  }

  /** Dies here. What it returns is never settled. */
  die(): Promise<never> {
    this.#scheduler.kill(this);
    return new Promise<never>(() => undefined);
  }
}

export class Scheduler {
  readonly #random: Random;
  readonly #trace: Trace;
  #waiting: Waiting[] = [];
  #failure: { readonly error: unknown } | undefined;
  /** Which process is slow just now, and until which turn: others overtake it. */
  readonly #slowUntil = new Map<Process, number>();
  /** Processes with the name get two turns of three, if one waits: what has many small steps would else never end. */
  favoured: RegExp | null = null;
  turns = 0;

  constructor(random: Random, trace: Trace) {
    this.#random = random;
    this.#trace = trace;
  }

  spawn(name: string, main: (process: Process) => Promise<void>): Process {
    const process = new Process(name, this);
    const run = async (): Promise<void> => {
      await process.step('start');
      await main(process);
    };
    run().then(
      () => {
        process.state = 'ended';
      },
      // What a stage does not handle itself is a finding.
      (error: unknown) => this.fail(error),
    );
    return process;
  }

  /** What a process found that must not go on: the run ends with it. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  wait(process: Process, label: string): Promise<void> {
    if (process.state === 'killed') return new Promise(() => undefined);
    process.label = label;
    return new Promise((resolve) => this.#waiting.push({ process, label, resume: resolve }));
  }

  kill(process: Process): void {
    process.state = 'killed';
    this.#waiting = this.#waiting.filter((other) => other.process !== process);
    this.#trace.note(`${process.name} killed at ${process.label}`);
  }

  /** Holds a process up for some turns, or else one that waits: a long pause, a slow disk. */
  slowDown(turns: number, process?: Process): void {
    const slow = process ?? (this.#waiting.length > 0 ? this.#random.pick(this.#waiting).process : undefined);
    if (slow === undefined) return;
    this.#slowUntil.set(slow, this.turns + turns);
    this.#trace.note(`${slow.name} is slow for ${turns} turns`);
  }

  #isSlow(process: Process): boolean {
    return (this.#slowUntil.get(process) ?? 0) > this.turns;
  }

  #favour(): number | null {
    const { favoured } = this;
    if (favoured === null || !this.#random.chance(2, 3)) return null;
    const indexes = [...this.#waiting.keys()].filter((index) => {
      const { process } = this.#waiting[index];
      return favoured.test(process.name) && !this.#isSlow(process);
    });
    return indexes.length === 0 ? null : this.#random.pick(indexes);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Lets one waiting task go on to its next step. @returns false when none waits */
  async turn(): Promise<boolean> {
    if (this.#waiting.length === 0) return false;
    let index = this.#random.below(this.#waiting.length);
    for (let tries = 0; tries < 8 && this.#isSlow(this.#waiting[index].process); tries++)
      index = this.#random.below(this.#waiting.length);
    index = this.#favour() ?? index;
    const chosen = this.#waiting[index];
    this.#waiting[index] = this.#waiting[this.#waiting.length - 1];
    this.#waiting.pop();
    this.turns++;
    this.#trace.note(`${chosen.process.name} ${chosen.label}`);
    chosen.resume();
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#failure !== undefined) throw this.#failure.error;
    return true;
  }
}
