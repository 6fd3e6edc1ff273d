/** Where the files of a bundle come from: a folder, a zip, a list of files in a browser, or memory. */

/** A file that is there. */
export interface SourceFile {
  readonly path: string;
  readonly size: bigint;
}

/**
 * The files of a bundle, as they lie. A source trusts nothing and decides nothing: it refuses what it cannot give
 * (more files or longer names than a bundle has, links, things that are no files) by throwing.
 */
export interface BundleSource {
  list(): Promise<readonly SourceFile[]>;
  /** The bytes of a file that `list` named. Pieces belong to the reader until it asks for the next. */
  read(path: string): AsyncIterable<Uint8Array>;
}
