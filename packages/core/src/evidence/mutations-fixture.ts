/** Seeded ways to spoil a bundle: every kind of file, with and without a manifest that the attacker has written anew. */

import { concatBytes, decodeUtf8, encodeUtf8, equalBytes } from '../bytes.ts';
import { parseBundlePath } from './bundle-layout.ts';
import { type BundleFiles, type ManifestBase, withManifest } from './make-bundle-fixture.ts';

export interface Mutation {
  /** Kind of file that was changed. */
  readonly kind: string;
  readonly name: string;
  /** Whether manifest.json was written anew over what was changed. */
  readonly isResealed: boolean;
  readonly files: BundleFiles;
}

/** Bundles that parts are taken from: an older head, another tenant, another installation's key. */
export interface Donors {
  readonly [name: string]: BundleFiles;
}

/** A seeded generator of numbers in [0, below): mulberry32. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function flip(bytes: Uint8Array, at: number, bit: number): Uint8Array {
  const changed = bytes.slice();
  changed[at]! ^= 1 << bit;
  return changed;
}

function linesOf(bytes: Uint8Array): string[] {
  return decodeUtf8(bytes)!.split('\n').slice(0, -1);
}

function ofLines(lines: readonly string[]): Uint8Array {
  return encodeUtf8(lines.map((line) => `${line}\n`).join(''));
}

type Edit = readonly [name: string, change: (files: BundleFiles) => void];

/** Changes of the bytes of one file. */
function byteEdits(path: string, bytes: Uint8Array, random: (below: number) => number): Edit[] {
  const set =
    (changed: Uint8Array) =>
    (files: BundleFiles): void => {
      files.set(path, changed);
    };
  const edits: Edit[] = [
    ['grow', set(concatBytes([bytes, Uint8Array.of(0x0a)]))],
    ['double', set(concatBytes([bytes, bytes]))],
    ['empty', set(new Uint8Array(0))],
    ['drop', (files) => files.delete(path)],
    [
      'rename',
      (files) => {
        files.delete(path);
        files.set(
          path.replace(/(\w)(\.[a-z-]+)?$/, (_, last, rest) => `${last === '1' ? 2 : 1}${rest ?? ''}`),
          bytes,
        );
      },
    ],
  ];
  if (bytes.length === 0) return edits;
  for (let i = 0; i < 3; i++) {
    const [at, bit] = [random(bytes.length), random(8)];
    edits.push([`flip bit ${bit} of byte ${at}`, set(flip(bytes, at, bit))]);
  }
  const cut = random(bytes.length);
  edits.push([`cut at ${cut}`, set(bytes.slice(0, cut))]);
  const [one, other] = [random(bytes.length), random(bytes.length)];
  const swapped = bytes.slice();
  [swapped[one], swapped[other]] = [bytes[other]!, bytes[one]!];
  edits.push([`swap bytes ${one} and ${other}`, set(swapped)]);
  return edits;
}

/** Changes of a text that leave it JSON. */
function jsonEdits(path: string, bytes: Uint8Array): Edit[] {
  const text = decodeUtf8(bytes)!;
  const edit = (name: string, changed: string): Edit => [
    name,
    (files) => {
      files.set(path, encodeUtf8(changed));
    },
  ];
  return [
    edit('space', text.replace('{', '{ ')),
    edit('unknown member', text.replace('{', '{"x":1,')),
    edit('doubled member', text.replace('{"v":1', '{"v":1,"v":1')),
    edit('escape', text.replace('"v"', '"\\u0076"')),
    edit('version', text.replace('"v":1', '"v":2')),
    edit(
      'number',
      text.replace(/"(\d+)"/, (_, digits) => `"${BigInt(digits) + 1n}"`),
    ),
    edit(
      'last number',
      text.replace(/"(\d+)"(?!.*"\d+")/, (_, digits) => `"0${digits}"`),
    ),
    edit('null', text.replace(/null(?!.*null)/, '"1"')),
  ];
}

/** Changes of lines: of records, or of signatures. */
function lineEdits(path: string, bytes: Uint8Array, random: (below: number) => number): Edit[] {
  const lines = linesOf(bytes);
  const edit = (name: string, changed: readonly string[]): Edit => [
    name,
    (files) => {
      files.set(path, ofLines(changed));
    },
  ];
  const edits: Edit[] = [edit('reverse lines', [...lines].reverse())];
  for (let i = 0; i < 4 && lines.length > 1; i++) {
    const at = random(lines.length);
    const other = (at + 1 + random(lines.length - 1)) % lines.length;
    const swapped = [...lines];
    [swapped[at], swapped[other]] = [lines[other]!, lines[at]!];
    edits.push(edit(`drop line ${at}`, lines.toSpliced(at, 1)));
    edits.push(edit(`double line ${at}`, lines.toSpliced(at, 0, lines[at]!)));
    edits.push(edit(`swap lines ${at} and ${other}`, swapped));
    edits.push(edit(`line ${at} with a space`, lines.with(at, lines[at]!.replace(',', ', '))));
    edits.push(edit(`line ${at} says otherwise`, lines.with(at, lines[at]!.replace('usr_', 'usr-'))));
  }
  return edits;
}

/** Files of one kind changing places, or coming from elsewhere. */
function exchangeEdits(files: BundleFiles, path: string, same: readonly string[], donors: Donors): Edit[] {
  const bytes = files.get(path)!;
  const edits: Edit[] = [];
  const other = same.find((one) => one !== path && !equalBytes(files.get(one)!, bytes));
  if (other !== undefined) {
    edits.push([
      'swap with another',
      (changed) => {
        changed.set(path, files.get(other)!);
        changed.set(other, bytes);
      },
    ]);
    edits.push([
      'copy over another',
      (changed) => {
        changed.set(other, bytes);
      },
    ]);
  }
  for (const [name, donor] of Object.entries(donors)) {
    const theirs = donor.get(path);
    if (theirs === undefined || equalBytes(theirs, bytes)) continue;
    edits.push([
      `from ${name}`,
      (changed) => {
        changed.set(path, theirs);
      },
    ]);
  }
  return edits;
}

/** Files that do not belong there. */
function extraEdits(files: BundleFiles): Edit[] {
  const [first] = files.values();
  return [
    'bodies/notes.txt',
    'records.ndjson.bak',
    `bodies/${'0'.repeat(64)}`,
    'tlog/audit/7/checkpoint',
    'x/../y',
  ].map(
    (path): Edit => [
      `unlisted ${path}`,
      (changed) => {
        changed.set(path, first!);
      },
    ],
  );
}

/** How many files of one kind are spoiled. */
const FILES_A_KIND = 2;

/** Every mutation of a bundle for one seed; those that change nothing are left out. */
export function mutationsOf(
  bundle: { files: BundleFiles; base: ManifestBase },
  donors: Donors,
  seed: number,
): Mutation[] {
  const { files, base } = bundle;
  const random = seeded(seed);
  const byKind = new Map<string, string[]>();
  for (const path of files.keys()) {
    const kind = parseBundlePath(path)?.kind ?? 'unknown';
    byKind.set(kind, [...(byKind.get(kind) ?? []), path]);
  }
  const edits: [kind: string, edit: Edit][] = extraEdits(files).map((edit) => ['extra', edit]);
  for (const [kind, paths] of byKind) {
    const chosen = new Set(Array.from({ length: FILES_A_KIND }, () => paths[random(paths.length)]!));
    for (const path of chosen) {
      const bytes = files.get(path)!;
      const own = [...byteEdits(path, bytes, random), ...exchangeEdits(files, path, paths, donors)];
      if (path.endsWith('.json')) own.push(...jsonEdits(path, bytes));
      if (kind === 'records' || kind === 'cosignatures') own.push(...lineEdits(path, bytes, random));
      for (const [name, change] of own) edits.push([kind, [`${path}: ${name}`, change]]);
    }
  }
  return edits.flatMap(([kind, [name, change]]) => {
    const changed = new Map(files);
    change(changed);
    if (isSame(changed, files)) return [];
    const kept: Mutation = { kind, name, isResealed: false, files: changed };
    // A manifest over a path that no manifest can hold cannot be written.
    const canReseal =
      kind !== 'manifest' && ![...changed.keys()].some((path) => /[^A-Za-z0-9._%/-]/.test(path));
    return canReseal ? [kept, { ...kept, isResealed: true, files: withManifest(changed, base) }] : [kept];
  });
}

function isSame(a: BundleFiles, b: BundleFiles): boolean {
  return a.size === b.size && [...a].every(([path, bytes]) => b.has(path) && equalBytes(b.get(path)!, bytes));
}
