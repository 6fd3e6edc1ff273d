import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT } from './command-deps.ts';
import type { Output } from './output.ts';
import { type GivenFilter, openQuerySource } from './query-source.ts';
import type { TargetOptions } from './target.ts';

export interface SavedOptions extends TargetOptions {
  /** Whose searches; absent: those of readers of all tenants. */
  readonly tenant?: string;
}

export async function runSavedList(
  deps: CommandDeps,
  input: ConfigInput,
  options: SavedOptions,
  output: Output,
): Promise<number> {
  const source = await openQuerySource(deps, input, options);
  try {
    const searches = await source.listSaved(options.tenant);
    output.result({ searches });
    for (const { name, filter, made_by } of searches) {
      const members = Object.entries(filter).map(([member, value]) => `${member}=${value}`);
      output.line(`${name.padEnd(24)} ${members.join(' ')}   by ${made_by}`);
    }
    return EXIT.success;
  } finally {
    await source.close();
  }
}

/** Keeps a filter under a name. `filter.tenant` is part of the filter; whose search it is, `options.tenant` says. */
export async function runSavedPut(
  deps: CommandDeps,
  input: ConfigInput,
  name: string,
  filter: GivenFilter,
  options: SavedOptions,
  output: Output,
): Promise<number> {
  const source = await openQuerySource(deps, input, options);
  try {
    await source.save(name, filter, options.tenant);
    output.result({ name, filter });
    output.line(`${name} is kept: evident search --saved ${JSON.stringify(name)}`);
    return EXIT.success;
  } finally {
    await source.close();
  }
}

export async function runSavedDrop(
  deps: CommandDeps,
  input: ConfigInput,
  name: string,
  options: SavedOptions,
  output: Output,
): Promise<number> {
  const source = await openQuerySource(deps, input, options);
  try {
    await source.drop(name, options.tenant);
    output.result({ name });
    output.line(`${name} is gone`);
    return EXIT.success;
  } finally {
    await source.close();
  }
}
