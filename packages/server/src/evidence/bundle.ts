/**
 * Writes an evidence bundle as a sequence of files, in constant memory but for the places of its records and the list of
 * its files (design §5; the format is told in core/src/evidence/bundle-layout.ts).
 *
 * The same log, scope and head give the same bytes: nothing says when or where it was made, and every order is fixed.
 * The manifest comes last; a folder without one is no bundle, so what a crash leaves is never taken for one.
 */

import { createHash } from 'node:crypto';
import { toHex } from '@evident/core/bytes.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { bodyPath, MANIFEST_PATH, README_PATH, RECORDS_PATH } from '@evident/core/evidence/bundle-layout.ts';
import { LeafLineReader } from '@evident/core/evidence/leaf-line.ts';
import { type BundleFile, compareText, formatManifest } from '@evident/core/evidence/manifest.ts';
import type { ZipFile } from '@evident/core/evidence/zip-writer.ts';
import type { Reader } from '../query/ports.ts';
import { openReadStream, type ReadStream, VIEW_RESOURCE } from '../query/record-read.ts';
import { headFiles, keyFiles, windowFiles } from './bundle-documents.ts';
import { type BundlePlan, type BundleRequest, frameOf, planBundle } from './bundle-plan.ts';
import { treeFiles } from './bundle-trees.ts';
import { recordAt } from './inclusion.ts';
import { type EvidenceDeps, type HeadAnchor, LEAF_PLACES_MAX, type LeafLines } from './ports.ts';
import { readmeOf } from './readme.ts';

/** Bytes of leaf lines that one read aims at. */
const LINES_BYTES = 2 * 1024 * 1024;
const PLACES_MIN = 16;

/** What whoever asked for a bundle is told beside it: the bundle has nothing of it. */
export interface PlannedBundle {
  /** Of the head of heads/0 that it ends in. */
  readonly headSize: bigint;
  /** Records that match, stood in the log when it was asked for, and are newer than that head: they are not in the bundle. */
  readonly newer: number;
  /** Kinds of anchors that the configuration wants, and no head had together: this head lacks them. */
  readonly lacks: readonly HeadAnchor['kind'][];
}

/** What is learned of the records while their lines are written. */
export interface WrittenRecords {
  /** In the order of the bundle; only with a proof each. */
  readonly ids: string[];
  /** Tenant by SHA-256 in hexadecimal of a body that stands in no leaf. */
  readonly bodies: Map<string, string>;
  /** One of the bodies that are here, in hexadecimal; null: there is none. */
  body: string | null;
}

/**
 * The files of a bundle, in the order in which they are written. Each is to be read to its end before the next is
 * asked for. `onPlanned` is called before the first. The intent is on record before the first, then every 10,000 records, and the outcome at the end.
 *
 * @throws what `frameOf` and `planBundle` throw, before the first file; evidence-broken, read-unrecorded,
 *   log-unavailable at any time: what came so far is no bundle then
 */
export async function* bundleFiles(
  deps: EvidenceDeps,
  reader: Reader,
  request: BundleRequest,
  onPlanned: (plan: PlannedBundle) => void = () => undefined,
): AsyncGenerator<ZipFile, void, undefined> {
  const frame = await frameOf(deps, reader, request);
  const stream = await openReadStream(deps.query.recorder, reader, {
    action: 'audit.export',
    resource: VIEW_RESOURCE,
    tenant: frame.tenant,
    details: { format: 'bundle', scope: frame.scope, head: frame.top.size.toString() },
  });
  let failure: unknown = new Error('the reader has gone');
  try {
    const plan = await planBundle(deps, reader, request, frame);
    const { newer } = plan;
    onPlanned({ headSize: frame.top.size, newer, lacks: frame.lacks });
    yield* filesOf(deps, plan, stream);
    failure = undefined;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    // Of two failures the first is told: if the log is down, the outcome can't be written either.
    const ending = stream.end(failure);
    await (failure === undefined ? ending : ending.catch(() => undefined));
  }
}

async function* filesOf(
  deps: EvidenceDeps,
  plan: BundlePlan,
  stream: ReadStream,
): AsyncGenerator<ZipFile, void, undefined> {
  const list = new FileList();
  const written: WrittenRecords = { ids: [], bodies: new Map(), body: null };
  yield list.addStream(RECORDS_PATH, recordPieces(deps, plan, stream, written));
  yield* list.addAll(bodyFiles(deps, written));
  yield* list.addAll(treeFiles(deps, plan, written));
  yield* list.addAll(headFiles(deps, plan));
  yield* list.addAll(windowFiles(deps, plan));
  yield* list.addAll(keyFiles(deps, plan));
  yield list.add({ path: README_PATH, bytes: await readmeOf(deps, plan, written) });
  const { scope, topOrigin, top, proofs, trees } = plan;
  const manifest = formatManifest({
    name: deps.name,
    head: { origin: topOrigin, size: top.size },
    scope,
    records: BigInt(plan.records),
    proofs,
    trees: trees.map(({ origin, log, partition, head }) => ({
      origin,
      log,
      partition,
      epoch: head.epoch,
      size: head.size,
    })),
    files: list.finish(),
  });
  yield { path: MANIFEST_PATH, bytes: manifest };
}

/** A file whose bytes are there. */
export interface WholeFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Size and SHA-256 of every file, as it passes by. */
class FileList {
  readonly #files: BundleFile[] = [];
  /** The stream that is being read, if one is. */
  #open: string | null = null;

  add(file: WholeFile): WholeFile {
    const sha256 = createHash('sha256').update(file.bytes).digest('hex');
    this.#push({ path: file.path, size: BigInt(file.bytes.length), sha256 });
    return file;
  }

  async *addAll(files: AsyncIterable<WholeFile>): AsyncGenerator<WholeFile> {
    for await (const file of files) yield this.add(file);
  }

  addStream(path: string, pieces: AsyncIterable<Uint8Array>): ZipFile {
    this.#open = path;
    return { path, bytes: this.#hashed(path, pieces) };
  }

  /** Sorted by path. */
  finish(): BundleFile[] {
    this.#requireClosed();
    return this.#files.sort((a, b) => compareText(a.path, b.path));
  }

  async *#hashed(path: string, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256');
    let size = 0n;
    for await (const piece of pieces) {
      hash.update(piece);
      size += BigInt(piece.length);
      yield piece;
    }
    this.#open = null;
    this.#push({ path, size, sha256: hash.digest('hex') });
  }

  #push(file: BundleFile): void {
    this.#requireClosed();
    this.#files.push(file);
  }

  #requireClosed(): void {
    if (this.#open !== null) throw new Error(`${this.#open} was not read to its end before the next file`);
  }
}

/** The leaf lines of all records, in the order of the bundle; the next are read while these are written. */
async function* recordPieces(
  deps: EvidenceDeps,
  { places, tenant, proofs }: BundlePlan,
  stream: ReadStream,
  written: WrittenRecords,
): AsyncGenerator<Uint8Array> {
  let ask = PLACES_MIN;
  const ids = proofs === 'each' ? new LeafLineReader() : null;
  for (const { log, partition, positions } of places) {
    const read = (from: number) => {
      const reading = readLines(deps, tenant, log, partition, positions.subarray(from, from + ask));
      // It fails where it is waited for, and nobody may come there.
      reading.catch(() => undefined);
      return reading;
    };
    let reading = read(0);
    for (let at = 0; at < positions.length; ) {
      const { bytes, ends, objects } = await reading;
      at += ends.length;
      const mean = Math.max(1, bytes.length / ends.length);
      ask = Math.max(PLACES_MIN, Math.min(LEAF_PLACES_MAX, Math.floor(LINES_BYTES / mean)));
      if (at < positions.length) reading = read(at);
      await stream.advance(ends.length);
      for (const { sha256, tenant } of objects) written.bodies.set(toHex(sha256), tenant);
      if (ids !== null) takeIds(ids, bytes, ends, written.ids);
      yield bytes;
    }
  }
}

/** Of a place without a record: why there is none. */
async function readLines(
  deps: EvidenceDeps,
  tenant: string | null,
  log: string,
  partition: number,
  positions: Float64Array,
): Promise<LeafLines> {
  try {
    return await deps.leaves.read(tenant, log, partition, positions);
  } catch (error) {
    const position =
      isEvidentError(error) && error.code === 'evidence-broken' ? error.context.position : undefined;
    if (position !== undefined) await recordAt(deps, log, partition, position);
    throw error;
  }
}

function takeIds(line: LeafLineReader, bytes: Uint8Array, ends: Uint32Array, ids: string[]): void {
  let start = 0;
  for (const end of ends) {
    const wrong = line.read(bytes, start, end - 1);
    if (wrong !== null) throw new Error(`the leaf writer wrote a line that its reader refuses: ${wrong}`);
    ids.push(line.text(line.idAt, 36));
    start = end;
  }
}

/** Bodies as they lie in the object store, damaged ones among them: the check says so. What is missing stays out. */
async function* bodyFiles({ query }: EvidenceDeps, written: WrittenRecords): AsyncGenerator<WholeFile> {
  for (const hex of [...written.bodies.keys()].sort()) {
    const body = await query.bodies.get(written.bodies.get(hex) as string, Buffer.from(hex, 'hex'));
    if (body === null) continue;
    written.body ??= hex;
    yield { path: bodyPath(hex), bytes: body };
  }
}
