/**
 * What a signer remembers, as it is written down. One text, replaced whole before a signature leaves:
 *
 *   evident/signer/v1
 *   inception <name> <begun at> <K>          or: inception none
 *   head <origin> <size> <root, base64>      one a tree, ascending by origin
 *   sha256 <hex of all bytes above>
 *
 * The last line finds a file that was cut or changed by accident. Whoever changes it by intent can write that line
 * too: the state lies where the data node's owner has no hand.
 */

import { encodeUtf8, fromBase64, toBase64, toHex } from '@evident/core/bytes.ts';
import { parseDecimal } from '@evident/core/checkpoint.ts';
import { parseVkey } from '@evident/core/note.ts';
import { isName } from '@evident/core/origin.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { SignedHead } from '../seal/ports.ts';
import { ORIGINS_MAX, treeOfOrigin } from './rule.ts';

const HEADER = 'evident/signer/v1';
const SUM = /^sha256 [0-9a-f]{64}$/;

/** What a log was begun as: in its database, its data directory and the memory of its signer. */
export interface InceptionMark {
  readonly name: string;
  /** K: the vkey of `<name>/heads/0` that the log began with. */
  readonly vkey: string;
  /** RFC 3339, UTC, microseconds. It tells two logs of one name and key apart. */
  readonly begunAt: string;
}

export interface SignerMemory {
  readonly inception: InceptionMark | null;
  readonly last: ReadonlyMap<string, SignedHead>;
}

export const EMPTY_MEMORY: SignerMemory = { inception: null, last: new Map() };

/** Most bytes of a memory that is read: every tree with the longest origin and size. */
export const MEMORY_BYTES_MAX = 8 * 1024 * 1024;

export function sameInception(a: InceptionMark, b: InceptionMark): boolean {
  return a.name === b.name && a.vkey === b.vkey && a.begunAt === b.begunAt;
}

/** Reads what another has written as a mark: strict, because it goes into files and messages. */
export function checkInception(name: unknown, vkey: unknown, begunAt: unknown): Parsed<InceptionMark> {
  if (typeof name !== 'string' || !isName(name))
    return refuse('the name is not one that an installation can have');
  const key = typeof vkey === 'string' ? parseVkey(vkey) : refuse('K is not a text');
  if (!key.ok) return refuse(`K: ${key.reason}`);
  if (key.value.name !== `${name}/heads/0`) return refuse(`K is not that of ${name}/heads/0`);
  if (typeof begunAt !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(begunAt))
    return refuse('the time of inception is not one with six digits and Z');
  return accept({ name, vkey: vkey as string, begunAt });
}

export function formatMemory({ inception, last }: SignerMemory): string {
  const mark = inception === null ? 'none' : `${inception.name} ${inception.begunAt} ${inception.vkey}`;
  const heads = [...last]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([origin, { size, root }]) => `head ${origin} ${size} ${toBase64(root)}\n`);
  const text = `${HEADER}\ninception ${mark}\n${heads.join('')}`;
  return `${text}sha256 ${toHex(sha256(encodeUtf8(text)))}\n`;
}

/** Reads what `formatMemory` writes; refused if it is cut, changed or of another version. */
export function parseMemory(text: string): Parsed<SignerMemory> {
  if (text.length > MEMORY_BYTES_MAX) return refuse(`it is larger than ${MEMORY_BYTES_MAX} bytes`);
  if (!text.startsWith(`${HEADER}\n`)) return parseUnmarked(text);
  if (!text.endsWith('\n')) return refuse('it is cut off');
  const lines = text.slice(0, -1).split('\n');
  const sum = lines.pop() as string;
  if (!SUM.test(sum)) return refuse('it is cut off: its last line is no checksum');
  const summed = text.slice(0, text.length - sum.length - 1);
  if (sum !== `sha256 ${toHex(sha256(encodeUtf8(summed)))}`)
    return refuse('its checksum is not that of its lines');
  const mark = parseInceptionLine(lines[1] ?? '');
  if (!mark.ok) return mark;
  const last = parseHeads(lines.slice(2), 'head ');
  if (!last.ok) return last;
  if (mark.value === null)
    return last.value.size === 0 ? accept(EMPTY_MEMORY) : refuse('it has heads of no log');
  const { name } = mark.value;
  for (const origin of last.value.keys())
    if (treeOfOrigin(name, origin) === null) return refuse(`${origin} is no tree of ${name}`);
  return accept({ inception: mark.value, last: last.value });
}

/** The form before there was a mark: lines `<origin> <size> <root>` alone. */
function parseUnmarked(text: string): Parsed<SignerMemory> {
  if (text === '') return refuse('it is empty');
  if (!text.endsWith('\n')) return refuse('it is cut off');
  const last = parseHeads(text.slice(0, -1).split('\n'), '');
  return last.ok ? accept({ inception: null, last: last.value }) : last;
}

function parseInceptionLine(line: string): Parsed<InceptionMark | null> {
  if (line === 'inception none') return accept(null);
  const [word, name, begunAt, vkey, ...rest] = line.split(' ');
  if (word !== 'inception' || rest.length > 0) return refuse('its second line is no inception');
  return checkInception(name, vkey, begunAt);
}

function parseHeads(lines: readonly string[], prefix: string): Parsed<Map<string, SignedHead>> {
  if (lines.length > ORIGINS_MAX) return refuse(`it has over ${ORIGINS_MAX} trees`);
  const last = new Map<string, SignedHead>();
  for (const line of lines) {
    const [origin = '', sizeText, rootText, ...rest] = line.slice(prefix.length).split(' ');
    const size = parseDecimal(sizeText ?? '');
    const root = fromBase64(rootText ?? '');
    const isHead = line.startsWith(prefix) && origin !== '' && rest.length === 0 && !last.has(origin);
    if (!isHead || size === null || root?.length !== 32)
      return refuse(`a line is not a remembered head: ${JSON.stringify(line.slice(0, 200))}`);
    last.set(origin, { size, root });
  }
  return accept(last);
}
