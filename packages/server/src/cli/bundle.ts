/** Evidence bundles on the command line: a folder or a zip, from the directory or from a server. */

import { existsSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { EvidentError } from '@evident/core/errors.ts';
import { MANIFEST_PATH } from '@evident/core/evidence/bundle-layout.ts';
import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import { type BundleManifest, parseManifest } from '@evident/core/evidence/manifest.ts';
import { openZip } from '@evident/core/evidence/zip-reader.ts';
import type { ZipFile } from '@evident/core/evidence/zip-writer.ts';
import type { ConfigInput } from '../config.ts';
import { bundleFiles, type PlannedBundle } from '../evidence/bundle.ts';
import { type AskedBundle, bundleRequestOf } from '../evidence/bundle-request.ts';
import { plannedOfHeaders } from '../evidence/planned-headers.ts';
import { writeFolder, writeWholeFile, zipOf } from '../evidence/write-folder.ts';
import { type CommandDeps, EXIT, type FoundServer, type OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import {
  address,
  catchUpOrSay,
  filterOfGiven,
  type GivenFilter,
  operatorReader,
  type QueryOptions,
} from './query-source.ts';
import { requestServer } from './request.ts';
import { findTarget } from './target.ts';
import { countOf } from './wording.ts';

export interface BundleOptions extends QueryOptions, AskedBundle {
  readonly filter: GivenFilter;
  /** A new folder, or a new file that ends in .zip. */
  readonly out: string | undefined;
}

/** Writes an evidence bundle under a name that nothing has yet; what stands there afterwards is whole. */
export async function runBundle(
  deps: CommandDeps,
  input: ConfigInput,
  options: BundleOptions,
  output: Output,
): Promise<number> {
  const { out } = options;
  if (out === undefined)
    throw new EvidentError(
      'usage-invalid',
      '--out: a bundle is written into a new folder, or a new file.zip',
    );
  if (existsSync(out))
    throw new EvidentError('usage-invalid', `--out: ${out} is there already; name another`);
  const server = await findTarget(deps, input, options);
  const bar = new ProgressBar('writing evidence');
  try {
    const planned = await (server === null
      ? fromDirectory(deps, input, options, out, bar)
      : fromServer(server, options, out, bar));
    bar.end();
    report(out, await manifestOf(out), planned, output);
    if (planned !== null) tellMissing(planned, options.head);
    return EXIT.success;
  } finally {
    bar.end();
  }
}

const LACKING = { timestamp: 'no time stamp', cosignature: 'no quorum of cosignatures' } as const;

const isZip = (out: string): boolean => out.endsWith('.zip');

async function fromDirectory(
  deps: CommandDeps,
  input: ConfigInput,
  { filter, hours, id, head, proofs, allowEmpty, why }: BundleOptions,
  out: string,
  bar: ProgressBar,
): Promise<PlannedBundle | null> {
  const data = await deps.open(input, { alone: false });
  try {
    // Without a server nobody else seals, and a newer head would be waited for in vain.
    if (head === undefined && data.isHeldHere) await sealOrSay(data);
    await catchUpOrSay(data);
    const reader = operatorReader(why);
    const request = await bundleRequestOf(reader, { hours, id, head, proofs, allowEmpty }, filter, (given) =>
      filterOfGiven(data.query, reader, given as GivenFilter),
    );
    let planned: PlannedBundle | null = null;
    const files = bundleFiles(data.evidence, reader, request, (plan) => {
      planned = plan;
    });
    if (isZip(out)) await writeWholeFile(zipOf(counted(files, bar)), out);
    else await writeFolder(counted(files, bar), out);
    return planned;
  } finally {
    await data.close();
  }
}

/** A bundle of what is sealed can be made all the same. */
async function sealOrSay(data: Pick<OpenedData, 'seal'>): Promise<void> {
  try {
    await data.seal();
  } catch (error) {
    process.stderr.write(`evident: the newest records could not be sealed: ${(error as Error).message}\n`);
  }
}

async function* counted(files: AsyncIterable<ZipFile>, bar: ProgressBar): AsyncGenerator<ZipFile> {
  let done = 0;
  async function* pieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      bar.update((done += piece.length), null, 'bytes');
      yield piece;
    }
  }
  for await (const { path, bytes } of files) {
    if (bytes instanceof Uint8Array) {
      bar.update((done += bytes.length), null, 'bytes');
      yield { path, bytes };
    } else yield { path, bytes: pieces(bytes) };
  }
}

async function fromServer(
  server: FoundServer,
  { filter, hours, id, head, proofs, allowEmpty, why }: BundleOptions,
  out: string,
  bar: ProgressBar,
): Promise<PlannedBundle | null> {
  const allow_empty = allowEmpty === true ? 'true' : undefined;
  const asked = { ...filter, format: 'bundle', hours, id, head, proofs, allow_empty, why };
  const answer = await requestServer(server, address('/v1/export', asked));
  const zip = isZip(out) ? out : `${out}.part.zip`;
  await writeWholeFile(received(answer.body as unknown as AsyncIterable<Uint8Array>, bar), zip);
  const planned = plannedOfHeaders(answer.headers);
  if (zip === out) return planned;
  try {
    await withZip(zip, (source) => writeFolder(filesOf(source), out));
  } finally {
    await rm(zip, { force: true });
  }
  return planned;
}

async function* received(body: AsyncIterable<Uint8Array>, bar: ProgressBar): AsyncGenerator<Uint8Array> {
  let done = 0;
  try {
    for await (const piece of body) {
      bar.update((done += piece.length), null, 'bytes');
      yield piece;
    }
  } catch (cause) {
    throw new EvidentError('log-unavailable', 'the server broke off: what came so far is no bundle', {
      cause,
    });
  }
}

async function* filesOf(source: BundleSource): AsyncGenerator<ZipFile> {
  for (const { path } of await source.list()) yield { path, bytes: source.read(path) };
}

/** @throws log-unavailable for a file that is no zip of a bundle: it was cut on its way */
async function withZip<T>(file: string, use: (source: BundleSource) => Promise<T>): Promise<T> {
  const handle = await open(file, 'r');
  try {
    const read = async (from: number, to: number) => {
      const bytes = new Uint8Array(to - from);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, from);
      return bytes.subarray(0, bytesRead);
    };
    const source = await openZip(read, (await handle.stat()).size, crc32);
    if (!source.ok)
      throw new EvidentError('log-unavailable', `what the server sent is no bundle: ${source.reason}`);
    return await use(source.value);
  } finally {
    await handle.close();
  }
}

async function manifestOf(out: string): Promise<BundleManifest> {
  const bytes = isZip(out) ? await withZip(out, readManifest) : await readFile(join(out, MANIFEST_PATH));
  const manifest = parseManifest(bytes);
  if (!manifest.ok) throw new EvidentError('internal', manifest.reason);
  return manifest.value;
}

async function readManifest(source: BundleSource): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source.read(MANIFEST_PATH)) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

function report(
  out: string,
  { records, proofs, head, trees, files }: BundleManifest,
  planned: PlannedBundle | null,
  output: Output,
): void {
  const told = planned === null ? {} : { newer: planned.newer, lacks: planned.lacks };
  output.result({ out, records, proofs, head, trees: trees.length, files: files.length, ...told });
  const how = proofs === 'each' ? 'a proof each' : 'hash tiles';
  output.line(`${out}: ${countOf(records, 'record')} of ${countOf(trees.length, 'tree')}, ${how}`);
  output.line(`  It leads to the head of size ${head.size} of ${head.origin}.`);
  output.line(`  Check it anywhere, offline: evident check ${out} --vkey KEY`);
}

/** What the bundle leaves out, on standard error: nothing in the bundle says it. */
function tellMissing({ headSize, newer, lacks }: PlannedBundle, head: string | undefined): void {
  if (newer > 0) {
    const are = newer === 1 ? 'is' : 'are';
    const why =
      head === undefined
        ? `${are} not covered by a head yet, and not in the bundle: what is appended is sealed and listed within 10 s; run it again later`
        : `${are} newer than the head of size ${headSize}, and not in the bundle: name a later head, or none`;
    process.stderr.write(`evident: ${countOf(newer, 'matching record')} ${why}\n`);
  }
  if (lacks.length > 0)
    process.stderr.write(
      `evident: the configuration wants more of a head, and none has it: the head of size ${headSize} has ${lacks.map((kind) => LACKING[kind]).join(' and ')}\n`,
    );
}
