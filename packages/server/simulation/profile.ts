/** What one seed is about: sizes, and which faults it has. Seeds differ in kind, so that each can be small. */

import { Random } from './random.ts';

export interface Profile {
  readonly partitions: number;
  readonly writers: number;
  readonly requestsEach: number;
  readonly sealers: number;
  /** Records that are there before anything dies: enough for full tiles in some seeds. */
  readonly prefill: number;
  /** Of 1,000 steps of a port: how many fail, and how many kill. */
  readonly errorsPermille: number;
  readonly killsPermille: number;
  readonly killsMax: number;
  readonly restartStorms: boolean;
  readonly wildClock: boolean;
  /** What goes wrong beyond crashes, once in a run. */
  readonly disaster: 'none' | 'put back' | 'attack';
  /** Absent: an installation without a source. */
  readonly capture: CaptureProfile | null;
  /** Absent: nobody feeds a view. */
  readonly project: ProjectProfile | null;
  /** Absent: nobody resolves dead letters or builds the view anew. */
  readonly operate: OperateProfile | null;
  /** Points of operations that fail or kill every third time, as `before heads.store`. */
  readonly strikes: readonly string[];
  /** Turns in which faults happen; then everything is restarted and must settle. */
  readonly stormTurns: number;
}

/** An application with an outbox, and its relays. */
export interface CaptureProfile {
  readonly sessions: number;
  readonly transactionsEach: number;
  readonly relays: number;
  readonly ringSlots: number;
  /** Microseconds of the simulated clock that one slot of the ring is written to. */
  readonly slotUs: number;
  /** Milliseconds that the relay's clock moves in a turn: how often it looks after things. */
  readonly turnMs: number;
  readonly mode: 'polling' | 'wal' | 'both';
  /** What becomes of the application's database, once or twice in a run. */
  readonly disaster: 'none' | 'restart' | 'file copy' | 'dump' | 'promote';
  /** Of 100 transactions: how many write nothing to the outbox, and use up an xid all the same. */
  readonly quietPercent: number;
  /** Of 100 commits: how many are in the write-ahead log long before others see them, as with a standby to wait for. */
  readonly slowCommitsPercent: number;
  readonly slotFaults: boolean;
  readonly claimsBreak: boolean;
}

/** Readers that feed one view. */
export interface ProjectProfile {
  readonly readers: number;
  readonly recordsMax: number;
  readonly stepRecords: number;
}

/** Who works on the view while it is fed. */
export interface OperateProfile {
  /** Resolve dead letters. */
  readonly operators: number;
  /** Build the view anew and show what they built. */
  readonly builders: number;
  /** Once in a run, servers are started again with a mapper that takes what the one before it called bad. */
  readonly fixes: boolean;
}

/** From chance of its own, for the same reason as below. */
function drawOperate(seed: number): OperateProfile | null {
  const random = new Random(seed ^ 0x6f706572);
  if (!random.chance(1, 2)) return null;
  return {
    operators: random.pick([1, 1, 2]),
    builders: random.pick([0, 1, 1, 2]),
    fixes: random.chance(1, 2),
  };
}

/** From chance of its own: seeds without a view are what they were before there were views. */
function drawProject(seed: number): ProjectProfile | null {
  const random = new Random(seed ^ 0x70726f6a);
  if (!random.chance(1, 3)) return null;
  return {
    readers: random.pick([1, 2, 2]),
    recordsMax: random.pick([2, 6, 20]),
    stepRecords: random.between(1, 4),
  };
}

function drawCapture(random: Random): CaptureProfile {
  return {
    sessions: random.between(2, 4),
    transactionsEach: random.between(8, 24),
    relays: random.pick([1, 1, 2]),
    ringSlots: random.between(4, 6),
    slotUs: random.pick([30_000, 60_000, 200_000]),
    turnMs: random.pick([2, 10, 40]),
    mode: random.pick(['polling', 'wal', 'wal', 'both', 'both']),
    disaster: random.pick(['none', 'restart', 'file copy', 'file copy', 'file copy', 'dump', 'promote']),
    quietPercent: random.pick([0, 20, 80]),
    slowCommitsPercent: random.pick([0, 10, 50]),
    slotFaults: random.chance(1, 4),
    claimsBreak: random.chance(1, 3),
  };
}

/** What is fixed for seeds that shall be of one kind; the rest is drawn. */
export type Focus = Partial<Omit<Profile, 'capture'>> & { readonly capture?: Partial<CaptureProfile> | null };

export function drawProfile(random: Random, seed: number, { capture, ...focus }: Focus = {}): Profile {
  const base = draw(random);
  // A changed record makes a view and the log differ, as it should.
  const project = base.disaster === 'attack' ? null : drawProject(seed);
  const hasView = 'project' in focus ? focus.project !== null : project !== null;
  const operate = hasView ? drawOperate(seed) : null;
  const drawn = { ...base, project, operate, ...focus };
  if (capture === undefined) return drawn;
  if (capture === null) return { ...drawn, capture };
  return { ...drawn, prefill: 0, capture: { ...(drawn.capture ?? drawCapture(random)), ...capture } };
}

function draw(random: Random): Omit<Profile, 'project' | 'operate'> {
  const rough = random.below(3);
  const prefill = random.chance(1, 12) ? random.between(270, 540) : 0;
  const capture = prefill === 0 && random.chance(1, 2) ? drawCapture(random) : null;
  return {
    partitions: prefill > 0 ? 1 : random.between(1, 3),
    writers: capture === null ? random.between(1, 3) : 1,
    requestsEach: random.between(2, 5),
    sealers: random.pick([1, 2, 2]),
    prefill,
    errorsPermille: [0, 15, 40][rough],
    killsPermille: [0, 8, 20][rough],
    killsMax: random.between(0, 10),
    restartStorms: random.chance(1, 5),
    wildClock: random.chance(1, 3),
    disaster: random.pick(['none', 'none', 'put back', 'put back', 'attack']),
    capture,
    strikes: [],
    stormTurns: capture === null ? random.between(150, 500) : random.between(400, 1_200),
  };
}
