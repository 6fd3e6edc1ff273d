/**
 * The disk buffer: segments of frames in a folder, written at one end and read at the other.
 *
 *   0000000000000007.segment   read: acknowledged up to `read`     ◄── next / acknowledge
 *   0000000000000008.segment
 *   0000000000000009.segment   active: durable up to `size`        ◄── append
 *   refused.ndjson             what the log refused               lock   held by one process
 *
 * Durable steps, and what a crash leaves after each:
 *   file made, folder synced   an empty file: removed at the next open
 *   frames written             a tail that may be torn: cut at the next open. Nobody was told that it is durable
 *   file synced                durable; from here on `append` resolves
 *   log has acknowledged       the file is still there: sent again, and answered as repeats
 *   file removed               nothing
 *
 * The files are this object's alone; the lock of the folder keeps other processes out. Writes and removals take turns.
 */

import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import type { EncodedEvent } from './envelope.ts';
import { type Files, readAll, storageError, syncFolder, writeAll } from './files.ts';
import { FRAME_HEAD_BYTES, frameHead, MARK, readFrame } from './segment.ts';
import { type FoundFolder, segmentName } from './segment-folder.ts';

/** A segment is closed when it has grown past this, so that its room comes back when it is delivered; also the most of one write. */
const SEGMENT_BYTES = 1024 * 1024;
/** A delivered segment goes when it is this large; a smaller one is written on, which spares making a file for each event. */
const RETIRE_BYTES = 64 * 1024;
/** Shares of the bound that segments and what is left of them may take. */
const SEGMENTS_MIN = 8;
/** An envelope begins `{"id":"<36 characters>"`. */
const ID_START = 7;
const ID_END = 43;

interface Segment {
  readonly number: number;
  size: number;
  read: number;
}

interface Write {
  readonly frames: Uint8Array[];
  readonly bytes: number;
  readonly events: number;
  resolve(): void;
  reject(error: unknown): void;
}

/** Events that stand next, with where each ends. */
export interface Chunk {
  readonly events: readonly EncodedEvent[];
  readonly segment: number;
  readonly ends: readonly number[];
}

export class SegmentStore {
  readonly #folder: string;
  readonly #files: Files;
  readonly #segmentBytes: number;
  readonly #retireBytes: number;
  /** Oldest first; the active one is last. */
  readonly #segments: Segment[];
  #active: { segment: Segment; file: FileHandle } | null = null;
  #nextNumber: number;
  #bytes: number;
  /** Durable events since the folder was opened, those that were found among them. */
  #appended: number;
  #acknowledged = 0;
  readonly #pending: Write[] = [];
  #pendingBytes = 0;
  #turn: Promise<unknown> = Promise.resolve();
  /** A write failed and could not be undone: what the last file holds is not known before it is read anew. */
  #broken: EvidentError | null = null;

  constructor(folder: string, bytesMax: number, found: FoundFolder, files: Files) {
    this.#folder = folder;
    this.#files = files;
    this.#segmentBytes = Math.min(SEGMENT_BYTES, Math.ceil(bytesMax / SEGMENTS_MIN));
    this.#retireBytes = Math.min(RETIRE_BYTES, Math.ceil(bytesMax / SEGMENTS_MIN));
    this.#segments = found.segments.map(({ number, size }) => ({ number, size, read: MARK.length }));
    this.#nextNumber = found.nextNumber;
    this.#bytes = found.segments.reduce((sum, { size }) => sum + size, 0);
    this.#appended = found.segments.reduce((sum, { events }) => sum + events, 0);
  }

  /** Bytes of the files, and of what is about to be written. */
  get bytes(): number {
    return this.#bytes + this.#pendingBytes;
  }

  /** Durable events so far, those that were found at the start among them. */
  get appended(): number {
    return this.#appended;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get waitingBytes(): number {
    return this.#segments.reduce((sum, { size, read }) => sum + size - read, 0);
  }

  /** Bytes that events will take. */
  static bytesOf(events: readonly EncodedEvent[]): number {
    return events.reduce((sum, { bytes }) => sum + FRAME_HEAD_BYTES + bytes.length, 0);
  }

  /**
   * Resolves when the events are synced. Calls that come together share a write and a sync.
   * @throws disk-full or data-unwritable: nothing of them is there; outcome-unknown: the disk left it open
   */
  append(events: readonly EncodedEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const bytes = SegmentStore.bytesOf(events);
    this.#pendingBytes += bytes;
    return new Promise((resolve, reject) => {
      const frames = events.flatMap((event) => [frameHead(event.bytes), event.bytes]);
      this.#pending.push({ frames, bytes, events: events.length, resolve, reject });
      void this.#inTurn(() => this.#writePending());
    });
  }

  /** The next events that are not acknowledged, or null. Does not move on: `acknowledge` does. */
  async next(eventsMax: number, bytesMax: number): Promise<Chunk | null> {
    const segment = this.#segments.find(({ read, size }) => read < size);
    if (segment === undefined) return null;
    const { number, read, size } = segment;
    let bytes = await this.#read(number, read, Math.min(size - read, bytesMax));
    const first = readFrame(bytes, 0);
    if (first.kind === 'short' && read + first.end <= size) bytes = await this.#read(number, read, first.end);
    const events: EncodedEvent[] = [];
    const ends: number[] = [];
    for (let at = 0; at < bytes.length && events.length < eventsMax; ) {
      const frame = readFrame(bytes, at);
      if (frame.kind !== 'frame') break;
      const { envelope, end } = frame;
      events.push({
        id: Buffer.from(envelope.subarray(ID_START, ID_END)).toString('latin1'),
        bytes: envelope,
      });
      ends.push(read + end);
      at = end;
    }
    if (events.length > 0) return { events, segment: number, ends };
    throw new EvidentError(
      'internal',
      `${this.#path(number)} holds no whole event at byte ${read}; it did when it was written`,
    );
  }

  async #read(number: number, from: number, length: number): Promise<Uint8Array> {
    const file = await this.#files.open(this.#path(number), 'r');
    try {
      return await readAll(file, from, length);
    } finally {
      await file.close();
    }
  }

  /** The first `count` events of a chunk need no more sending. */
  acknowledge(chunk: Chunk, count: number): void {
    const segment = this.#segments.find(({ number }) => number === chunk.segment);
    if (segment === undefined || count === 0) return;
    segment.read = chunk.ends[count - 1];
    this.#acknowledged += count;
  }

  /** Removes what is delivered, as far as it is worth a file. */
  async makeRoom(): Promise<void> {
    await this.#inTurn(() => this.#retire(this.#retireBytes));
  }

  /** Removes what is delivered, the segment that is written to as well. */
  async close(): Promise<void> {
    try {
      await this.#inTurn(() => this.#retire(0));
    } finally {
      await this.#inTurn(() => this.#closeActive());
    }
  }

  /** Resolves when what was handed to `append` before is durable, or failed. */
  async written(): Promise<void> {
    await this.#inTurn(async () => undefined);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #retire(activeBytesMin: number): Promise<void> {
    for (const segment of this.#segments.filter(({ read, size }) => read === size)) {
      const isActive = this.#active?.segment === segment;
      if (isActive && segment.size < activeBytesMin) continue;
      if (isActive) await this.#closeActive();
      await this.#files.rm(this.#path(segment.number));
      this.#segments.splice(this.#segments.indexOf(segment), 1);
      this.#bytes -= segment.size;
    }
  }

  async #closeActive(): Promise<void> {
    const active = this.#active;
    this.#active = null;
    await active?.file.close();
  }

  /** Group commit: everything that waits goes into one write and one sync. */
  async #writePending(): Promise<void> {
    while (this.#pending.length > 0) {
      const group = this.#takeGroup();
      const bytes = group.reduce((sum, write) => sum + write.bytes, 0);
      try {
        await this.#commit(group, bytes);
        for (const { resolve } of group) resolve();
      } catch (error) {
        for (const { reject } of group) reject(error);
      } finally {
        this.#pendingBytes -= bytes;
      }
    }
  }

  #takeGroup(): Write[] {
    let bytes = 0;
    let count = 0;
    for (const write of this.#pending) {
      bytes += write.bytes;
      if (count > 0 && bytes > this.#segmentBytes) break;
      count++;
    }
    return this.#pending.splice(0, count);
  }

  async #commit(group: readonly Write[], bytes: number): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    let active: { segment: Segment; file: FileHandle };
    try {
      active = await this.#activeSegment();
    } catch (error) {
      throw storageError(error, `making a file in ${this.#folder}`);
    }
    const { segment, file } = active;
    try {
      await writeAll(
        file,
        group.flatMap(({ frames }) => frames),
        segment.size,
      );
      await file.datasync();
    } catch (error) {
      await this.#undo(active, error);
      throw storageError(error, `writing to ${this.#path(segment.number)}`);
    }
    segment.size += bytes;
    this.#bytes += bytes;
    this.#appended += group.reduce((sum, { events }) => sum + events, 0);
  }

  async #activeSegment(): Promise<{ segment: Segment; file: FileHandle }> {
    if (this.#active !== null && this.#active.segment.size < this.#segmentBytes) return this.#active;
    await this.#closeActive();
    const number = this.#nextNumber++;
    const file = await this.#files.open(this.#path(number), 'wx', 0o600);
    try {
      await writeAll(file, [MARK], 0);
      // The name has to be as durable as what the file will hold.
      await syncFolder(this.#files, this.#folder);
    } catch (error) {
      await file.close();
      await this.#files.rm(this.#path(number)).catch(() => undefined);
      throw error;
    }
    const segment = { number, size: MARK.length, read: MARK.length };
    this.#segments.push(segment);
    this.#bytes += segment.size;
    this.#active = { segment, file };
    return this.#active;
  }

  /**
   * Takes a failed write back, so that its events are surely not delivered: their callers may send them again, or do
   * without. What is durable stays, and the next write begins a new file.
   * @throws outcome-unknown when that fails as well
   */
  async #undo({ segment, file }: { segment: Segment; file: FileHandle }, cause: unknown): Promise<void> {
    try {
      await file.truncate(segment.size);
      await file.datasync();
      await this.#closeActive();
    } catch (failure) {
      this.#broken = new EvidentError(
        'data-unwritable',
        `${this.#path(segment.number)} is in doubt since a write failed; the buffer takes events again when it is opened anew`,
        { cause: failure },
      );
      throw new EvidentError(
        'outcome-unknown',
        `a write to ${this.#path(segment.number)} failed and could not be taken back: the events may be delivered after the next start`,
        { cause },
      );
    }
  }

  #path(number: number): string {
    return join(this.#folder, segmentName(number));
  }
}
