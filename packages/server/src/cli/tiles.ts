import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import {
  encodeEntryBundle,
  entriesPath,
  listTiles,
  TILE_WIDTH,
  tilePath,
} from '@evident/core/merkle/tile.ts';
import { RESERVED_LOGS } from '@evident/core/record.ts';
import type { ConfigInput } from '../config.ts';
import type { Log } from '../log/log.ts';
import { tileLog } from '../seal/ports.ts';
import { type CommandDeps, EXIT, type OpenedData } from './command-deps.ts';
import { type Output, ProgressBar } from './output.ts';
import { operatorReader } from './query-source.ts';

export interface TilesOptions {
  readonly out: string;
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
  if (existsSync(options.out) && readdirSync(options.out).length > 0) {
    throw new EvidentError('usage-invalid', `--out: ${options.out} is not empty`);
  }
  const data = await deps.open(input, { alone: false });
  const bar = new ProgressBar('writing tiles');
  try {
    const log = data.logs.get(options.log);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${options.log}`);
    const seal = await data.heads.readSeal(options.log, options.partition);
    if (seal === null || seal.size === 0n)
      throw new EvidentError('not-found', `${options.log}/${options.partition} has no signed head yet`);
    const [head] = await data.heads.readHeads(options.log, options.partition, seal.epoch, seal.size - 1n, 1);
    if (head === undefined)
      throw new EvidentError('not-found', `the signed head of size ${seal.size} is missing`);
    if (!RESERVED_LOGS.includes(log.name)) await recordBundles(data, options, head.size);
    const hashTiles = await writeHashTiles(data, options, seal.epoch, head.size);
    const bundles = await writeBundles(log, options, head.size, (done) =>
      bar.update(done, Number(head.size), 'entries'),
    );
    write(options.out, 'checkpoint', head.note);
    bar.end();
    output.result({ out: options.out, size: head.size, hash_tiles: hashTiles, entry_bundles: bundles });
    output.line(
      `${options.out}: the tree of ${options.log}/${options.partition}, ${head.size} entries, ${hashTiles} hash tiles, ${bundles} entry bundles, checkpoint`,
    );
    return EXIT.success;
  } finally {
    bar.end();
    await data.close();
  }
}

/** Bundles hold the records themselves: who takes them is recorded before they are written. Hashes and heads are public. */
async function recordBundles(
  data: OpenedData,
  { log, partition }: TilesOptions,
  size: bigint,
): Promise<void> {
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
  data: OpenedData,
  { out, log, partition }: TilesOptions,
  epoch: number,
  size: bigint,
): Promise<number> {
  let written = 0;
  for (const tile of listTiles(0n, size)) {
    const hashes = await data.tiles.read(
      tileLog(log, epoch),
      partition,
      tile.level,
      tile.index * WIDTH,
      tile.width,
    );
    if (hashes === null)
      throw new EvidentError('not-found', `a tile of level ${tile.level} is missing; run evident verify`);
    write(out, tilePath(tile), hashes);
    written++;
  }
  return written;
}

async function writeBundles(
  log: Log,
  { out, partition }: TilesOptions,
  size: bigint,
  onProgress: (done: number) => void,
): Promise<number> {
  let written = 0;
  for (let from = 0n; from < size; from += WIDTH) {
    const width = from + WIDTH <= size ? TILE_WIDTH : Number(size - from);
    const records = await log.read(partition, from, width);
    if (
      records.length !== width ||
      records[0].position !== from ||
      records[width - 1].position !== from + BigInt(width) - 1n
    ) {
      throw new EvidentError(
        'not-found',
        `records from ${log.name}/${partition}/${from} on are missing; run evident verify`,
      );
    }
    write(out, entriesPath(from / WIDTH, width), encodeEntryBundle(records.map(leafOf)));
    written++;
    onProgress(Number(from) + width);
  }
  return written;
}
