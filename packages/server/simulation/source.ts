/**
 * Loads the real source with some of its text replaced: bounds made small, so that short runs reach them, and the
 * mutants, in which one guard is taken away. A text that is not there exactly once stops the run: the source has
 * moved on, and the replacement must follow.
 */

import { registerHooks } from 'node:module';

export interface Replacement {
  /** The end of the module's path. */
  readonly file: string;
  readonly text: string;
  readonly by: string;
}

/** So that one round does not always reach the end of the log. */
export const SMALL_BOUNDS: readonly Replacement[] = [
  {
    file: 'src/seal/seal.ts',
    text: 'export const ROUND_LEAVES_MAX = 65_536;',
    by: 'export const ROUND_LEAVES_MAX = 48;',
  },
  {
    file: 'src/relay/poll.ts',
    text: 'export const BATCH: ReadBounds = { rowsMax: 4_000,',
    by: 'export const BATCH: ReadBounds = { rowsMax: 3,',
  },
  {
    file: 'src/relay/stream.ts',
    text: 'const BATCH: ReadBounds = { rowsMax: 4_000,',
    by: 'const BATCH: ReadBounds = { rowsMax: 3,',
  },
  { file: 'src/relay/stream.ts', text: 'const HORIZON_MS = 1_000;', by: 'const HORIZON_MS = 300;' },
  { file: 'src/relay/stream.ts', text: 'const IDLE_MS = 5_000;', by: 'const IDLE_MS = 1_000;' },
];

/** Replaces text in modules that are loaded from now on. */
export function replaceSource(replacements: readonly Replacement[]): void {
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      const wanted = replacements.filter(({ file }) => url.endsWith(`/packages/server/${file}`));
      if (wanted.length === 0) return loaded;
      let source = Buffer.from(loaded.source as Uint8Array).toString();
      for (const replacement of wanted) source = replaceOnce(source, replacement);
      return { ...loaded, source };
    },
  });
}

function replaceOnce(source: string, { file, text, by }: Replacement): string {
  const pattern = anyLayout(text);
  const times = source.match(new RegExp(pattern, 'g'))?.length ?? 0;
  if (times !== 1)
    throw new Error(
      `${file} holds ${JSON.stringify(text)} ${times} times instead of once: adapt simulation/mutants.ts`,
    );
  return source.replace(new RegExp(pattern), () => by);
}

/** A pattern of the text in whatever way the formatter breaks its lines. */
function anyLayout(text: string): string {
  return text
    .trim()
    .split(/\s+/)
    .map((word) => RegExp.escape(word).replaceAll('\\(', '\\(\\s*').replaceAll('\\)', ',?\\s*\\)'))
    .join('\\s+');
}
