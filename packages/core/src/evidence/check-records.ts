/**
 * The records of a bundle, in one pass and flat memory: leaf lines are cut from the stream into a batch, read by
 * position, hashed four at a time, and held against tiles or proofs of the tree that their log and partition name.
 */
import { decodeUtf8 } from '../bytes.ts';
import { BODY_FORMS } from '../leaf.ts';
import { LeafBatch } from '../leaf-batch.ts';
import { LEAF_BYTES_MAX } from '../record.ts';
import { TLOG_PROOF_BYTES_MAX } from '../tlog-proof.ts';
import { bodyPath, RECORDS_PATH, recordProofPath, treeFolder } from './bundle-layout.ts';
import { type CheckContext, type CheckedHead, refuteProof } from './check-heads.ts';
import type { RecordPlace } from './check-report.ts';
import { TreeTiles } from './check-tiles.ts';
import { isWindowsTree, type SpanWindows } from './check-windows.ts';
import { LeafLineReader } from './leaf-line.ts';
import { LineCutter } from './line-cutter.ts';
import type { BundleTree } from './manifest.ts';
import { RecordRules, TimeOrder } from './record-rules.ts';

const HASH_BYTES = 32;
const TILE_WIDTH = 256;
const UUID_LENGTH = 36;
/** A batch is about what a core keeps in its cache. */
const BATCH_BYTES_MAX = 2 * 1024 * 1024;
const BATCH_BYTES_MIN = 128 * 1024;
const BATCH_LEAVES = 2_048;
const NO_TILE = -1;

/** A tree that records are held against. */
interface RecordTree extends BundleTree {
  /** Null: its head was not good. */
  readonly head: CheckedHead | null;
  readonly tiles: TreeTiles | null;
  /** `size`, as a number. */
  readonly end: number;
}

interface StoredBody {
  readonly index: number;
  readonly sha256: string;
  readonly size: number;
}

export interface RecordCheckInput {
  readonly context: CheckContext;
  /** The heads of `manifest.trees`, in their order; null where there was a finding. */
  readonly heads: readonly (CheckedHead | null)[];
  /** Of whole hours of a tenant. */
  readonly windows: SpanWindows | null;
  readonly onProgress?: ((records: bigint, total: bigint) => void) | undefined;
}

export interface CheckedRecords {
  /** Whether the file was there, as the manifest says. If not, its records say nothing of what is missing. */
  readonly isWhole: boolean;
  readonly count: bigint;
  /** Bodies that lie beside their leaves and are what those say. */
  readonly bodies: number;
  /** Trees that a record of the bundle stands in, by their number in the manifest. */
  readonly usedTrees: ReadonlySet<number>;
}

/** Reads and checks records.ndjson. Findings say what is wrong. */
export async function checkRecords(input: RecordCheckInput): Promise<CheckedRecords> {
  const check = new RecordCheck(input);
  await check.open();
  const { files, findings } = input.context;
  const cutter = new LineCutter(check, LEAF_BYTES_MAX);
  const isWhole = await files.stream(RECORDS_PATH, 'record', (piece) => cutter.take(piece));
  await check.flush();
  if (cutter.isUnended) findings.tampered(RECORDS_PATH, 'record', 'the last line does not end with LF');
  return { ...check.result(), isWhole };
}

class RecordCheck {
  readonly #input: RecordCheckInput;
  readonly #trees: RecordTree[] = [];
  readonly #treeNumbers = new Map<string, number>();
  readonly #batch: LeafBatch;
  readonly #hashes = new Uint8Array(BATCH_LEAVES * HASH_BYTES);
  readonly #positions = new Float64Array(BATCH_LEAVES);
  readonly #treeOf = new Int32Array(BATCH_LEAVES);
  readonly #windowOf = new Int32Array(BATCH_LEAVES);
  /** Ids of the batch, where each record has its own proof. */
  readonly #ids: string[] = [];
  readonly #idCounts = new Map<string, number>();
  #stored: StoredBody[] = [];
  readonly #bodies = new Set<string>();
  readonly #line = new LeafLineReader();
  readonly #rules: RecordRules;
  readonly #times = new TimeOrder();
  readonly #usedTrees = new Set<number>();
  #tree = -1;
  #treeMark = -1;
  #lastPosition = -1;
  #count = 0;
  #tile: Uint8Array | null = null;
  #tileOf = NO_TILE;
  #tileTree = -1;

  constructor(input: RecordCheckInput) {
    this.#input = input;
    // A bundle of a few records needs no more than a few leaves take.
    const size = Number(input.context.files.listed(RECORDS_PATH)?.size ?? 0n);
    this.#batch = new LeafBatch(Math.min(BATCH_BYTES_MAX, BATCH_BYTES_MIN + size), BATCH_LEAVES);
    this.#rules = new RecordRules(input.context.manifest.scope);
  }

  get memory(): Uint8Array {
    return this.#batch.memory;
  }

  async open(): Promise<void> {
    const { context, heads } = this.#input;
    const { trees, proofs, scope } = context.manifest;
    for (const [number, tree] of trees.entries()) {
      const head = heads[number] ?? null;
      const folder = treeFolder(tree.log, tree.partition, tree.epoch);
      // Windows of a span have proofs of their own.
      const isOfSpan = scope.kind === 'tenant-hours' && isWindowsTree(tree);
      const needsTiles = proofs === 'tiles' && head !== null && !isOfSpan;
      const tiles = needsTiles ? new TreeTiles(context, folder, head) : null;
      await tiles?.open();
      this.#trees.push({ ...tree, head, tiles, end: Number(tree.size) });
      this.#treeNumbers.set(`${tree.log}/${tree.partition}`, number);
    }
  }

  async room(length: number): Promise<number> {
    const offset = this.#batch.begin(length);
    if (offset >= 0) return offset;
    await this.flush();
    return this.#batch.begin(length);
  }

  tooLong(): void {
    this.#input.context.findings.tampered(RECORDS_PATH, 'record', 'a line is longer than any leaf');
  }

  line(offset: number, length: number): void {
    const { findings } = this.#input.context;
    const bytes = this.#batch.memory;
    this.#count++;
    const line = this.#line;
    const wrong = line.read(bytes, offset, offset + length);
    if (wrong !== null) {
      findings.tampered(RECORDS_PATH, 'record', `line ${this.#count} is no leaf: ${wrong}`);
      return;
    }
    if (!this.#enterTree()) return;
    const place = this.#tree;
    if (line.position <= this.#lastPosition)
      this.#refuse('record-order', 'it does not stand behind the record before it');
    this.#lastPosition = line.position;
    if (line.position >= this.#trees[place]!.end) {
      this.#refuse('proof', 'its position is not below the size of the head of its tree');
      return;
    }
    const outside = this.#rules.refute(bytes, line);
    if (outside !== null) this.#refuse('scope', outside);
    if (!this.#times.follows(bytes, line, place))
      this.#refuse('time-order', 'its time is before that of the record before it');
    this.#note(length);
  }

  /** Whether the line's tree is one of the bundle. */
  #enterTree(): boolean {
    const line = this.#line;
    if (line.tree === this.#treeMark) return this.#tree >= 0;
    const number = this.#treeNumbers.get(`${line.log}/${line.partition}`) ?? -1;
    if (number < 0) {
      this.#refuse('proof', 'the bundle has no head of its partition');
      return false;
    }
    if (number < this.#tree)
      this.#refuse('record-order', 'its partition stands before that of the record before it');
    // A line of another tree between two of one tree leaves the order of positions as it was.
    if (number !== this.#tree) this.#lastPosition = -1;
    this.#tree = number;
    this.#treeMark = line.tree;
    this.#usedTrees.add(number);
    return true;
  }

  /** Takes the line into the batch. */
  #note(length: number): void {
    const line = this.#line;
    const index = this.#batch.count;
    this.#positions[index] = line.position;
    this.#treeOf[index] = this.#tree;
    const { windows, context } = this.#input;
    if (windows !== null) {
      this.#windowOf[index] = windows.find(line.partition, line.position);
      if (this.#windowOf[index] < 0) this.#refuse('window', 'it lies in none of the windows of the span');
    }
    if (context.manifest.proofs === 'each') this.#ids[index] = line.text(line.idAt, UUID_LENGTH);
    if (line.form === BODY_FORMS.object) {
      const digits = this.#batch.memory.subarray(line.bodyAt, line.bodyAt + line.bodyLength);
      this.#stored.push({ index, sha256: decodeUtf8(digits) ?? '', size: line.bodySize });
    }
    this.#batch.end(length);
  }

  #refuse(check: 'record-order' | 'time-order' | 'proof' | 'scope' | 'window', detail: string): void {
    const { log, partition, position } = this.#line;
    const place = { log, partition, position: BigInt(position) };
    this.#input.context.findings.tampered(RECORDS_PATH, check, detail, place);
  }

  /** Hashes what waits, and holds it against its trees. */
  async flush(): Promise<void> {
    const count = this.#batch.count;
    // The line before may have been refused: nothing of it is hashed.
    this.#batch.drop();
    this.#batch.hash(this.#hashes);
    const { windows, context, onProgress } = this.#input;
    if (context.manifest.proofs === 'tiles') await this.#checkTiles(count);
    else for (let index = 0; index < count; index++) await this.#checkProof(index);
    if (windows !== null) this.#fillWindows(windows, count);
    for (const body of this.#stored) await this.#checkBody(body);
    this.#stored = [];
    this.#batch.reset();
    onProgress?.(BigInt(this.#count), context.manifest.records);
  }

  async #checkTiles(count: number): Promise<void> {
    const hashes = this.#hashes;
    for (let index = 0; index < count; index++) {
      const position = this.#positions[index]!;
      const treeNumber = this.#treeOf[index]!;
      const tile = Math.floor(position / TILE_WIDTH);
      if (tile !== this.#tileOf || treeNumber !== this.#tileTree) await this.#enterTile(treeNumber, tile);
      // Null: there is a finding already, about the head or the tile.
      if (this.#tile === null) continue;
      const at = (position % TILE_WIDTH) * HASH_BYTES;
      let i = 0;
      while (i < HASH_BYTES && this.#tile[at + i] === hashes[index * HASH_BYTES + i]) i++;
      if (i < HASH_BYTES) this.#contradict(index, 'the tree holds another leaf at its position');
    }
  }

  async #enterTile(treeNumber: number, tile: number): Promise<void> {
    this.#tileTree = treeNumber;
    this.#tileOf = tile;
    const { tiles, head, origin } = this.#trees[treeNumber]!;
    this.#tile = (await tiles?.leaves(tile)) ?? null;
    if (tiles !== null || head === null) return;
    // The tree of the windows of a span: its records are windows, and nothing else of it is in such a bundle.
    const detail = `records of ${origin} do not belong into this bundle`;
    this.#input.context.findings.tampered(RECORDS_PATH, 'scope', detail);
  }

  async #checkProof(index: number): Promise<void> {
    const { files } = this.#input.context;
    const id = this.#ids[index]!;
    const nth = (this.#idCounts.get(id) ?? 0) + 1;
    this.#idCounts.set(id, nth);
    const path = recordProofPath(id, nth);
    const proof = await files.whole(path, 'proof', TLOG_PROOF_BYTES_MAX);
    const { head } = this.#trees[this.#treeOf[index]!]!;
    if (proof === null || head === null) return;
    const leafHash = this.#hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
    const wrong = refuteProof(proof, leafHash, BigInt(this.#positions[index]!), head);
    if (wrong !== null) this.#contradict(index, wrong, path);
  }

  #contradict(index: number, detail: string, path = RECORDS_PATH): void {
    this.#input.context.findings.tampered(path, 'proof', detail, this.#placeOf(index));
  }

  #placeOf(index: number): RecordPlace {
    const { log, partition } = this.#trees[this.#treeOf[index]!]!;
    return { log, partition, position: BigInt(this.#positions[index]!) };
  }

  /** Records of one window mostly follow each other: they are added together. */
  #fillWindows(windows: SpanWindows, count: number): void {
    for (let from = 0, to = 0; from < count; from = to) {
      const number = this.#windowOf[from]!;
      while (to < count && this.#windowOf[to] === number) to++;
      if (number >= 0) windows.append(number, this.#hashes.subarray(from * HASH_BYTES, to * HASH_BYTES));
    }
  }

  async #checkBody({ index, sha256, size }: StoredBody): Promise<void> {
    const { files, findings } = this.#input.context;
    const path = bodyPath(sha256);
    const listed = files.listed(path);
    const isSaid = listed !== null && (listed.sha256 !== sha256 || listed.size !== BigInt(size));
    if (isSaid) findings.tampered(path, 'body', 'the body is not the one of its leaf', this.#placeOf(index));
    // Records may share a body: its bytes are read once.
    if (this.#bodies.has(sha256)) return;
    if (await files.stream(path, 'body', () => undefined)) this.#bodies.add(sha256);
  }

  result(): Omit<CheckedRecords, 'isWhole'> {
    return { count: BigInt(this.#count), bodies: this.#bodies.size, usedTrees: this.#usedTrees };
  }
}
