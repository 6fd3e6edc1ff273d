/**
 * Names of trees: `<name>/<log>/<partition>`. The name belongs to the installation and is fixed when it begins; the
 * origin of a tree is also the name of the key that signs its heads.
 */
import { toHex } from './bytes.ts';
import { sha256 } from './sha256.ts';

/** Most characters in the name of an installation. */
export const NAME_LENGTH_MAX = 128;
/** The highest partition that an origin can name. */
export const ORIGIN_PARTITION_MAX = 65_535;

const DEFAULT_NAME_KEY_BYTES = 8;

export interface Origin {
  name: string;
  log: string;
  partition: number;
}

/** Whether this can name an installation: 1 to 128 printable ASCII characters, without space and plus. */
export function isName(name: string): boolean {
  // From ! to ~ without +. A name must fit into a vkey and into the signature line of a note.
  return name.length <= NAME_LENGTH_MAX && /^[!-*,-~]+$/.test(name);
}

/**
 * The name of an installation that was given none: `evident.invalid/` and the first 8 bytes of SHA-256(public key)
 * in hexadecimal. The top-level domain is reserved (RFC 2606), so it collides with nobody's address.
 * @param publicKey the first Ed25519 key, 32 bytes as in RFC 8032
 * @throws RangeError for a key of another length, such as a DER-encoded one
 */
export function defaultName(publicKey: Uint8Array): string {
  if (publicKey.length !== 32)
    throw new RangeError(`an Ed25519 public key has 32 bytes, not ${publicKey.length}`);
  return `evident.invalid/${toHex(sha256(publicKey).subarray(0, DEFAULT_NAME_KEY_BYTES))}`;
}

/** The origin of one tree. @throws RangeError if name, log or partition are not valid */
export function treeOrigin(name: string, log: string, partition: number): string {
  const origin = `${name}/${log}/${partition}`;
  const parsed = parseOrigin(origin);
  // Comparing the parts finds a slash in the log, which would move the border between it and the name.
  if (parsed === null || parsed.name !== name || parsed.log !== log) {
    throw new RangeError(`no tree can have the origin ${JSON.stringify(origin)}`);
  }
  return origin;
}

/** Reads an origin that `treeOrigin` writes; null for anything else. */
export function parseOrigin(origin: string): Origin | null {
  const match = /^(.+)\/([a-z0-9-]{1,32})\/(0|[1-9][0-9]{0,4})$/.exec(origin);
  if (match === null || !isName(match[1]!)) return null;
  const partition = Number(match[3]);
  return partition <= ORIGIN_PARTITION_MAX ? { name: match[1]!, log: match[2]!, partition } : null;
}

/**
 * The origin of a tree that had to begin anew: `<name>/r<epoch>/<log>/<partition>`; epoch 0 is the first tree, with
 * the plain origin. Heads of the two are never compared: they are signed under different names.
 */
export function epochOrigin(name: string, log: string, partition: number, epoch: number): string {
  return treeOrigin(epoch === 0 ? name : `${name}/r${epoch}`, log, partition);
}
