/**
 * Verification of a whole log store: everything derived again from bytes, and held against what was signed
 * (design §5). It fails closed: whatever can't be read is `not checked`, never `verified`.
 */

import { fromBase64, toBase64 } from '@evident/core/bytes.ts';
import { parseDecimal } from '@evident/core/checkpoint.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { treeOf } from '@evident/core/evidence/key-rotation.ts';
import type { Verifier } from '@evident/core/note.ts';
import { epochOrigin, parseOrigin } from '@evident/core/origin.ts';
import { type LogRecord, SYSTEM_SOURCE } from '@evident/core/record.ts';
import type { Log, PartitionHead } from '../log/log.ts';
import type { HeadSigner, SignedHead } from '../seal/ports.ts';
import { type Finding, Findings, type Verdict } from './finding.ts';
import type { LostRange, PartitionDeps, PartitionReport, PartitionScope } from './partition-scope.ts';
import type { HeadRow, TenantLeafReader } from './ports.ts';
import { rootFromTiles } from './tree-roots.ts';
import { verifyPartition } from './verify-partition.ts';
import { verifyWindows, WINDOWS_LOG, type WindowsReport } from './verify-windows.ts';

export interface VerifyDeps extends PartitionDeps {
  readonly name: string;
  readonly tenantLeaves: TenantLeafReader;
  readonly logs: readonly Log[];
  /** The key that signs heads of a tree at a size, as it was read last. */
  readonly verifierOf: (origin: string, size: bigint) => Verifier;
  /** Reads the keys as they are now: those of every head that was stored before. @throws key-mismatch, log-unavailable */
  readonly refreshKeys: () => Promise<void>;
  /** What the signer remembers, where it is at hand. */
  readonly signer: Pick<HeadSigner, 'last'> | null;
  readonly lost: (
    log: string,
    partition: number,
  ) => Promise<{ from: bigint; to: bigint; recovery: string; recordAt: bigint }[]>;
}

export interface VerifyReport {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly tampered: number;
  readonly notChecked: number;
  readonly partitions: readonly PartitionReport[];
  /** How far windows reach, where they were verified. */
  readonly windows: readonly WindowsReport[];
}

export interface VerifyProgress {
  readonly total: bigint;
  readonly done: bigint;
}

const HEADS_LOG = 'heads';
/** How often, and how long apart, a head that was signed is looked for. */
const LOOKS_MAX = 20;
const LOOK_MS = 50;
/** Findings whose record is looked up for its id. */
const NAMED_MAX = 100;

/** @param only the log to verify; `heads` is always verified with it, as its anchor */
export async function verify(
  deps: VerifyDeps,
  only: string | null,
  onProgress: (progress: VerifyProgress) => void,
): Promise<VerifyReport> {
  const findings = new Findings();
  const logs = deps.logs.filter(({ name }) => only === null || name === only || name === HEADS_LOG);
  // `heads` first, then `windows`: what they speak of was sealed before, so that neither is beyond what is then looked at.
  logs.sort((a, b) => placeOf(a.name) - placeOf(b.name));
  const scopes: PartitionScope[] = [];
  const patience = { looks: LOOKS_MAX };
  for (const log of logs) scopes.push(...(await scopesOf(deps, log, findings, patience)));
  await readKeys(deps, scopes, findings);
  const positions = scopes.reduce((sum, scope) => sum + positionsOf(scope), 0n);
  // Windows speak of every other log: those of one alone would be held against partitions that nobody looked at.
  const withWindows = only === null && scopes.some(({ log, sealed }) => log === WINDOWS_LOG && sealed > 0n);
  const total = withWindows ? 2n * positions : positions;
  let done = 0n;
  const advance = (more: bigint): void => {
    done += more;
    onProgress({ total, done });
  };
  const partitions: PartitionReport[] = [];
  for (const scope of scopes)
    partitions.push(await verifyPartition(deps, scope, findings, (more) => advance(BigInt(more))));
  await checkListedHeads(deps, scopes, findings);
  const windows = withWindows ? await verifyWindows(deps, scopes, findings, advance) : [];
  if (done < total) advance(total - done);
  const { tampered, notChecked } = findings.count;
  return {
    verdict: findings.verdict,
    findings: await nameFindings(deps, findings.list),
    tampered,
    notChecked,
    partitions,
    windows,
  };
}

/**
 * A key may have handed over since this process began. Read behind the sizes: each of those heads verifies with what is
 * read now. Rotations that do not follow from K were made, or changed, by somebody else than the log.
 */
async function readKeys(
  deps: VerifyDeps,
  scopes: readonly PartitionScope[],
  findings: Findings,
): Promise<void> {
  try {
    await deps.refreshKeys();
  } catch (error) {
    const heads = scopes.find(({ log }) => log === HEADS_LOG);
    if (!isEvidentError(error) || error.code !== 'key-mismatch' || heads === undefined) throw error;
    findings.add(finding(heads, 'tampered', 'head-signature', error.message));
  }
}

function placeOf(log: string): number {
  if (log === HEADS_LOG) return 0;
  return log === WINDOWS_LOG ? 1 : 2;
}

function positionsOf({ counter, sealed }: PartitionScope): bigint {
  return counter.next > sealed ? counter.next : sealed;
}

async function scopesOf(
  deps: VerifyDeps,
  log: Log,
  findings: Findings,
  patience: { looks: number },
): Promise<PartitionScope[]> {
  const scopes: PartitionScope[] = [];
  for (const counter of await log.heads()) {
    const { partition } = counter;
    const epoch = (await deps.heads.readSeal(log.name, partition))?.epoch ?? 0;
    const origin = epochOrigin(deps.name, log.name, partition, epoch);
    // The signer's memory first: a head that is signed while we look is stored by the time its row is read.
    const last = await signedLast(deps, origin);
    const sealed = await storedSize(
      deps,
      log.name,
      partition,
      epoch,
      typeof last === 'string' ? 0n : (last?.size ?? 0n),
      patience,
    );
    const later = await log.head(partition);
    const scope = {
      log: log.name,
      partition,
      epoch,
      origin,
      verifierOf: deps.verifierOf,
      counter: later,
      sealed,
      lost: await confirmLost(deps, log, partition),
    };
    noteSigner(scope, last, findings);
    noteStopped(scope, later, findings);
    scopes.push(scope);
  }
  return scopes;
}

function finding(
  scope: PartitionScope,
  verdict: Finding['verdict'],
  check: Finding['check'],
  detail: string,
): Finding {
  return {
    verdict,
    log: scope.log,
    partition: scope.partition,
    from: null,
    to: null,
    id: null,
    check,
    detail,
  };
}

/** What the signer remembers of a tree; undefined without a signer, and why it can't be asked as a text. */
async function signedLast(
  { signer }: VerifyDeps,
  origin: string,
): Promise<SignedHead | null | undefined | string> {
  if (signer === null) return undefined;
  try {
    return await signer.last(origin);
  } catch (error) {
    if (isEvidentError(error) && error.code === 'signer-unreachable') return error.message;
    throw error;
  }
}

function noteSigner(
  scope: PartitionScope,
  last: Awaited<ReturnType<typeof signedLast>>,
  findings: Findings,
): void {
  const note = (detail: string): void => findings.add(finding(scope, 'not checked', 'signer', detail));
  if (last === undefined) return;
  if (typeof last === 'string') note(`what was signed last could not be asked: ${last}`);
  else if (last === null) {
    if (scope.sealed > 0n)
      note(`the signer remembers no head of ${scope.origin}, but one of size ${scope.sealed} is stored`);
  } else if (last.size > scope.sealed) noteSignedBeyond(scope, last, findings);
}

function noteStopped(scope: PartitionScope, counter: PartitionHead, findings: Findings): void {
  if (counter.stopped !== null)
    findings.add(finding(scope, 'not checked', 'signer', `the partition is stopped: ${counter.stopped}`));
}

/**
 * Size of the newest stored head. A signature a moment old may not be stored yet: look again, a bounded number of
 * times for all trees together, because after a restore it is so for every tree.
 */
async function storedSize(
  deps: VerifyDeps,
  log: string,
  partition: number,
  epoch: number,
  signed: bigint,
  patience: { looks: number },
): Promise<bigint> {
  let size = 0n;
  for (;;) {
    const seal = await deps.heads.readSeal(log, partition);
    size = seal?.size ?? (await newestHead(deps, log, partition, epoch))?.size ?? 0n;
    if (size >= signed || patience.looks === 0) return size;
    patience.looks--;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

async function newestHead(
  deps: VerifyDeps,
  log: string,
  partition: number,
  epoch: number,
): Promise<HeadRow | undefined> {
  let newest: HeadRow | undefined;
  for (;;) {
    const page: HeadRow[] = await deps.heads.readHeads(log, partition, epoch, newest?.size ?? 0n, 1_000);
    if (page.length === 0) return newest;
    newest = page.at(-1);
  }
}

/** The signer remembers more than is stored: cut short by a crash, or the database is an older copy. */
function noteSignedBeyond(
  scope: PartitionScope,
  last: { size: bigint; root: Uint8Array },
  findings: Findings,
): void {
  const signed = `a head of size ${last.size} was signed, but the newest that is stored has size ${scope.sealed}`;
  if (scope.counter.next >= last.size) {
    findings.add(finding(scope, 'not checked', 'signer', `${signed}; start the server to seal on`));
    return;
  }
  findings.add({
    ...finding(
      scope,
      'tampered',
      'signer',
      `${signed}, and the log ends at position ${scope.counter.next}: an older copy was put back, or its end was cut off`,
    ),
    from: scope.counter.next,
    to: last.size,
  });
}

/** Lost positions are excused only by a record `seal.recovery` that stands in the log and names them. */
export async function confirmLost(
  deps: Pick<VerifyDeps, 'lost'>,
  log: Log,
  partition: number,
): Promise<LostRange[]> {
  const confirmed: LostRange[] = [];
  for (const claim of await deps.lost(log.name, partition)) {
    const [record] = await log.read(partition, claim.recordAt, 1).catch(() => []);
    if (record !== undefined && namesLost(record, claim)) confirmed.push(claim);
  }
  return confirmed;
}

function namesLost(
  record: LogRecord,
  claim: { from: bigint; to: bigint; recovery: string; recordAt: bigint },
): boolean {
  if (
    record.position !== claim.recordAt ||
    record.type !== 'seal.recovery' ||
    record.source !== SYSTEM_SOURCE
  )
    return false;
  if (record.id !== claim.recovery || record.body.form !== 'json') return false;
  const body = JSON.parse(new TextDecoder().decode(record.body.bytes)) as {
    lost?: { from: string; to: string }[];
  };
  return (body.lost ?? []).some(({ from, to }) => BigInt(from) <= claim.from && BigInt(to) >= claim.to);
}

/**
 * Every head that the log `heads` lists, held against the tiles of its partition (which have been verified by
 * now): one signed head of `heads` then covers them all.
 */
async function checkListedHeads(
  deps: VerifyDeps,
  scopes: readonly PartitionScope[],
  findings: Findings,
): Promise<void> {
  const heads = deps.logs.find(({ name }) => name === HEADS_LOG);
  const scope = scopes.find(({ log }) => log === HEADS_LOG);
  if (heads === undefined || scope === undefined) return;
  for (let from = 0n; from < scope.sealed; ) {
    let page: LogRecord[];
    try {
      page = await heads.read(0, from, 1_000);
    } catch (error) {
      findings.add({
        ...finding(scope, 'not checked', 'storage', (error as Error).message),
        from,
        to: scope.sealed,
      });
      return;
    }
    if (page.length === 0) return;
    for (const record of page)
      if (record.type === 'head' && record.position < scope.sealed)
        await checkListed(deps, scopes, scope, record, findings);
    from = (page.at(-1) as LogRecord).position + 1n;
  }
}

async function checkListed(
  deps: VerifyDeps,
  scopes: readonly PartitionScope[],
  heads: PartitionScope,
  record: LogRecord,
  findings: Findings,
): Promise<void> {
  const at = { from: record.position, to: record.position + 1n, id: record.id };
  const listed = parseListed(record);
  if (listed === null) {
    findings.add({ ...finding(heads, 'tampered', 'heads-log', 'the record is not a listed head'), ...at });
    return;
  }
  const target = scopes.find(({ origin }) => origin === listed.origin);
  if (target === undefined) {
    const strange = strangeTree(deps, scopes, listed.origin);
    if (strange === null) return;
    const detail = `heads lists size ${listed.size} of ${listed.origin}: ${strange.why}`;
    findings.add({ ...finding(heads, strange.verdict, 'heads-log', detail), ...at });
    return;
  }
  const answer =
    listed.size > target.sealed ? 'beyond' : await rootFromTiles(deps.tiles, target, listed.size);
  const claim = `heads lists size ${listed.size} and root ${toBase64(listed.root)} of ${listed.origin}`;
  if (answer === 'beyond') {
    findings.add({
      ...finding(target, 'tampered', 'heads-log', `${claim}, but only ${target.sealed} positions are sealed`),
      from: target.sealed,
      to: listed.size,
    });
  } else if (answer === null) {
    findings.add({
      ...finding(target, 'not checked', 'heads-log', `${claim}, but its tiles can't be read`),
      ...at,
    });
  } else if (Buffer.compare(answer, listed.root) !== 0) {
    findings.add({
      ...finding(target, 'tampered', 'heads-log', `${claim}, but the tiles give ${toBase64(answer)}`),
      from: 0n,
      to: listed.size,
    });
  }
}

/**
 * Whether a tree that is not looked at is one that this store may have: of a log that was not asked for, or one that
 * began anew since. Bundles are checked against every head that is listed, so a tree that nobody reads could hold a
 * second truth. `heads` was read before the others' epochs: what it lists is of no later one.
 */
function strangeTree(
  { name, logs }: Pick<VerifyDeps, 'name' | 'logs'>,
  scopes: readonly PartitionScope[],
  origin: string,
): { verdict: 'tampered' | 'not checked'; why: string } | null {
  const tree = treeOf(name, origin);
  if (tree === null) return { verdict: 'tampered', why: `that is no tree of ${name}` };
  const log = logs.find((one) => one.name === tree.log);
  if (log === undefined) return { verdict: 'not checked', why: `there is no log ${tree.log} here` };
  const partition = parseOrigin(origin)?.partition as number;
  if (partition >= log.partitions)
    return { verdict: 'tampered', why: `the log ${log.name} has no partition ${partition}` };
  const scope = scopes.find((one) => one.log === log.name && one.partition === partition);
  if (scope === undefined || tree.epoch <= scope.epoch) return null;
  return { verdict: 'tampered', why: `the newest tree of ${log.name}/${partition} is ${scope.origin}` };
}

function parseListed(record: LogRecord): { origin: string; size: bigint; root: Uint8Array } | null {
  try {
    if (record.body.form !== 'json') return null;
    const { origin, size, root } = JSON.parse(new TextDecoder().decode(record.body.bytes)) as Record<
      string,
      string
    >;
    const parsedSize = parseDecimal(size);
    const parsedRoot = fromBase64(root);
    if (parseOrigin(origin) === null || parsedSize === null || parsedRoot?.length !== 32) return null;
    return { origin, size: parsedSize, root: parsedRoot };
  } catch {
    return null;
  }
}

/** Adds the id of the record that stands where a finding begins, where there is one. */
export async function nameFindings(deps: VerifyDeps, list: readonly Finding[]): Promise<Finding[]> {
  const named: Finding[] = [];
  for (const [index, one] of list.entries()) {
    const log = deps.logs.find(({ name }) => name === one.log);
    const wanted =
      index < NAMED_MAX &&
      one.from !== null &&
      one.id === null &&
      log !== undefined &&
      one.check !== 'storage';
    const [record] = wanted ? await log.read(one.partition, one.from as bigint, 1).catch(() => []) : [];
    named.push(record !== undefined && record.position === one.from ? { ...one, id: record.id } : one);
  }
  return named;
}
