import { toBase64, toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant, leafOf } from '@evident/core/leaf.ts';
import { inclusionProof } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { formatTlogProof, verifyTlogProof } from '@evident/core/tlog-proof.ts';
import type { ConfigInput } from '../config.ts';
import { tileLog } from '../seal/ports.ts';
import { type CommandDeps, EXIT, type OpenedData } from './command-deps.ts';
import type { Output } from './output.ts';

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

/** Prints a record, its leaf, and the proof that it is in the tree of the newest signed head. @returns 0, 1 or 2 as verify */
export async function runShow(
  deps: CommandDeps,
  input: ConfigInput,
  place: string,
  output: Output,
): Promise<number> {
  const { log, partition, position } = parsePlace(place);
  const data = await deps.open(input, { alone: false });
  try {
    const target = data.logs.get(log);
    if (target === undefined) throw new EvidentError('log-unknown', `there is no log ${log}`);
    const [record] = await target.read(partition, position, 1);
    if (record === undefined || record.position !== position)
      throw new EvidentError('not-found', `there is no record at ${place}`);
    const leaf = leafOf(record);
    const proof = await prove(data, record, leaf);
    output.result({ place, leaf: Buffer.from(leaf).toString(), leaf_hash: toHex(hashLeaf(leaf)), ...proof });
    print(record, leaf, proof, output);
    return { verified: EXIT.success, tampered: EXIT.tampered, 'not checked': EXIT.notChecked }[proof.verdict];
  } finally {
    await data.close();
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
  const vkey = data.vkeyOf(origin);
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
    const checked = verifyTlogProof(proof, hashLeaf(leaf), [data.verifierOf(origin)], origin);
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

function print(record: LogRecord, leaf: Uint8Array, proof: ShownProof, output: Output): void {
  output.line(
    `${record.log}/${record.partition}/${record.position}   appended ${formatInstant(record.appendedAt)}`,
  );
  output.line(`  id      ${record.id}`);
  output.line(
    `  tenant  ${record.tenant}   source ${record.source}${record.sourceSeq === null ? '' : ` ${record.sourceSeq}`}   type ${record.type}   key ${record.key}`,
  );
  if (record.meta !== null) output.line(`  meta    ${record.meta}`);
  output.line();
  output.line('Leaf (one line, exactly these bytes are hashed):');
  output.line(Buffer.from(leaf).toString());
  output.line();
  output.line(`SHA-256(0x00 ‖ leaf)  ${toHex(hashLeaf(leaf))}`);
  output.line(`${proof.verdict}: ${proof.reason}`);
  output.line(`vkey of this tree: ${proof.vkey}`);
  if (proof.proof !== null) {
    output.line();
    output.line(proof.proof.trimEnd());
  }
}
