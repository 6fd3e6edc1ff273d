/** keys.json and windows.json of a bundle. */

import { parseVkey, type VerifierKey } from '../note.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { KEYS_PATH, rotationPaths, WINDOWS_PATH } from './bundle-layout.ts';
import { formatJsonFile, readDecimal, readJsonFile, readList, readMembers, readText } from './json-file.ts';
import { compareText } from './manifest.ts';

/** Most windows of one bundle: over two years of hours. Each costs about 2 KB while a bundle is checked. */
export const BUNDLE_WINDOWS_MAX = 20_000;
/** Most rotations of a key that are followed. */
export const ROTATIONS_MAX = 1_000;
const KEYS_MAX = 200_000;
const LEAF_TEXT_LENGTH_MAX = 65_535;
const PATH = /^[A-Za-z0-9._%/-]{1,1024}$/;
const ANY = /^.+$/su;

/** A key, and the sizes of the tree heads that it signs. */
export interface BundleKey {
  readonly origin: string;
  readonly vkey: string;
  /** First tree size. */
  readonly from: bigint;
  /** Last tree size; null while it is in use. */
  readonly to: bigint | null;
}

export interface KeysFile {
  /** Sorted by origin, by code unit, and `from`. */
  readonly keys: readonly BundleKey[];
  /** How many rotations lead from K to the newest key: their files are named by `rotationPaths`. */
  readonly rotations: number;
}

/** @throws RangeError for what `parseKeysFile` would refuse */
export function formatKeysFile(file: KeysFile): Uint8Array {
  const bytes = formatJsonFile(writeKeys(file));
  const parsed = parseKeysFile(bytes);
  if (!parsed.ok) throw new RangeError(`these are no keys: ${parsed.reason}`);
  return bytes;
}

export function parseKeysFile(bytes: Uint8Array): Parsed<KeysFile> {
  const file = readJsonFile(bytes, KEYS_PATH, readKeys, writeKeys);
  if (!file.ok) return file;
  const { keys } = file.value;
  for (const [i, key] of keys.entries()) {
    const before = keys[i - 1];
    const order = before === undefined ? -1 : compareText(before.origin, key.origin);
    if (order > 0 || (order === 0 && before!.from >= key.from)) {
      return refuse(`${KEYS_PATH}: the keys are not in order, or one stands twice`);
    }
    const parsed: Parsed<VerifierKey> = parseVkey(key.vkey);
    if (!parsed.ok) return refuse(`${KEYS_PATH}: ${parsed.reason}`);
    if (parsed.value.name !== key.origin) return refuse(`${KEYS_PATH}: a key is not named as its origin`);
    if (key.to !== null && key.to < key.from) return refuse(`${KEYS_PATH}: a key ends before it begins`);
  }
  return accept(file.value);
}

function readKeys(json: unknown): KeysFile {
  const members = readMembers(json, 'it');
  return {
    keys: readList(members.keys, 'keys', KEYS_MAX, readKey),
    rotations: readList(members.rotations, 'rotations', ROTATIONS_MAX, () => null).length,
  };
}

function readKey(json: unknown): BundleKey {
  const key = readMembers(json, 'a key');
  return {
    origin: readText(key.origin, 'origin', ANY, 256),
    vkey: readText(key.vkey, 'vkey', ANY, 4_096),
    from: readDecimal(key.from, 'from'),
    to: key.to === null ? null : readDecimal(key.to, 'to'),
  };
}

function writeKeys({ keys, rotations }: KeysFile): unknown {
  return {
    v: 1,
    keys: keys.map(({ origin, vkey, from, to }) => ({
      origin,
      vkey,
      from: from.toString(),
      to: to === null ? null : to.toString(),
    })),
    rotations: Array.from({ length: rotations }, (_, i) => rotationPaths(i + 1)),
  };
}

/** A window record: its leaf line, and where its proof lies. */
export interface BundleWindow {
  readonly leaf: string;
  readonly proof: string;
}

/** The tenant's windows of the span, ascending by hour, and its last before and first behind them. */
export interface WindowsFile {
  /** Null if the tenant has none before the span. */
  readonly previous: BundleWindow | null;
  readonly windows: readonly BundleWindow[];
  /** Null if the tenant has none behind the span (yet). */
  readonly next: BundleWindow | null;
}

export function formatWindowsFile(file: WindowsFile): Uint8Array {
  return formatJsonFile(writeWindows(file));
}

export function parseWindowsFile(bytes: Uint8Array): Parsed<WindowsFile> {
  return readJsonFile(bytes, WINDOWS_PATH, readWindows, writeWindows);
}

function readWindows(json: unknown): WindowsFile {
  const members = readMembers(json, 'it');
  return {
    previous: members.previous === null ? null : readWindow(members.previous),
    windows: readList(members.windows, 'windows', BUNDLE_WINDOWS_MAX, readWindow),
    next: members.next === null ? null : readWindow(members.next),
  };
}

function readWindow(json: unknown): BundleWindow {
  const window = readMembers(json, 'a window');
  return {
    leaf: readText(window.leaf, 'leaf', ANY, LEAF_TEXT_LENGTH_MAX),
    proof: readText(window.proof, 'proof', PATH, 1_024),
  };
}

function writeWindows({ previous, windows, next }: WindowsFile): unknown {
  return {
    v: 1,
    previous: previous === null ? null : writeWindow(previous),
    windows: windows.map(writeWindow),
    next: next === null ? null : writeWindow(next),
  };
}

function writeWindow({ leaf, proof }: BundleWindow): unknown {
  return { leaf, proof };
}
