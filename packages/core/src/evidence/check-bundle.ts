/**
 * Checks an evidence bundle: everything that a stranger can know from it with one key, and nothing taken from it
 * unchecked. The way from a record to the key: leaf → tree of its partition → head of that tree → record `head` in
 * heads/0 → head of heads/0 → K, through its rotations.
 *
 * It fails closed. What is there and contradicts is `tampered`; what is called for and missing, or cannot be read, is
 * `not checked`; `verified` is what is left when there is no finding.
 */
import { concatBytes } from '../bytes.ts';
import type { CosignatureFunctions } from '../cosignature.ts';
import { EvidentError } from '../errors.ts';
import { parseVkey } from '../note.ts';
import { epochOrigin, parseOrigin } from '../origin.ts';
import type { HashStream } from '../sha256-stream.ts';
import { BUNDLE_FILES_MAX, MANIFEST_PATH, parseBundlePath, README_PATH } from './bundle-layout.ts';
import { BundleReader } from './bundle-reader.ts';
import type { BundleSource } from './bundle-source.ts';
import {
  checkCosignatures,
  checkTimestamps,
  type TimestampCheck,
  type WitnessPolicy,
  witnessPolicy,
} from './check-anchors.ts';
import { type CheckContext, type CheckedHead, checkHead, checkListed } from './check-heads.ts';
import { checkKeys } from './check-keys.ts';
import { checkKnownHead } from './check-known-head.ts';
import { checkRecords } from './check-records.ts';
import { CheckFindings, type CheckReport } from './check-report.ts';
import { checkWindows, isWindowsTree, type SpanWindows } from './check-windows.ts';
import { describeCheck, type Outcome } from './describe-check.ts';
import { JSON_FILE_BYTES_MAX } from './json-file.ts';
import { type KeyHistory, singleKeyHistory } from './key-history.ts';
import { type BundleManifest, parseManifest } from './manifest.ts';

const README_BYTES_MAX = 1024 * 1024;

export interface CheckOptions {
  /** K: the vkey of `<name>/heads/0`. */
  readonly vkey: string;
  readonly signatures: CosignatureFunctions;
  /** Checks tokens; without it they are passed over, and the report says so. */
  readonly timestamps?: TimestampCheck | undefined;
  /** Witnesses whose cosignatures count. */
  readonly witnesses?: readonly { readonly vkey: string }[] | undefined;
  /** How many of them must have cosigned; all, if none is given. */
  readonly quorum?: number | undefined;
  /** A head of heads/0 that the verifier has from elsewhere: a signed note. */
  readonly knownHead?: Uint8Array | undefined;
  /** If that head has another size: what `GET /v1/logs/heads/partitions/0/consistency` answers for the two. */
  readonly consistency?: Uint8Array | undefined;
  /** A faster SHA-256 of the platform. */
  readonly makeHash?: (() => HashStream) | undefined;
  readonly onProgress?: ((records: bigint, total: bigint) => void) | undefined;
}

/** The options, read. */
interface Settings extends CheckOptions {
  readonly k: KeyHistory;
  readonly policy: WitnessPolicy;
}

/**
 * @returns a report; it never throws for what is in the bundle
 * @throws usage-invalid for options that are none: a key that is no key, a quorum that cannot be reached
 */
export async function checkBundle(source: BundleSource, options: CheckOptions): Promise<CheckReport> {
  const settings = readOptions(options);
  const findings = new CheckFindings();
  const outcome: Outcome = {
    manifest: null,
    records: 0n,
    bodies: 0,
    isRotated: false,
    head: null,
    knownSize: null,
    anchors: null,
    options,
  };
  try {
    await check(source, settings, findings, outcome);
  } catch (error) {
    findings.notChecked('', 'check', `the check ended early: ${reasonOf(error)}`);
  }
  return describeCheck(outcome, findings);
}

/** A source is a stranger's code: it may throw anything. */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function readOptions(options: CheckOptions): Settings {
  const key = parseVkey(options.vkey);
  const k = key.ok ? singleKeyHistory(key.value) : key;
  if (!k.ok) throw new EvidentError('usage-invalid', `vkey: ${k.reason}`);
  try {
    return { ...options, k: k.value, policy: witnessPolicy(options.witnesses ?? [], options.quorum) };
  } catch (cause) {
    throw new EvidentError('usage-invalid', (cause as Error).message, { cause });
  }
}

async function check(
  source: BundleSource,
  settings: Settings,
  findings: CheckFindings,
  outcome: Outcome,
): Promise<void> {
  const present = await listFiles(source, findings);
  const manifest = await readManifest(source, present, findings);
  if (manifest === null) return;
  outcome.manifest = manifest;
  const { makeHash, signatures, k } = settings;
  const files = new BundleReader({ source, present, manifest, findings, makeHash });
  files.compareLists();
  for (const { path } of manifest.files) {
    if (parseBundlePath(path) === null) findings.tampered(path, 'file', 'no bundle has a file of this name');
  }
  if (!isOfInstallation(manifest, k, findings)) return;
  const keys = await checkKeys({ manifest, files, findings, signatures }, k);
  if (keys === null) return;
  outcome.isRotated = keys.steps.length > 0;
  const context: CheckContext = { manifest, files, findings, keys, signatures };
  const head = await checkHead(context, manifest.head.origin, manifest.head.size);
  outcome.head = head;
  const heads = await checkTrees(context, head);
  await checkContent(context, heads, settings, outcome);
  if (head !== null) await checkAnchors(context, head, settings, outcome);
  await files.whole(README_PATH, 'file', README_BYTES_MAX);
  // What calls for a file may be what is missing, or wrong: then there is a finding already.
  if (findings.verdict === 'verified') files.reportUncalled();
}

/** @throws RangeError when there are more files than any bundle has */
async function listFiles(source: BundleSource, findings: CheckFindings): Promise<Map<string, bigint>> {
  const present = new Map<string, bigint>();
  for (const { path, size } of await source.list()) {
    if (present.size >= BUNDLE_FILES_MAX) throw new RangeError(`there are over ${BUNDLE_FILES_MAX} files`);
    if (present.has(path)) findings.tampered(path, 'file', 'the file is there twice');
    present.set(path, size);
  }
  return present;
}

async function readManifest(
  source: BundleSource,
  present: ReadonlyMap<string, bigint>,
  findings: CheckFindings,
): Promise<BundleManifest | null> {
  const size = present.get(MANIFEST_PATH);
  if (size === undefined) {
    findings.notChecked(
      MANIFEST_PATH,
      'manifest',
      'the manifest is missing: this is no bundle, or one half written',
    );
    return null;
  }
  if (size > BigInt(JSON_FILE_BYTES_MAX)) throw new RangeError('the manifest is larger than any is');
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of source.read(MANIFEST_PATH)) {
    length += piece.length;
    if (length > JSON_FILE_BYTES_MAX) throw new RangeError('the manifest is larger than any is');
    pieces.push(piece.slice());
  }
  const manifest = parseManifest(concatBytes(pieces));
  if (manifest.ok) return manifest.value;
  findings.tampered(MANIFEST_PATH, 'manifest', manifest.reason);
  return null;
}

/** Whether the names in the manifest are those of the installation whose key the verifier holds. */
function isOfInstallation(
  { name, head, trees }: BundleManifest,
  k: KeyHistory,
  findings: CheckFindings,
): boolean {
  const complain = (detail: string): false => {
    findings.tampered(MANIFEST_PATH, 'manifest', detail);
    return false;
  };
  if (name !== k.name) return complain(`the bundle is of ${name}; the key that you hold is of ${k.name}`);
  const origin = parseOrigin(head.origin);
  if (
    origin === null ||
    origin.log !== 'heads' ||
    origin.partition !== 0 ||
    k.keyFor(head.origin, head.size) === null
  ) {
    return complain(`the head of the bundle is of ${head.origin}, which is no log heads of ${name}`);
  }
  for (const tree of trees) {
    const { log, partition, epoch } = tree;
    if (log === 'heads' || tree.origin !== epochOrigin(name, log, partition, epoch)) {
      return complain(`${tree.origin} is not the origin of ${log}/${partition}`);
    }
  }
  return true;
}

/** @returns the good heads of the manifest's trees, in its order */
async function checkTrees(
  context: CheckContext,
  headsHead: CheckedHead | null,
): Promise<(CheckedHead | null)[]> {
  const heads: (CheckedHead | null)[] = [];
  for (const { origin, size } of context.manifest.trees) {
    const head = await checkHead(context, origin, size);
    // Without a good head of heads/0 there is a finding already.
    if (head !== null && headsHead !== null) await checkListed(context, head, headsHead);
    heads.push(head);
  }
  return heads;
}

async function checkContent(
  context: CheckContext,
  heads: readonly (CheckedHead | null)[],
  { onProgress }: Settings,
  outcome: Outcome,
): Promise<void> {
  const { manifest, findings } = context;
  const { scope, trees } = manifest;
  const windowsTree = trees.findIndex(isWindowsTree);
  const hours = scope.kind === 'tenant-hours' ? scope : null;
  let windows: SpanWindows | null = null;
  if (hours !== null) {
    windows = await checkWindows(context, hours, windowsTree < 0 ? null : (heads[windowsTree] ?? null));
  }
  const checked = await checkRecords({ context, heads, windows, onProgress });
  outcome.records = checked.count;
  outcome.bodies = checked.bodies;
  if (!checked.isWhole) return;
  windows?.finish(context);
  if (checked.count !== manifest.records) {
    const detail = `the bundle holds ${checked.count} records; its manifest says ${manifest.records}`;
    findings.tampered(MANIFEST_PATH, 'manifest', detail);
  }
  if (scope.kind === 'record' && checked.count === 0n) {
    findings.notChecked(MANIFEST_PATH, 'scope', `the bundle holds no record ${scope.id}`);
  }
  for (const [number, tree] of trees.entries()) {
    const isOfWindows = hours !== null && number === windowsTree;
    if (isOfWindows || checked.usedTrees.has(number)) continue;
    findings.tampered(MANIFEST_PATH, 'manifest', `no record of the bundle stands in ${tree.origin}`);
  }
}

async function checkAnchors(
  context: CheckContext,
  head: CheckedHead,
  { timestamps, policy, knownHead, consistency }: Settings,
  outcome: Outcome,
): Promise<void> {
  outcome.anchors = {
    timestamps: await checkTimestamps(context, head, timestamps),
    cosignatures: await checkCosignatures(context, head, policy),
  };
  if (knownHead !== undefined) {
    outcome.knownSize = await checkKnownHead(context, head, { head: knownHead, consistency });
  }
}
