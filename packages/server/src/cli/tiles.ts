import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { entriesPath, listTiles, TILE_WIDTH, tilePath } from '@evident/core/merkle/tile.ts';
import { UNRECORDED_LOGS } from '@evident/core/record.ts';
import type { ConfigInput } from '../config.ts';
import { type TreeId, tileReader } from '../evidence/hash-tiles.ts';
import { newestHead, parseTileLog, readEntries } from '../evidence/static-layout.ts';
import { type CommandDeps, EXIT, type OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { operatorReader } from './query-source.ts';
import { countOf } from './wording.ts';

export interface TilesOptions {
  readonly out: string;
  /** The log, or `<log>.r<epoch>` of a tree that began anew. */
  readonly log: string;
  readonly partition: number;
}

const WIDTH = BigInt(TILE_WIDTH);

/** Writes the static layout of one tree (C2SP tlog-tiles): checkpoint, hash tiles, entry bundles. */
export async function runTiles(
  deps: CommandDeps,
  input: ConfigInput,
  options: TilesOptions,
  output: Output,
): Promise<number> {
  const { out } = options;
  if (existsSync(out) && readdirSync(out).length > 0)
    throw new EvidentError('usage-invalid', `--out: ${out} is not empty`);
  const data = await deps.open(input, { alone: false });
  const bar = new ProgressBar('writing tiles');
  try {
    const tree = treeOf(data, options);
    const head = await newestHead(data.evidence, tree);
    if (!UNRECORDED_LOGS.includes(tree.log)) await recordBundles(data, tree, head.size);
    const hashTiles = await writeHashTiles(data, tree, out, head.size);
    const bundles = await writeBundles(data, tree, out, head.size, (done) =>
      bar.update(done, Number(head.size), 'entries'),
    );
    // Last: a folder without it is not whole.
    write(out, 'checkpoint', head.note);
    bar.end();
    output.result({ out, size: head.size, hash_tiles: hashTiles, entry_bundles: bundles });
    output.line(
      `${out}: the tree of ${options.log}/${options.partition}, ${countOf(head.size, 'entry', 'entries')}, ${countOf(hashTiles, 'hash tile')}, ${countOf(bundles, 'entry bundle')}, checkpoint`,
    );
    return EXIT.success;
  } finally {
    bar.end();
    await data.close();
  }
}

function treeOf(data: OpenedData, { log: name, partition }: TilesOptions): TreeId {
  const named = parseTileLog(name);
  const log = named === null ? undefined : data.logs.get(named.log);
  if (named === null || log === undefined) throw new EvidentError('log-unknown', `there is no log ${name}`);
  if (partition >= log.partitions)
    throw new EvidentError('not-found', `${log.name} has ${log.partitions} partitions, and no ${partition}`);
  return { log: log.name, partition, epoch: named.epoch };
}

/** Bundles hold the records themselves: who takes them is recorded before they are written. Hashes and heads are public. */
async function recordBundles(data: OpenedData, { log, partition }: TreeId, size: bigint): Promise<void> {
  await data.query.recorder.record(operatorReader(undefined), {
    action: 'audit.read',
    resource: { type: 'log', id: log },
    tenant: null,
    details: { question: 'entry bundles', partition, records: size.toString() },
  });
}

function write(out: string, path: string, bytes: Uint8Array): void {
  const file = join(out, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
}

async function writeHashTiles(
  { evidence }: OpenedData,
  tree: TreeId,
  out: string,
  size: bigint,
): Promise<number> {
  const read = tileReader(evidence.tiles, tree);
  let written = 0;
  for (const tile of listTiles(0n, size)) {
    write(out, tilePath(tile), await read(tile));
    written++;
  }
  return written;
}

async function writeBundles(
  { evidence }: OpenedData,
  tree: TreeId,
  out: string,
  size: bigint,
  onProgress: (done: number) => void,
): Promise<number> {
  let written = 0;
  for (let from = 0n; from < size; from += WIDTH) {
    const width = from + WIDTH <= size ? TILE_WIDTH : Number(size - from);
    write(out, entriesPath(from / WIDTH, width), await readEntries(evidence, tree, from / WIDTH, width));
    written++;
    onProgress(Number(from) + width);
  }
  return written;
}
