/** The files of a folder that was chosen, or dropped, with their paths below it. */

import { BUNDLE_FILES_MAX } from '@evident/core/evidence/bundle-layout.ts';
import type { NamedBlob } from '../blob-source.ts';

/** The browser names files from the folder on: its own name goes. */
export function filesOfInput(files: Iterable<File>): NamedBlob[] {
  return Array.from(files, (file) => ({
    path: file.webkitRelativePath.split('/').slice(1).join('/'),
    blob: file,
  }));
}

/** @throws RangeError beyond the number of files that a bundle has; what the browser throws for what it can't read */
export async function filesOfEntry(folder: FileSystemDirectoryEntry): Promise<NamedBlob[]> {
  const found: NamedBlob[] = [];
  const folders: { entry: FileSystemDirectoryEntry; prefix: string }[] = [{ entry: folder, prefix: '' }];
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await entriesOf(next.entry)) {
      const path = `${next.prefix}${entry.name}`;
      if (entry.isDirectory) folders.push({ entry: entry as FileSystemDirectoryEntry, prefix: `${path}/` });
      else found.push({ path, blob: await fileOf(entry as FileSystemFileEntry) });
      if (found.length + folders.length > BUNDLE_FILES_MAX)
        throw new RangeError(`there are over ${BUNDLE_FILES_MAX} files`);
    }
  }
  return found;
}

/** A reader gives a folder's entries in parts, and an empty part at the end. */
async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const entries: FileSystemEntry[] = [];
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (part.length === 0) return entries;
    entries.push(...part);
    if (entries.length > BUNDLE_FILES_MAX) throw new RangeError(`there are over ${BUNDLE_FILES_MAX} files`);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
