/**
 * What a witness remembers, as it is written down. One text, replaced whole before a cosignature leaves:
 *
 *   evident/witness/v1
 *   head <at> <base64 of the signed note>      one a log, ascending by origin; at: seconds since the Unix epoch
 *   sha256 <hex of all bytes above>
 *
 * The last line finds a file that was cut or changed by accident; whoever changes it by intent can write that line, too.
 */

import { encodeUtf8, fromBase64, toBase64, toHex } from '@evident/core/bytes.ts';
import { parseDecimal, parseTreeHead } from '@evident/core/checkpoint.ts';
import { parseNote } from '@evident/core/note.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { ADD_CHECKPOINT_BYTES_MAX } from '@evident/core/tlog-witness.ts';
import type { WitnessedHead } from './ports.ts';

const HEADER = 'evident/witness/v1';
const SUM = /^sha256 [0-9a-f]{64}$/;

/** Most logs that one witness follows: its memory is written whole each time. */
export const LOGS_MAX = 256;
/** Most bytes of a memory that is read: every log with the longest note. */
export const MEMORY_BYTES_MAX = LOGS_MAX * 2 * ADD_CHECKPOINT_BYTES_MAX;

export function formatMemory(heads: ReadonlyMap<string, WitnessedHead>): string {
  const lines = [...heads]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { at, note }]) => `head ${at} ${toBase64(note)}\n`);
  const text = `${HEADER}\n${lines.join('')}`;
  return `${text}sha256 ${toHex(sha256(encodeUtf8(text)))}\n`;
}

/** Reads what `formatMemory` writes; refused if it is cut, changed or of another version. */
export function parseMemory(text: string): Parsed<Map<string, WitnessedHead>> {
  if (text.length > MEMORY_BYTES_MAX) return refuse(`it is larger than ${MEMORY_BYTES_MAX} bytes`);
  if (!text.endsWith('\n')) return refuse('it is empty or cut off');
  const lines = text.slice(0, -1).split('\n');
  const sum = lines.pop() as string;
  if (!SUM.test(sum)) return refuse('it is cut off: its last line is no checksum');
  const summed = text.slice(0, text.length - sum.length - 1);
  if (sum !== `sha256 ${toHex(sha256(encodeUtf8(summed.toWellFormed())))}`)
    return refuse('its checksum is not that of its lines');
  if (lines.shift() !== HEADER) return refuse('it is not of this version');
  if (lines.length > LOGS_MAX) return refuse(`it has over ${LOGS_MAX} logs`);
  const heads = new Map<string, WitnessedHead>();
  for (const line of lines) {
    const [word, atText = '', noteText = '', ...rest] = line.split(' ');
    const at = parseDecimal(atText);
    const note = fromBase64(noteText);
    const parsed = note === null ? null : parseNote(note);
    const head = parsed?.ok === true ? parseTreeHead(parsed.value.text) : null;
    if (word !== 'head' || rest.length > 0 || at === null || note === null || head?.ok !== true)
      return refuse(`a line is not a remembered head: ${JSON.stringify(line.slice(0, 200))}`);
    const { origin, size, root } = head.value;
    if (heads.has(origin)) return refuse(`it has two heads of ${JSON.stringify(origin)}`);
    heads.set(origin, { size, root, at, note });
  }
  return accept(heads);
}
