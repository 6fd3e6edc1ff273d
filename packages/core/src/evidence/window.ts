/**
 * Records of the log `windows`: what the log committed to for one tenant and one hour of one log (design §5).
 *
 * Body: {"log","hour","tenant","count":"N","root":"<base64>","ranges":[["from","to"],…],"previous":"<hex>"|null}: root
 * of RFC 6962 over the tenant's leaf hashes in (partition, position) order; one range a partition, [from, to);
 * `previous` is the leaf hash of this tenant's window record before it, of the same log.
 */
import { fromBase64, fromHex, toBase64, toHex } from '../bytes.ts';
import { derivedId } from '../derived-id.ts';
import { HASH_BYTES } from '../merkle/tree.ts';
import { type Parsed, refuse } from '../parsed.ts';
import { SYSTEM_SOURCE, SYSTEM_TENANT } from '../record.ts';
import { readDecimal, readJsonBody, readList, readMembers, readText, unreadable } from './json-file.ts';
import { type LeafFields, parseLeaf } from './leaf-line.ts';

export const WINDOWS_LOG = 'windows';
export const WINDOW_TYPE = 'window';

const PARTITIONS_MAX = 65_536;
const HOUR = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3])$/;
const TENANT = /^[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}$/;
const LOG = /^[a-z0-9-]{1,32}$/;

/** Positions [from, to) of one partition. */
export interface PositionRange {
  readonly from: bigint;
  readonly to: bigint;
}

export interface WindowBody {
  readonly log: string;
  readonly hour: string;
  readonly tenant: string;
  readonly count: bigint;
  readonly root: Uint8Array;
  /** One for each partition of the log. */
  readonly ranges: readonly PositionRange[];
  readonly previous: Uint8Array | null;
}

export function windowId(log: string, hour: string, tenant: string): string {
  return derivedId(`window:${log}:${hour}:${tenant}`);
}

export function formatWindowBody(window: WindowBody): string {
  return JSON.stringify(writeWindow(window));
}

/** Reads a body; refused unless it is spelled as `formatWindowBody` writes it. */
export function parseWindowBody(bytes: Uint8Array): Parsed<WindowBody> {
  return readJsonBody(bytes, 'the window', readWindow, writeWindow);
}

function readWindow(json: unknown): WindowBody {
  const members = readMembers(json, 'it');
  const root = fromBase64(readText(members.root, 'root', /^[A-Za-z0-9+/=]+$/, 44));
  if (root?.length !== HASH_BYTES) unreadable('root is not the base64 of 32 bytes');
  const { previous } = members;
  return {
    log: readText(members.log, 'log', LOG, 32),
    hour: readText(members.hour, 'hour', HOUR, 13),
    tenant: readText(members.tenant, 'tenant', TENANT, 128),
    count: readDecimal(members.count, 'count'),
    root: root as Uint8Array,
    ranges: readList(members.ranges, 'ranges', PARTITIONS_MAX, readRange),
    previous: previous === null ? null : fromHex(readText(previous, 'previous', /^[0-9a-f]{64}$/, 64)),
  };
}

function readRange(json: unknown): PositionRange {
  const pair = readList(json, 'a range', 2, (one) => readDecimal(one, 'a position'));
  const [from, to] = pair;
  if (from === undefined || to === undefined || from > to) return unreadable('a range is no [from, to)');
  return { from, to };
}

function writeWindow({ log, hour, tenant, count, root, ranges, previous }: WindowBody): unknown {
  return {
    log,
    hour,
    tenant,
    count: count.toString(),
    root: toBase64(root),
    ranges: ranges.map(({ from, to }) => [from.toString(), to.toString()]),
    previous: previous === null ? null : toHex(previous),
  };
}

/** A window record, read from its leaf. */
export interface ParsedWindow extends WindowBody {
  readonly position: bigint;
}

/** Reads the leaf of a window record; refused unless every field is as Evident writes it for this body. */
export function parseWindowLeaf(leaf: Uint8Array): Parsed<ParsedWindow> {
  const fields: LeafFields | null = parseLeaf(leaf);
  if (fields === null || fields.body === null) return refuse('the leaf of the window is no leaf');
  const window = parseWindowBody(fields.body);
  if (!window.ok) return window;
  const { log, hour, tenant } = window.value;
  const isWindow =
    fields.log === WINDOWS_LOG &&
    fields.partition === 0 &&
    fields.type === WINDOW_TYPE &&
    fields.source === SYSTEM_SOURCE &&
    fields.schema === 0 &&
    fields.key === SYSTEM_TENANT &&
    fields.tenant === tenant &&
    fields.id === windowId(log, hour, tenant);
  return isWindow
    ? { ok: true, value: { ...window.value, position: fields.position } }
    : refuse('the leaf is not that of a window record');
}
