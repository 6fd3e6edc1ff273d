/**
 * What is too rare to be left to chance: a fault before and after the effect of each operation, and paths that few
 * seeds take. Each is looked for in seeds of the kind in which it is likely, so that no change of the code, which makes
 * every seed another run, loses it; and what these seeds promise is checked as in all others.
 */

import {
  inAttacks,
  inBuilds,
  inCopies,
  inDeathsOfReaders,
  inFullTiles,
  inGrownViews,
  inLetters,
  inLog,
  inPolledCopies,
  inProject,
  inRelays,
  inRestores,
  inStreams,
} from './kinds.ts';
import type { Focus } from './profile.ts';

export interface Direction {
  /** Of what kind its seeds are. */
  readonly focus: Focus;
  /** What must have happened in them. */
  readonly reach: readonly string[];
}

/** Operations where faults strike, by the kind of seeds that come to them often. */
const STRUCK: readonly (readonly [Focus, readonly string[]])[] = [
  [
    inLog,
    [
      'appendOnce',
      'read',
      'head',
      'heads',
      'readMany',
      'heads.load',
      'heads.store',
      'heads.markListed',
      'tiles.write',
      'signer.last',
      'signer.sign',
      'objects.put',
      'closeHours',
    ],
  ],
  [inFullTiles, ['tiles.read']],
  [inAttacks, ['heads.stop']],
  [
    inRelays,
    [
      'relay.claim',
      'relay.readSource',
      'relay.relay',
      'relay.moveCursor',
      'relay.progress',
      'outbox.identify',
      'outbox.tokens',
      'outbox.read',
      'outbox.readRow',
      'outbox.slots',
      'outbox.emptySlot',
      'outbox.pressure',
      'outbox.createSlot',
      'outbox.dropSlot',
      'outbox.stream',
    ],
  ],
  [inRestores, ['outbox.bound', 'outbox.readAll']],
  [inStreams, ['outbox.beat', 'outbox.horizon', 'outbox.slotState', 'outbox.stream.next']],
  [
    inDeathsOfReaders,
    [
      'view.open',
      'view.checkpoints',
      'view.countAttempt',
      'view.suspects',
      'view.noteSuspect',
      'view.heads',
      'view.read',
      'view.commit',
    ],
  ],
  [
    inLetters,
    [
      'view.continueWith',
      'letters.list',
      'letters.find',
      'letters.replay',
      'letters.resolve',
      'letters.noteFailure',
    ],
  ],
  [
    inBuilds,
    [
      'generations.build',
      'generations.building',
      'generations.promote',
      'generations.retired',
      'generations.drop',
    ],
  ],
];

function strikesAt(focus: Focus, operation: string): [string, Direction] {
  const whens = operation === 'tiles.write' ? ['before', 'during', 'after'] : ['before', 'after'];
  const strikes = whens.map((when) => `${when} ${operation}`);
  const reach = strikes.flatMap((point) => [`error: ${point}`, `kill: ${point}`]);
  return [`faults at ${operation}`, { focus: { ...focus, strikes }, reach }];
}

const PATHS: Readonly<Record<string, Direction>> = {
  'attacks on the state': {
    focus: inAttacks,
    reach: [
      'attack: edit',
      'attack: drop',
      'attack: swap',
      'attack: hole above the head',
      'ingest: refused by a stopped partition',
    ],
  },
  'hands on the slot': {
    focus: { ...inRelays, capture: { ...inRelays.capture, mode: 'wal' } },
    reach: ['slot: dropped', 'slot: lost its log', 'slot: moved on by somebody', 'alert: slot-lost'],
  },
  'a dump': {
    focus: { ...inRestores, capture: { ...inRestores.capture, disaster: 'dump' } },
    reach: ['epoch: another system', 'ring: restored'],
  },
  'a standby': {
    focus: { ...inRestores, capture: { ...inRestores.capture, disaster: 'promote' } },
    reach: ['epoch: another timeline'],
  },
  'a copy of files': { focus: inCopies, reach: ['epoch: token missing'] },
  'a copy of files, polled': {
    focus: { ...inRestores, capture: { ...inRestores.capture, ...inPolledCopies.capture } },
    reach: ['epoch: row missing'],
  },
  'records that fail': {
    focus: inProject,
    reach: ['project: identity with another body', 'project: poison isolated'],
  },
  operators: {
    focus: inLetters,
    reach: [
      'operate: the mapper is fixed',
      'operate: dead_letter.replay',
      'operate: dead_letter.discard',
      'operate: dead_letter.resolve',
      'operate: replayed: resolved',
      'operate: replayed: failed',
    ],
  },
  builders: {
    focus: { ...inBuilds, killsPermille: 8 },
    reach: [
      'operate: view.rebuild',
      'operate: view.promote',
      'operate: build gone on with',
      'operate: promoted',
      'operate: dropped',
      'operate: resolution carried over',
    ],
  },
  'views that grew': {
    focus: inGrownViews,
    reach: ['digest: the view gives it, too', 'digest: of builds alone'],
  },
};

export const DIRECTED: Readonly<Record<string, Direction>> = {
  ...Object.fromEntries(
    STRUCK.flatMap(([focus, operations]) => operations.map((operation) => strikesAt(focus, operation))),
  ),
  ...PATHS,
};
