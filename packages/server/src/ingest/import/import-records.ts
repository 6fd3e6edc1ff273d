/**
 * The importer: cuts a file of a foreign format into records, byte for byte, in batches that the caller appends.
 * Everything in the file becomes a record, also what its format does not allow; only what is over 16 MiB does not,
 * and is reported.
 */

import { FORMATS, type ImportFormat, type ImportFormatName } from './formats.ts';
import { type HmacSha256, importId } from './identity.ts';
import { OccurrenceCounter, type OccurrenceStore } from './occurrence-counter.ts';
import type { Piece, TakenPiece } from './piece.ts';

export const IMPORT_BATCH_ITEMS_MAX = 1_000;
/** A batch ends before the item that would carry it over; one larger item is a batch of its own. */
export const IMPORT_BATCH_BYTES_MAX = 4 * 1024 * 1024;
const FILE_NAME_BYTES_MAX = 255;
const REASON_LENGTH_MAX = 200;

export interface ImportDependencies {
  readonly hmacSha256: HmacSha256;
  /** A secret of the tenant, kept as long as its records: another secret derives other ids. */
  readonly tenantSecret: Uint8Array;
  /** Opens the store for the counts of files with more distinct lines than memory may hold. */
  readonly openOccurrenceStore: () => OccurrenceStore;
}

export interface ImportInput {
  readonly format: ImportFormatName;
  readonly tenant: string;
  /** The unpacked content of one file. */
  readonly source: AsyncIterable<Uint8Array>;
  /** Only its last part gets into the log. */
  readonly fileName?: string;
}

export interface ImportOptions {
  /** Distinct lines of the file that are counted in memory; default OCCURRENCE_LINES_MAX. */
  readonly occurrenceLinesMax?: number;
}

/** One record to append. `meta` holds what was recorded of its capture; the log serialises it. */
export interface ImportedItem {
  readonly id: string;
  readonly type: ImportFormatName;
  readonly key: string;
  readonly schema: 0;
  readonly sourceSeq: string;
  readonly meta: Record<string, string | number>;
  readonly body: Uint8Array;
}

/** A line or element that cannot be a record, because it is over 16 MiB. */
export interface RefusedPiece {
  readonly unit: 'line' | 'element';
  readonly number: number;
  /** Bytes. */
  readonly size: number;
}

export interface ImportBatch {
  readonly items: ImportedItem[];
  readonly refused: RefusedPiece[];
}

/** What became of a file: the caller counts, since it sees the answers of the log. */
export interface ImportCounts {
  /** Appended now. */
  taken: number;
  /** In the log already, with the same body. */
  repeated: number;
  /** In the log already under this id, with another body. */
  reused: number;
  /** Of all items, those that are not what their format says (`isUnparsed`). */
  unparsed: number;
  /** Over 16 MiB: not in the log. */
  refused: number;
}

export function noImportCounts(): ImportCounts {
  return { taken: 0, repeated: 0, reused: 0, unparsed: 0, refused: 0 };
}

export function isUnparsed(item: ImportedItem): boolean {
  return 'unparsed' in item.meta;
}

/**
 * The records of one file, in its order. The same file gives the same items with the same ids in every run.
 *
 * @throws what the source throws, after a batch with every complete line or element that came before; the one that it
 *   broke off is not taken, so that the whole file can be imported later without a torn record in the log
 */
export async function* importRecords(
  dependencies: ImportDependencies,
  input: ImportInput,
  options: ImportOptions = {},
): AsyncGenerator<ImportBatch> {
  const { hmacSha256, tenantSecret, openOccurrenceStore: openStore } = dependencies;
  const occurrences = new OccurrenceCounter(
    { hmacSha256, tenantSecret, openStore },
    options.occurrenceLinesMax,
  );
  const file = input.fileName === undefined ? null : baseNameForMeta(input.fileName);
  const format = FORMATS[input.format];
  const batch = new BatchBuilder();
  try {
    for await (const pieces of format.split(input.source)) {
      for (const piece of pieces) {
        if (batch.isFullFor(piece)) yield batch.take();
        if (piece.tooLong) batch.refuse({ unit: format.unit, number: piece.number, size: piece.size });
        else batch.add(itemOf(dependencies, input.tenant, format, file, piece, occurrences));
      }
    }
    if (!batch.isEmpty()) yield batch.take();
  } catch (error) {
    if (!batch.isEmpty()) yield batch.take();
    throw error;
  } finally {
    occurrences.close();
  }
}

function itemOf(
  dependencies: ImportDependencies,
  tenant: string,
  format: ImportFormat,
  file: string | null,
  piece: TakenPiece,
  occurrences: OccurrenceCounter,
): ImportedItem {
  const described = piece.broken === null ? format.describe(piece.bytes) : null;
  const formatId = described?.parsed ? described.formatId : undefined;
  const reason = described === null ? piece.broken : described.parsed ? null : described.reason;
  const parts =
    formatId === undefined
      ? { format: format.type, occurrence: occurrences.next(piece.bytes), ...lineOf(piece) }
      : { format: format.type, formatId };
  const id = importId(dependencies.hmacSha256, dependencies.tenantSecret, parts);
  const meta: Record<string, string | number> = {
    ...piece.meta,
    format: format.type,
    [format.unit]: piece.number,
  };
  if (file !== null) meta.file = file;
  if (formatId !== undefined) meta.format_id = formatId;
  if (reason !== null) meta.unparsed = reason.slice(0, REASON_LENGTH_MAX);
  const key = `${tenant}/${id}`;
  return { id, type: format.type, key, schema: 0, sourceSeq: String(piece.number), meta, body: piece.bytes };
}

function lineOf({ bytes, heading }: TakenPiece): { line: Uint8Array; heading?: Uint8Array } {
  return heading === undefined ? { line: bytes } : { line: bytes, heading };
}

class BatchBuilder {
  #items: ImportedItem[] = [];
  #refused: RefusedPiece[] = [];
  #bytes = 0;

  isEmpty(): boolean {
    return this.#items.length + this.#refused.length === 0;
  }

  isFullFor(piece: Piece): boolean {
    if (this.#items.length + this.#refused.length >= IMPORT_BATCH_ITEMS_MAX) return true;
    return (
      !piece.tooLong && this.#items.length > 0 && this.#bytes + piece.bytes.length > IMPORT_BATCH_BYTES_MAX
    );
  }

  add(item: ImportedItem): void {
    this.#items.push(item);
    this.#bytes += item.body.length;
  }

  refuse(piece: RefusedPiece): void {
    this.#refused.push(piece);
  }

  take(): ImportBatch {
    const batch = { items: this.#items, refused: this.#refused };
    this.#items = [];
    this.#refused = [];
    this.#bytes = 0;
    return batch;
  }
}

/** The last part of a path, as `meta` may hold it: no control character, at most 255 bytes of UTF-8. */
export function baseNameForMeta(path: string): string {
  const base = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
  let name = '';
  let bytes = 0;
  for (const char of base.toWellFormed()) {
    const code = char.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    // A control character becomes U+FFFD: three bytes.
    if (code < 0x20) bytes += 2;
    if (bytes > FILE_NAME_BYTES_MAX) break;
    name += code < 0x20 ? '\ufffd' : char;
  }
  return name;
}
