import { toBase64, toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant, leafOf } from '@evident/core/leaf.ts';
import { inclusionProof } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { type LogRecord, UNRECORDED_LOGS } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { formatTlogProof, verifyTlogProof } from '@evident/core/tlog-proof.ts';
import type { ConfigInput } from '../config.ts';
import type { EventHit, SoughtEvent } from '../query/ports.ts';
import { showEvent } from '../query/show.ts';
import { type EventJson, eventJson } from '../query/shown-event.ts';
import { tileLog } from '../seal/ports.ts';
import { EXIT_OF_VERDICT } from '../verify/finding.ts';
import { type CommandDeps, EXIT, type OpenedData } from './command-deps.ts';
import { printable } from './event-table.ts';
import type { Output } from './output.ts';
import { openQuerySource, operatorReader, type QueryOptions } from './query-source.ts';
import { driftText } from './wording.ts';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `audit/3/1234` */
export function parsePlace(text: string): { log: string; partition: number; position: bigint } {
  const match = /^([a-z0-9-]{1,32})\/(\d{1,4})\/(\d{1,18})$/.exec(text);
  if (match === null)
    throw new EvidentError(
      'usage-invalid',
      `${text} is not a place such as audit/3/1234 (log/partition/position)`,
    );
  return { log: match[1], partition: Number(match[2]), position: BigInt(match[3]) };
}

/** An id, or a place. */
export function parseSought(text: string): SoughtEvent {
  if (UUID.test(text)) return { id: text.toLowerCase() };
  if (text.includes('/')) return parsePlace(text);
  throw new EvidentError(
    'usage-invalid',
    `${text} is neither an id (a UUID) nor a place such as audit/3/1234`,
  );
}

export interface ShowOptions extends QueryOptions {
  /** Whose event: an id may stand in several tenants. */
  readonly tenant?: string;
}

/**
 * Prints a record: what the view knows of it, its leaf, and the proof that it is in the tree of the newest signed
 * head. Another server (--url) gives no proof yet. @returns 0, 1 or 2 as verify
 */
export async function runShow(
  deps: CommandDeps,
  input: ConfigInput,
  what: string,
  options: ShowOptions,
  output: Output,
): Promise<number> {
  const sought = parseSought(what);
  if (options.url !== undefined) return showThere(deps, input, what, sought, options, output);
  const data = await deps.open(input, { alone: false });
  try {
    const shown = await findHere(data, sought, options);
    if (shown === null) throw noSuchRecord(what);
    const { record, event } = shown;
    const leaf = leafOf(record);
    const proof = await prove(data, record, leaf);
    const place = `${record.log}/${record.partition}/${record.position}`;
    const corrections = shown.corrections.map(eventJson);
    const text = Buffer.from(leaf).toString();
    output.result({ place, event, leaf: text, leaf_hash: toHex(hashLeaf(leaf)), corrections, ...proof });
    print(record, output);
    printRow(event, corrections, output);
    printProof(leaf, proof, output);
    return EXIT_OF_VERDICT[proof.verdict];
  } finally {
    await data.close();
  }
}

function noSuchRecord(what: string): EvidentError {
  return new EvidentError('not-found', `there is no record ${what}`);
}

interface FoundRecord {
  readonly record: LogRecord;
  readonly event: EventJson | null;
  readonly corrections: readonly EventHit[];
}

/** Recorded before it is shown, but for the logs that are public; those have no rows either. */
async function findHere(
  data: OpenedData,
  sought: SoughtEvent,
  { tenant, why }: ShowOptions,
): Promise<FoundRecord | null> {
  if ('log' in sought && !data.logs.has(sought.log))
    throw new EvidentError('log-unknown', `there is no log ${sought.log}`);
  if ('log' in sought && UNRECORDED_LOGS.includes(sought.log)) {
    const [record] = (await data.logs.get(sought.log)?.read(sought.partition, sought.position, 1)) ?? [];
    return record === undefined || record.position !== sought.position
      ? null
      : { record, event: null, corrections: [] };
  }
  const named = { ...sought, ...(tenant === undefined ? {} : { tenant }) };
  const shown = await showEvent(data.query, operatorReader(why), named);
  if (shown === null) return null;
  const { record, hit, corrections } = shown;
  return { record, event: hit === null ? null : eventJson(hit), corrections };
}

async function showThere(
  deps: CommandDeps,
  input: ConfigInput,
  what: string,
  sought: SoughtEvent,
  options: ShowOptions,
  output: Output,
): Promise<number> {
  const source = await openQuerySource(deps, input, options);
  try {
    const shown = await source.show(sought, options.tenant);
    if (shown === null) throw noSuchRecord(what);
    const { event, leaf, leaf_hash, corrections } = shown;
    const verdict = 'not checked';
    const reason = 'the server at --url gives no proof; run this beside its data directory for one';
    output.result({ ...shown, verdict, reason });
    if (event !== null) output.line(`${event.log}/${event.partition}/${event.position}   id ${event.id}`);
    printRow(event, corrections, output);
    printLeaf(leaf, leaf_hash, output);
    output.line(`${verdict}: ${reason}`);
    return EXIT.notChecked;
  } finally {
    await source.close();
  }
}

interface ShownProof {
  readonly verdict: 'verified' | 'tampered' | 'not checked';
  readonly reason: string;
  /** C2SP tlog-proof, or null while the record is not sealed. */
  readonly proof: string | null;
  readonly vkey: string;
}

async function prove(
  data: OpenedData,
  { log, partition, position }: LogRecord,
  leaf: Uint8Array,
): Promise<ShownProof> {
  const seal = await data.heads.readSeal(log, partition);
  const epoch = seal?.epoch ?? 0;
  const origin = epochOrigin(data.name, log, partition, epoch);
  await data.verify.refreshKeys();
  const vkey = data.vkeyOf(origin, seal?.size ?? 0n);
  if (seal === null || seal.size <= position)
    return { verdict: 'not checked', reason: 'the record is not sealed yet', proof: null, vkey };
  const [head] = await data.heads.readHeads(log, partition, epoch, seal.size - 1n, 1);
  if (head === undefined)
    return {
      verdict: 'not checked',
      reason: `the signed head of size ${seal.size} is missing`,
      proof: null,
      vkey,
    };
  const read = readHashesFromTiles(head.size, async ({ level, index, width }) => {
    const tile = await data.tiles.read(
      tileLog(log, epoch),
      partition,
      level,
      index * BigInt(TILE_WIDTH),
      width,
    );
    if (tile === null) throw new EvidentError('not-found', `a tile of level ${level} is missing`);
    return tile;
  });
  try {
    const hashes = await inclusionProof(position, head.size, read);
    const proof = formatTlogProof({ index: position, hashes, treeHead: head.note });
    const checked = verifyTlogProof(proof, hashLeaf(leaf), [data.verifierOf(origin, head.size)], origin);
    const text = Buffer.from(proof).toString();
    if (checked.ok)
      return {
        verdict: 'verified',
        reason: `in the tree of size ${head.size}, root ${toBase64(head.root)}`,
        proof: text,
        vkey,
      };
    return { verdict: 'tampered', reason: checked.reason, proof: text, vkey };
  } catch (error) {
    return { verdict: 'not checked', reason: (error as Error).message, proof: null, vkey };
  }
}

function print(record: LogRecord, output: Output): void {
  output.line(
    `${record.log}/${record.partition}/${record.position}   appended ${formatInstant(record.appendedAt)}`,
  );
  output.line(`  id      ${record.id}`);
  output.line(
    `  tenant  ${record.tenant}   source ${record.source}${record.sourceSeq === null ? '' : ` ${record.sourceSeq}`}   type ${record.type}   key ${record.key}`,
  );
  if (record.meta !== null) output.line(`  meta    ${record.meta}`);
}

/** What the view knows of it. */
function printRow(event: EventJson | null, corrections: readonly EventJson[], output: Output): void {
  if (event === null) {
    output.line('  row     none: the view does not show it (evident dlq list tells of dead letters)');
    return;
  }
  const { event_time, timed, drift_us, actor_id, actor_type, action, result, ip, correlation_id } = event;
  const and = (label: string, text: string | null) => (text === null ? '' : `   ${label} ${printable(text)}`);
  output.line(
    `  event   ${timed ? event_time : 'tells no time'}${and('drift', drift_us === null ? null : driftText(drift_us))}   by ${event.mapper}`,
  );
  output.line(`  who     ${printable(actor_id ?? '-')}${and('type', actor_type)}${and('from', ip)}`);
  output.line(
    `  did     ${printable(action ?? '-')}${and('result', result)}${and('correlation', correlation_id)}`,
  );
  output.line(`  to      ${printable(event.resource_id ?? '-')}${and('type', event.resource_type)}`);
  for (const { id, corrects, event_time: at, actor_id: by } of corrections)
    output.line(
      `  ${corrects === event.id ? 'corrected by' : 'corrects'} ${id}   ${at} by ${printable(by ?? '-')}`,
    );
}

function printLeaf(leaf: string, leafHash: string, output: Output): void {
  output.line();
  output.line('Leaf (one line, exactly these bytes are hashed):');
  output.line(leaf);
  output.line();
  output.line(`SHA-256(0x00 ‖ leaf)  ${leafHash}`);
}

function printProof(leaf: Uint8Array, proof: ShownProof, output: Output): void {
  printLeaf(Buffer.from(leaf).toString(), toHex(hashLeaf(leaf)), output);
  output.line(`${proof.verdict}: ${proof.reason}`);
  output.line(`vkey of this tree: ${proof.vkey}`);
  if (proof.proof !== null) {
    output.line();
    output.line(proof.proof.trimEnd());
  }
}
