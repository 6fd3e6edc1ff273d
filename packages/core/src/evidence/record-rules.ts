/** What the scope of a bundle asks of each of its records, as far as the fields of a leaf decide it. */

import { encodeUtf8 } from '../bytes.ts';
import type { LeafLineReader } from './leaf-line.ts';
import type { BundleScope } from './manifest.ts';

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const INSTANT_BYTES = 27;

/** Members of a filter that a leaf decides; the others are read from the body by the program that searched. */
const DECIDED = ['log', 'tenant', 'type', 'appended_from', 'appended_to'];

/** The members of a selection's filter that cannot be checked from leaves. */
export function undecidedMembers(scope: BundleScope): string[] {
  if (scope.kind !== 'selection') return [];
  return Object.entries(scope.filter)
    .filter(([name, value]) => !DECIDED.includes(name) || (isTimeMember(name) && !INSTANT.test(value)))
    .map(([name]) => name);
}

function isTimeMember(name: string): boolean {
  return name.startsWith('appended_');
}

/** A scope, made ready to be asked of one line after the other. */
export class RecordRules {
  readonly #log: string | null = null;
  readonly #tenant: Uint8Array | null = null;
  readonly #type: Uint8Array | null = null;
  readonly #id: Uint8Array | null = null;
  readonly #from: Uint8Array | null = null;
  readonly #to: Uint8Array | null = null;

  constructor(scope: BundleScope) {
    if (scope.kind === 'record') this.#id = encodeUtf8(scope.id);
    else if (scope.kind === 'tenant-hours') {
      this.#log = scope.log;
      this.#tenant = encodeUtf8(scope.tenant);
    } else {
      const { log, tenant, type, appended_from: from, appended_to: to } = scope.filter;
      this.#log = log ?? null;
      this.#tenant = tenant === undefined ? null : encodeUtf8(tenant);
      this.#type = type === undefined ? null : encodeUtf8(type);
      this.#from = from !== undefined && INSTANT.test(from) ? encodeUtf8(from) : null;
      this.#to = to !== undefined && INSTANT.test(to) ? encodeUtf8(to) : null;
    }
  }

  /** Why the line that was read last is not of the scope; null if it may be. */
  refute(bytes: Uint8Array, line: LeafLineReader): string | null {
    if (this.#log !== null && line.log !== this.#log) return 'its log is not that of the scope';
    if (this.#tenant !== null && !isAt(bytes, line.tenantAt, line.tenantLength, this.#tenant)) {
      return 'its tenant is not that of the scope';
    }
    if (this.#type !== null && !isAt(bytes, line.typeAt, line.typeLength, this.#type)) {
      return 'its type is not that of the scope';
    }
    if (this.#id !== null && !isAt(bytes, line.idAt, this.#id.length, this.#id)) {
      return 'its id is not that of the scope';
    }
    // Instants of one width are ordered as their bytes are.
    const { appendedAtAt: at } = line;
    const isEarly = this.#from !== null && compareAt(bytes, at, this.#from) < 0;
    const isLate = this.#to !== null && compareAt(bytes, at, this.#to) >= 0;
    return isEarly || isLate ? 'it was appended outside of the times of the scope' : null;
  }
}

function isAt(bytes: Uint8Array, at: number, length: number, wanted: Uint8Array): boolean {
  return length === wanted.length && compareAt(bytes, at, wanted) === 0;
}

function compareAt(bytes: Uint8Array, at: number, wanted: Uint8Array): number {
  for (let i = 0; i < wanted.length; i++) {
    const difference = bytes[at + i]! - wanted[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The time of the record before, of the same tree: a log's clock never goes back. */
export class TimeOrder {
  readonly #last = new Uint8Array(INSTANT_BYTES);
  #tree = -1;

  /** Whether the line that was read last is not earlier than the one before it. */
  follows(bytes: Uint8Array, line: LeafLineReader, tree: number): boolean {
    const at = line.appendedAtAt;
    const isFirst = tree !== this.#tree;
    const follows = isFirst || compareAt(bytes, at, this.#last) >= 0;
    this.#tree = tree;
    for (let i = 0; i < INSTANT_BYTES; i++) this.#last[i] = bytes[at + i]!;
    return follows;
  }
}
