import { EvidentError } from '@evident/core/errors.ts';
import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import type { GivenFilter, QueryOptions } from './query-source.ts';
import { requestServer } from './request.ts';
import { requireTarget } from './target.ts';

export interface TailOptions extends QueryOptions {
  readonly log: string;
  /** Only records that a search for this would find; `log` is the one that is followed. */
  readonly filter: GivenFilter;
  readonly limit?: number;
}

/** Follows a log: leaf lines as they are appended, until interrupted. */
export async function runTail(
  deps: CommandDeps,
  input: ConfigInput,
  options: TailOptions,
  output: Output,
): Promise<number> {
  const server = await requireTarget(deps, input, options);
  const { log: _log, ...filter } = options.filter;
  const query = new URLSearchParams({
    ...filter,
    ...(options.why === undefined ? {} : { why: options.why }),
  });
  const path = `/v1/logs/${encodeURIComponent(options.log)}/tail${query.size === 0 ? '' : `?${query}`}`;
  const answer = await requestServer(server, path, { accept: 'text/event-stream' });
  if (!output.json) process.stderr.write(`following ${options.log} at ${server.url}; interrupt to end\n`);
  let left = options.limit ?? Number.POSITIVE_INFINITY;
  for await (const data of eventsOf(answer)) {
    process.stdout.write(`${data}\n`);
    if (--left <= 0) return EXIT.success;
  }
  throw new EvidentError(
    'log-unavailable',
    `the server at ${server.url} ended the stream: it stops, or could not go on. What came before this is complete`,
  );
}

/** The data of server-sent events (HTML Living Standard, "Server-sent events"). */
async function* eventsOf(answer: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let waiting = '';
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    waiting += decoder.decode(chunk, { stream: true });
    const events = waiting.split('\n\n');
    waiting = events.pop() ?? '';
    for (const event of events) {
      const lines = event.split('\n').filter((line) => line.startsWith('data:'));
      if (lines.length > 0) yield lines.map((line) => line.slice(line[5] === ' ' ? 6 : 5)).join('\n');
    }
  }
}
