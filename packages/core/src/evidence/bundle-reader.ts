/**
 * The files of a bundle under its manifest: each is read with a bound, held against the size and the SHA-256 that the
 * manifest gives, and noted as called for. What nothing has called for at the end does not belong there.
 */
import { concatBytes, toHex } from '../bytes.ts';
import { type HashStream, Sha256Stream } from '../sha256-stream.ts';
import type { BundleSource } from './bundle-source.ts';
import type { CheckFindings, CheckName } from './check-report.ts';
import type { BundleManifest } from './manifest.ts';

/** Most files that are named one by one when they do not belong to a bundle. */
const UNCALLED_NAMED_MAX = 100;

/** Names of files that desktops put into folders when somebody looks at them, or packs them. */
const DESKTOP_FILE = /(^|\/)(\.DS_Store|\._[^/]*|desktop\.ini|Thumbs\.db)$|^__MACOSX\//;

/** What may help with a file that does not belong to a bundle. */
function hintFor(path: string): string {
  return DESKTOP_FILE.test(path)
    ? ': desktops make such files; remove it from your copy, and check again'
    : '';
}

export interface BundleReaderDeps {
  readonly source: BundleSource;
  /** The files that the source has, manifest included. */
  readonly present: ReadonlyMap<string, bigint>;
  readonly manifest: BundleManifest;
  readonly findings: CheckFindings;
  /** A faster SHA-256 of the platform, if there is one. */
  readonly makeHash?: (() => HashStream) | undefined;
}

interface ListedFile {
  readonly size: bigint;
  readonly sha256: string;
  isCalledFor: boolean;
}

export class BundleReader {
  readonly #deps: BundleReaderDeps;
  readonly #listed = new Map<string, ListedFile>();

  constructor(deps: BundleReaderDeps) {
    this.#deps = deps;
    for (const { path, size, sha256 } of deps.manifest.files) {
      this.#listed.set(path, { size, sha256, isCalledFor: false });
    }
  }

  /** Whether the manifest lists this file. */
  lists(path: string): boolean {
    return this.#listed.has(path);
  }

  /** The SHA-256 and size that the manifest gives; null for a file that it does not list. */
  listed(path: string): { readonly size: bigint; readonly sha256: string } | null {
    return this.#listed.get(path) ?? null;
  }

  /**
   * A whole file. @returns null if it cannot be had or is not what the manifest says; then there is a finding
   * @param bytesMax more than any file of this kind has
   */
  async whole(path: string, check: CheckName, bytesMax: number): Promise<Uint8Array | null> {
    const listed = this.#listed.get(path);
    if (listed !== undefined && listed.size > BigInt(bytesMax)) {
      listed.isCalledFor = true;
      this.#deps.findings.tampered(path, check, `the file is larger than ${bytesMax} bytes`);
      return null;
    }
    const pieces: Uint8Array[] = [];
    const isGood = await this.stream(path, check, (piece) => {
      pieces.push(piece.slice());
    });
    return isGood ? concatBytes(pieces) : null;
  }

  /**
   * Reads a file piece by piece. Pieces are given out before the hash is known: whoever takes them must let them
   * count for nothing if this answers false. @returns whether size and hash are those of the manifest
   */
  async stream(
    path: string,
    check: CheckName,
    take: (piece: Uint8Array) => Promise<void> | void,
  ): Promise<boolean> {
    const { source, present, findings, makeHash } = this.#deps;
    const listed = this.#listed.get(path);
    if (listed === undefined) {
      // A file that lies there unlisted was reported when the lists were compared.
      if (!present.has(path)) findings.notChecked(path, check, 'the file is missing');
      return false;
    }
    listed.isCalledFor = true;
    if (!present.has(path) || present.get(path) !== listed.size) return false;
    const hash = makeHash === undefined ? new Sha256Stream() : makeHash();
    let size = 0n;
    try {
      for await (const piece of source.read(path)) {
        size += BigInt(piece.length);
        if (size > listed.size) break;
        hash.update(piece);
        const taken = take(piece);
        if (taken !== undefined) await taken;
      }
    } catch (error) {
      findings.notChecked(path, 'file', `the file cannot be read: ${(error as Error).message}`);
      return false;
    }
    if (size === listed.size && toHex(hash.digest()) === listed.sha256) return true;
    findings.tampered(path, 'file', 'the file does not have the SHA-256 that the manifest gives');
    return false;
  }

  /** Holds what is there against what the manifest lists. */
  compareLists(): void {
    const { present, manifest, findings } = this.#deps;
    for (const { path, size } of manifest.files) {
      const there = present.get(path);
      if (there === undefined)
        findings.notChecked(path, 'file', 'the manifest lists the file, and it is missing');
      else if (there !== size) {
        findings.tampered(path, 'file', `the file has ${there} bytes; the manifest says ${size}`);
      }
    }
    for (const path of present.keys()) {
      if (path !== 'manifest.json' && !this.#listed.has(path)) {
        findings.tampered(path, 'file', `the manifest does not list this file${hintFor(path)}`);
      }
    }
  }

  /** Reports files that nothing has called for. */
  reportUncalled(): void {
    let count = 0;
    for (const [path, { isCalledFor }] of this.#listed) {
      if (isCalledFor) continue;
      if (++count > UNCALLED_NAMED_MAX) return;
      this.#deps.findings.tampered(path, 'file', 'nothing in the bundle calls for this file');
    }
  }
}
