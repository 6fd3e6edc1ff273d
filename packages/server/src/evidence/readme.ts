/**
 * README.txt of a bundle: what it is, what it shows and what not, and how to check it by hand. Every line that is
 * indented by four spaces is a command of a POSIX shell; together, in order, they fail where something is wrong.
 */

import { encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import {
  bodyPath,
  encodeSegment,
  headPaths,
  RECORDS_PATH,
  recordProofPath,
  timestampPath,
  treeFolder,
  treeTilePath,
} from '@evident/core/evidence/bundle-layout.ts';
import type { BundleScope } from '@evident/core/evidence/manifest.ts';
import { TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { parseVkey } from '@evident/core/note.ts';
import type { WrittenRecords } from './bundle.ts';
import { vkeyAt } from './bundle-documents.ts';
import type { BundlePlan, PlannedTree } from './bundle-plan.ts';
import type { EvidenceDeps } from './ports.ts';

/** DER of a SubjectPublicKeyInfo of Ed25519 up to its 32 bytes (RFC 8410 §4). */
const SPKI_PREFIX = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);
/** Hashes of a tlog-proof begin in this line. */
const PROOF_LINE = 3;

export async function readmeOf(
  deps: EvidenceDeps,
  plan: BundlePlan,
  written: WrittenRecords,
): Promise<Uint8Array> {
  const { top, topOrigin } = plan;
  const vkey = await vkeyAt(deps, topOrigin, top.size, top.size);
  const anchors = await deps.anchorsOf(top.epoch, top.size);
  const authorities = anchors
    .filter(({ kind }) => kind === 'timestamp')
    .map(({ by }) => by)
    .sort();
  const first = plan.trees.find(({ positions }) => positions.length > 0) ?? null;
  const listed = first ?? plan.trees[0] ?? null;
  const parts = [
    about(deps.name, plan),
    shows(plan),
    byProgram(),
    filesByHand(),
    signatureByHand(topOrigin, top.size, vkey),
    ...(first === null ? [] : [recordByHand(plan, first, written)]),
    ...(listed === null ? [] : [headByHand(plan, listed)]),
    ...authorities.map((authority) => timestampByHand(topOrigin, top.size, authority)),
  ];
  return encodeUtf8(`${parts.map((lines) => lines.join('\n')).join('\n\n')}\n`);
}

function scopeText(scope: BundleScope): string {
  switch (scope.kind) {
    case 'selection': {
      const members = Object.entries(scope.filter).map(
        ([name, value]) => `${name} = ${JSON.stringify(value)}`,
      );
      return `a selection: records for which ${members.length === 0 ? 'nothing is asked' : members.join(' and ')}`;
    }
    case 'tenant-hours':
      return `all records of the tenant ${scope.tenant} in the log ${scope.log}, append hours ${scope.from} to ${scope.to} (UTC, both included)`;
    case 'record':
      return `the record ${scope.id}`;
  }
}

function about(name: string, plan: BundlePlan): string[] {
  return [
    'EVIDENCE BUNDLE',
    '',
    `From the log ${name}: ${scopeText(plan.scope)}.`,
    `Records: ${plan.records}. They stand in ${RECORDS_PATH}, a line each, ascending by log, partition and position.`,
    `Everything leads to one signed tree head: ${plan.topOrigin}, size ${plan.top.size}.`,
  ];
}

function shows({ scope, records }: BundlePlan): string[] {
  const own =
    scope.kind === 'tenant-hours'
      ? [
          `- That these are the ${records} records that the log committed to for ${scope.tenant}, append hours ${scope.from} to ${scope.to}:`,
          '  none is missing, none was added, none was moved (windows.json).',
        ]
      : [];
  const not =
    scope.kind === 'tenant-hours'
      ? [
          '- That the application captured everything.',
          "- That the operator's windows hold every record of the tenant: who sees all records of the log checks that",
          '  (evident verify).',
        ]
      : ['- That nothing was left out: this is a selection.', '- That the application captured everything.'];
  return [
    'WHAT IT SHOWS',
    '- That each record has stood in the log, unchanged and in its place, since the tree head was signed.',
    ...own,
    '',
    'WHAT IT DOES NOT SHOW',
    ...not,
    '- That what a record says is true.',
    '- When the head was signed, unless a timestamp of an authority that you trust is here (timestamps/); and that the',
    '  operator showed the same log to everybody, unless witnesses run by others cosigned (heads/*.cosignatures).',
  ];
}

function byProgram(): string[] {
  return [
    'CHECK IT',
    'You need the verifier key of the log. Get it from somebody other than whoever gave you this folder. Then, offline:',
    '',
    '  evident check FOLDER --vkey KEY',
    '',
    'It answers verified (exit code 0), tampered (1) or not checked (2). Each signed head and each proof is also a file of a',
    'public format (c2sp.org: signed-note, tlog-checkpoint, tlog-tiles, tlog-proof; RFC 6962; RFC 3161) that any tool of that',
    'format reads. That a proof belongs to a head, and a head to the log heads, is what evident check puts together; the',
    'commands below do it for the first record. They need a POSIX shell in this folder, coreutils and openssl 3.',
  ];
}

function filesByHand(): string[] {
  return [
    'BY HAND 1: every file is the one that manifest.json lists',
    '',
    '    W=$(mktemp -d)',
    `    tr '{' '\\n' < manifest.json | sed -n 's/.*"path":"\\([^"]*\\)","size":"[0-9]*","sha256":"\\([0-9a-f]*\\)".*/\\2  \\1/p' > "$W/files"`,
    '    sha256sum --check --quiet "$W/files"',
  ];
}

/** A text as one word of a POSIX shell: names may hold quotes. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A comparison that says so and fails when the two differ. */
function same(a: string, b: string): string {
  return `    test "$(${a})" = "$(${b})" || { echo DIFFERENT; false; }`;
}

function signatureByHand(origin: string, size: bigint, vkey: string): string[] {
  const key = parseVkey(vkey);
  if (!key.ok) throw new Error(`the key of ${origin} is no vkey: ${key.reason}`);
  const der = new Uint8Array(SPKI_PREFIX.length + key.value.publicKey.length);
  der.set(SPKI_PREFIX);
  der.set(key.value.publicKey, SPKI_PREFIX.length);
  return [
    'BY HAND 2: the signature of the head',
    'The key stands here so that the commands can be copied; compare it with the one that you were given:',
    '',
    `  ${vkey}`,
    '',
    `    H='${headPaths(origin, size).checkpoint}'`,
    `    printf '%s\\n' '-----BEGIN PUBLIC KEY-----' '${toBase64(der)}' '-----END PUBLIC KEY-----' > "$W/key.pem"`,
    `    sed '/^$/,$d' "$H" > "$W/text"`,
    `    sed '1,/^$/d' "$H" | grep -F -m 1 ${quoted(` ${origin} `)} | cut -d ' ' -f 3 | base64 -d | tail -c +5 > "$W/signature"`,
    '    openssl pkeyutl -verify -pubin -inkey "$W/key.pem" -rawin -in "$W/text" -sigfile "$W/signature"',
    same('sed -n 1p "$H"', `printf '%s\\n' ${quoted(origin)}`),
  ];
}

/** Leaf hash: SHA-256(0x00 ‖ leaf). */
function hashLeafOf(command: string): string {
  return `    { printf '\\000'; ${command}; } | openssl dgst -sha256 -binary > "$W/hash"`;
}

/**
 * On which side each hash of an inclusion proof stands (RFC 9162 §2.1.3.2). True: left.
 * @param index below `size`
 */
export function siblingSides(index: bigint, size: bigint): boolean[] {
  const sides: boolean[] = [];
  for (let node = index, last = size - 1n; last > 0n; [node, last] = [node >> 1n, last >> 1n]) {
    const isRight = (node & 1n) === 1n;
    // The last node of a level that has no sibling there rises as it is.
    if (isRight || node !== last) sides.push(isRight);
  }
  return sides;
}

/** Goes from a leaf hash up to the root: SHA-256(0x01 ‖ left ‖ right) at each step. */
function climb(index: bigint, size: bigint, proof: string): string[] {
  return siblingSides(index, size).map((isLeft, at) => {
    const sibling = `sed -n ${PROOF_LINE + at}p '${proof}' | base64 -d`;
    const [left, right] = isLeft ? [sibling, 'cat "$W/hash"'] : ['cat "$W/hash"', sibling];
    return `    { printf '\\001'; ${left}; ${right}; } | openssl dgst -sha256 -binary > "$W/next" && mv "$W/next" "$W/hash"`;
  });
}

function recordByHand(plan: BundlePlan, tree: PlannedTree, { ids, body }: WrittenRecords): string[] {
  const position = BigInt(tree.positions[0]);
  const { head, origin } = tree;
  const inTree =
    plan.proofs === 'each'
      ? [
          `The first record is leaf ${position} of ${origin}. Its proof leads to the root of that tree:`,
          '',
          hashLeafOf(`sed -n 1p ${RECORDS_PATH} | tr -d '\\n'`),
          ...climb(position, head.size, recordProofPath(ids[0], 1)),
          same('base64 < "$W/hash"', `sed -n 3p '${headPaths(origin, head.size).checkpoint}'`),
        ]
      : [
          `The first record is leaf ${position} of ${origin}. Its hash stands in a tile of level 0; each full tile hashes,`,
          'pair by pair, to one hash of the tile above it (c2sp.org/tlog-tiles), up to the root:',
          '',
          hashLeafOf(`sed -n 1p ${RECORDS_PATH} | tr -d '\\n'`),
          same(
            'base64 < "$W/hash"',
            `tail -c +${offsetInTile(position) + 1} '${tileOf(tree, position)}' | head -c ${HASH_BYTES} | base64`,
          ),
          same(
            `cat '${treeFolder(tree.log, tree.partition, head.epoch)}checkpoint'`,
            `cat '${headPaths(origin, head.size).checkpoint}'`,
          ),
        ];
  return [
    'BY HAND 3: a record stands in its tree',
    ...inTree,
    ...(body === null
      ? []
      : [
          '',
          'A body that does not fit into its leaf is named there by its SHA-256:',
          '',
          same(
            `sha256sum < '${bodyPath(body)}' | cut -c 1-64`,
            `grep -o -m 1 '${body}' ${RECORDS_PATH} | head -n 1`,
          ),
        ]),
  ];
}

function offsetInTile(position: bigint): number {
  return Number(position % BigInt(TILE_WIDTH)) * HASH_BYTES;
}

function tileOf({ log, partition, head }: PlannedTree, position: bigint): string {
  const width = BigInt(TILE_WIDTH);
  const index = position / width;
  const tile = { level: 0, index, width: index < head.size / width ? TILE_WIDTH : Number(head.size % width) };
  return treeTilePath(treeFolder(log, partition, head.epoch), tile);
}

function headByHand({ top, topOrigin }: BundlePlan, { origin, head }: PlannedTree): string[] {
  const paths = headPaths(origin, head.size);
  return [
    `BY HAND 4: the head of ${origin} stands in ${topOrigin}, which is signed`,
    'The record that lists it holds its size and its root, and is a leaf of the tree whose signature was checked above:',
    '',
    `    grep -q -F ${quoted(`"origin":${JSON.stringify(origin)},"size":"${head.size}","root":"`)}"$(sed -n 3p '${paths.checkpoint}')"'"' '${paths.leaf}'`,
    hashLeafOf(`cat '${paths.leaf}'`),
    ...climb(head.position, top.size, paths.proof),
    same('base64 < "$W/hash"', 'sed -n 3p "$H"'),
  ];
}

function timestampByHand(origin: string, size: bigint, authority: string): string[] {
  return [
    `BY HAND 5: the timestamp of ${encodeSegment(authority)}`,
    'ROOTS is the file with the root certificates of the authority; get it from the authority:',
    '',
    `    openssl ts -verify -data '${headPaths(origin, size).checkpoint}' -in '${timestampPath(authority, size)}' -CAfile "$ROOTS"`,
  ];
}
