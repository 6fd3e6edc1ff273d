/**
 * How far the self-audit is, and what follows from it for how long a change can stay unseen. The state is one line of JSON:
 *
 *   {"v":1,"pass":{"begun_at":"<µs>","records":n,"passed_over":n,"tampered":n,"newest":"…"|null,
 *     "places":{"<log>/<partition>":{"epoch":n,"next":"<position>","to":"<position>"}…}}|null,
 *    "last":{"begun_at","ended_at","records","tampered","newest"}|null,"incomplete":false}
 *
 * It is a cursor, and no evidence: whoever changes it makes the audit read something later, or twice.
 */

import { formatInstant } from '@evident/core/leaf.ts';

/** What one pass has to read of a partition, and how far it is. Mutated by the pass alone. */
export interface AuditPlace {
  readonly epoch: number;
  next: bigint;
  /** What was sealed when the pass began: what comes later is read by the next one. */
  readonly to: bigint;
}

export interface AuditPass {
  /** Microseconds since the Unix epoch. */
  readonly begunAt: bigint;
  records: number;
  /** Positions that could not be read. */
  passedOver: number;
  tampered: number;
  /** The newest finding that says tampered, in a line. */
  newest: string | null;
  /** By `placeKey`, in the order of their turns. */
  readonly places: Map<string, AuditPlace>;
}

/** A pass that read everything. */
export interface FullPass {
  readonly begunAt: bigint;
  readonly endedAt: bigint;
  readonly records: number;
  readonly tampered: number;
  readonly newest: string | null;
}

export interface AuditState {
  readonly pass: AuditPass | null;
  readonly last: FullPass | null;
  /** The pass before this one left something out. */
  readonly isIncomplete: boolean;
}

/** Keeps the state over restarts. Implemented in `stores/folder`. */
export interface AuditStateStore {
  /** Null: there is none, or none that can be understood; a pass begins anew. */
  load(): Promise<AuditState | null>;
  /** Durable when it resolves. @throws data-unwritable, disk-full */
  save(state: AuditState): Promise<void>;
}

export function placeKey(log: string, partition: number): string {
  return `${log}/${partition}`;
}

/** How the audit stands, for people and metrics. */
export interface AuditStanding {
  readonly recordsPerSecond: number;
  /** The last pass that read everything; null: none has ended yet. */
  readonly last: FullPass | null;
  /** Seconds since it ended. */
  readonly ageSeconds: number | null;
  /** Seconds that it took. */
  readonly passSeconds: number | null;
  /** Longest that a change of a sealed record stays unseen while the audit runs, in seconds; null before it is known. */
  readonly unseenSecondsMax: number | null;
  /** Of the pass that runs: 0 to 1; null: none does. */
  readonly progress: number | null;
  /** Findings of this pass and the last that say tampered. */
  readonly tampered: number;
  readonly newest: string | null;
  /** Something could not be read in the pass before this one, or in this one. */
  readonly isIncomplete: boolean;
}

/**
 * What follows from a state. A change is seen when its place is read the next time, at the latest one pass after it was
 * made; a pass takes as long as the last one did, in proportion to what is sealed now, and never less than the rate allows.
 * @param sealed records that are sealed now
 * @param passMsMin shortest time from one pass to the next, in milliseconds
 */
export function auditStanding(
  { pass, last, isIncomplete }: AuditState,
  {
    recordsPerSecond,
    sealed,
    passMsMin,
    now,
  }: { recordsPerSecond: number; sealed: number; passMsMin: number; now: bigint },
): AuditStanding {
  const passSeconds = last === null ? null : secondsOf(last.endedAt - last.begunAt);
  const byRate = sealed / recordsPerSecond;
  const byLast =
    passSeconds === null || last === null || last.records === 0 ? 0 : (passSeconds * sealed) / last.records;
  const expected = Math.max(byRate, byLast, passMsMin / 1_000);
  const places = [...(pass?.places.values() ?? [])];
  const whole = places.reduce((sum, { to }) => sum + Number(to), 0);
  const done = places.reduce((sum, { next }) => sum + Number(next), 0);
  return {
    recordsPerSecond,
    last,
    ageSeconds: last === null ? null : secondsOf(now - last.endedAt),
    passSeconds,
    unseenSecondsMax: last === null ? null : expected,
    progress: pass === null ? null : whole === 0 ? 1 : done / whole,
    tampered: (pass?.tampered ?? 0) + (last?.tampered ?? 0),
    newest: pass?.newest ?? last?.newest ?? null,
    isIncomplete: isIncomplete || (pass?.passedOver ?? 0) > 0,
  };
}

function secondsOf(microseconds: bigint): number {
  return Math.max(0, Number(microseconds) / 1_000_000);
}

/** A standing as JSON gives it, without the findings themselves: they name records, and any key may ask. */
export function auditJson(standing: AuditStanding) {
  const { recordsPerSecond, last, ageSeconds, unseenSecondsMax, progress, tampered, isIncomplete } = standing;
  return {
    records_per_second: recordsPerSecond,
    last_full_pass:
      last === null
        ? null
        : {
            begun_at: formatInstant(last.begunAt),
            ended_at: formatInstant(last.endedAt),
            records: last.records,
          },
    age_seconds: ageSeconds,
    unseen_seconds_max: unseenSecondsMax,
    progress,
    tampered,
    incomplete: isIncomplete,
  };
}

export function formatAuditState({ pass, last, isIncomplete }: AuditState): string {
  return `${JSON.stringify({
    v: 1,
    pass:
      pass === null
        ? null
        : {
            begun_at: pass.begunAt.toString(),
            records: pass.records,
            passed_over: pass.passedOver,
            tampered: pass.tampered,
            newest: pass.newest,
            places: Object.fromEntries(
              [...pass.places].map(([key, { epoch, next, to }]) => [
                key,
                { epoch, next: next.toString(), to: to.toString() },
              ]),
            ),
          },
    last:
      last === null
        ? null
        : {
            begun_at: last.begunAt.toString(),
            ended_at: last.endedAt.toString(),
            records: last.records,
            tampered: last.tampered,
            newest: last.newest,
          },
    incomplete: isIncomplete,
  })}\n`;
}

/** @returns null for anything that `formatAuditState` does not write */
export function parseAuditState(text: string): AuditState | null {
  try {
    const { v, pass, last, incomplete } = objectOf(JSON.parse(text));
    if (v !== 1 || typeof incomplete !== 'boolean') return null;
    return {
      pass: pass === null ? null : parsePass(objectOf(pass)),
      last: last === null ? null : parseLast(objectOf(last)),
      isIncomplete: incomplete,
    };
  } catch {
    return null;
  }
}

function parsePass(pass: Record<string, unknown>): AuditPass {
  const places = Object.entries(objectOf(pass.places)).map(([key, value]): [string, AuditPlace] => {
    const { epoch, next, to } = objectOf(value);
    if (!/^[a-z0-9-]{1,32}\/\d{1,5}$/.test(key)) throw new RangeError(key);
    return [key, { epoch: countOf(epoch), next: decimalOf(next), to: decimalOf(to) }];
  });
  return {
    begunAt: decimalOf(pass.begun_at),
    records: countOf(pass.records),
    passedOver: countOf(pass.passed_over),
    tampered: countOf(pass.tampered),
    newest: textOf(pass.newest),
    places: new Map(places),
  };
}

function parseLast(last: Record<string, unknown>): FullPass {
  return {
    begunAt: decimalOf(last.begun_at),
    endedAt: decimalOf(last.ended_at),
    records: countOf(last.records),
    tampered: countOf(last.tampered),
    newest: textOf(last.newest),
  };
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RangeError('an object is expected');
  return value as Record<string, unknown>;
}

function decimalOf(value: unknown): bigint {
  if (typeof value !== 'string' || !/^\d{1,18}$/.test(value)) throw new RangeError('a decimal is expected');
  return BigInt(value);
}

function countOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new RangeError('a count is expected');
  return value;
}

function textOf(value: unknown): string | null {
  if (value !== null && typeof value !== 'string') throw new RangeError('a text is expected');
  return value;
}
