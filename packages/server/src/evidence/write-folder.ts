/** A bundle as files: in a folder, or as one zip. */

import { createWriteStream } from 'node:fs';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { EvidentError } from '@evident/core/errors.ts';
import { parseBundlePath } from '@evident/core/evidence/bundle-layout.ts';
import { writeZip, type ZipFile } from '@evident/core/evidence/zip-writer.ts';

/** The zip of a bundle, as it is made. */
export function zipOf(files: AsyncIterable<ZipFile>): AsyncGenerator<Uint8Array> {
  return writeZip(files, crc32);
}

/**
 * Writes a bundle into a new folder. It is filled under another name, `<folder>.part`, and renamed when it is whole:
 * what stands under the name is a bundle. A crash leaves the folder of the other name, which has no manifest.
 *
 * @param onFile told of each file that stands
 * @throws usage-invalid when the folder, or one in the making, is there; log-unavailable for a path that no bundle has;
 *   what `files` throws
 */
export async function writeFolder(
  files: AsyncIterable<ZipFile>,
  folder: string,
  onFile: (path: string) => void = () => undefined,
): Promise<void> {
  await inPlace(folder, 'folder', async (partial) => {
    await mkdir(partial, { mode: 0o700 });
    const made = new Set<string>(['.']);
    for await (const { path, bytes } of files) {
      requireBundlePath(path);
      const parent = dirname(path);
      if (!made.has(parent)) await mkdir(join(partial, parent), { recursive: true, mode: 0o700 });
      made.add(parent);
      const file = join(partial, path);
      if (bytes instanceof Uint8Array) await writeFile(file, bytes, { flag: 'wx', mode: 0o600 });
      else await pipeline(streamOf(bytes), createWriteStream(file, { flags: 'wx', mode: 0o600 }));
      onFile(path);
    }
  });
}

/** Paths may come from a server: one such as `../x` would be written beside the folder. */
function requireBundlePath(path: string): void {
  if (parseBundlePath(path) !== null) return;
  const name = JSON.stringify(path.slice(0, 200));
  throw new EvidentError('log-unavailable', `what was sent is no bundle: none has a file named ${name}`);
}

/** Writes pieces into a new file that is there whole or not at all. @throws usage-invalid as `writeFolder` */
export async function writeWholeFile(pieces: AsyncIterable<Uint8Array>, file: string): Promise<void> {
  await inPlace(file, 'file', async (partial) => {
    await pipeline(streamOf(pieces), createWriteStream(partial, { flags: 'wx', mode: 0o600 }));
    const handle = await open(partial, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

function streamOf(pieces: AsyncIterable<Uint8Array>): Readable {
  return Readable.from(pieces, { objectMode: true, highWaterMark: 1 });
}

async function inPlace(
  target: string,
  what: 'file' | 'folder',
  write: (partial: string) => Promise<void>,
): Promise<void> {
  const partial = `${target}.part`;
  let isOurs = true;
  try {
    await write(partial);
    await rename(partial, target);
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    // One that somebody else is filling, or left behind: not ours to remove.
    if (code === 'EEXIST' && path === partial) isOurs = false;
    if (isOurs) await rm(partial, { recursive: true, force: true });
    if (
      code === 'EEXIST' ||
      code === 'ENOTEMPTY' ||
      code === 'ENOTDIR' ||
      code === 'ENOENT' ||
      code === 'EACCES'
    )
      throw new EvidentError(
        'usage-invalid',
        `--out: the ${what} can't be made: ${(error as Error).message}`,
        {
          cause: error,
        },
      );
    throw error;
  }
}
