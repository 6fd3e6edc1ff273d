/** Where `evident dlq` works: in the directory itself, or at the server that --url names. Both answer alike. */

import { encodeUtf8, fromBase64 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import {
  DEAD_LETTERS_PAGE_MAX,
  type DeadLetterEntry,
  type DeadLetterFilter,
  type DeadLetterPlace,
  deadLetterName,
  type OpenLetters,
  type ReplayCounts,
  type Resolved,
  replayDeadLetter,
  replayDeadLetters,
  resolveDeadLetter,
  type ShownDeadLetter,
  showDeadLetter,
} from '../project/dead-letters.ts';
import { showPlace, type ViewPlace } from '../project/view-snapshot.ts';
import { parseInstant } from '../query/instant.ts';
import { type CommandDeps, type FoundServer, OPERATOR, type OpenedData } from './command-deps.ts';
import { requestServer, type ServerRequest } from './request.ts';
import { findTarget, type TargetOptions } from './target.ts';

export interface LetterSource {
  list(filter: DeadLetterFilter, after: ViewPlace | null, limit: number): Promise<readonly DeadLetterEntry[]>;
  /** Null where the server does not tell: of one tenant, of which the credential is not. */
  countOpen(view: string, tenant: string | null): Promise<OpenLetters | null>;
  /** Recorded before it is given. Null where there is none. */
  show(place: DeadLetterPlace): Promise<Omit<ShownDeadLetter, 'record'> | null>;
  replay(place: DeadLetterPlace): Promise<Resolved>;
  replayPage(
    filter: Omit<DeadLetterFilter, 'state'>,
    after: ViewPlace | null,
  ): Promise<{ readonly counts: ReplayCounts; readonly next: ViewPlace | null }>;
  resolve(place: DeadLetterPlace, resolution: 'discarded' | 'manual', reason: string): Promise<Resolved>;
  close(): Promise<void>;
}

/** Without --url the directory, also beside a server that holds it: poison is mapped here, in a process of its own. */
export async function openLetterSource(
  deps: CommandDeps,
  input: ConfigInput,
  options: TargetOptions,
): Promise<LetterSource> {
  const server = options.url === undefined ? null : await findTarget(deps, input, options);
  return server === null ? directorySource(await deps.open(input, { alone: false })) : serverSource(server);
}

function directorySource(data: OpenedData): LetterSource {
  const { letters: deps, projections, rebuild } = data.views;
  const how = { actor: OPERATOR };
  const checkView = (view: string): void => {
    if (projections.has(view)) return;
    const known = [...projections.keys()].join(', ');
    throw new EvidentError('not-found', `--view: there is no view ${view}; there is: ${known}`);
  };
  return {
    async list(filter, after, limit) {
      checkView(filter.view);
      return deps.letters.list(filter, after, limit);
    },
    countOpen: (view, tenant) => deps.letters.countOpen(view, tenant),
    async show(place) {
      const shown = await showDeadLetter(deps, place);
      if (shown === null) return null;
      const { letter } = shown;
      // Reading the log is recorded in it, by whichever door.
      await rebuild.record([
        {
          actor: OPERATOR,
          action: 'audit.read',
          resource: { type: 'dead_letter', id: deadLetterName(letter) },
          result: 'success',
          tenant: letter.tenant.startsWith('_') ? null : letter.tenant,
          details: { record: letter.id },
        },
      ]);
      return shown;
    },
    replay: (place) => replayDeadLetter(deps, place, how),
    async replayPage(filter, after) {
      checkView(filter.view);
      return replayDeadLetters(deps, filter, after, DEAD_LETTERS_PAGE_MAX, how);
    },
    resolve: (place, resolution, reason) =>
      resolveDeadLetter(deps, place, { resolution, reason, actor: OPERATOR }),
    close: () => data.close(),
  };
}

/** A letter as HTTP has it (http/dead-letter-schemas.ts). */
interface LetterAnswer
  extends Pick<
    DeadLetterEntry,
    | 'view'
    | 'log'
    | 'partition'
    | 'generation'
    | 'tenant'
    | 'id'
    | 'type'
    | 'class'
    | 'error'
    | 'attempts'
    | 'resolution'
    | 'reason'
  > {
  readonly position: string;
  readonly first_at: string;
  readonly last_at: string;
  readonly resolved_at: string | null;
  readonly resolved_by: string | null;
  readonly event_id: string | null;
}

interface ShownAnswer extends LetterAnswer {
  readonly stack: string | null;
  readonly leaf: string | null;
  readonly body_bytes: string | null;
  readonly body_head: string | null;
  readonly body_head_base64: string | null;
  readonly body_missing: string | null;
}

function instantOf(text: string): bigint {
  const instant = parseInstant(text);
  if (instant !== null) return instant;
  throw new EvidentError('log-unavailable', `the server answered with a time that is none: ${text}`);
}

function entryOf(answer: LetterAnswer & { readonly stack?: string | null }): DeadLetterEntry {
  const { view, log, partition, generation, tenant, id, type, error, attempts, resolution, reason } = answer;
  return {
    ...{ view, log, partition, position: BigInt(answer.position), generation, tenant, id, type },
    ...{ class: answer.class, error, stack: answer.stack ?? null, attempts },
    firstAt: instantOf(answer.first_at),
    lastAt: instantOf(answer.last_at),
    resolution,
    resolvedAt: answer.resolved_at === null ? null : instantOf(answer.resolved_at),
    resolvedBy: answer.resolved_by,
    reason,
    eventId: answer.event_id,
  };
}

function bodyHeadOf(answer: ShownAnswer): ShownDeadLetter['bodyHead'] {
  if (answer.body_missing !== null) return { missing: answer.body_missing };
  if (answer.body_head !== null) return encodeUtf8(answer.body_head);
  return answer.body_head_base64 === null ? null : fromBase64(answer.body_head_base64);
}

function resolvedOf(answer: { outcome: Resolved['kind']; dead_letter: LetterAnswer }): Resolved {
  const letter = entryOf(answer.dead_letter);
  return answer.outcome === 'failed'
    ? { kind: 'failed', letter, error: letter.error }
    : { kind: answer.outcome, letter };
}

const PLACE = /^([a-z0-9-]{1,32})\/(\d{1,4})\/(\d{1,18})$/;

function placeOf(text: string | null): ViewPlace | null {
  const match = text === null ? null : PLACE.exec(text);
  return match === null ? null : { log: match[1], partition: Number(match[2]), position: BigInt(match[3]) };
}

function serverSource(server: FoundServer): LetterSource {
  const ask = async <T>(path: string, request?: ServerRequest): Promise<T> =>
    (await (await requestServer(server, path, request)).json()) as T;
  const post = <T>(path: string, body?: unknown): Promise<T> =>
    ask(path, {
      method: 'POST',
      ...(body === undefined ? {} : { type: 'application/json', body: JSON.stringify(body) }),
    });
  const pathOf = ({ view, log, partition, position }: DeadLetterPlace) =>
    `/v1/dead-letters/${view}/${log}/${partition}/${position}`;
  return {
    async list(filter, after, limit) {
      const query = new URLSearchParams({ ...filter, limit: String(limit) });
      if (after !== null) query.set('after', showPlace(after));
      const page = await ask<{ dead_letters: LetterAnswer[] }>(`/v1/dead-letters?${query}`);
      return page.dead_letters.map(entryOf);
    },
    async countOpen(view, tenant) {
      if (tenant !== null) return null;
      const { views } = await ask<{ views: { view: string; open_dead_letters: OpenLetters }[] }>('/v1/views');
      const found = views.find((one) => one.view === view);
      if (found === undefined)
        throw new EvidentError(
          'not-found',
          `--view: ${server.url} has no view ${view}; it has: ${views.map((one) => one.view).join(', ')}`,
        );
      return found.open_dead_letters;
    },
    async show(place) {
      const answer = await ask<ShownAnswer>(pathOf(place));
      return {
        letter: entryOf(answer),
        leaf: answer.leaf === null ? null : encodeUtf8(answer.leaf),
        bodyHead: bodyHeadOf(answer),
        bodyBytes: answer.body_bytes === null ? null : BigInt(answer.body_bytes),
      };
    },
    replay: async (place) => resolvedOf(await post(`${pathOf(place)}/replay`)),
    async replayPage(filter, after) {
      const body = { ...filter, ...(after === null ? {} : { after: showPlace(after) }) };
      const { next, ...counts } = await post<ReplayCounts & { next: string | null }>(
        '/v1/dead-letters/replay',
        body,
      );
      return { counts, next: placeOf(next) };
    },
    resolve: async (place, resolution, reason) =>
      resolvedOf(
        await post(`${pathOf(place)}/${resolution === 'discarded' ? 'discard' : 'resolve'}`, { reason }),
      ),
    close: async () => undefined,
  };
}
