/**
 * Writes generated data to the standard output:
 *
 *   node packages/server/generate/write.ts audit|cloudtrail|apache COUNT SEED
 *
 * `audit` writes envelopes as NDJSON, as `POST /v1/logs/audit/records` takes them, 5,000 at most a request.
 */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { envelopeLine, makeEventGenerator } from './events.ts';
import { apacheLines, cloudTrailFile } from './foreign-files.ts';

/** The document is made in memory as a whole. */
const CLOUDTRAIL_COUNT_MAX = 200_000;
const MALFORMED_EVERY = 500;
const USAGE = 64;
/** Characters that are written at once. */
const CHUNK_LENGTH = 64 * 1024;

function* auditLines(seed: number, count: number): Generator<string, void> {
  const events = makeEventGenerator(seed);
  for (let made = 0; made < count; made++) yield envelopeLine(events.next().value);
}

function* chunksOf(lines: Iterable<string>): Generator<string, void> {
  let chunk = '';
  for (const line of lines) {
    chunk += `${line}\n`;
    if (chunk.length < CHUNK_LENGTH) continue;
    yield chunk;
    chunk = '';
  }
  if (chunk !== '') yield chunk;
}

function contentOf(kind: string, count: number, seed: number): Iterable<string | Uint8Array> | null {
  if (kind === 'audit') return chunksOf(auditLines(seed, count));
  if (kind === 'apache') return chunksOf(apacheLines(seed, count, MALFORMED_EVERY));
  if (kind === 'cloudtrail' && count <= CLOUDTRAIL_COUNT_MAX) return [cloudTrailFile(seed, count)];
  return null;
}

const [kind, countText, seedText, ...rest] = process.argv.slice(2);
const [count, seed] = [Number(countText), Number(seedText)];
const areNumbers =
  Number.isSafeInteger(count) && count >= 0 && Number.isSafeInteger(seed) && rest.length === 0;
const content = areNumbers ? contentOf(kind, count, seed) : null;
if (content === null) {
  process.stderr.write(
    `usage: write.ts audit|cloudtrail|apache COUNT SEED (of cloudtrail at most ${CLOUDTRAIL_COUNT_MAX})\n`,
  );
  process.exitCode = USAGE;
} else {
  try {
    await pipeline(Readable.from(content), process.stdout);
  } catch (error) {
    // Whoever read has had enough, such as `head`.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}
