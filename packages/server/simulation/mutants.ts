/** Guards of the source, taken away one at a time: the simulation must find each. */

import {
  inBusyBuilds,
  inBusyViews,
  inCapture,
  inCopies,
  inGrownViews,
  inOperate,
  inPairs,
  inPolledCopies,
  inProject,
  inProjectPairs,
  inQuietCopies,
  inQuietPutBacks,
  inSlowCommits,
  inSmallRings,
  inStream,
  inSwitches,
} from './kinds.ts';
import type { Focus } from './profile.ts';
import type { Replacement } from './source.ts';

export interface Mutant {
  readonly what: string;
  /** Of what kind the seeds are in which it is looked for; absent: of every kind. */
  readonly focus?: Focus;
  readonly replacements: readonly Replacement[];
}

const SEAL = 'src/seal/seal.ts';
const STORES = 'src/stores/memory/seal-stores.ts';
const WRITE_TILES = '  await deps.tiles.write(growths.map(({ tiles }) => tiles));\n';
const CONTRADICTS = '  const signed = `a head of size ';
const STORE_HEADS = '  const stored = await deps.heads.store(sealer.log.name, moves);\n';
const EPOCH = 'src/relay/epoch.ts';
const STREAM = 'src/relay/stream.ts';
const OUTBOX = 'src/stores/memory/outbox.ts';
const RELAY_LOG = 'src/stores/memory/relay.ts';
const MOVED_ON = {
  file: 'src/relay/relay.ts',
  text: 'if (slot.confirmed > state.through)',
  by: 'if (slot.confirmed < 0n)',
};
const STORE_ROWS = 'if (rows.length > 0 || isDue) await this.#store(rows);';
const ACKNOWLEDGE = 'this.#stream.acknowledge(this.#stored);';
const LOCK = 'const isLocked = this.#database.isFree(slot);';
const LINGER =
  "for (let turns = 0; look === 'emptied' && turns < 30; turns++) await this.#calls.wait('emptySlot.part');";
const LOOK = 'const look = this.#database.lookAt(slot, done, row, restored);';
const CLAIM = 'if (claims.get(name)?.isOpen) return null;';
const COMPARE = 'if (held.version !== version || held.state !== before)';

const READER = 'src/project/reader.ts';
const LETTERS = 'src/stores/memory/dead-letters.ts';
const GENERATIONS = 'src/stores/memory/generations.ts';
const VIEWS = 'src/stores/memory/view-store.ts';
const CHECKPOINTS_COMPARED =
  'if (spans.some(({ tree, from }) => held.checkpoints.get(tree)?.next !== from)) return true;';
const OUTPUT_REFUSED = 'if (!(error instanceof OutputRefused)) throw error;';

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'no-fence': {
    what: 'the head store no longer compares the stored head with the predecessor',
    replacements: [
      {
        file: STORES,
        text: '        if (now === undefined || now.size !== from.size || !equalBytes(now.root, from.root) || to.size <= now.size) continue;\n',
        by: '',
      },
    ],
  },
  'heads-before-tiles': {
    what: 'tiles are written after the heads are stored',
    replacements: [
      { file: SEAL, text: WRITE_TILES, by: '' },
      { file: SEAL, text: STORE_HEADS, by: STORE_HEADS + WRITE_TILES },
    ],
  },
  'signer-forgets': {
    what: 'the signer refuses nothing, and nobody asks what it signed',
    replacements: [
      {
        file: 'src/signer/rule.ts',
        text: 'const last = view.last.get(origin);\n  if (last === undefined) return firstRefusal(view, request, tree);',
        by: 'const last = view.last.get(origin);\n  if (tree.epoch === 0) return null;\n  if (last === undefined) return firstRefusal(view, request, tree);',
      },
      { file: SEAL, text: CONTRADICTS, by: `  if (last.size >= 0n) return undefined;\n${CONTRADICTS}` },
    ],
  },
  'hole-ignored': {
    what: 'the sealer goes on at a hole',
    replacements: [
      {
        file: SEAL,
        text: 'if (run.holeAt !== null) return `position',
        by: 'if (run.holeAt === -1n) return `position',
      },
      {
        file: STORES,
        text: 'const whole = hole < 0 ? records : records.slice(0, hole);',
        by: 'const whole = records;',
      },
    ],
  },
  'no-horizon': {
    what: 'polling takes what is visible, whatever is still open',
    focus: inCapture,
    replacements: [{ file: OUTBOX, text: 'row.xid < xmin;', by: 'row.xid < xmin || row.xid >= 0n;' }],
  },
  'never-strange': {
    what: 'every database is the one that the relay knows',
    focus: inCopies,
    replacements: [
      {
        file: 'src/relay/relay.ts',
        text: 'source.state === null ? null : await strangenessOf(outbox, identity, source.state);',
        by: 'null;',
      },
    ],
  },
  'no-token': {
    what: 'a database without the token is the one that the relay knows',
    focus: inQuietCopies,
    replacements: [
      {
        file: EPOCH,
        text: 'if (!(await outbox.tokens()).includes(state.token)) {',
        by: "if (state.token === '') {",
      },
    ],
  },
  'no-row': {
    what: 'a database without the row of the cursor is the one that the relay knows',
    focus: inPolledCopies,
    replacements: [{ file: EPOCH, text: 'if (state.row === null) return null;', by: 'return null;' }],
  },
  'row-unseen-is-strange': {
    what: 'a row that the write-ahead log brought before others see it makes the database a strange one',
    focus: inSlowCommits,
    replacements: [
      {
        file: EPOCH,
        text: "if (row === 'open') {",
        by: "if (row === 'open') return 'it does not show the row'; if (row === undefined) {",
      },
    ],
  },
  'look-before-lock': {
    what: 'a slot is looked at before it is locked',
    focus: inSmallRings,
    replacements: [
      { file: OUTBOX, text: LOOK, by: '' },
      { file: OUTBOX, text: LOCK, by: `${LOOK} ${LINGER} ${LOCK}` },
    ],
  },
  'emptied-unsealed': {
    what: 'a slot is emptied of rows that are in the log and not sealed',
    focus: inCapture,
    replacements: [
      {
        file: 'src/relay/empty-slots.ts',
        text: 'return next.every((position, partition) => sealed[partition] >= position);',
        by: 'return next.length >= sealed.length;',
      },
    ],
  },
  'acknowledged-early': {
    what: 'the slot is acknowledged before the log has the rows, and nobody asks where it stands',
    focus: inStream,
    replacements: [
      MOVED_ON,
      { file: STREAM, text: STORE_ROWS, by: `this.#stream.acknowledge(this.#through); ${STORE_ROWS}` },
    ],
  },
  'acknowledged-unstored': {
    what: 'the slot is acknowledged beyond what the stored cursor says',
    focus: inStream,
    replacements: [{ file: STREAM, text: ACKNOWLEDGE, by: 'this.#stream.acknowledge(this.#through);' }],
  },
  'handover-unread': {
    what: 'the stream begins, and what its slot begins behind is not read',
    focus: inStream,
    replacements: [
      {
        file: 'src/relay/handover.ts',
        text: 'const rows = await handover.read(at, BATCH);',
        by: 'const rows = [];',
      },
    ],
  },
  'left-beyond-horizon': {
    what: 'polling goes on behind the last streamed row, and not from the horizon',
    focus: inSwitches,
    replacements: [
      {
        file: 'src/relay/relay.ts',
        text: "{ mode: 'polling', epoch, identity, token, row, done }",
        by: "{ mode: 'polling', epoch, identity, token, row, done: row ?? done }",
      },
    ],
  },
  'cursor-unguarded': {
    what: 'two relays work at once, and neither looks whether the other has moved the cursor',
    focus: inPairs,
    replacements: [
      { file: RELAY_LOG, text: CLAIM, by: '' },
      { file: RELAY_LOG, text: COMPARE, by: 'if (held.version < 0n)' },
    ],
  },
  'cursor-uncompared': {
    what: 'a relay that has lost its right goes on, and does not look whether another has moved the cursor',
    focus: inPairs,
    replacements: [{ file: RELAY_LOG, text: COMPARE, by: 'if (held.version < 0n)' }],
  },
  unclaimed: {
    what: 'two relays work at once, and compare the cursor',
    focus: inPairs,
    replacements: [{ file: RELAY_LOG, text: CLAIM, by: '' }],
  },
  'reused-refused': {
    what: 'a row whose identity is known with another body is left out of the log',
    focus: inCapture,
    replacements: [
      {
        file: 'src/relay/propose-row.ts',
        text: "jsonBodyForm(row.body), from, 'take')",
        by: "jsonBodyForm(row.body), from, 'refuse')",
      },
    ],
  },
  'view-no-compare': {
    what: 'a batch is stored wherever the checkpoint stands',
    focus: inProjectPairs,
    replacements: [{ file: VIEWS, text: CHECKPOINTS_COMPARED, by: '' }],
  },
  'view-skips': {
    what: 'a checkpoint moves past a record that was not read',
    focus: inProject,
    replacements: [{ file: READER, text: 'to: last.position + 1n }];', by: 'to: last.position + 2n }];' }],
  },
  'view-last-wins': {
    what: 'of two bodies under one identity the one that was read first is shown',
    focus: inProject,
    replacements: [
      {
        file: VIEWS,
        text: 'if (a.appendedAt !== b.appendedAt) return a.appendedAt < b.appendedAt;',
        by: 'if (a.appendedAt !== b.appendedAt) return false;',
      },
    ],
  },
  'view-careless': {
    what: 'a reader does not mind that the one before it died',
    focus: inProject,
    replacements: [
      { file: READER, text: 'if (attempts === 0 && beyond.length === 0) continue;', by: 'continue;' },
    ],
  },
  'view-uncounted': {
    what: 'nobody counts that a reader begins',
    focus: inProject,
    replacements: [
      { file: READER, text: 'await this.#deps.store.countAttempt(this.ref, uncounted);', by: '' },
      {
        file: VIEWS,
        text: 'held.checkpoints.set(tree, { next: to, attempts });',
        by: 'held.checkpoints.set(tree, { next: to, attempts: 0 });',
      },
    ],
  },
  'view-blames': {
    what: 'a failure of the moment counts as bad data',
    focus: { ...inBusyViews, killsMax: 0, strikes: ['before view.commit'] },
    replacements: [
      {
        file: 'src/project/project-batch.ts',
        text: OUTPUT_REFUSED,
        by: 'if (!(error instanceof Error)) throw error;',
      },
      {
        file: 'src/project/project-batch.ts',
        text: 'error, refused.size > 0',
        by: 'error as OutputRefused, refused.size > 0',
      },
      {
        file: 'src/project/project-batch.ts',
        text: 'if (isHopeless || count === 0)',
        by: 'if (isHopeless || count === 0) throw error; if (count < 0)',
      },
    ],
  },
  'stored-unchecked': {
    what: 'nobody looks at the stored heads of trees that have no news',
    focus: inQuietPutBacks,
    replacements: [
      {
        file: SEAL,
        text: 'if (tree !== null && isBelow(stored[partition], tree.head))',
        by: 'if (tree !== null && isBelow(tree.head, stored[partition]))',
      },
    ],
  },
  'resolved-untold': {
    what: 'a letter is discarded, and no event says so',
    focus: inOperate,
    replacements: [
      {
        file: LETTERS,
        text: "if (open === null) return 'changed'; this.#append(settlement);",
        by: "if (open === null) return 'changed';",
      },
    ],
  },
  'told-unresolved': {
    what: 'the event of a replay is in the log, and the letter stays open',
    focus: inOperate,
    replacements: [
      { file: LETTERS, text: 'this.#settle(generation, letter, settled, settlement);', by: 'void settled;' },
    ],
  },
  'resolved-anew': {
    what: 'a letter that was discarded is replayed all the same',
    focus: inOperate,
    replacements: [
      {
        file: 'src/project/dead-letters.ts',
        text: "if (letter.resolution !== null) return { kind: 'already', letter };",
        by: '',
      },
      {
        file: LETTERS,
        text: 'return held === undefined || held.resolution !== null ? null : { generation, letter: held };',
        by: 'return held === undefined ? null : { generation, letter: held };',
      },
    ],
  },
  'replayed-row-left-out': {
    what: 'a replayed letter is resolved, and its row is not stored',
    focus: inOperate,
    replacements: [
      {
        file: 'src/project/dead-letters.ts',
        text: 'await deps.letters.replay(letter, made.record, made.row, settlement);',
        by: 'await deps.letters.replay(letter, made.record, null, settlement);',
      },
    ],
  },
  'shown-behind': {
    what: 'a generation is shown that has read less than the one before it',
    focus: inBusyBuilds,
    replacements: [
      { file: 'src/project/rebuild.ts', text: 'round <= EXACT_ROUNDS ? 0 : LAG_MAX', by: 'LAG_MAX' },
    ],
  },
  'shown-forgetful': {
    what: 'letters that were discarded are open again in the generation that is shown next',
    focus: inOperate,
    replacements: [
      { file: GENERATIONS, text: 'this.#carryOver(view, [held.live, shown], [generation, next]);', by: '' },
    ],
  },
  'built-by-any': {
    what: 'a build goes on with what another definition began',
    focus: inOperate,
    replacements: [
      { file: GENERATIONS, text: '(anew || one.definition !== definition)', by: 'anew' },
      {
        file: 'src/project/rebuild.ts',
        text: 'if (found.definition !== definition) {',
        by: "if (definition === '') {",
      },
    ],
  },
  'unnoted-definition': {
    what: 'rows are made by another definition, and the generation does not say so',
    focus: { ...inOperate, disaster: 'put back' },
    replacements: [
      {
        file: VIEWS,
        text: 'const held = this.#generation(ref); if (held.definition === definition',
        by: 'const held = this.#generation(ref); if (definition !== null',
      },
    ],
  },
  'digest-of-history': {
    what: 'the digest covers letters that were replayed',
    focus: inGrownViews,
    replacements: [
      { file: 'src/project/digest.ts', text: "if (letter.resolution === 'replayed') return;", by: '' },
    ],
  },
};
