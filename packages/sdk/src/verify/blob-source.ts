/** Bundles as a browser is given them: one zip, or the files of a folder. Also what `fetch` or a worker has as a Blob. */

import { BUNDLE_FILES_MAX, BUNDLE_PATH_LENGTH_MAX } from '@evident/core/evidence/bundle-layout.ts';
import type { BundleSource } from '@evident/core/evidence/bundle-source.ts';
import { openZip } from '@evident/core/evidence/zip-reader.ts';

const PIECE_BYTES = 1024 * 1024;

/** A file with its path below the folder of the bundle. */
export interface NamedBlob {
  readonly path: string;
  readonly blob: Blob;
}

/** A zip that is none opens all the same: its list throws the reason, so that a check can report it. */
export async function zipBlobSource(zip: Blob): Promise<BundleSource> {
  const opened = await openZip((from, to) => bytesOf(zip.slice(from, to)), zip.size);
  if (opened.ok) return opened.value;
  const refuse = (): never => {
    throw new Error(opened.reason);
  };
  return { list: async () => refuse(), read: refuse };
}

/** @throws RangeError for more files, or longer names, than a bundle has */
export function blobListSource(files: readonly NamedBlob[]): BundleSource {
  if (files.length > BUNDLE_FILES_MAX) throw new RangeError(`there are over ${BUNDLE_FILES_MAX} files`);
  const blobs = new Map<string, Blob>();
  for (const { path, blob } of files) {
    if (path.length > BUNDLE_PATH_LENGTH_MAX)
      throw new RangeError(`a name has over ${BUNDLE_PATH_LENGTH_MAX} characters`);
    blobs.set(path, blob);
  }
  return {
    // The list as it was given: a file that is there twice is for the check to find.
    list: async () => files.map(({ path, blob }) => ({ path, size: BigInt(blob.size) })),
    read: (path) => readPieces(path, blobs.get(path)),
  };
}

async function* readPieces(path: string, blob: Blob | undefined): AsyncGenerator<Uint8Array> {
  if (blob === undefined) throw new Error(`there is no file ${path}`);
  for (let at = 0; at < blob.size; at += PIECE_BYTES) yield await bytesOf(blob.slice(at, at + PIECE_BYTES));
}

async function bytesOf(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}
