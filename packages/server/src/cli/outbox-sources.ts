/** `evident outbox add | mode | list`: which outboxes the relay brings into the log, and how. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { type ConfigInput, checkSourceName } from '../config.ts';
import { type CommandDeps, EXIT, type OpenedData, type SourceSummary } from './command-deps.ts';
import type { Output } from './output.ts';
import { requestServer } from './request.ts';

export interface AddOptions {
  readonly database?: string;
  /** Comma-separated, or `*`. */
  readonly tenants?: string;
  readonly log: string;
  readonly mode: string;
}

const TENANTS_MAX = 10_000;

function parseMode(text: string): 'polling' | 'wal' {
  if (text === 'polling' || text === 'wal') return text;
  throw new EvidentError('usage-invalid', `mode: polling or wal is expected, not ${text}`, {
    context: { field: 'mode' },
  });
}

function parseTenants(text: string | undefined): string[] | null {
  if (text === undefined) {
    throw new EvidentError(
      'usage-invalid',
      "--tenants: say for whom this source may write: names with commas between them, or '*' for any",
      { context: { field: 'tenants' } },
    );
  }
  if (text === '*') return null;
  const tenants = text.split(',').map((tenant) => checkTenant(tenant.trim(), 'tenants'));
  if (tenants.length > TENANTS_MAX)
    throw new EvidentError('usage-invalid', `--tenants: more than ${TENANTS_MAX}; use '*'`);
  return tenants;
}

/** Registers a source, or changes it, and keeps where its outbox is. A running server takes it up within seconds. */
export async function runOutboxAdd(
  deps: CommandDeps,
  input: ConfigInput,
  name: string,
  options: AddOptions,
  output: Output,
): Promise<number> {
  checkSourceName(name);
  const tenants = parseTenants(options.tenants);
  const mode = parseMode(options.mode);
  const database = options.database ?? deps.environment.EVIDENT_OUTBOX_POSTGRES;
  return withData(deps, input, async (data) => {
    const before = (await data.sources.list()).find((source) => source.name === name);
    if (database === undefined && before === undefined) {
      throw new EvidentError(
        'usage-invalid',
        "--database: say where the outbox is: a connection string (or EVIDENT_OUTBOX_POSTGRES), or 'embedded'",
        { context: { field: 'database' } },
      );
    }
    await data.sources.register(name, options.log, tenants, mode);
    if (database !== undefined) data.sources.storeConnection(name, database);
    output.result({ source: name, log: options.log, tenants, mode, changed: before !== undefined });
    output.line(
      `${before === undefined ? 'added' : 'changed'} ${name}: into the log ${options.log}, by ${mode}, for ${tenants === null ? 'any tenant' : tenants.join(', ')}`,
    );
    output.line('A server that runs takes it up by itself; evident outbox list shows how it stands.');
    return EXIT.success;
  });
}

/** Changes how a source is read. The relay goes over without a gap. */
export async function runOutboxMode(
  deps: CommandDeps,
  input: ConfigInput,
  name: string,
  mode: string,
  output: Output,
): Promise<number> {
  const wanted = parseMode(mode);
  return withData(deps, input, async (data) => {
    const source = (await data.sources.list()).find((one) => one.name === name);
    if (source === undefined) throw new EvidentError('source-unknown', `no source ${name} is registered`);
    await data.sources.register(name, source.log, source.tenants, wanted);
    output.result({ source: name, mode: wanted });
    output.line(`${name} is to be read by ${wanted}; the relay goes over when it can`);
    return EXIT.success;
  });
}

interface ShownSource {
  readonly source: string;
  readonly log: string;
  readonly tenants: readonly string[] | null;
  readonly wanted_mode: string;
  readonly mode: string | null;
  readonly epoch: number | null;
  readonly depth: string | null;
  readonly bytes: string | null;
  readonly oldest_ms: number | null;
  readonly slot_lag_bytes: string | null;
  readonly alerts: readonly string[];
  readonly error: string | null;
}

/** The sources: live from the server that holds the directory, else what is stored. */
export async function runOutboxList(deps: CommandDeps, input: ConfigInput, output: Output): Promise<number> {
  const server = await deps.findServer(input.data ?? './evident-data');
  const sources =
    server === null
      ? await withData(deps, input, async (data) => (await data.sources.list()).map(storedSource))
      : ((await (await requestServer(server, '/v1/sources')).json()) as { sources: ShownSource[] }).sources;
  output.result({ live: server !== null, sources });
  if (sources.length === 0)
    output.line('no source is registered: evident outbox add NAME --database URL --tenants …');
  for (const source of sources) showSource(source, output);
  return EXIT.success;
}

function storedSource({ name, log, tenants, wantedMode, mode, epoch }: SourceSummary): ShownSource {
  const unknown = {
    depth: null,
    bytes: null,
    oldest_ms: null,
    slot_lag_bytes: null,
    alerts: [],
    error: null,
  };
  return { source: name, log, tenants, wanted_mode: wantedMode, mode, epoch, ...unknown };
}

function showSource(source: ShownSource, output: Output): void {
  const { mode, wanted_mode: wanted, epoch } = source;
  const how =
    mode === null ? 'not connected yet' : mode === wanted ? mode : `${mode}, going over to ${wanted}`;
  output.line(`${source.source} → ${source.log}   ${how}   epoch ${epoch ?? '-'}`);
  output.line(`  tenants   ${source.tenants === null ? 'any' : source.tenants.join(', ')}`);
  if (source.depth !== null) {
    const age =
      source.oldest_ms === null ? '' : `, the oldest ${(source.oldest_ms / 1_000).toFixed(1)} s old`;
    output.line(`  waiting   ${source.depth} rows at most${age}; ${source.bytes} bytes on disk`);
  }
  if (source.slot_lag_bytes !== null) output.line(`  slot      holds back ${source.slot_lag_bytes} bytes`);
  for (const alert of source.alerts) output.line(`  ALERT     ${alert}`);
  if (source.error !== null) output.line(`  error     ${source.error}`);
}

async function withData<T>(
  deps: CommandDeps,
  input: ConfigInput,
  use: (data: OpenedData) => Promise<T>,
): Promise<T> {
  const data = await deps.open(input, { alone: false });
  try {
    return await use(data);
  } finally {
    await data.close();
  }
}
