import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant, leafOf } from '@evident/core/leaf.ts';
import { TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import type { ConfigInput } from '../config.ts';
import type { Log } from '../log/log.ts';
import { tileLog } from '../seal/ports.ts';
import { describeFinding, type Finding } from '../verify/finding.ts';
import {
  INVESTIGATE_POSITIONS_MAX,
  type InvestigatedPlace,
  investigatePlace,
  NEIGHBOURS,
  type SealedTree,
  sealedTree,
} from '../verify/investigate.ts';
import { verify } from '../verify/verify.ts';
import { type CommandDeps, EXIT, type OpenedData } from './command-deps.ts';
import { bigintAsText, type Output, ProgressBar } from './output.ts';
import { operatorReader } from './query-source.ts';
import { countOf } from './wording.ts';

export interface InvestigateOptions {
  /** A new or empty folder. */
  readonly out: string;
  readonly why?: string;
}

/** Positions of one partition, `to` not among them. */
interface Stretch {
  readonly log: string;
  readonly partition: number;
  readonly from: bigint;
  readonly to: bigint;
}

const WIDTH = BigInt(TILE_WIDTH);

/** `audit/3/7`, or `audit/3/7..12` with both ends in it. */
export function parseStretch(text: string): Stretch {
  const match = /^([a-z0-9-]{1,32})\/(\d{1,4})\/(\d{1,18})(?:\.\.(\d{1,18}))?$/.exec(text);
  const from = BigInt(match?.[3] ?? 0);
  const last = BigInt(match?.[4] ?? match?.[3] ?? 0);
  if (match === null || last < from)
    throw new EvidentError(
      'usage-invalid',
      `${text} is not a place such as audit/3/1234 or audit/3/1234..1240 (log/partition/position)`,
    );
  return { log: match[1], partition: Number(match[2]), from, to: last + 1n };
}

/**
 * Looks at a place, or without one at every place that verify finds something at: what stands there, what was sealed,
 * where copies may be. What is evidence is copied into a folder; nothing is repaired.
 * @returns 0 everything is as sealed, 1 something is not, 2 something could not be checked
 */
export async function runInvestigate(
  deps: CommandDeps,
  input: ConfigInput,
  place: string | undefined,
  options: InvestigateOptions,
  output: Output,
): Promise<number> {
  if (existsSync(options.out) && readdirSync(options.out).length > 0)
    throw new EvidentError('usage-invalid', `--out: ${options.out} is not empty`);
  const asked = place === undefined ? null : parseStretch(place);
  const data = await deps.open(input, { alone: false });
  try {
    const findings = asked === null ? await findFindings(data) : [];
    const stretches = asked === null ? stretchesOf(findings) : [asked];
    const isRecorded = await recordRead(data, stretches, options.why);
    const evidence = new EvidenceFolder(options.out);
    const places = await investigateAll(data, stretches, evidence);
    const report = {
      name: data.name,
      at: formatInstant(deps.clock()),
      read_recorded: isRecorded,
      findings,
      places: places.map(placeJson),
    };
    evidence.write('report.json', Buffer.from(`${JSON.stringify(report, bigintAsText, 2)}\n`));
    const files = evidence.close();
    output.result({ ...report, out: options.out, files });
    print(findings, places, isRecorded, output);
    output.line();
    output.line(
      `${options.out}: ${countOf(files, 'file')}, with hashes in SHA256SUMS. Nothing was repaired.`,
    );
    return exitOf(findings, places);
  } finally {
    await data.close();
  }
}

async function findFindings(data: OpenedData): Promise<readonly Finding[]> {
  const bar = new ProgressBar('verifying');
  const report = await verify(data.verify, null, ({ done, total }) =>
    bar.update(Number(done), Number(total), 'records'),
  );
  bar.end();
  return report.findings;
}

/** The places of findings; those of whole partitions, or of none, are told, and have no place to look at. */
function stretchesOf(findings: readonly Finding[]): Stretch[] {
  const stretches = new Map<string, Stretch>();
  for (const { log, partition, from, to } of findings)
    if (from !== null && to !== null)
      stretches.set(`${log}/${partition}/${from}/${to}`, { log, partition, from, to });
  return [...stretches.values()];
}

/** A broken log may not take the record of this read; then that is part of the evidence, and of the answer. */
async function recordRead(
  data: OpenedData,
  stretches: readonly Stretch[],
  why: string | undefined,
): Promise<boolean> {
  const places = stretches
    .slice(0, 20)
    .map(({ log, partition, from, to }) => `${log}/${partition}/${from}..${to - 1n}`);
  try {
    await data.query.recorder.record(operatorReader(why), {
      action: 'audit.read',
      resource: { type: 'log', id: stretches[0]?.log ?? 'audit' },
      tenant: null,
      details: { question: 'investigate', places },
    });
    return true;
  } catch {
    return false;
  }
}

async function investigateAll(
  data: OpenedData,
  stretches: readonly Stretch[],
  evidence: EvidenceFolder,
): Promise<InvestigatedPlace[]> {
  const places: InvestigatedPlace[] = [];
  for (const { log: name, partition, from, to } of stretches) {
    const log = data.logs.get(name);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${name}`);
    if (partition >= log.partitions)
      throw new EvidentError('not-found', `${name} has ${log.partitions} partitions, counted from 0`);
    const deps = { ...data.verify, copies: data.copies };
    const tree = await sealedTree(deps, name, partition);
    const before = places.length;
    for (let position = from; position < to && places.length < INVESTIGATE_POSITIONS_MAX; position++)
      places.push(await investigatePlace(deps, log, partition, position, tree));
    const seen = places.slice(before);
    if (seen.length > 0) await preserve(data, log, partition, seen, tree, evidence);
    if (places.length === INVESTIGATE_POSITIONS_MAX) break;
  }
  return places;
}

/** Leaves of the places and their neighbours, level-0 tiles, the newest head and the one before the places, the signer's word. */
async function preserve(
  data: OpenedData,
  log: Log,
  partition: number,
  places: readonly InvestigatedPlace[],
  { epoch, head }: SealedTree,
  evidence: EvidenceFolder,
): Promise<void> {
  const tree = `${log.name}-${partition}`;
  const first = places[0].position;
  const last = places[places.length - 1].position;
  const start = first > NEIGHBOURS ? first - NEIGHBOURS : 0n;
  for (let from = start; from <= last + NEIGHBOURS; ) {
    const records = await log.read(partition, from, Number(last + NEIGHBOURS - from) + 1);
    for (const record of records)
      if (record.position <= last + NEIGHBOURS)
        evidence.write(`${tree}/leaf-${record.position}.json`, leafOf(record));
    if (records.length === 0) break;
    from = records[records.length - 1].position + 1n;
  }
  if (head === null) return;
  evidence.write(`${tree}/head-${head.size}.note`, head.note);
  const covering = await data.heads.readHeads(log.name, partition, epoch, first, 1);
  for (const { size, note } of covering) evidence.write(`${tree}/head-${size}.note`, note);
  for (let tile = first / WIDTH; tile <= last / WIDTH && tile * WIDTH < head.size; tile++) {
    const rest = head.size - tile * WIDTH;
    const width = rest < WIDTH ? Number(rest) : TILE_WIDTH;
    const hashes = await data.tiles.read(tileLog(log.name, epoch), partition, 0, tile * WIDTH, width);
    if (hashes !== null) evidence.write(`${tree}/tile-0-${tile}-${width}.hashes`, hashes);
  }
}

/** Files that are written once, and a list of their hashes as sha256sum checks it. */
class EvidenceFolder {
  readonly #folder: string;
  readonly #sums = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A name that is there already stands for the same bytes: heads and neighbours of two places may be one. */
  write(name: string, bytes: Uint8Array): void {
    if (this.#sums.has(name)) return;
    const file = join(this.#folder, name);
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
    writeFileSync(file, bytes, { mode: 0o400, flag: 'wx' });
    this.#sums.set(name, createHash('sha256').update(bytes).digest('hex'));
  }

  /** @returns how many files there are */
  close(): number {
    const lines = [...this.#sums].map(([name, sum]) => `${sum}  ${name}\n`);
    writeFileSync(join(this.#folder, 'SHA256SUMS'), lines.join(''), { mode: 0o400, flag: 'wx' });
    return this.#sums.size;
  }
}

function hexOrNull(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : toHex(bytes);
}

function placeJson({
  log,
  partition,
  position,
  state,
  why,
  record,
  leafHash,
  sealedHash,
  copies,
}: InvestigatedPlace) {
  return {
    place: `${log}/${partition}/${position}`,
    state,
    why,
    id: record?.id ?? null,
    leaf_hash: hexOrNull(leafHash),
    sealed_hash: hexOrNull(sealedHash),
    copies,
  };
}

function print(
  findings: readonly Finding[],
  places: readonly InvestigatedPlace[],
  isRecorded: boolean,
  output: Output,
): void {
  for (const finding of findings.slice(0, 20)) output.line(describeFinding(finding));
  if (findings.length > 20) output.line(`… and ${countOf(findings.length - 20, 'more finding')}`);
  if (findings.length > 0) output.line();
  if (places.length === 0) output.line('verify finds nothing at any place.');
  for (const place of places) {
    const { record, leafHash, sealedHash, copies } = place;
    output.line(`${place.log}/${place.partition}/${place.position}  ${place.state}: ${place.why}`);
    if (record !== null) {
      const { id, tenant, source, type } = record;
      output.line(`  now     id ${id}, tenant ${tenant}, source ${source}, type ${type}`);
    }
    if (leafHash !== null && place.state !== 'as sealed')
      output.line(`  now     SHA-256(0x00 ‖ leaf) ${toHex(leafHash)}`);
    if (sealedHash !== null) output.line(`  sealed  SHA-256(0x00 ‖ leaf) ${toHex(sealedHash)}`);
    for (const { where, found, what } of copies)
      output.line(`  ${where.padEnd(13)} ${found === null ? 'perhaps' : found ? 'yes' : 'no'}: ${what}`);
  }
  if (places.length === INVESTIGATE_POSITIONS_MAX)
    output.line(`these are the first ${INVESTIGATE_POSITIONS_MAX} positions; name others for more`);
  if (!isRecorded)
    output.line('The log did not take a record of this read: note elsewhere who looked, and why.');
}

function exitOf(findings: readonly Finding[], places: readonly InvestigatedPlace[]): number {
  const isTampered =
    findings.some(({ verdict }) => verdict === 'tampered') ||
    places.some(({ state }) => state === 'changed' || state === 'missing' || state === 'tile changed');
  if (isTampered) return EXIT.tampered;
  const isFine = findings.length === 0 && places.every(({ state }) => state === 'as sealed');
  return isFine ? EXIT.success : EXIT.notChecked;
}
