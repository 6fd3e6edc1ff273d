/**
 * Verifies a span of time: the records in it, each tile of 256 of them proven to be in the tree of the newest
 * signed head. What lies outside is read only as far as the proofs need its hashes.
 */

import { isInstant } from '@evident/core/audit-event.ts';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { inclusionProof, type TreeNode, verifyInclusion } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { HASH_BYTES, perfectRoot } from '@evident/core/merkle/tree.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { Log } from '../log/log.ts';
import { type StoredHead, tileLog } from '../seal/ports.ts';
import { checkObjects } from './check-objects.ts';
import { type Check, type Finding, Findings } from './finding.ts';
import type { LostRange, PartitionReport } from './partition-scope.ts';
import { readSafely } from './read-safely.ts';
import {
  confirmLost,
  nameFindings,
  type VerifyDeps,
  type VerifyProgress,
  type VerifyReport,
} from './verify.ts';

export interface Span {
  readonly log: string | null;
  /** RFC 3339; null: from the beginning. */
  readonly from: string | null;
  /** RFC 3339, not included; null: to the end. */
  readonly to: string | null;
}

const WIDTH = BigInt(TILE_WIDTH);
const RUN_POSITIONS = 32_768n;
/** Tiles kept while a span is verified: the path from a leaf to the root touches one of each level. */
const TILES_MAX = 64;

/** @throws usage-invalid when a time can't be read */
export async function verifySpan(
  deps: VerifyDeps,
  span: Span,
  onProgress: (progress: VerifyProgress) => void,
): Promise<VerifyReport> {
  const from = parseTime(span.from, '--from');
  const to = parseTime(span.to, '--to');
  const findings = new Findings();
  const partitions: PartitionReport[] = [];
  const logs = deps.logs.filter(({ name }) => span.log === null || name === span.log);
  const stretches: { log: Log; partition: number; start: bigint; end: bigint }[] = [];
  for (const log of logs) {
    for (const head of await log.heads()) {
      const start =
        from === null ? head.first : await positionAt(log, head.partition, from, head.first, head.next);
      const end = to === null ? head.next : await positionAt(log, head.partition, to, head.first, head.next);
      stretches.push({ log, partition: head.partition, start, end });
    }
  }
  const total = stretches.reduce((sum, { start, end }) => sum + (end > start ? end - start : 0n), 0n);
  let done = 0n;
  for (const { log, partition, start, end } of stretches) {
    const check = new SpanCheck(deps, log, partition, findings);
    partitions.push(
      await check.run(start, end, (positions) => {
        done += positions;
        onProgress({ total, done });
      }),
    );
  }
  const { tampered, notChecked } = findings.count;
  return {
    verdict: findings.verdict,
    findings: await nameFindings(deps, findings.list),
    tampered,
    notChecked,
    partitions,
    windows: [],
  };
}

function parseTime(text: string | null, option: string): bigint | null {
  if (text === null) return null;
  const full = /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
  if (!isInstant(full))
    throw new EvidentError(
      'usage-invalid',
      `${option}: ${text} is not a time such as 2026-11-20T10:00:00Z or 2026-11-20`,
    );
  return BigInt(Date.parse(full)) * 1_000n;
}

/** First position appended at or after a time: times never go back within a partition, so halving finds it. */
async function positionAt(
  log: Log,
  partition: number,
  time: bigint,
  first: bigint,
  next: bigint,
): Promise<bigint> {
  let low = first;
  let high = next;
  while (low < high) {
    const middle = (low + high) / 2n;
    const [record] = await log.read(partition, middle, 1);
    // Positions that are lost have no time: the next record there is decides.
    if (record !== undefined && record.appendedAt < time) low = record.position + 1n;
    else high = middle;
  }
  return low;
}

/** What positions are verified with. */
export type SpanDeps = Pick<
  VerifyDeps,
  'name' | 'records' | 'tiles' | 'heads' | 'objects' | 'verifierOf' | 'refreshKeys' | 'lost'
>;

/**
 * Verifies positions `[start, end)` of a partition, as far as they are sealed; each tile of 256 is read whole.
 * @throws log-unavailable when stored heads can't be read
 */
export function verifyPositions(
  deps: SpanDeps,
  log: Log,
  partition: number,
  start: bigint,
  end: bigint,
  findings: Findings,
): Promise<PartitionReport> {
  return new SpanCheck(deps, log, partition, findings).run(start, end, () => undefined);
}

class SpanCheck {
  readonly #deps: SpanDeps;
  readonly #log: Log;
  readonly #partition: number;
  readonly #findings: Findings;
  readonly #tiles = new Map<string, Promise<Uint8Array>>();
  #head: StoredHead | null = null;
  #lost: readonly LostRange[] = [];

  constructor(deps: SpanDeps, log: Log, partition: number, findings: Findings) {
    this.#deps = deps;
    this.#log = log;
    this.#partition = partition;
    this.#findings = findings;
  }

  async run(start: bigint, end: bigint, onProgress: (positions: bigint) => void): Promise<PartitionReport> {
    const report = {
      log: this.#log.name,
      partition: this.#partition,
      records: 0,
      sealed: 0n,
      heads: 0,
      objects: 0,
    };
    if (end <= start) return report;
    const head = await this.#openHead();
    if (head === null) return report;
    this.#head = head;
    this.#lost = await confirmLost(this.#deps, this.#log, this.#partition);
    const first = (start / WIDTH) * WIDTH;
    const last = end < head.size ? end : head.size;
    for (let from = first; from < last; from += RUN_POSITIONS) {
      const aligned = from + RUN_POSITIONS;
      const to = aligned < roundUp(last, head.size) ? aligned : roundUp(last, head.size);
      const { records, objects } = await this.#chunk(from, to);
      report.records += records;
      report.objects += objects;
      onProgress(to - from);
    }
    return { ...report, sealed: head.size, heads: 1 };
  }

  async #openHead(): Promise<StoredHead | null> {
    const { heads, verifierOf, refreshKeys, name } = this.#deps;
    const seal = await heads.readSeal(this.#log.name, this.#partition);
    if (seal === null || seal.size === 0n) return null;
    const [row] = await heads.readHeads(this.#log.name, this.#partition, seal.epoch, seal.size - 1n, 1);
    if (row === undefined) {
      this.#note('not checked', 'head', null, null, `the signed head of size ${seal.size} is missing`);
      return null;
    }
    const origin = epochOrigin(name, this.#log.name, this.#partition, seal.epoch);
    await refreshKeys();
    const opened = openTreeHead(row.note, [verifierOf(origin, row.size)], origin);
    if (!opened.ok || opened.value.head.size !== seal.size) {
      this.#note(
        'tampered',
        'head-signature',
        null,
        null,
        `the head of size ${seal.size}: ${opened.ok ? 'its note has another size' : opened.reason}`,
      );
      return null;
    }
    return { ...seal, root: opened.value.head.root };
  }

  async #chunk(from: bigint, to: bigint): Promise<{ records: number; objects: number }> {
    const { run, unreadable } = await readSafely(
      this.#deps.records,
      this.#log.name,
      this.#partition,
      from,
      to,
    );
    for (const range of unreadable)
      this.#note('not checked', 'storage', range.from, range.to, `the log can't be read: ${range.reason}`);
    for (const fault of run.faults)
      this.#note('tampered', fault.check, BigInt(fault.position), BigInt(fault.position) + 1n, fault.detail);
    const objects = await checkObjects(this.#deps.objects, run.objects, (verdict, position, detail) =>
      this.#note(verdict, 'object', position, position + 1n, detail),
    );
    const derived = new Uint8Array(Number(to - from) * HASH_BYTES);
    const there = new Uint8Array(Number(to - from));
    for (const [index, position] of run.positions.entries()) {
      const at = position - Number(from);
      derived.set(run.hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES), at * HASH_BYTES);
      there[at] = 1;
    }
    for (const range of this.#lost) {
      const start = range.from > from ? range.from : from;
      const end = range.to < to ? range.to : to;
      if (start < end) this.#note('not checked', 'lost', start, end, `lost, recovery ${range.recovery}`);
    }
    for (let tile = from; tile < to; tile += WIDTH) {
      const width = tile + WIDTH < to ? TILE_WIDTH : Number(to - tile);
      const at = Number(tile - from);
      const excused = unreadable.some((range) => range.from < tile + BigInt(width) && range.to > tile);
      if (!excused)
        await this.#tile(
          tile,
          derived.slice(at * HASH_BYTES, (at + width) * HASH_BYTES),
          there.subarray(at, at + width),
        );
    }
    return { records: run.positions.length, objects };
  }

  /** One tile: the records' hashes, and those that are stored, each held against the signed root. */
  async #tile(from: bigint, derived: Uint8Array, there: Uint8Array): Promise<void> {
    const width = there.length;
    let stored: Uint8Array | null = null;
    try {
      stored = await this.#deps.tiles.read(this.#tileLog, this.#partition, 0, from, width);
    } catch (error) {
      this.#note(
        'not checked',
        'storage',
        from,
        from + BigInt(width),
        `the tile can't be read: ${(error as Error).message}`,
      );
    }
    const hasLost = this.#fillLost(from, derived, there, stored);
    const recordsRight = await this.#isInTree(from, derived);
    if (stored === null) {
      if (recordsRight !== 'no' || hasLost)
        this.#note('not checked', 'tile', from, from + BigInt(width), 'the tile is missing');
      else
        this.#note(
          'tampered',
          'head',
          from,
          from + BigInt(width),
          'the records do not give the signed root, and their tile is missing',
        );
      return;
    }
    const same = Buffer.compare(derived, stored) === 0;
    if (recordsRight === 'ok' && same) return;
    if (recordsRight === 'unreadable') {
      this.#note('not checked', 'tile', from, from + BigInt(width), 'a tile that the proof needs is missing');
    } else if (recordsRight === 'ok') this.#differences(from, derived, stored, there, 'tile');
    else if (!same && (await this.#isInTree(from, stored)) === 'ok')
      this.#differences(from, derived, stored, there, 'record');
    else
      this.#note(
        'tampered',
        'head',
        from,
        from + BigInt(width),
        'neither the records nor the tile can be proven to be in the signed tree',
      );
  }

  /** The tile's hash stands in for a record whose loss was recorded. @returns whether there is such a position */
  #fillLost(from: bigint, derived: Uint8Array, there: Uint8Array, stored: Uint8Array | null): boolean {
    let hasLost = false;
    for (let index = 0; index < there.length; index++) {
      const position = from + BigInt(index);
      if (there[index] !== 0 || !this.#lost.some((range) => position >= range.from && position < range.to))
        continue;
      hasLost = true;
      const at = index * HASH_BYTES;
      if (stored !== null) derived.set(stored.subarray(at, at + HASH_BYTES), at);
    }
    return hasLost;
  }

  async #isInTree(from: bigint, hashes: Uint8Array): Promise<'ok' | 'no' | 'unreadable'> {
    const head = this.#head as StoredHead;
    const tileIndex = from / WIDTH;
    const stored = readHashesFromTiles(head.size, (tile) => {
      // The tile in question is the one given; every other is what is stored.
      if (tile.level === 0 && tile.index === tileIndex)
        return Promise.resolve(hashes.subarray(0, tile.width * HASH_BYTES));
      return this.#readTile(tile.level, tile.index, tile.width);
    });
    const inside = ({ level, index }: TreeNode) =>
      level <= 8 &&
      index << BigInt(level) >= from &&
      (index + 1n) << BigInt(level) <= from + BigInt(hashes.length / HASH_BYTES);
    try {
      const proof = await inclusionProof(from, head.size, async (nodes) => {
        const outside = await stored(nodes.filter((node) => !inside(node)));
        let next = 0;
        return nodes.map((node) => (inside(node) ? subtree(hashes, from, node) : outside[next++]));
      });
      const leafHash = hashes.subarray(0, HASH_BYTES);
      return verifyInclusion({ index: from, size: head.size, leafHash, root: head.root, proof }) === 'ok'
        ? 'ok'
        : 'no';
    } catch {
      return 'unreadable';
    }
  }

  #readTile(level: number, index: bigint, width: number): Promise<Uint8Array> {
    const name = `${level}/${index}/${width}`;
    let tile = this.#tiles.get(name);
    if (tile === undefined) {
      if (this.#tiles.size >= TILES_MAX) this.#tiles.clear();
      tile = this.#deps.tiles
        .read(this.#tileLog, this.#partition, level, index * WIDTH, width)
        .then((found) => {
          if (found === null) throw new Error('a tile is missing');
          return found;
        });
      this.#tiles.set(name, tile);
    }
    return tile;
  }

  get #tileLog(): string {
    return tileLog(this.#log.name, (this.#head as StoredHead).epoch);
  }

  #differences(
    from: bigint,
    derived: Uint8Array,
    stored: Uint8Array,
    there: Uint8Array,
    wrong: 'record' | 'tile',
  ): void {
    for (let index = 0; index < there.length; index++) {
      const range = [index * HASH_BYTES, (index + 1) * HASH_BYTES] as const;
      if (Buffer.compare(derived.subarray(...range), stored.subarray(...range)) === 0) continue;
      const position = from + BigInt(index);
      if (wrong === 'tile')
        this.#note(
          'tampered',
          'tile',
          position,
          position + 1n,
          'the tile holds another leaf hash than the record gives',
        );
      else if (there[index] === 0)
        this.#note(
          'tampered',
          'record-missing',
          position,
          position + 1n,
          'a record was sealed here, and is gone',
        );
      else
        this.#note(
          'tampered',
          'record',
          position,
          position + 1n,
          'the record is not the one that was sealed here',
        );
    }
  }

  #note(
    verdict: Finding['verdict'],
    check: Check,
    from: bigint | null,
    to: bigint | null,
    detail: string,
  ): void {
    this.#findings.add({
      verdict,
      log: this.#log.name,
      partition: this.#partition,
      from,
      to,
      id: null,
      check,
      detail,
    });
  }
}

/** The end of the tile that `position` lies in, or of the tree. */
function roundUp(position: bigint, size: bigint): bigint {
  const end = ((position + WIDTH - 1n) / WIDTH) * WIDTH;
  return end < size ? end : size;
}

function subtree(hashes: Uint8Array, from: bigint, { level, index }: TreeNode): Uint8Array {
  const at = Number((index << BigInt(level)) - from) * HASH_BYTES;
  return perfectRoot(hashes.subarray(at, at + 2 ** level * HASH_BYTES));
}
