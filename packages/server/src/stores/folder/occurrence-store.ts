import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { OccurrenceStore } from '../../ingest/import/occurrence-counter.ts';

/** How much of the table SQLite may hold in memory; KiB. */
const CACHE_KIB_MAX = 16 * 1024;
/** Counts between two commits: they let SQLite write out what it holds. */
const COUNTS_PER_TRANSACTION = 50_000;

/**
 * Opens a table of counts in a new folder under `directory` (which exists). It is scratch: not durable, rebuilt by
 * every run, deleted by `close`. A process that dies leaves a folder `occurrences-…`, which nobody reads again and
 * which can be deleted whenever no import runs.
 */
export function openFolderOccurrenceStore(directory: string): OccurrenceStore {
  const folder = mkdtempSync(join(directory, 'occurrences-'));
  const database = new DatabaseSync(join(folder, 'counts.sqlite'));
  database.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA cache_size = -${CACHE_KIB_MAX};
    CREATE TABLE counts (fingerprint INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    BEGIN`);
  const count = database.prepare(
    'INSERT INTO counts VALUES (?, 1) ON CONFLICT (fingerprint) DO UPDATE SET n = n + 1 RETURNING n',
  );
  let counted = 0;
  let isOpen = true;
  return {
    next(fingerprint) {
      if (++counted % COUNTS_PER_TRANSACTION === 0) database.exec('COMMIT; BEGIN');
      return (count.get(BigInt.asIntN(64, fingerprint)) as { n: number }).n;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
