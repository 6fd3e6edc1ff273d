/**
 * Signed notes (C2SP signed-note): a text, an empty line, and one line for each signature.
 *
 *   <text, which ends with LF>
 *   LF
 *   — <key name> <base64 of key id ‖ signature> LF        one to 64 of these
 *
 * The text of a note counts for nothing before `openNote` has verified it.
 */
import {
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  equalBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
} from './bytes.ts';
import { accept, type Parsed, refuse } from './parsed.ts';
import { sha256 } from './sha256.ts';

/** Largest note that is read. */
export const NOTE_BYTES_MAX = 1024 * 1024;
/** Most signatures in a note that is read; signed-note asks for at least 16. */
export const NOTE_SIGNATURES_MAX = 64;

const KEY_ID_BYTES = 4;

/**
 * The signature types that notes are signed with: the one place where another is added. `type` is the byte that
 * signed-note assigns; each algorithm listed here signs the text of the note as it stands and names its keys by `keyId`.
 */
export const SIGNATURE_ALGORITHMS = {
  ed25519: { type: 0x01, publicKeyBytes: 32, signatureBytes: 64 },
} as const satisfies Record<string, { type: number; publicKeyBytes: number; signatureBytes: number }>;

export type SignatureAlgorithm = keyof typeof SIGNATURE_ALGORITHMS;

/** The short name of a key: 8 lower-case hexadecimal digits. A hint for lookup, never a proof of identity. */
export type KeyId = string & { readonly __brand: 'KeyId' };

/** A public key with its name, as a verifier is given it ("vkey"). */
export interface VerifierKey {
  name: string;
  keyId: KeyId;
  algorithm: SignatureAlgorithm;
  publicKey: Uint8Array;
}

/** Checks signatures of one key. `verify` answers false, and does not throw, for any signature that is not good. */
export interface Verifier {
  readonly name: string;
  readonly keyId: KeyId;
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/** As `Verifier`, where the platform may need time to check: WebCrypto does. Every `Verifier` is one. */
export interface SignatureCheck {
  readonly name: string;
  readonly keyId: KeyId;
  verify(message: Uint8Array, signature: Uint8Array): boolean | Promise<boolean>;
}

/** Signs with one key. `sign` returns the bare signature, without the key id. */
export interface Signer {
  readonly name: string;
  readonly keyId: KeyId;
  sign(message: Uint8Array): Uint8Array;
}

/** The checks that the platform brings, one for each algorithm. */
export type VerifyFunctions = Readonly<
  Record<SignatureAlgorithm, (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean>
>;

/** As `VerifyFunctions`, of a platform that may need time. */
export type SignatureFunctions = Readonly<
  Record<
    SignatureAlgorithm,
    (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean | Promise<boolean>
  >
>;

export interface NoteSignature {
  name: string;
  keyId: KeyId;
  signature: Uint8Array;
}

/** A note that is well formed. Nothing of it is verified yet. */
export interface Note {
  /** Ends with LF. */
  text: string;
  signatures: NoteSignature[];
}

/** A note whose text at least one known key has signed, and no known key contradicts. */
export interface OpenedNote<Known extends SignatureCheck = Verifier> extends Note {
  /** The keys whose signatures were good, each once. Only these may be relied on. */
  verifiedBy: Known[];
}

/** Whether this can name a key: not empty, no Unicode white space, no plus, no ASCII control character, valid UTF-8. */
export function isKeyName(name: string): boolean {
  return /^[^\p{White_Space}+]+$/u.test(name) && !hasControl(name) && name.isWellFormed();
}

/** SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4] (signed-note, "Signatures"). */
export function keyId(name: string, algorithm: SignatureAlgorithm, publicKey: Uint8Array): KeyId {
  const { type } = SIGNATURE_ALGORITHMS[algorithm];
  const digest = sha256(concatBytes([encodeUtf8(name), Uint8Array.of(0x0a, type), publicKey]));
  return toHex(digest.subarray(0, KEY_ID_BYTES)) as KeyId;
}

/**
 * Names a public key.
 * @throws RangeError for a name that no key may have, or a key of another length than its algorithm's
 */
export function verifierKey(name: string, algorithm: SignatureAlgorithm, publicKey: Uint8Array): VerifierKey {
  if (!isKeyName(name)) throw new RangeError(`no key can be named ${JSON.stringify(name)}`);
  const { publicKeyBytes } = SIGNATURE_ALGORITHMS[algorithm];
  if (publicKey.length !== publicKeyBytes) {
    throw new RangeError(`a public key of ${algorithm} has ${publicKeyBytes} bytes, not ${publicKey.length}`);
  }
  return { name, keyId: keyId(name, algorithm, publicKey), algorithm, publicKey };
}

/** Writes `<name>+<key id>+<base64 of type ‖ public key>` (signed-note, "Verifier keys"). */
export function formatVkey({ name, keyId, algorithm, publicKey }: VerifierKey): string {
  const { type } = SIGNATURE_ALGORITHMS[algorithm];
  return `${name}+${keyId}+${toBase64(concatBytes([Uint8Array.of(type), publicKey]))}`;
}

/** Reads a vkey; refused unless it is spelled as `formatVkey` writes it, of a known algorithm, with its own key id. */
export function parseVkey(text: string): Parsed<VerifierKey> {
  // The name holds no plus, but base64 may.
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/su.exec(text);
  const key = match === null ? null : fromBase64(match[3]!);
  if (match === null || key === null || !isKeyName(match[1]!)) {
    return refuse('the vkey is not of the form name+8 hexadecimal digits+base64');
  }
  const algorithm = algorithmOfType(key[0]);
  if (algorithm === null) return refuse(`the vkey has an unknown signature type (${key[0] ?? 'none'})`);
  const publicKey = key.slice(1);
  const { publicKeyBytes } = SIGNATURE_ALGORITHMS[algorithm];
  if (publicKey.length !== publicKeyBytes) {
    return refuse(`the public key in the vkey has ${publicKey.length} bytes instead of ${publicKeyBytes}`);
  }
  const value = verifierKey(match[1]!, algorithm, publicKey);
  return value.keyId === match[2] ? accept(value) : refuse('the key id in the vkey is not that of its key');
}

function algorithmOfType(type: number | undefined): SignatureAlgorithm | null {
  for (const name of Object.keys(SIGNATURE_ALGORITHMS) as SignatureAlgorithm[]) {
    if (SIGNATURE_ALGORITHMS[name].type === type) return name;
  }
  return null;
}

/** The verifier of a key, over the platform's check. */
export function verifierOf(key: VerifierKey, functions: VerifyFunctions): Verifier {
  const { signatureBytes } = SIGNATURE_ALGORITHMS[key.algorithm];
  const check = functions[key.algorithm];
  return {
    name: key.name,
    keyId: key.keyId,
    verify: (message, signature) =>
      signature.length === signatureBytes && check(key.publicKey, message, signature) === true,
  };
}

/** As `verifierOf`, over a check that may need time. A check that fails to answer throws: it never counts as good. */
export function signatureCheckOf(key: VerifierKey, functions: SignatureFunctions): SignatureCheck {
  const { signatureBytes } = SIGNATURE_ALGORITHMS[key.algorithm];
  const check = functions[key.algorithm];
  return {
    name: key.name,
    keyId: key.keyId,
    verify: async (message, signature) =>
      signature.length === signatureBytes && (await check(key.publicKey, message, signature)) === true,
  };
}

const SIGNATURE_LINE = /^— ([^ ]+) ([^ ]+)$/u;

/** Reads the form of a note and verifies nothing (signed-note, "Format"). */
export function parseNote(bytes: Uint8Array): Parsed<Note> {
  if (bytes.length > NOTE_BYTES_MAX) return refuse(`the note is larger than ${NOTE_BYTES_MAX} bytes`);
  const whole = decodeUtf8(bytes);
  if (whole === null) return refuse('the note is not valid UTF-8');
  if (hasControl(whole)) return refuse('the note holds a control character other than LF');
  const split = whole.lastIndexOf('\n\n');
  if (split < 0) return refuse('the note has no empty line between text and signatures');
  if (!whole.endsWith('\n')) return refuse('the last line of the note does not end with LF');
  const lines = whole
    .slice(split + 2)
    .split('\n')
    .slice(0, -1);
  if (lines.length === 0) return refuse('the note has no signature');
  if (lines.length > NOTE_SIGNATURES_MAX)
    return refuse(`the note has over ${NOTE_SIGNATURES_MAX} signatures`);

  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const signature = parseSignatureLine(line);
    if (signature === null) return refuse(`signature line ${signatures.length + 1} of the note is malformed`);
    signatures.push(signature);
  }
  return accept({ text: whole.slice(0, split + 1), signatures });
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 && unit !== 0x0a) return true;
  }
  return false;
}

function parseSignatureLine(line: string): NoteSignature | null {
  const match = SIGNATURE_LINE.exec(line);
  if (match === null || !isKeyName(match[1]!)) return null;
  const bytes = fromBase64(match[2]!);
  // A key id alone signs nothing.
  if (bytes === null || bytes.length <= KEY_ID_BYTES) return null;
  const keyId = toHex(bytes.subarray(0, KEY_ID_BYTES)) as KeyId;
  return { name: match[1]!, keyId, signature: bytes.slice(KEY_ID_BYTES) };
}

/**
 * Signs a text and returns the note.
 * @param text ends with LF; its bytes are what is signed
 * @throws RangeError if the result would not be a note: it is read back before it is given out
 */
export function signNote(text: string, signers: readonly Signer[]): Uint8Array {
  const message = encodeUtf8(text);
  const lines = signers.map((signer) => {
    const bytes = concatBytes([fromHex(signer.keyId) ?? new Uint8Array(0), signer.sign(message)]);
    return `— ${signer.name} ${toBase64(bytes)}\n`;
  });
  const note = encodeUtf8(`${text}\n${lines.join('')}`);
  const parsed = parseNote(note);
  if (!parsed.ok) throw new RangeError(`the text or a signer cannot make a note: ${parsed.reason}`);
  // A text without its final LF, or a signer that misreports its key id, would be read back as something else.
  const { signatures } = parsed.value;
  const isSame = signatures.every(
    (read, i) => read.name === signers[i]?.name && read.keyId === signers[i].keyId,
  );
  if (
    !isSame ||
    signatures.length !== signers.length ||
    !equalBytes(encodeUtf8(parsed.value.text), message)
  ) {
    throw new RangeError('the text must end with LF, and each signer must have a valid name and key id');
  }
  return note;
}

/**
 * Opens a note with the keys that are known. Signatures of others are ignored, also where name or key id, but not
 * both, are those of a known key. One bad signature of a known key refuses the whole note, and so does a note without
 * a good one (signed-note, "Signatures"; the SHOULD there is a must here).
 */
export function openNote(bytes: Uint8Array, verifiers: readonly Verifier[]): Parsed<OpenedNote> {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const message = encodeUtf8(note.value.text);
  const verifiedBy = new Set<Verifier>();
  for (const { name, keyId, signature } of note.value.signatures) {
    // If two known keys share name and key id, both must agree: which was meant cannot be told.
    for (const verifier of verifiers.filter((known) => known.name === name && known.keyId === keyId)) {
      if (verifier.verify(message, signature) !== true) {
        return refuse(`the signature of ${name} (key ${keyId}) is not valid`);
      }
      verifiedBy.add(verifier);
    }
  }
  if (verifiedBy.size === 0) return refuse('no known key has signed the note');
  return accept({ ...note.value, verifiedBy: [...verifiedBy] });
}

/** `openNote` with checks that may need time: the same rules, in the same order. @throws whatever a check throws */
export async function openNoteWith<Known extends SignatureCheck>(
  bytes: Uint8Array,
  checks: readonly Known[],
): Promise<Parsed<OpenedNote<Known>>> {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const message = encodeUtf8(note.value.text);
  const verifiedBy = new Set<Known>();
  for (const { name, keyId, signature } of note.value.signatures) {
    for (const check of checks.filter((known) => known.name === name && known.keyId === keyId)) {
      if ((await check.verify(message, signature)) !== true) {
        return refuse(`the signature of ${name} (key ${keyId}) is not valid`);
      }
      verifiedBy.add(check);
    }
  }
  if (verifiedBy.size === 0) return refuse('no known key has signed the note');
  return accept({ ...note.value, verifiedBy: [...verifiedBy] });
}
