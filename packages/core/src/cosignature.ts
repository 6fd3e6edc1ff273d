/**
 * Cosignatures (C2SP tlog-cosignature): what a witness says of a tree head, as a signature line of its note.
 *
 *   signature = timestamp, unsigned, 64 bits, big endian ‖ Ed25519 or ML-DSA-44 signature
 *
 * An Ed25519 cosignature says: the largest head of this log that I have seen at that time is this one, and it follows
 * from all that I have seen before. ML-DSA-44 says the same of a subtree that begins at leaf 0, and names the cosigner.
 */
import { concatBytes, encodeUtf8, fromBase64, toBase64, toHex } from './bytes.ts';
import { parseTreeHead } from './checkpoint.ts';
import { TREE_SIZE_MAX } from './merkle/tree.ts';
import { isKeyName, type KeyId, type SignatureFunctions } from './note.ts';
import { accept, type Parsed, refuse } from './parsed.ts';
import { sha256 } from './sha256.ts';

/** `type` is the byte that signed-note assigns to the kind of signature. */
export const COSIGNATURE_ALGORITHMS = {
  ed25519: { type: 0x04, publicKeyBytes: 32, signatureBytes: 64 },
  'ml-dsa-44': { type: 0x06, publicKeyBytes: 1_312, signatureBytes: 2_420 },
} as const;

export type CosignatureAlgorithm = keyof typeof COSIGNATURE_ALGORITHMS;

/** The checks that the platform brings; without ML-DSA-44 a cosignature of that kind cannot be checked. */
export type CosignatureFunctions = SignatureFunctions & {
  readonly 'ml-dsa-44'?: SignatureFunctions['ed25519'];
};

/** The public key of a witness, with its name. */
export interface CosignerKey {
  readonly name: string;
  readonly keyId: KeyId;
  readonly algorithm: CosignatureAlgorithm;
  readonly publicKey: Uint8Array;
}

const TIMESTAMP_BYTES = 8;
const NAME_BYTES_MAX = 255;
const HEADER = 'cosignature/v1';
/** Twelve bytes: the label and its zero. */
const LABEL = 'subtree/v1\n\0';

/**
 * Names a public key as that of a witness. The key id is SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4].
 * @throws RangeError for a name that no key may have, or a key of another length than its algorithm's
 */
export function cosignerKey(
  name: string,
  algorithm: CosignatureAlgorithm,
  publicKey: Uint8Array,
): CosignerKey {
  const { type, publicKeyBytes } = COSIGNATURE_ALGORITHMS[algorithm];
  if (!isKeyName(name) || encodeUtf8(name).length > NAME_BYTES_MAX) {
    throw new RangeError(`no witness can be named ${JSON.stringify(name)}`);
  }
  if (publicKey.length !== publicKeyBytes) {
    throw new RangeError(`a public key of ${algorithm} has ${publicKeyBytes} bytes, not ${publicKey.length}`);
  }
  const digest = sha256(concatBytes([encodeUtf8(name), Uint8Array.of(0x0a, type), publicKey]));
  return { name, keyId: toHex(digest.subarray(0, 4)) as KeyId, algorithm, publicKey };
}

/** Writes `<name>+<key id>+<base64 of type ‖ public key>` (signed-note, "Verifier keys"). */
export function formatCosignerVkey({ name, keyId, algorithm, publicKey }: CosignerKey): string {
  const { type } = COSIGNATURE_ALGORITHMS[algorithm];
  return `${name}+${keyId}+${toBase64(concatBytes([Uint8Array.of(type), publicKey]))}`;
}

/** Reads the vkey of a witness; refused unless it is spelled as `formatCosignerVkey` writes it. */
export function parseCosignerVkey(text: string): Parsed<CosignerKey> {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/su.exec(text);
  const key = match === null ? null : fromBase64(match[3]!);
  if (match === null || key === null || !isKeyName(match[1]!)) {
    return refuse('the vkey is not of the form name+8 hexadecimal digits+base64');
  }
  for (const algorithm of Object.keys(COSIGNATURE_ALGORITHMS) as CosignatureAlgorithm[]) {
    const { type, publicKeyBytes } = COSIGNATURE_ALGORITHMS[algorithm];
    if (key[0] !== type) continue;
    if (key.length !== publicKeyBytes + 1 || encodeUtf8(match[1]!).length > NAME_BYTES_MAX) break;
    const value = cosignerKey(match[1]!, algorithm, key.slice(1));
    return value.keyId === match[2] ? accept(value) : refuse('the key id in the vkey is not that of its key');
  }
  return refuse('the vkey is not that of a witness: types 4 (Ed25519) and 6 (ML-DSA-44) are');
}

/**
 * The bytes that a witness signs for a tree head.
 * @param text of the signed note of the head, with its final LF
 * @param timestamp seconds since the Unix epoch
 * @throws RangeError for a text that is no tree head, a time that has no 63 bits, an origin over 255 bytes
 */
export function cosignatureMessage(key: CosignerKey, text: string, timestamp: bigint): Uint8Array {
  if (timestamp < 0n || timestamp > TREE_SIZE_MAX) throw new RangeError(`${timestamp} is no time`);
  const head = parseTreeHead(text);
  if (!head.ok) throw new RangeError(`this is no tree head: ${head.reason}`);
  if (key.algorithm === 'ed25519') return encodeUtf8(`${HEADER}\ntime ${timestamp}\n${text}`);
  const { origin, size, root } = head.value;
  return concatBytes([
    encodeUtf8(LABEL),
    withLength(key.name),
    unsigned64(timestamp),
    withLength(origin),
    unsigned64(0n),
    unsigned64(size),
    root,
  ]);
}

function withLength(text: string): Uint8Array {
  const bytes = encodeUtf8(text);
  if (bytes.length < 1 || bytes.length > NAME_BYTES_MAX) throw new RangeError('a name has 1 to 255 bytes');
  return concatBytes([Uint8Array.of(bytes.length), bytes]);
}

function unsigned64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** What stands behind the key id in the signature line: the time, and the signature of `cosignatureMessage`. */
export function formatTimestampedSignature(timestamp: bigint, signature: Uint8Array): Uint8Array {
  return concatBytes([unsigned64(timestamp), signature]);
}

/**
 * Verifies one cosignature.
 * @param text of the signed note of the head
 * @param timestamped what `parseNote` gives as the signature of the line
 * @returns the witness's time in seconds since the Unix epoch
 * @throws whatever the check throws
 */
export async function verifyCosignature(
  key: CosignerKey,
  text: string,
  timestamped: Uint8Array,
  functions: CosignatureFunctions,
): Promise<Parsed<{ readonly timestamp: bigint }>> {
  const { signatureBytes } = COSIGNATURE_ALGORITHMS[key.algorithm];
  if (timestamped.length !== TIMESTAMP_BYTES + signatureBytes) {
    return refuse(`the cosignature of ${key.name} does not have ${TIMESTAMP_BYTES + signatureBytes} bytes`);
  }
  const check = functions[key.algorithm];
  if (check === undefined) return refuse(`${key.algorithm} cannot be checked here`);
  const view = new DataView(timestamped.buffer, timestamped.byteOffset, TIMESTAMP_BYTES);
  const timestamp = view.getBigUint64(0);
  // A time of 0 of the ML-DSA kind makes no statement that the head was the largest.
  if (timestamp > TREE_SIZE_MAX || timestamp === 0n)
    return refuse(`the cosignature of ${key.name} has no time`);
  const message = cosignatureMessage(key, text, timestamp);
  const isGood = await check(key.publicKey, message, timestamped.subarray(TIMESTAMP_BYTES));
  return isGood === true ? accept({ timestamp }) : refuse(`the cosignature of ${key.name} is not valid`);
}
