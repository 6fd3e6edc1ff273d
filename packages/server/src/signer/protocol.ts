/**
 * What is said between a sealer and a signer: lines of JSON, each answered by one, over a Unix socket or TLS.
 *
 *   {"v":1,"do":"describe"}                          {"v":1,"keys":["<base64>"…],"name":"…"|null,"inception":{name,vkey,begun_at}|null,"signed":true|false}
 *   {"v":1,"do":"begin","inception":{…}}             {"v":1,"begun":true} or {"v":1,"refused":"<reason>"}
 *   {"v":1,"do":"last","origin":"…"}                 {"v":1,"head":{"size":"<decimal>","root":"<base64>"}|null}
 *   {"v":1,"do":"sign","heads":[{"origin","size","root","after":{size,root}|null,"proof":["<base64>"…]}…]}
 *                                                    {"v":1,"signatures":[{"note":"<base64>"} or {"refused":"<reason>"}…]}
 *   {"v":1,"do":"rotation","number":"<decimal>"}     {"v":1,"rotation":{"note":"<base64>","position":"<decimal>"|null,"head":"<base64>"|null}|null}
 *   {"v":1,"do":"rotate","number":"<decimal>"}       the same, or {"v":1,"refused":"<reason>"}
 *   {"v":1,"do":"close","number","origin","leaf":"<base64>","position":"<decimal>","proof":["<base64>"…]}      the same
 *   anything, if it failed                           {"v":1,"failed":"<code>","reason":"<reason>"}
 *
 * Members stand in no order and are those alone. A line that is not one of these, or longer than `LINE_BYTES_MAX`, ends
 * the connection after the answer. Both sides check all that they read: a data node that was stolen speaks to the
 * signer, and whoever took the signer's address to the sealer.
 */

import { decodeUtf8, fromBase64, toBase64 } from '@evident/core/bytes.ts';
import { parseDecimal } from '@evident/core/checkpoint.ts';
import { ROTATION_BYTES_MAX } from '@evident/core/evidence/key-rotation.ts';
import { isName } from '@evident/core/origin.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { LEAF_BYTES_MAX } from '@evident/core/record.ts';
import type {
  RotationAnswer,
  RotationProof,
  Signature,
  SignedHead,
  SignerRotation,
  SignRequest,
} from '../seal/ports.ts';
import { checkInception, type InceptionMark } from './memory.ts';
import type { SignerDescription } from './ports.ts';
import { SIGNER_ROTATIONS_MAX } from './rotations.ts';

export const VERSION = 1;
/** Heads in one request; a client with more asks more than once. */
export const HEADS_MAX = 128;
/** Hashes of one proof: a tree of 2^63 leaves needs no more. */
export const PROOF_HASHES_MAX = 64;
/** Bytes of one line with its LF: `HEADS_MAX` heads with the longest proofs fit. */
export const LINE_BYTES_MAX = 640 * 1024;
const ORIGIN_CHARACTERS_MAX = 200;
const NOTE_BYTES_MAX = 1_024;
const REASON_CHARACTERS_MAX = 1_000;
const KEYS_MAX = SIGNER_ROTATIONS_MAX + 1;

export type Request =
  | { readonly do: 'describe' }
  | { readonly do: 'begin'; readonly inception: InceptionMark }
  | { readonly do: 'last'; readonly origin: string }
  | { readonly do: 'sign'; readonly heads: readonly SignRequest[] }
  | { readonly do: 'rotation' | 'rotate'; readonly number: number }
  | { readonly do: 'close'; readonly proof: RotationProof };

export interface Failure {
  /** A code of the error catalogue, or `malformed` for a request that is not one. */
  readonly failed: string;
  readonly reason: string;
}

type Members = Readonly<Record<string, unknown>>;

/** An object with exactly these members; null for anything else. */
function membersOf(value: unknown, names: readonly string[]): Members | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const keys = Object.keys(value);
  return keys.length === names.length && names.every((name) => Object.hasOwn(value, name))
    ? (value as Members)
    : null;
}

/** The JSON of a line, of this version; a line is bounded before it comes here. */
function readLine(line: Uint8Array): Parsed<Members> {
  const text = decodeUtf8(line);
  if (text === null) return refuse('the line is not UTF-8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse('the line is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refuse('the line is no JSON object');
  if ((value as Members).v !== VERSION) return refuse(`the line is not of version ${VERSION}`);
  return accept(value as Members);
}

/** Reads what a sealer asks. */
export function parseRequest(line: Uint8Array): Parsed<Request> {
  const read = readLine(line);
  if (!read.ok) return read;
  if (membersOf(read.value, ['v', 'do'])?.do === 'describe') return accept({ do: 'describe' });
  const begin = membersOf(read.value, ['v', 'do', 'inception']);
  if (begin?.do === 'begin') {
    const mark = parseInception(begin.inception);
    return mark.ok ? accept({ do: 'begin', inception: mark.value }) : mark;
  }
  const last = membersOf(read.value, ['v', 'do', 'origin']);
  if (last?.do === 'last')
    return isOriginText(last.origin)
      ? accept({ do: 'last', origin: last.origin })
      : refuse('origin is no origin');
  const sign = membersOf(read.value, ['v', 'do', 'heads']);
  if (sign?.do === 'sign') {
    const heads = parseList(sign.heads, HEADS_MAX, parseSignRequest);
    return heads === null ? refuse('heads are no heads to be signed') : accept({ do: 'sign', heads });
  }
  return parseRotationRequest(read.value);
}

function parseRotationRequest(value: Members): Parsed<Request> {
  const asked = membersOf(value, ['v', 'do', 'number']);
  if (asked?.do === 'rotation' || asked?.do === 'rotate') {
    const number = parseNumber(asked.number);
    return number === null ? refuse('number is that of no rotation') : accept({ do: asked.do, number });
  }
  const close = membersOf(value, ['v', 'do', 'number', 'origin', 'leaf', 'position', 'proof']);
  if (close?.do !== 'close') return refuse('the line is no request');
  const { origin } = close;
  const number = parseNumber(close.number);
  const leaf = parseBytes(close.leaf, 1, LEAF_BYTES_MAX);
  const position = typeof close.position === 'string' ? parseDecimal(close.position) : null;
  const proof = parseList(close.proof, PROOF_HASHES_MAX, parseHash);
  if (number === null || leaf === null || position === null || proof === null || !isOriginText(origin))
    return refuse('the proof of a rotation is none');
  return accept({ do: 'close', proof: { number, origin, leaf, position, proof } });
}

/** Of a rotation, from 1. */
function parseNumber(value: unknown): number | null {
  const number = typeof value === 'string' ? parseDecimal(value) : null;
  return number !== null && number >= 1n && number <= BigInt(SIGNER_ROTATIONS_MAX + 1)
    ? Number(number)
    : null;
}

function isOriginText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= ORIGIN_CHARACTERS_MAX && /^[!-*,-~]+$/.test(value);
}

/** Null if it is no list, too long, or holds one that can't be read. */
function parseList<T>(value: unknown, most: number, parse: (one: unknown) => T | null): T[] | null {
  if (!Array.isArray(value) || value.length > most) return null;
  const list: T[] = [];
  for (const one of value) {
    const parsed = parse(one);
    if (parsed === null) return null;
    list.push(parsed);
  }
  return list;
}

function parseBytes(value: unknown, least: number, most: number): Uint8Array | null {
  if (typeof value !== 'string' || value.length > most * 2) return null;
  const bytes = fromBase64(value);
  return bytes !== null && bytes.length >= least && bytes.length <= most ? bytes : null;
}

function parseHash(value: unknown): Uint8Array | null {
  return parseBytes(value, 32, 32);
}

function parseHead(value: unknown): SignedHead | null {
  const members = membersOf(value, ['size', 'root']);
  const size = typeof members?.size === 'string' ? parseDecimal(members.size) : null;
  const root = parseHash(members?.root);
  return size === null || root === null ? null : { size, root };
}

function parseSignRequest(value: unknown): SignRequest | null {
  const members = membersOf(value, ['origin', 'size', 'root', 'after', 'proof']);
  if (members === null || !isOriginText(members.origin)) return null;
  const head = parseHead({ size: members.size, root: members.root });
  const after = members.after === null ? null : parseHead(members.after);
  const proof = parseList(members.proof, PROOF_HASHES_MAX, parseHash);
  if (head === null || proof === null || (after === null && members.after !== null)) return null;
  return { origin: members.origin, ...head, after, proof };
}

function parseInception(value: unknown): Parsed<InceptionMark> {
  const members = membersOf(value, ['name', 'vkey', 'begun_at']);
  if (members === null) return refuse('inception is no mark');
  return checkInception(members.name, members.vkey, members.begun_at);
}

/** One line without its LF. */
export function formatRequest(request: Request): string {
  switch (request.do) {
    case 'describe':
      return JSON.stringify({ v: VERSION, do: 'describe' });
    case 'begin':
      return JSON.stringify({ v: VERSION, do: 'begin', inception: inceptionJson(request.inception) });
    case 'last':
      return JSON.stringify({ v: VERSION, do: 'last', origin: request.origin });
    case 'sign':
      return JSON.stringify({ v: VERSION, do: 'sign', heads: request.heads.map(signRequestJson) });
    case 'rotation':
    case 'rotate':
      return JSON.stringify({ v: VERSION, do: request.do, number: String(request.number) });
    case 'close': {
      const { number, origin, leaf, position, proof } = request.proof;
      const place = { number: String(number), origin, leaf: toBase64(leaf), position: position.toString() };
      return JSON.stringify({ v: VERSION, do: 'close', ...place, proof: proof.map(toBase64) });
    }
  }
}

function inceptionJson({ name, vkey, begunAt }: InceptionMark): object {
  return { name, vkey, begun_at: begunAt };
}

function headJson({ size, root }: SignedHead): object {
  return { size: size.toString(), root: toBase64(root) };
}

function signRequestJson({ origin, size, root, after, proof }: SignRequest): object {
  return {
    origin,
    ...headJson({ size, root }),
    after: after === null ? null : headJson(after),
    proof: proof.map(toBase64),
  };
}

export function formatFailure({ failed, reason }: Failure): string {
  return JSON.stringify({ v: VERSION, failed, reason: reason.slice(0, REASON_CHARACTERS_MAX) });
}

export function formatDescription({ publicKeys, name, inception, hasSigned }: SignerDescription): string {
  const mark = inception === null ? null : inceptionJson(inception);
  return JSON.stringify({
    v: VERSION,
    keys: publicKeys.map(toBase64),
    name,
    inception: mark,
    signed: hasSigned,
  });
}

export function formatBegun(
  answer: { readonly ok: true } | { readonly ok: false; readonly reason: string },
): string {
  return JSON.stringify(answer.ok ? { v: VERSION, begun: true } : { v: VERSION, refused: answer.reason });
}

export function formatLast(head: SignedHead | null): string {
  return JSON.stringify({ v: VERSION, head: head === null ? null : headJson(head) });
}

export function formatSignatures(signatures: readonly Signature[]): string {
  const list = signatures.map((one) => (one.ok ? { note: toBase64(one.note) } : { refused: one.reason }));
  return JSON.stringify({ v: VERSION, signatures: list });
}

export function formatRotation(rotation: SignerRotation | null): string {
  return JSON.stringify({ v: VERSION, rotation: rotation === null ? null : rotationJson(rotation) });
}

export function formatRotationAnswer(answer: RotationAnswer): string {
  return answer.ok ? formatRotation(answer.rotation) : JSON.stringify({ v: VERSION, refused: answer.reason });
}

function rotationJson({ note, closed }: SignerRotation): object {
  return {
    note: toBase64(note),
    position: closed === null ? null : closed.position.toString(),
    head: closed === null ? null : toBase64(closed.head),
  };
}

/** What a signer answers: its failure, or what `parse` makes of the answer's members. */
function parseAnswer<T>(line: Uint8Array, parse: (members: Members) => T | null): Parsed<T | Failure> {
  const read = readLine(line);
  if (!read.ok) return read;
  const failure = membersOf(read.value, ['v', 'failed', 'reason']);
  if (typeof failure?.failed === 'string' && isReason(failure.reason))
    return accept({ failed: failure.failed.slice(0, 100), reason: failure.reason });
  const value = parse(read.value);
  return value === null ? refuse('the answer is not that of a signer to this request') : accept(value);
}

function isReason(value: unknown): value is string {
  return typeof value === 'string' && value.length <= REASON_CHARACTERS_MAX;
}

export function isFailure(value: object | null): value is Failure {
  return value !== null && 'failed' in value;
}

export function parseDescription(line: Uint8Array): Parsed<SignerDescription | Failure> {
  return parseAnswer(line, (answer) => {
    const members = membersOf(answer, ['v', 'keys', 'name', 'inception', 'signed']);
    const publicKeys = parseList(members?.keys, KEYS_MAX, parseHash);
    const inception = members?.inception === null ? accept(null) : parseInception(members?.inception);
    if (publicKeys === null || publicKeys.length === 0 || !inception.ok) return null;
    const name = members?.name;
    if (
      typeof members?.signed !== 'boolean' ||
      (name !== null && !(typeof name === 'string' && isName(name)))
    )
      return null;
    return { publicKeys, name, inception: inception.value, hasSigned: members.signed };
  });
}

export function parseBegun(line: Uint8Array): Parsed<{ ok: true } | { ok: false; reason: string } | Failure> {
  return parseAnswer(line, (answer) => {
    if (membersOf(answer, ['v', 'begun'])?.begun === true) return { ok: true as const };
    const reason = membersOf(answer, ['v', 'refused'])?.refused;
    return isReason(reason) ? { ok: false as const, reason } : null;
  });
}

export function parseLast(line: Uint8Array): Parsed<{ head: SignedHead | null } | Failure> {
  return parseAnswer(line, (answer) => {
    const members = membersOf(answer, ['v', 'head']);
    if (members?.head === null) return { head: null };
    const head = parseHead(members?.head);
    return head === null ? null : { head };
  });
}

/** @param count how many were asked for */
export function parseSignatures(line: Uint8Array, count: number): Parsed<{ list: Signature[] } | Failure> {
  return parseAnswer(line, (answer) => {
    const list = parseList(membersOf(answer, ['v', 'signatures'])?.signatures, HEADS_MAX, parseSignature);
    return list?.length === count ? { list } : null;
  });
}

function parseSignature(value: unknown): Signature | null {
  const note = parseBytes(membersOf(value, ['note'])?.note, 1, NOTE_BYTES_MAX);
  if (note !== null) return { ok: true, note };
  const reason = membersOf(value, ['refused'])?.refused;
  return isReason(reason) ? { ok: false, reason } : null;
}

export function parseRotation(line: Uint8Array): Parsed<{ rotation: SignerRotation | null } | Failure> {
  return parseAnswer(line, (answer) => {
    const members = membersOf(answer, ['v', 'rotation']);
    if (members?.rotation === null) return { rotation: null };
    const rotation = parseRotationJson(members?.rotation);
    return rotation === null ? null : { rotation };
  });
}

export function parseRotationAnswer(line: Uint8Array): Parsed<RotationAnswer | Failure> {
  return parseAnswer(line, (answer) => {
    const rotation = parseRotationJson(membersOf(answer, ['v', 'rotation'])?.rotation);
    if (rotation !== null) return { ok: true as const, rotation };
    const reason = membersOf(answer, ['v', 'refused'])?.refused;
    return isReason(reason) ? { ok: false as const, reason } : null;
  });
}

function parseRotationJson(value: unknown): SignerRotation | null {
  const members = membersOf(value, ['note', 'position', 'head']);
  const note = parseBytes(members?.note, 1, ROTATION_BYTES_MAX);
  if (note === null) return null;
  if (members?.position === null && members.head === null) return { note, closed: null };
  const position = typeof members?.position === 'string' ? parseDecimal(members.position) : null;
  const head = parseBytes(members?.head, 1, NOTE_BYTES_MAX);
  return position === null || head === null ? null : { note, closed: { position, head } };
}
