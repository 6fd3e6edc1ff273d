/** The folder of a disk buffer as a process finds it: made, checked, and what an earlier process left in it. */

import {
  chmodSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { scanSegment } from './segment.ts';

const SEGMENT_NAME = /^\d{16}\.segment$/;
const OUR_NAME = /^(?:\d{16}\.(?:segment|damaged)|lock(?:-journal)?|refused\.ndjson)$/;

export interface FoundSegment {
  readonly number: number;
  /** Bytes that are durable and whole. */
  readonly size: number;
  readonly events: number;
}

export interface FoundFolder {
  /** What waits, oldest first. */
  readonly segments: readonly FoundSegment[];
  readonly nextNumber: number;
  /** Bytes of writes that had not ended. Nobody was told that they are durable. */
  readonly tornBytes: number;
  /** Files that were set aside. */
  readonly damaged: readonly string[];
}

export function segmentName(number: number): string {
  return `${String(number).padStart(16, '0')}.segment`;
}

/** Makes the folder if need be. The mode of a folder that holds somebody else's files is left alone. */
export function prepareFolder(folder: string): void {
  if (typeof folder !== 'string' || folder === '') {
    throw new EvidentError('usage-invalid', 'buffer.folder: the path of a folder is expected', {
      context: { field: 'buffer.folder' },
    });
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(folder);
  const isOurs = readdirSync(folder).every((name) => OUR_NAME.test(name));
  if (isOurs && uid === process.getuid?.() && (mode & 0o077) !== 0) chmodSync(folder, mode & 0o700);
}

/** Reads what is there, under the lock. Repairs what a crash left; running it again changes nothing. */
export function readFolder(folder: string): FoundFolder {
  const names = readdirSync(folder)
    .filter((name) => SEGMENT_NAME.test(name))
    .sort();
  const segments: FoundSegment[] = [];
  const damaged: string[] = [];
  let tornBytes = 0;
  for (const [index, name] of names.entries()) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const { end, events } = scanSegment(bytes);
    const isLast = index === names.length - 1;
    if (end < bytes.length) {
      if (isLast) tornBytes += bytes.length - end;
      // The next file was begun when this one was whole on disk: what can't be read here was there once.
      else damaged.push(keepDamaged(path));
    }
    if (events === 0) {
      // Died between making the file and its first frame, or between the answer for its last frame and its removal.
      rmSync(path, { force: true });
      continue;
    }
    if (end < bytes.length) truncate(path, end);
    segments.push({ number: Number.parseInt(name, 10), size: end, events });
  }
  const last = names.at(-1);
  return { segments, damaged, tornBytes, nextNumber: last === undefined ? 1 : Number.parseInt(last, 10) + 1 };
}

/** A copy with all of its bytes stays beside the file, whose readable beginning is delivered. */
function keepDamaged(path: string): string {
  const aside = path.replace(/segment$/, 'damaged');
  copyFileSync(path, aside);
  chmodSync(aside, 0o600);
  const file = openSync(aside, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return aside;
}

function truncate(path: string, size: number): void {
  const file = openSync(path, 'r+');
  try {
    ftruncateSync(file, size);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
