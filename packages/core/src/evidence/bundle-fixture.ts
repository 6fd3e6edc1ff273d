/**
 * A small installation in memory, and the bundles that it gives: for tests of the checker and of those who write bundles.
 * Everything in it follows from the options: the same options give the same bytes.
 */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { concatBytes, encodeUtf8, toBase64, toHex } from '../bytes.ts';
import { formatTreeHead } from '../checkpoint.ts';
import {
  type CosignatureFunctions,
  type CosignerKey,
  cosignatureMessage,
  cosignerKey,
  formatTimestampedSignature,
} from '../cosignature.ts';
import { derivedId, headId, hourId } from '../derived-id.ts';
import { formatHour, leafOf } from '../leaf.ts';
import { inclusionProof } from '../merkle/proof.ts';
import { listTiles, readHashesFromTiles, type TileId, tilePath } from '../merkle/tile.ts';
import { rootOf } from '../merkle/tree.ts';
import { type Signer, signNote, type VerifierKey, verifierKey } from '../note.ts';
import { epochOrigin } from '../origin.ts';
import type { Body, LogRecord } from '../record.ts';
import { hashLeaf, sha256 } from '../sha256.ts';
import { formatTlogProof } from '../tlog-proof.ts';
import type { TimestampCheck } from './check-anchors.ts';
import { formatHeadBody } from './head-body.ts';
import { formatKeyRotation, rotationId } from './key-rotation.ts';
import { formatWindowBody, type PositionRange, windowId } from './window.ts';

const PRIVATE_DER = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b6570032100', 'hex');

export const FIXTURE_NAME = 'log.example/evident';
/** 2026-11-20T10:00:00Z. */
const BEGIN_US = 1_795_168_800_000_000n;
const HOUR_US = 3_600_000_000n;

export interface FixtureKey {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** An Ed25519 key whose seed is one byte, repeated. */
export function fixtureKey(seed: number): FixtureKey {
  const der = Buffer.concat([PRIVATE_DER, Buffer.alloc(32, seed)]);
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  return {
    publicKey: new Uint8Array(spki.subarray(PUBLIC_DER.length)),
    sign: (message) => new Uint8Array(sign(null, message, secret)),
  };
}

export const fixtureSignatures: CosignatureFunctions = {
  ed25519: (key, message, signature) => {
    const der = Buffer.concat([PUBLIC_DER, key]);
    return verify(null, message, createPublicKey({ key: der, format: 'der', type: 'spki' }), signature);
  },
};

export function verifierKeyOf(origin: string, { publicKey }: FixtureKey): VerifierKey {
  return verifierKey(origin, 'ed25519', publicKey);
}

function signerOf(origin: string, key: FixtureKey): Signer {
  const { name, keyId } = verifierKeyOf(origin, key);
  return { name, keyId, sign: key.sign };
}

/** One tree: its leaves, and the hashes of every level of its tiles. */
export class FixtureTree {
  readonly origin: string;
  readonly log: string;
  readonly partition: number;
  readonly leaves: Uint8Array[] = [];
  readonly records: LogRecord[] = [];
  readonly hashes: Uint8Array[] = [];
  /** Keys, and the last size that each signs; oldest first. */
  readonly keys: { readonly key: FixtureKey; upTo: number }[];

  constructor(log: string, partition: number, key: FixtureKey) {
    this.log = log;
    this.partition = partition;
    this.origin = epochOrigin(FIXTURE_NAME, log, partition, 0);
    this.keys = [{ key, upTo: Number.POSITIVE_INFINITY }];
  }

  /** Another key signs what is larger than the tree is now. */
  rotate(key: FixtureKey): void {
    this.keys.at(-1)!.upTo = this.leaves.length;
    this.keys.push({ key, upTo: Number.POSITIVE_INFINITY });
  }

  append(record: Omit<LogRecord, 'log' | 'partition' | 'position'>): LogRecord {
    const { log, partition } = this;
    const whole: LogRecord = { ...record, log, partition, position: BigInt(this.leaves.length) };
    const leaf = leafOf(whole);
    this.records.push(whole);
    this.leaves.push(leaf);
    this.hashes.push(hashLeaf(leaf));
    return whole;
  }

  root(size: number): Uint8Array {
    return rootOf(this.hashes.slice(0, size));
  }

  /** The signed head of a size. */
  head(size: number): Uint8Array {
    const text = formatTreeHead({ origin: this.origin, size: BigInt(size), root: this.root(size) });
    return signNote(text, [signerOf(this.origin, this.keys.find(({ upTo }) => size <= upTo)!.key)]);
  }

  tile({ level, index, width }: TileId): Uint8Array {
    const span = 256 ** level;
    const from = Number(index) * 256;
    return concatBytes(
      Array.from({ length: width }, (_, i) =>
        level === 0
          ? this.hashes[from + i]!
          : rootOf(this.hashes.slice((from + i) * span, (from + i + 1) * span)),
      ),
    );
  }

  async proof(position: number, size: number): Promise<Uint8Array> {
    const read = readHashesFromTiles(BigInt(size), async (tile) => this.tile(tile));
    const hashes = await inclusionProof(BigInt(position), BigInt(size), read);
    return formatTlogProof({ index: BigInt(position), hashes, treeHead: this.head(size) });
  }

  /** The tiles that some leaves need to be held against the root at a size, with their paths. */
  neededTiles(positions: readonly number[], size: number): Map<string, Uint8Array> {
    const all = new Map([...listTiles(0n, BigInt(size))].map((tile) => [tilePath(tile), tile]));
    const needed = new Map<string, Uint8Array>();
    const full = (level: number, index: number): TileId => ({ level, index: BigInt(index), width: 256 });
    for (const [path, tile] of all) if (tile.width < 256) needed.set(path, this.tile(tile));
    for (const position of positions) {
      let index = Math.floor(position / 256);
      for (let level = 0; all.has(tilePath(full(level, index))); level++) {
        const tile = full(level, index);
        if (!needed.has(tilePath(tile))) needed.set(tilePath(tile), this.tile(tile));
        index = Math.floor(index / 256);
      }
    }
    return needed;
  }
}

export interface FixtureOptions {
  /** Seed byte of the key; default 1. */
  readonly keySeed?: number;
  /** Records of each tenant, hour and partition; default 3. */
  readonly records?: number;
  readonly partitions?: number;
  /** Hours from 10 on. */
  readonly hours?: number;
  /** Rotations of the key, spread over the hours; default 0. */
  readonly rotations?: number;
}

/** A rotation of the fixture: where its record stands, and the size of heads/0 that it is proven under. */
export interface FixtureRotation {
  readonly position: number;
  readonly headSize: number;
}

/** The log `audit` over some hours, with tenants acme and globex, its windows and the heads of all. */
export class FixtureInstallation {
  readonly key: FixtureKey;
  readonly audit: readonly FixtureTree[];
  readonly windows: FixtureTree;
  readonly heads: FixtureTree;
  /** Bodies of records whose leaf holds a hash. */
  readonly bodies = new Map<string, Uint8Array>();
  /** Positions of window records, by tenant, in order. */
  readonly windowsOf = new Map<string, { hour: string; position: number }[]>();
  /** Position in heads/0 of the record that lists a head. */
  readonly listings = new Map<string, number>();
  /** Sizes of heads/0 that were signed, ascending. */
  readonly headSizes: number[] = [];
  readonly rotations: FixtureRotation[] = [];
  /** The newest key. */
  newest: FixtureKey;
  #clock = BEGIN_US;

  constructor(options: FixtureOptions = {}) {
    const { keySeed = 1, records = 3, partitions = 2, hours = 4, rotations = 0 } = options;
    this.key = fixtureKey(keySeed);
    this.newest = this.key;
    this.audit = Array.from({ length: partitions }, (_, i) => new FixtureTree('audit', i, this.key));
    this.windows = new FixtureTree('windows', 0, this.key);
    this.heads = new FixtureTree('heads', 0, this.key);
    for (let hour = 0; hour < hours; hour++) {
      this.#fillHour(hour, records);
      if (hour < rotations) this.rotate(fixtureKey(keySeed + 100 + hour));
      // Halfway there is an older head of everything, listed like the newest.
      if (hour === Math.floor(hours / 2)) this.listAll();
    }
    this.listAll();
  }

  get vkeyOrigin(): string {
    return this.heads.origin;
  }

  #system(
    type: string,
    id: string,
    body: Body,
    tenant = '_system',
  ): Omit<LogRecord, 'log' | 'partition' | 'position'> {
    const rest = { source: 'evident', sourceSeq: null, schema: 0, key: '_system', meta: null };
    return { id, appendedAt: this.#clock, tenant, type, body, ...rest };
  }

  #fillHour(hour: number, records: number): void {
    this.#clock = BEGIN_US + BigInt(hour) * HOUR_US;
    const ranges: PositionRange[] = [];
    for (const tree of this.audit) {
      this.#clock = BEGIN_US + BigInt(hour) * HOUR_US + BigInt(tree.partition);
      const from = BigInt(tree.leaves.length);
      if (hour > 0) {
        const closes = formatHour(this.#clock - HOUR_US);
        const body = encodeUtf8(JSON.stringify({ closes }));
        const id = hourId('audit', tree.partition, closes);
        tree.append(this.#system('log.hour', id, { form: 'json', bytes: body }));
      }
      // Globex rests in hour 11, and in partition 1.
      for (let i = 0; i < records; i++) {
        this.#appendEvent(tree, 'acme', hour, i);
        if (hour !== 1 && tree.partition !== 1) this.#appendEvent(tree, 'globex', hour, i);
      }
      ranges.push({ from, to: BigInt(tree.leaves.length) });
    }
    this.#writeWindows(formatHour(BEGIN_US + BigInt(hour) * HOUR_US), ranges);
  }

  #appendEvent(tree: FixtureTree, tenant: string, hour: number, i: number): void {
    this.#clock += 1_234_567n;
    // Every id twice in an installation of several partitions: the second one is a repeat.
    const id = derivedId(`fixture:${tenant}:${hour}:${i >> 1}:${tree.partition >> 1}`);
    tree.append({
      appendedAt: this.#clock,
      id,
      tenant,
      source: i % 3 === 0 ? 'outbox:bank "east"' : 'import:7f0e',
      sourceSeq: i % 2 === 0 ? `1.${tree.leaves.length}` : null,
      type: i % 4 === 3 ? 'cloudtrail' : 'audit.event',
      schema: i % 4 === 3 ? 0 : 1,
      key: `${tenant}/usr_${i} \\ Zoë`,
      meta: i % 2 === 0 ? '{"format":"ndjson","line":7}' : null,
      body: this.#body(tenant, hour, tree.partition, i),
    });
  }

  #body(tenant: string, hour: number, partition: number, i: number): Body {
    const text = JSON.stringify({ tenant, hour, partition, i, action: 'document.update', name: 'Zoë 🙂' });
    const bytes = encodeUtf8(text);
    if (i % 5 === 1) return { form: 'base64', bytes: encodeUtf8(`not JSON\n${text}`) };
    if (i % 5 !== 2) return { form: 'json', bytes };
    const stored = encodeUtf8(text.repeat(40));
    const digest = sha256(stored);
    this.bodies.set(toHex(digest), stored);
    return { form: 'object', sha256: digest, size: BigInt(stored.length) };
  }

  #writeWindows(hour: string, ranges: readonly PositionRange[]): void {
    for (const tenant of ['acme', 'globex']) {
      const own = this.audit.flatMap((tree) =>
        tree.records
          .filter(({ position }) => position >= ranges[tree.partition]!.from)
          .filter((record) => record.tenant === tenant)
          .map(({ position }) => tree.hashes[Number(position)]!),
      );
      if (own.length === 0) continue;
      const before = this.windowsOf.get(tenant) ?? [];
      const last = before.at(-1);
      const body = formatWindowBody({
        log: 'audit',
        hour,
        tenant,
        count: BigInt(own.length),
        root: rootOf(own),
        ranges,
        previous: last === undefined ? null : this.windows.hashes[last.position]!,
      });
      const json: Body = { form: 'json', bytes: encodeUtf8(body) };
      const { position } = this.windows.append(
        this.#system('window', windowId('audit', hour, tenant), json, tenant),
      );
      this.windowsOf.set(tenant, [...before, { hour, position: Number(position) }]);
    }
  }

  /** The key hands over to another: a record in heads/0, which the old key signs once more. */
  rotate(next: FixtureKey): void {
    const { heads } = this;
    const old = this.newest;
    const trees = [...this.audit, this.windows];
    const text = formatKeyRotation({
      old: verifierKeyOf(heads.origin, old),
      next: verifierKeyOf(heads.origin, next),
      sizes: new Map(trees.map(({ origin, leaves }) => [origin, BigInt(leaves.length)])),
    });
    const note = signNote(text, [signerOf(heads.origin, old), signerOf(heads.origin, next)]);
    const { position } = heads.append(
      this.#system('key.rotation', rotationId(note), { form: 'base64', bytes: note }),
    );
    for (const tree of [...trees, heads]) tree.rotate(next);
    this.newest = next;
    this.rotations.push({ position: Number(position), headSize: heads.leaves.length });
  }

  /** Lists the head of every tree in heads/0, and signs a head of that. */
  listAll(): void {
    for (const tree of [...this.audit, this.windows]) {
      const size = tree.leaves.length;
      const head = { origin: tree.origin, size: BigInt(size), root: tree.root(size) };
      const id = headId(head.origin, head.size, toBase64(head.root));
      const body: Body = { form: 'json', bytes: formatHeadBody(head) };
      this.listings.set(
        `${tree.origin} ${size}`,
        Number(this.heads.append(this.#system('head', id, body)).position),
      );
    }
    this.headSizes.push(this.heads.leaves.length);
  }

  /** The newest size of a tree that heads/0 lists below a size of it. */
  listedSize(tree: FixtureTree, headSize: number): number {
    const sizes = [...this.listings]
      .filter(([name, position]) => name.startsWith(`${tree.origin} `) && position < headSize)
      .map(([name]) => Number(name.split(' ')[1]));
    return Math.max(...sizes);
  }
}

/** A witness of the fixture, and its signature line under a head. */
export function fixtureWitness(
  seed: number,
  at = 1_795_200_000n,
): { key: CosignerKey; line(text: string): string } {
  const secret = fixtureKey(seed);
  const key = cosignerKey(`witness.example/w${seed}`, 'ed25519', secret.publicKey);
  return {
    key,
    line: (text) => {
      const signature = formatTimestampedSignature(at, secret.sign(cosignatureMessage(key, text, at)));
      return `— ${key.name} ${toBase64(concatBytes([Uint8Array.fromHex(key.keyId), signature]))}\n`;
    },
  };
}

const AUTHORITY = 200;

/** Stands for an RFC 3161 reply: time and imprint, signed; the checker of bundles does not look into one. */
export function fixtureToken(data: Uint8Array): Uint8Array {
  const said = concatBytes([encodeUtf8('1795200000000000'), sha256(data)]);
  return concatBytes([said, fixtureKey(AUTHORITY).sign(said)]);
}

export const checkFixtureToken: TimestampCheck = async (reply, data) => {
  const said = reply.subarray(0, 48);
  const { publicKey } = fixtureKey(AUTHORITY);
  if (reply.length !== 112 || !(await fixtureSignatures.ed25519(publicKey, said, reply.subarray(48)))) {
    return { ok: false, verdict: 'tampered', reason: 'the signature of the token is not valid' };
  }
  if (toHex(said.subarray(16)) !== toHex(sha256(data))) {
    return { ok: false, verdict: 'tampered', reason: 'the token is over other data' };
  }
  return { ok: true, at: 1_795_200_000_000_000n, authority: 'Fixture Authority' };
};
