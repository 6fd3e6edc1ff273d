/** Kinds of seeds in which something happens often: where mutants and seldom paths are looked for. */

import type { Focus } from './profile.ts';

export const inProject: Focus = {
  project: { readers: 1, recordsMax: 6, stepRecords: 2 },
  operate: null,
  disaster: 'none',
  prefill: 0,
};
export const inProjectPairs: Focus = { ...inProject, project: { readers: 2, recordsMax: 6, stepRecords: 2 } };
export const inOperate: Focus = {
  ...inProject,
  operate: { operators: 2, builders: 1, fixes: true },
  errorsPermille: 15,
};
/** Nobody builds: what is shown has grown with the log. */
export const inGrownViews: Focus = { ...inOperate, operate: { operators: 2, builders: 0, fixes: true } };
/** Records come all the time. */
export const inBusyBuilds: Focus = {
  ...inOperate,
  operate: { operators: 1, builders: 2, fixes: false },
  restartStorms: false,
  killsPermille: 0,
  capture: {
    relays: 1,
    sessions: 4,
    transactionsEach: 24,
    quietPercent: 0,
    disaster: 'none',
    mode: 'polling',
  },
};
export const inCapture: Focus = { capture: {} };
export const inStream: Focus = { errorsPermille: 40, capture: { mode: 'wal', relays: 1 } };
export const inSlowCommits: Focus = {
  errorsPermille: 40,
  capture: { mode: 'wal', relays: 1, turnMs: 10, quietPercent: 0, slowCommitsPercent: 100 },
};
export const inSwitches: Focus = { capture: { mode: 'both', sessions: 3, quietPercent: 0, relays: 1 } };
export const inPairs: Focus = { capture: { relays: 2, claimsBreak: true } };
export const inCopies: Focus = { capture: { disaster: 'file copy' } };
/** The token is renewed seldom, so that only the row tells. */
export const inPolledCopies: Focus = {
  errorsPermille: 0,
  killsPermille: 0,
  capture: { mode: 'polling', disaster: 'file copy', turnMs: 1, quietPercent: 0 },
};
/** Rows are seldom, so that only the token tells. */
export const inQuietCopies: Focus = {
  disaster: 'none',
  errorsPermille: 0,
  capture: { mode: 'both', disaster: 'file copy', turnMs: 30, quietPercent: 70, sessions: 4 },
};
/** An older copy is put back under sealers that live on, and some partitions have no news. */
export const inQuietPutBacks: Focus = {
  disaster: 'put back',
  project: null,
  partitions: 3,
  sealers: 1,
  errorsPermille: 0,
  killsPermille: 0,
  restartStorms: false,
  capture: { quietPercent: 80, sessions: 2, transactionsEach: 9 },
};
export const inSmallRings: Focus = {
  capture: { ringSlots: 4, slotUs: 100_000, turnMs: 40, quietPercent: 0, relays: 1, mode: 'polling' },
};
/** Callers that have much to do, without relays, which would take their turns. */
const withCallers: Focus = { capture: null, prefill: 0, writers: 3, requestsEach: 12, stormTurns: 800 };
export const inBusyViews: Focus = { ...inProject, ...withCallers };

/** No faults but those that the seed is about, and enough deaths for those. */
const inQuiet: Focus = {
  disaster: 'none',
  project: null,
  errorsPermille: 0,
  killsPermille: 0,
  killsMax: 40,
  restartStorms: false,
};
/** The log alone. */
export const inLog: Focus = { ...inQuiet, ...withCallers };
export const inFullTiles: Focus = { ...inLog, prefill: 300, partitions: 1 };
/** Requests come until long after the attack. */
export const inAttacks: Focus = { ...inLog, disaster: 'attack', requestsEach: 30 };
/** Relays take either way, and somebody lays hands on the slot. */
export const inRelays: Focus = {
  ...inQuiet,
  writers: 1,
  requestsEach: 2,
  stormTurns: 1_200,
  capture: {
    mode: 'both',
    relays: 1,
    slotFaults: true,
    claimsBreak: false,
    disaster: 'none',
    quietPercent: 0,
    transactionsEach: 24,
  },
};
export const inRestores: Focus = { ...inRelays, capture: { ...inRelays.capture, disaster: 'file copy' } };
/** One relay streams all the time, and looks after its slot often. */
export const inStreams: Focus = {
  ...inRelays,
  capture: { ...inRelays.capture, mode: 'wal', slotFaults: false, turnMs: 40, sessions: 2 },
};
export const inDeathsOfReaders: Focus = {
  ...inBusyViews,
  killsMax: 40,
  killsPermille: 8,
  restartStorms: false,
};
/** Letters are many, and nobody builds. */
export const inLetters: Focus = {
  ...inQuiet,
  ...withCallers,
  project: { readers: 1, recordsMax: 6, stepRecords: 2 },
  operate: { operators: 2, builders: 0, fixes: true },
};
/** Records are few, so that builds end. */
export const inBuilds: Focus = {
  ...inLetters,
  writers: 1,
  requestsEach: 4,
  sealers: 1,
  stormTurns: 1_200,
  operate: { operators: 1, builders: 2, fixes: true },
};
