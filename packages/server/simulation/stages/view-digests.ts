/** I6: what is built twice of one log has one digest, and the view that grew with the log differs from it by name only. */

import { Digester, type ViewDigest } from '../../src/project/digest.ts';
import { comparePlaces, type DeadLetterMark, type ViewRow } from '../../src/project/view-snapshot.ts';
import type { MemoryGeneration, MemoryRow } from '../../src/stores/memory/view-store.ts';
import { demand } from '../violation.ts';
import type { World } from '../world.ts';
import { identityOf, isReused, liveOf, placeOf, VIEW } from './view-fold.ts';

/** Records of a batch, of each build. */
const BUILDS = [2, 25];

/** What stands at a place: a row or a dead letter, and under which identity. */
interface Line {
  readonly identity: string;
  readonly text: string;
}

interface Built {
  readonly digest: ViewDigest;
  readonly lines: ReadonlyMap<string, Line>;
}

export class ViewDigests {
  readonly #built: Built[] = [];
  /** A builder has begun the next one: whoever is started after its death goes on with it. */
  isBegun = false;

  get missing(): boolean {
    return this.#built.length < BUILDS.length;
  }

  /** Of the next build. */
  get recordsMax(): number {
    return BUILDS[this.#built.length];
  }

  take(world: World, generation: number): void {
    const held = world.durable.views.get(VIEW)?.generations.get(generation) as MemoryGeneration;
    this.#built.push({ digest: digestOf(held), lines: linesOf(held) });
    this.isBegun = false;
  }

  check(world: World): void {
    const live = liveOf(world);
    const [first, second] = this.#built;
    demand(live !== undefined && second !== undefined, 'progress', () => `${VIEW} was not built twice`);
    demand(
      second.digest.digest === first.digest.digest,
      'I6',
      () => `two builds of ${VIEW} differ: ${formatDigest(first.digest)} and ${formatDigest(second.digest)}`,
    );
    const excused = excusedOf(live, first);
    world.coverage.note(excused.size === 0 ? 'digest: the view gives it, too' : 'digest: of builds alone');
    if (excused.size === 0) {
      const shown = digestOf(live);
      demand(
        shown.digest === first.digest.digest,
        'I6',
        () => `the view gives ${formatDigest(shown)}, a build ${formatDigest(first.digest)}`,
      );
    } else compareOthers(linesOf(live), first.lines, excused);
  }
}

const formatDigest = ({ digest, rows, deadLetters }: ViewDigest): string =>
  `${digest} (${rows} rows, ${deadLetters} dead letters)`;

/**
 * Identities of records that are dead letters of the view, and none of a build: taken for deadly once, or refused by the
 * mapper of that day. Without them, others of their identity may be shown.
 */
function excusedOf(live: MemoryGeneration, { lines }: Built): ReadonlySet<string> {
  const letters = [...live.letters.values()].filter(
    (letter) => letter.resolution !== 'replayed' && !isReused(letter),
  );
  return new Set(
    letters
      .filter((letter) => lines.get(placeOf(letter.record))?.text !== letter.class)
      .map(({ record }) => identityOf(record)),
  );
}

function compareOthers(
  shown: ReadonlyMap<string, Line>,
  built: ReadonlyMap<string, Line>,
  excused: ReadonlySet<string>,
): void {
  for (const [place, { identity }] of [...shown, ...built]) {
    const [a, b] = [shown.get(place)?.text, built.get(place)?.text];
    demand(a === b || excused.has(identity), 'I6', () => `${place}: ${a} in the view, ${b} when it is built`);
  }
}

function linesOf({ rows, letters }: MemoryGeneration): Map<string, Line> {
  const lines = new Map<string, Line>();
  for (const { record, row } of rows.values())
    lines.set(placeOf(record), { identity: identityOf(record), text: `row ${record.id} ${row.mapper}` });
  for (const letter of letters.values())
    if (letter.resolution !== 'replayed')
      lines.set(placeOf(letter.record), { identity: identityOf(letter.record), text: letter.class });
  return lines;
}

function digestOf(held: MemoryGeneration): ViewDigest {
  const digester = new Digester();
  for (const row of [...held.rows.values()].map(viewRowOf).sort(comparePlaces)) digester.addRow(row);
  const letters = [...held.letters.values()].map(
    ({
      record: { log, partition, position, tenant, id },
      class: kind,
      error,
      resolution,
    }): DeadLetterMark => ({
      ...{ log, partition, position, tenant, id, error, resolution },
      class: kind,
      eventId: null,
    }),
  );
  for (const letter of letters.sort(comparePlaces)) digester.addDeadLetter(letter);
  return digester.finish();
}

function viewRowOf({ record, row }: MemoryRow): ViewRow {
  const { log, partition, position, appendedAt, id, tenant, type } = record;
  const { eventTime, ...columns } = row;
  return {
    ...{ log, partition, position, appendedAt, id, tenant, type },
    ...columns,
    eventTime: eventTime ?? appendedAt,
    timed: eventTime !== null,
  };
}
