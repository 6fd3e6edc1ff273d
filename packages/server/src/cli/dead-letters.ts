/** `evident dlq list | show | replay | discard | resolve`: records that a view could not take. */

import { decodeUtf8, toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { ConfigInput } from '../config.ts';
import {
  checkReason,
  DEAD_LETTERS_PAGE_MAX,
  type DeadLetterEntry,
  type DeadLetterFilter,
  type DeadLetterPlace,
  deadLetterName,
  type ReplayCounts,
  type Resolved,
  type ShownDeadLetter,
} from '../project/dead-letters.ts';
import type { DeadLetterClass } from '../project/ports.ts';
import type { ViewPlace } from '../project/view-snapshot.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import { type LetterSource, openLetterSource } from './dead-letter-source.ts';
import type { Output } from './output.ts';
import type { TargetOptions } from './target.ts';
import { countOf } from './wording.ts';

/** Exit code when something is still open: a monitor needs no parsing. */
const OPEN = 1;

export interface LetterOptions extends TargetOptions {
  readonly view: string;
  readonly log?: string;
  readonly tenant?: string;
  readonly type?: string;
  readonly class?: string;
}

export interface ListOptions extends LetterOptions {
  readonly state: string;
  readonly limit: number;
  readonly after?: string;
}

const PLACE = /^(?:([a-z][a-z0-9-]{0,31})\/)?([a-z0-9-]{1,32})\/(\d{1,4})\/(\d{1,18})$/;

/** `VIEW/LOG/PARTITION/POSITION`, or without the view. */
function parsePlace(text: string, view = 'hot'): DeadLetterPlace {
  const match = PLACE.exec(text);
  if (match === null) {
    throw new EvidentError(
      'usage-invalid',
      `${text} is not the place of a dead letter: VIEW/LOG/PARTITION/POSITION, as evident dlq list shows it`,
    );
  }
  return { view: match[1] ?? view, log: match[2], partition: Number(match[3]), position: BigInt(match[4]) };
}

function oneOf<T extends string>(option: string, text: string, values: readonly T[]): T {
  if ((values as readonly string[]).includes(text)) return text as T;
  throw new EvidentError('usage-invalid', `${option}: one of ${values.join(', ')} is expected, not ${text}`);
}

function filterOf(options: LetterOptions): Omit<DeadLetterFilter, 'state'> {
  const { view, log, tenant, type } = options;
  const kind =
    options.class === undefined
      ? {}
      : { class: oneOf<DeadLetterClass>('--class', options.class, ['validation', 'poison']) };
  return {
    view,
    ...kind,
    ...(log === undefined ? {} : { log }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(type === undefined ? {} : { type }),
  };
}

async function withLetters(
  deps: CommandDeps,
  input: ConfigInput,
  target: TargetOptions,
  use: (letters: LetterSource) => Promise<number>,
): Promise<number> {
  const letters = await openLetterSource(deps, input, target);
  try {
    return await use(letters);
  } finally {
    await letters.close();
  }
}

/** As lists and resolutions have it; the stack is for `show`. */
function letterJson(letter: DeadLetterEntry): Record<string, unknown> {
  const { firstAt, lastAt, resolvedAt, stack: _, ...rest } = letter;
  return {
    ...rest,
    place: deadLetterName(letter),
    firstAt: formatInstant(firstAt),
    lastAt: formatInstant(lastAt),
    resolvedAt: resolvedAt === null ? null : formatInstant(resolvedAt),
  };
}

export function runDlqList(
  deps: CommandDeps,
  input: ConfigInput,
  options: ListOptions,
  output: Output,
): Promise<number> {
  const state = oneOf('--state', options.state, ['open', 'resolved', 'all']);
  const filter = { ...filterOf(options), state };
  const after = options.after === undefined ? null : parsePlace(options.after, options.view);
  if (options.limit > DEAD_LETTERS_PAGE_MAX)
    throw new EvidentError('usage-invalid', `--limit: at most ${DEAD_LETTERS_PAGE_MAX}`);
  return withLetters(deps, input, options, async (letters) => {
    const page = await letters.list(filter, after, options.limit);
    const open = await letters.countOpen(options.view, options.tenant ?? null);
    const last = page.at(-1);
    const next = last === undefined || page.length < options.limit ? null : deadLetterName(last);
    output.result({ view: options.view, open, deadLetters: page.map(letterJson), next });
    if (open !== null)
      output.line(`${options.view}: ${open.validation} open as validation, ${open.poison} as poison`);
    for (const letter of page) {
      const { tenant, type, error, attempts, resolution } = letter;
      const how = resolution === null ? letter.class : `${letter.class}, ${resolution}`;
      output.line(`  ${deadLetterName(letter)}  ${tenant}  ${type}  ${how}, ${countOf(attempts, 'attempt')}`);
      output.line(`    ${error}`);
    }
    if (next !== null) output.line(`more: --after ${next}`);
    return EXIT.success;
  });
}

export function runDlqShow(
  deps: CommandDeps,
  input: ConfigInput,
  place: string,
  target: TargetOptions,
  output: Output,
): Promise<number> {
  const sought = parsePlace(place);
  return withLetters(deps, input, target, async (letters) => {
    const shown = await letters.show(sought);
    if (shown === null)
      throw new EvidentError('not-found', `there is no dead letter ${deadLetterName(sought)}`);
    print(shown, output);
    return EXIT.success;
  });
}

function print({ letter, leaf, bodyHead, bodyBytes }: Omit<ShownDeadLetter, 'record'>, output: Output): void {
  const isMissing = bodyHead !== null && 'missing' in bodyHead;
  const head = bodyHead === null || isMissing ? null : bodyHead;
  const text = head === null ? null : decodeUtf8(head);
  output.result({
    ...letterJson(letter),
    stack: letter.stack,
    leaf: leaf === null ? null : decodeUtf8(leaf),
    bodyBytes,
    bodyHead: text,
    bodyHeadHex: head !== null && text === null ? toHex(head) : null,
    bodyMissing: isMissing ? bodyHead.missing : null,
  });
  output.line(`${deadLetterName(letter)}   ${letter.class}`);
  output.line(`  record     ${letter.id}, type ${letter.type}, tenant ${letter.tenant}`);
  output.line(`  error      ${letter.error}`);
  output.line(
    `  attempts   ${letter.attempts}, first ${formatInstant(letter.firstAt)}, last ${formatInstant(letter.lastAt)}`,
  );
  if (letter.resolution !== null) {
    const at = letter.resolvedAt === null ? '' : ` at ${formatInstant(letter.resolvedAt)}`;
    output.line(
      `  ${letter.resolution.padEnd(10)} by ${letter.resolvedBy}${at}, audit event ${letter.eventId}`,
    );
    if (letter.reason !== null) output.line(`  reason     ${letter.reason}`);
  }
  if (leaf === null) output.line('  the log no longer holds the record');
  else output.line(`  leaf       ${decodeUtf8(leaf)}`);
  if (isMissing) output.line(`  body       can't be read: ${bodyHead.missing}`);
  else if (head !== null)
    output.line(
      `  body       ${countOf(bodyBytes ?? 0n, 'byte')}, beginning ${text === null ? toHex(head) : text}`,
    );
  if (letter.stack !== null) {
    output.line('  stack');
    for (const line of letter.stack.split('\n')) output.line(`    ${line.trim()}`);
  }
}

/** @param places none: all open letters that the filter finds */
export function runDlqReplay(
  deps: CommandDeps,
  input: ConfigInput,
  places: readonly string[],
  options: LetterOptions & { readonly all: boolean },
  output: Output,
): Promise<number> {
  const sought = places.map((place) => parsePlace(place, options.view));
  if (sought.length > 0 === options.all)
    throw new EvidentError('usage-invalid', 'name dead letters, or say --all: one of the two');
  const filter = filterOf(options);
  return withLetters(deps, input, options, async (letters) => {
    if (!options.all) {
      const results: Resolved[] = [];
      for (const place of sought) results.push(await letters.replay(place));
      return report(results, output);
    }
    const sum: ReplayCounts = { replayed: 0, failed: 0, already: 0 };
    for (let after: ViewPlace | null = null; ; ) {
      const page = await letters.replayPage(filter, after);
      for (const name of ['replayed', 'failed', 'already'] as const) sum[name] += page.counts[name];
      after = page.next;
      if (after === null) break;
    }
    output.result(sum);
    output.line(`${sum.replayed} replayed, ${sum.failed} failed again, ${sum.already} resolved meanwhile`);
    return sum.failed > 0 ? OPEN : EXIT.success;
  });
}

export function runDlqResolve(
  deps: CommandDeps,
  input: ConfigInput,
  place: string,
  options: TargetOptions & { readonly resolution: 'discarded' | 'manual'; readonly reason: string },
  output: Output,
): Promise<number> {
  const sought = parsePlace(place);
  const reason = checkReason(options.reason);
  return withLetters(deps, input, options, async (letters) =>
    report([await letters.resolve(sought, options.resolution, reason)], output),
  );
}

function report(results: readonly Resolved[], output: Output): number {
  output.result({
    results: results.map((one) => ({ outcome: one.kind, deadLetter: letterJson(one.letter) })),
  });
  for (const one of results) {
    const name = deadLetterName(one.letter);
    if (one.kind === 'failed') output.line(`${name} stays open: ${one.error}`);
    else if (one.kind === 'already')
      output.line(
        `${name} was ${one.letter.resolution} before, by ${one.letter.resolvedBy}; nothing was done`,
      );
    else output.line(`${name} ${one.letter.resolution}; audit event ${one.letter.eventId}`);
  }
  return results.some(({ kind }) => kind === 'failed') ? OPEN : EXIT.success;
}
