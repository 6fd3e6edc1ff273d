/**
 * The member names of the objects that a scan has open, to find a name that stands twice in one object. Names are
 * equal when they are equal decoded: `"a"` is `"\u0061"`.
 *
 * Up to LINEAR_MAX names of one object are compared as bytes, pair by pair, without an allocation (an audit event
 * has about a dozen); from there on the object gets a Set of decoded names, so that an object of a million members
 * costs a million look-ups.
 */

const LINEAR_MAX = 16;
const ENTRIES = 3;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class MemberNames {
  /** The names of all open objects, innermost last, three entries each: start, end (quotes excluded), escaped or not. */
  readonly #spans: number[] = [];
  /** Where in `#spans` each open object begins. */
  readonly #bases: number[] = [];
  readonly #sets: (Set<string> | null)[] = [];

  open(): void {
    this.#bases.push(this.#spans.length);
    this.#sets.push(null);
  }

  close(): void {
    this.#spans.length = this.#bases.pop()!;
    this.#sets.pop();
  }

  /** Adds the name between `start` and `end` (quotes excluded) to the innermost object; false if it has it. */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    const set = this.#sets[this.#sets.length - 1]!;
    if (set !== null) return addToSet(set, bytes, start, end);
    const base = this.#bases[this.#bases.length - 1]!;
    const spans = this.#spans;
    const escaped = isEscaped(bytes, start, end) ? 1 : 0;
    for (let i = base; i < spans.length; i += ENTRIES) {
      const same =
        (escaped | spans[i + 2]!) === 0
          ? sameBytes(bytes, spans[i]!, spans[i + 1]!, start, end)
          : decodeName(bytes, spans[i]!, spans[i + 1]!) === decodeName(bytes, start, end);
      if (same) return false;
    }
    spans.push(start, end, escaped);
    if (spans.length - base > ENTRIES * LINEAR_MAX) this.#turnIntoSet(bytes, base);
    return true;
  }

  #turnIntoSet(bytes: Uint8Array, base: number): void {
    const set = new Set<string>();
    for (let i = base; i < this.#spans.length; i += ENTRIES) {
      addToSet(set, bytes, this.#spans[i]!, this.#spans[i + 1]!);
    }
    this.#spans.length = base;
    this.#sets[this.#sets.length - 1] = set;
  }
}

/** The quote stays in front: a name such as "1048577" would else be hashed by its number, which can be foreseen. */
function addToSet(set: Set<string>, bytes: Uint8Array, start: number, end: number): boolean {
  const size = set.size;
  return set.add(`"${decodeName(bytes, start, end)}`).size > size;
}

function sameBytes(
  bytes: Uint8Array,
  start: number,
  end: number,
  otherStart: number,
  otherEnd: number,
): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = start, other = otherStart; i < end; i++, other++) {
    if (bytes[i] !== bytes[other]) return false;
  }
  return true;
}

function isEscaped(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] === BACKSLASH) return true;
  return false;
}

const SHORT_NAME_BYTES_MAX = 24;

/**
 * The string between `start` and `end` (quotes excluded), escapes resolved. The bytes were scanned as a JSON string
 * before. A short plain name is built byte by byte: a TextDecoder call costs more than the name.
 */
export function decodeName(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT_NAME_BYTES_MAX) {
    let name = '';
    let i = start;
    for (; i < end; i++) {
      const byte = bytes[i]!;
      if (byte >= 0x80 || byte === BACKSLASH) break;
      name += String.fromCharCode(byte);
    }
    if (i === end) return name;
  }
  if (!isEscaped(bytes, start, end)) return decoder.decode(bytes.subarray(start, end));
  if (bytes[start - 1] !== QUOTE || bytes[end] !== QUOTE) throw new Error('the span is not that of a string');
  return JSON.parse(decoder.decode(bytes.subarray(start - 1, end + 1))) as string;
}
