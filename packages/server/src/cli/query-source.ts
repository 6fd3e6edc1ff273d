/** Where a command searches: at a server, or in the directory itself when nobody holds it. Both answer in the same shapes. */

import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { countEvents, histogram } from '../query/count.ts';
import { type ExportFormat, exportEvents } from '../query/export.ts';
import type { EventFilter } from '../query/filter.ts';
import { filterOfNames, namesOfFilter } from '../query/filter-names.ts';
import type { Dimension, Interval, QueryDeps, Reader, SoughtEvent } from '../query/ports.ts';
import { dropSearch, listSearches, saveSearch } from '../query/saved-searches.ts';
import { search } from '../query/search.ts';
import { showEvent } from '../query/show.ts';
import {
  type CountsJson,
  countsJson,
  type HistogramJson,
  histogramJson,
  type PageJson,
  pageJson,
  type ShownJson,
  shownJson,
} from '../query/shown-event.ts';
import type { CommandDeps, FoundServer, OpenedData } from './command-deps.ts';
import { requestServer } from './request.ts';
import { findTarget, type TargetOptions } from './target.ts';

/** A filter by names of outside; `saved` names a saved search that it goes on from. */
export type GivenFilter = Readonly<Record<string, string>>;

export interface SavedJson {
  readonly name: string;
  readonly filter: GivenFilter;
  readonly made_by: string;
}

export interface QuerySource {
  search(filter: GivenFilter, page: { readonly cursor?: string; readonly limit: number }): Promise<PageJson>;
  count(filter: GivenFilter, by: string, limit: number): Promise<CountsJson>;
  histogram(filter: GivenFilter, interval: string): Promise<HistogramJson>;
  /** Null where there is no such event. */
  show(what: SoughtEvent, tenant: string | undefined): Promise<ShownJson | null>;
  export(filter: GivenFilter, format: ExportFormat): AsyncIterable<Uint8Array>;
  listSaved(tenant: string | undefined): Promise<readonly SavedJson[]>;
  save(name: string, filter: GivenFilter, tenant: string | undefined): Promise<void>;
  drop(name: string, tenant: string | undefined): Promise<void>;
  close(): Promise<void>;
}

export interface QueryOptions extends TargetOptions {
  /** Why somebody looks; it is recorded. */
  readonly why?: string;
}

export async function openQuerySource(
  deps: CommandDeps,
  input: ConfigInput,
  options: QueryOptions,
): Promise<QuerySource> {
  const server = await findTarget(deps, input, options);
  if (server !== null) return serverSource(server, options.why);
  const data = await deps.open(input, { alone: false });
  await catchUpOrSay(data);
  return directorySource(data.query, operatorReader(options.why), () => data.close());
}

/** Brings the view up to date. What it has is used all the same if that fails: answers say how far they reach. */
export async function catchUpOrSay(data: Pick<OpenedData, 'catchUp'>): Promise<void> {
  try {
    await data.catchUp();
  } catch (error) {
    process.stderr.write(`evident: the view could not be brought up to date: ${(error as Error).message}\n`);
  }
}

/** Whoever has the directory itself: no credential says who that is. */
export function operatorReader(why: string | undefined): Reader {
  return {
    actor: { id: 'operator', role: 'admin' },
    tenant: null,
    ...(why === undefined ? {} : { why }),
  };
}

/** The path of a request, with what is given of its parameters. */
export function address(
  path: string,
  parameters: Readonly<Record<string, string | number | undefined>>,
): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return query.size === 0 ? path : `${path}?${query}`;
}

function serverSource(server: FoundServer, why: string | undefined): QuerySource {
  const read = async <T>(path: string, parameters: Parameters<typeof address>[1]): Promise<T> =>
    (await (await requestServer(server, address(path, { ...parameters, why }))).json()) as T;
  const ofSearch = (name: string, tenant: string | undefined) =>
    address(`/v1/saved-searches/${encodeURIComponent(name)}`, { tenant });
  return {
    search: (filter, page) => read('/v1/events', { ...filter, ...page }),
    count: (filter, by, limit) => read('/v1/events/count', { ...filter, by, limit }),
    histogram: (filter, interval) => read('/v1/events/histogram', { ...filter, interval }),
    show: async (what, tenant) => {
      const path =
        'id' in what
          ? `/v1/events/${encodeURIComponent(what.id)}`
          : `/v1/logs/${what.log}/partitions/${what.partition}/records/${what.position}`;
      try {
        return await read<ShownJson>(path, { tenant });
      } catch (error) {
        if (error instanceof EvidentError && error.code === 'not-found') return null;
        throw error;
      }
    },
    async *export(filter, format) {
      const answer = await requestServer(server, address('/v1/export', { ...filter, format, why }));
      try {
        yield* answer.body as unknown as AsyncIterable<Uint8Array>;
      } catch (cause) {
        throw new EvidentError('log-unavailable', 'the server broke off: what came so far is not all', {
          cause,
        });
      }
    },
    listSaved: async (tenant) => {
      const answer = await requestServer(server, address('/v1/saved-searches', { tenant }));
      return ((await answer.json()) as { searches: SavedJson[] }).searches;
    },
    save: async (name, filter, tenant) => {
      await requestServer(server, ofSearch(name, tenant), {
        method: 'PUT',
        type: 'application/json',
        body: JSON.stringify({ filter }),
      });
    },
    drop: async (name, tenant) => {
      await requestServer(server, ofSearch(name, tenant), { method: 'DELETE' });
    },
    close: async () => undefined,
  };
}

/** A filter by names of outside, of which one may name a saved search. @throws field-invalid, not-found */
export async function filterOfGiven(
  query: QueryDeps,
  reader: Reader,
  { saved, ...given }: GivenFilter,
): Promise<EventFilter> {
  if (saved === undefined) return filterOfNames(given);
  const kept = (await listSearches(query, reader, given.tenant)).find(({ name }) => name === saved);
  if (kept === undefined) throw noSuchSearch(saved);
  return filterOfNames({ ...namesOfFilter(kept.filter), ...given });
}

function directorySource(query: QueryDeps, reader: Reader, close: () => Promise<void>): QuerySource {
  const filterOf = (given: GivenFilter) => filterOfGiven(query, reader, given);
  return {
    search: async (filter, page) => pageJson(await search(query, reader, await filterOf(filter), page)),
    count: async (filter, by, limit) =>
      countsJson(by, await countEvents(query, reader, await filterOf(filter), by as Dimension, limit)),
    histogram: async (filter, interval) =>
      histogramJson(interval, await histogram(query, reader, await filterOf(filter), interval as Interval)),
    show: async (what, tenant) => {
      const shown = await showEvent(query, reader, { ...what, ...(tenant === undefined ? {} : { tenant }) });
      return shown === null ? null : shownJson(shown);
    },
    async *export(filter, format) {
      yield* exportEvents(query, reader, await filterOf(filter), format);
    },
    listSaved: async (tenant) =>
      (await listSearches(query, reader, tenant)).map(({ name, filter, madeBy }) => ({
        name,
        filter: namesOfFilter(filter),
        made_by: madeBy,
      })),
    save: (name, filter, tenant) =>
      saveSearch(query, reader, {
        name,
        filter: filterOfNames(filter),
        ...(tenant === undefined ? {} : { tenant }),
      }),
    drop: async (name, tenant) => {
      if (!(await dropSearch(query, reader, name, tenant))) throw noSuchSearch(name);
    },
    close,
  };
}

function noSuchSearch(name: string): EvidentError {
  return new EvidentError('not-found', `there is no saved search ${name}`);
}
