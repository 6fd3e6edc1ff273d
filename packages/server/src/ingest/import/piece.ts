/** What a splitter cuts a file into, whatever the format. */

/** The largest body that a record may have (design §3). */
export const PIECE_BYTES_MAX = 16 * 1024 * 1024;

/** One line or element, byte for byte. */
export interface TakenPiece {
  readonly tooLong: false;
  /** Line or element number in the file, from 1. */
  readonly number: number;
  /** Where its first byte stands in the (unpacked) file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Why the splitter could not take these bytes as a line or an element of the format; null if it could. */
  readonly broken: string | null;
  /** What else is recorded of it, beside its number. */
  readonly meta?: Readonly<Record<string, string>>;
  /** What stands once in the file and gives the bytes their meaning: part of what its id is derived from. */
  readonly heading?: Uint8Array;
}

/** A line or element over PIECE_BYTES_MAX: it was passed over without being held in memory. */
export interface TooLongPiece {
  readonly tooLong: true;
  readonly number: number;
  readonly offset: number;
  readonly size: number;
}

export type Piece = TakenPiece | TooLongPiece;

/**
 * Cuts a file into pieces, in its order. The pieces do not depend on how the source is cut into chunks. They may be
 * views of the chunks: a source must not write into a chunk that it has given. When the source throws, the pieces that
 * are complete are given first; the one that it broke off is not, since nobody knows how it goes on.
 */
export type Split = (source: AsyncIterable<Uint8Array>) => AsyncGenerator<Piece[]>;
