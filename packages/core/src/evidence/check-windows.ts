/**
 * Completeness of a bundle of whole hours of one tenant: the chain of its window records closes around the span, and
 * the records of the bundle give count and root of each of them.
 */
import { encodeUtf8, equalBytes } from '../bytes.ts';
import { CompactRange } from '../merkle/tree.ts';
import { hashLeaf } from '../sha256.ts';
import { TLOG_PROOF_BYTES_MAX } from '../tlog-proof.ts';
import { type BundleWindow, parseWindowsFile } from './bundle-files.ts';
import { WINDOWS_PATH, windowProofPath } from './bundle-layout.ts';
import { type CheckContext, type CheckedHead, refuteProof } from './check-heads.ts';
import type { BundleScope, BundleTree } from './manifest.ts';
import { type ParsedWindow, parseWindowLeaf, WINDOWS_LOG } from './window.ts';

const WINDOWS_BYTES_MAX = 256 * 1024 * 1024;

export type HoursScope = Extract<BundleScope, { kind: 'tenant-hours' }>;

/** Whether windows stand in this tree: the log has one partition, and what is signed of another is not of it. */
export function isWindowsTree({ log, partition }: BundleTree): boolean {
  return log === WINDOWS_LOG && partition === 0;
}

interface ProvenWindow extends ParsedWindow {
  readonly leafHash: Uint8Array;
}

interface OpenWindow {
  readonly window: ProvenWindow;
  /** The tree over the leaf hashes of the bundle's records of this hour. */
  readonly tree: CompactRange;
}

/** The windows of the span, and the records that fell into each. */
export class SpanWindows {
  readonly #open: readonly OpenWindow[];
  #partition = -1;
  #cursor = 0;

  constructor(windows: readonly ProvenWindow[]) {
    this.#open = windows.map((window) => ({ window, tree: new CompactRange() }));
  }

  /**
   * The number of the window that holds a position; -1: none does. Asked in the order of the bundle: all positions of
   * one partition ascending, then the next partition.
   */
  find(partition: number, position: number): number {
    if (partition !== this.#partition) [this.#partition, this.#cursor] = [partition, 0];
    for (; this.#cursor < this.#open.length; this.#cursor++) {
      const range = this.#open[this.#cursor]!.window.ranges[partition];
      if (range === undefined || BigInt(position) < range.from) return -1;
      if (BigInt(position) < range.to) return this.#cursor;
    }
    return -1;
  }

  /** Adds leaf hashes, packed, to a window. */
  append(number: number, hashes: Uint8Array): void {
    this.#open[number]!.tree.appendMany(hashes);
  }

  /** Holds what was added against what each window says. */
  finish({ findings }: CheckContext): void {
    for (const { window, tree } of this.#open) {
      const { hour, count, root } = window;
      if (tree.size !== count) {
        const detail = `hour ${hour}: the bundle holds ${tree.size} records; the log committed to ${count}`;
        findings.tampered(WINDOWS_PATH, 'window', detail);
      } else if (!equalBytes(tree.root(), root)) {
        const detail = `hour ${hour}: the records are not those that the log committed to`;
        findings.tampered(WINDOWS_PATH, 'window', detail);
      }
    }
  }
}

/** Reads and proves the windows of the span. @returns null after a finding */
export async function checkWindows(
  context: CheckContext,
  scope: HoursScope,
  windowsHead: CheckedHead | null,
): Promise<SpanWindows | null> {
  const { files, findings } = context;
  const bytes = await files.whole(WINDOWS_PATH, 'window', WINDOWS_BYTES_MAX);
  if (bytes === null) return null;
  const file = parseWindowsFile(bytes);
  if (!file.ok) {
    findings.tampered(WINDOWS_PATH, 'window', file.reason);
    return null;
  }
  const { previous, windows, next } = file.value;
  const proven: (ProvenWindow | null)[] = [];
  for (const one of [previous, ...windows, next]) {
    const window = one === null ? null : await proveWindow(context, one, scope, windowsHead);
    if (one !== null && window === null) return null;
    proven.push(window);
  }
  const span = proven.slice(1, -1) as ProvenWindow[];
  const [before, behind] = [proven[0]!, proven.at(-1)!];
  const wrong = refuteSpan(scope, before, span, behind);
  if (wrong !== null) {
    findings.tampered(WINDOWS_PATH, 'window', wrong);
    return null;
  }
  const open = openEnd(scope, span, behind);
  if (open !== null) findings.notChecked(WINDOWS_PATH, 'window', open);
  return new SpanWindows(span);
}

async function proveWindow(
  { files, findings }: CheckContext,
  { leaf, proof }: BundleWindow,
  scope: HoursScope,
  head: CheckedHead | null,
): Promise<ProvenWindow | null> {
  const bytes = encodeUtf8(leaf);
  const window = parseWindowLeaf(bytes);
  if (!window.ok) {
    findings.tampered(WINDOWS_PATH, 'window', window.reason);
    return null;
  }
  const { log, tenant, position } = window.value;
  if (log !== scope.log || tenant !== scope.tenant) {
    findings.tampered(WINDOWS_PATH, 'window', `a window of ${tenant} in ${log} is not one of the scope`);
    return null;
  }
  if (proof !== windowProofPath(position)) {
    findings.tampered(WINDOWS_PATH, 'window', `the proof of a window lies at ${windowProofPath(position)}`);
    return null;
  }
  const proofBytes = await files.whole(proof, 'window', TLOG_PROOF_BYTES_MAX);
  if (proofBytes === null) return null;
  if (head === null) {
    findings.notChecked(proof, 'window', 'the bundle has no good head of the log windows');
    return null;
  }
  const leafHash = hashLeaf(bytes);
  const wrong = refuteProof(proofBytes, leafHash, position, head);
  if (wrong === null) return { ...window.value, leafHash };
  findings.tampered(proof, 'window', wrong);
  return null;
}

/** Why these are not all windows of the tenant from the one before the span to the one behind it; null if they are. */
function refuteSpan(
  { from, to }: HoursScope,
  before: ProvenWindow | null,
  span: readonly ProvenWindow[],
  behind: ProvenWindow | null,
): string | null {
  if (before !== null && before.hour >= from) return 'the window before the span is of an hour in it';
  if (behind !== null && behind.hour <= to) return 'the window behind the span is of an hour in it';
  let last = before;
  for (const window of behind === null ? span : [...span, behind]) {
    if (window !== behind && (window.hour < from || window.hour > to)) {
      return `the window of hour ${window.hour} is not of the span`;
    }
    const follows =
      last === null
        ? window.previous === null
        : window.previous !== null && equalBytes(window.previous, last.leafHash) && window.hour > last.hour;
    if (!follows) return `the window of hour ${window.hour} does not follow the one before it`;
    if (last !== null && !rangesFollow(last, window)) {
      return `the positions of hour ${window.hour} do not lie behind those of the window before it`;
    }
    last = window;
  }
  return null;
}

function rangesFollow(before: ProvenWindow, window: ProvenWindow): boolean {
  if (before.ranges.length !== window.ranges.length) return false;
  return window.ranges.every(({ from }, partition) => from >= before.ranges[partition]!.to);
}

/** What is not shown of the end of the span; null if a window closes it. */
function openEnd(
  { tenant, to }: HoursScope,
  span: readonly ProvenWindow[],
  behind: ProvenWindow | null,
): string | null {
  const last = span.at(-1)?.hour;
  if (behind !== null || last === to) return null;
  const open = last === undefined ? 'the span' : `the hours behind ${last}`;
  return `nothing in the bundle shows that ${tenant} had no records in ${open}: no later window of it is there`;
}
