/**
 * Tokens and cosignatures that are stored, and the records that speak of them, checked anew (`evident verify --timestamps`).
 *
 * An anchor is over the bytes of a head of heads/0. Whoever rewrites that head leaves an anchor over other bytes; whoever
 * rewrites the tree below it leaves a head that the tree contradicts. Whoever removes an anchor leaves its record, and
 * whoever rewrites heads/0 to remove the record as well contradicts every later anchor and every copy of a later head.
 */

import { decodeUtf8, equalBytes, toHex } from '@evident/core/bytes.ts';
import { openTreeHead, parseDecimal, type TreeHead } from '@evident/core/checkpoint.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { Verifier } from '@evident/core/note.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { ANCHOR_TYPES, isAnchorRecord } from '../anchor/log-anchor.ts';
import type { AnchorKind, StoredAnchor } from '../anchor/ports.ts';
import type { Log } from '../log/log.ts';
import type { TileStore } from '../seal/ports.ts';
import { type AnchorChecks, checkAnchor } from './check-anchor.ts';
import type { Check, Findings } from './finding.ts';
import type { HeadReader } from './ports.ts';
import { rootFromTiles } from './tree-roots.ts';

/** Which anchor: one of its head, kind and name. */
export type AnchorPlace = Pick<StoredAnchor, 'epoch' | 'size' | 'kind' | 'by'>;

/** An anchor with the place of its record. */
export interface ReadAnchor extends StoredAnchor {
  /** Position in heads/0, or null: none is known yet. */
  readonly loggedAt: bigint | null;
}

/** Reads what is stored of anchors. @throws log-unavailable */
export interface AnchorReader {
  /** Those behind a place, ascending by epoch, size, kind and name; null: from the first. */
  page(after: AnchorPlace | null, limit: number): Promise<readonly ReadAnchor[]>;
  /** In order; null where none is stored. */
  find(places: readonly AnchorPlace[]): Promise<readonly (StoredAnchor | null)[]>;
}

export interface VerifyAnchorsDeps {
  /** Name of the installation. */
  readonly name: string;
  /** The log `heads`. */
  readonly log: Pick<Log, 'read'>;
  readonly tiles: Pick<TileStore, 'read'>;
  readonly heads: HeadReader;
  readonly anchors: AnchorReader;
  readonly checks: AnchorChecks;
  readonly verifierOf: (origin: string, size: bigint) => Verifier;
}

export interface AnchorsReport {
  /** Tokens and cosignatures that are good. */
  readonly timestamps: number;
  readonly cosignatures: number;
  /** Records that say that there is one. */
  readonly records: number;
  /** The newest head that a good one is over, by who made it. */
  readonly newest: readonly {
    readonly kind: AnchorKind;
    readonly by: string;
    readonly size: bigint;
    readonly at: bigint;
  }[];
}

const PAGE = 200;
const RECORDS_PAGE = 1_000;

export async function verifyAnchors(deps: VerifyAnchorsDeps, findings: Findings): Promise<AnchorsReport> {
  const seal = await deps.heads.readSeal('heads', 0);
  const pass = new AnchorPass(deps, findings, seal?.size ?? 0n);
  let last: AnchorPlace | null = null;
  for (;;) {
    const page: readonly ReadAnchor[] = await deps.anchors.page(last, PAGE);
    for (const anchor of page) await pass.anchor(anchor);
    last = page.at(-1) ?? null;
    if (page.length < PAGE) break;
  }
  await pass.records();
  return pass.report();
}

/** A head of heads/0 that anchors are over. */
interface AnchoredHead {
  readonly epoch: number;
  readonly size: bigint;
  readonly note: Uint8Array | null;
  /** Why what is over it is worth nothing. */
  readonly fault: string | null;
}

class AnchorPass {
  readonly #deps: VerifyAnchorsDeps;
  readonly #findings: Findings;
  /** When this pass began: what is logged later is left for the next. */
  readonly #sealed: bigint;
  /** Anchors of one head come one after the other. */
  #head: AnchoredHead | null = null;
  readonly #good: Record<AnchorKind, number> = { timestamp: 0, cosignature: 0 };
  readonly #newest = new Map<string, AnchorsReport['newest'][number]>();
  #records = 0;

  constructor(deps: VerifyAnchorsDeps, findings: Findings, sealed: bigint) {
    this.#deps = deps;
    this.#findings = findings;
    this.#sealed = sealed;
  }

  report(): AnchorsReport {
    const { timestamp, cosignature } = this.#good;
    return {
      timestamps: timestamp,
      cosignatures: cosignature,
      records: this.#records,
      newest: [...this.#newest.values()],
    };
  }

  async anchor(anchor: ReadAnchor): Promise<void> {
    const { kind, by, size, at } = anchor;
    const what = `the ${kind} of ${by} over the head of size ${size}`;
    const head = await this.#headOf(anchor);
    if (head.note === null) {
      this.#note('not checked', kind, `${what}: that head is not stored any more`);
      return;
    }
    const checked = await checkAnchor(this.#deps.checks, anchor, head.note);
    if (!checked.ok) {
      this.#note(checked.verdict, kind, `${what}: ${checked.reason}`);
      return;
    }
    if (head.fault !== null) {
      this.#note('tampered', kind, `${what} is good, but ${head.fault}`, { from: 0n, to: size });
      return;
    }
    if (checked.at !== at)
      this.#note(
        'tampered',
        kind,
        `${what} says ${formatInstant(checked.at)}, but it is stored with ${formatInstant(at)}`,
      );
    await this.#checkLogged(anchor, what);
    this.#good[kind]++;
    this.#newest.set(`${kind}:${by}`, { kind, by, size, at: checked.at });
  }

  async #headOf({ epoch, size }: AnchorPlace): Promise<AnchoredHead> {
    if (this.#head?.epoch === epoch && this.#head.size === size) return this.#head;
    this.#head = await this.#readHead(epoch, size);
    return this.#head;
  }

  async #readHead(epoch: number, size: bigint): Promise<AnchoredHead> {
    const { heads, name, tiles, verifierOf } = this.#deps;
    const [row] = await heads.readHeads('heads', 0, epoch, size - 1n, 1);
    if (row === undefined || row.size !== size) return { epoch, size, note: null, fault: null };
    const { note } = row;
    const origin = epochOrigin(name, 'heads', 0, epoch);
    const opened = openTreeHead(note, [verifierOf(origin, size)], origin);
    if (!opened.ok)
      return { epoch, size, note, fault: `the head is not signed by the log: ${opened.reason}` };
    const head: TreeHead = opened.value.head;
    if (head.size !== size)
      return { epoch, size, note, fault: `the head that it is over has size ${head.size}` };
    const root = await rootFromTiles(tiles, { log: 'heads', partition: 0, epoch }, size);
    // What can't be read is found by the verification of the tree itself.
    const fault =
      root === null || equalBytes(root, head.root)
        ? null
        : 'the stored tree contradicts the head that it is over';
    return { epoch, size, note, fault };
  }

  async #checkLogged(anchor: ReadAnchor, what: string): Promise<void> {
    const { loggedAt } = anchor;
    if (loggedAt === null) return;
    const [record] = await this.#deps.log.read(0, loggedAt, 1);
    const told =
      record === undefined || record.position !== loggedAt
        ? null
        : parseAnchorRecord(this.#deps.name, record);
    if (told === null || !samePlace(told, anchor))
      this.#note(
        'tampered',
        'anchor-record',
        `${what} is marked as logged at position ${loggedAt}, where no record says so`,
        {
          from: loggedAt,
          to: loggedAt + 1n,
        },
      );
  }

  /** Every record of heads/0 that says that somebody vouched for a head, held against what is stored. */
  async records(): Promise<void> {
    for (let from = 0n; from < this.#sealed; ) {
      let page: LogRecord[];
      try {
        page = await this.#deps.log.read(0, from, RECORDS_PAGE);
      } catch (error) {
        if (!isEvidentError(error)) throw error;
        this.#note('not checked', 'storage', error.message, { from, to: this.#sealed });
        return;
      }
      const last = page.at(-1);
      if (last === undefined) return;
      await this.#checkRecords(
        page.filter((record) => record.position < this.#sealed && isAnchorRecord(record)),
      );
      from = last.position + 1n;
    }
  }

  async #checkRecords(records: readonly LogRecord[]): Promise<void> {
    if (records.length === 0) return;
    this.#records += records.length;
    const told = records.map((record) => parseAnchorRecord(this.#deps.name, record));
    const sought = told.filter((one) => one !== null);
    const found = sought.length === 0 ? [] : await this.#deps.anchors.find(sought);
    const stored = new Map(sought.map((one, index) => [one, found[index]]));
    for (const [index, { position, id }] of records.entries()) {
      const one = told[index];
      const at = { from: position, to: position + 1n, id };
      if (one === null) {
        this.#note(
          'tampered',
          'anchor-record',
          'the record is of the type of those that tell of an anchor, and tells of none',
          at,
        );
        continue;
      }
      const anchor = stored.get(one) ?? null;
      const what = `a ${one.kind} of ${one.by} over the head of size ${one.size}`;
      if (anchor === null)
        this.#note(
          'not checked',
          'anchor-record',
          `the log tells of ${what}, and none is stored: it was removed, or lost`,
          at,
        );
      else if (toHex(sha256(anchor.bytes)) !== one.sha256)
        this.#note(
          'tampered',
          'anchor-record',
          `the log tells of ${what} with the SHA-256 ${one.sha256}; another one is stored`,
          at,
        );
    }
  }

  #note(
    verdict: 'tampered' | 'not checked',
    check: Check,
    detail: string,
    at: { from: bigint; to: bigint; id?: string } | null = null,
  ): void {
    const { from = null, to = null, id = null } = at ?? {};
    this.#findings.add({ verdict, log: 'heads', partition: 0, from, to, id, check, detail });
  }
}

interface ToldAnchor extends AnchorPlace {
  readonly sha256: string;
}

function samePlace(told: ToldAnchor, { epoch, size, kind, by, bytes }: StoredAnchor): boolean {
  return (
    told.epoch === epoch &&
    told.size === size &&
    told.kind === kind &&
    told.by === by &&
    told.sha256 === toHex(sha256(bytes))
  );
}

/** What a record tells of an anchor; null: nothing that an anchor is stored under. */
function parseAnchorRecord(name: string, record: LogRecord): ToldAnchor | null {
  if (!isAnchorRecord(record) || record.body.form !== 'json') return null;
  const kind = (Object.keys(ANCHOR_TYPES) as AnchorKind[]).find((one) => ANCHOR_TYPES[one] === record.type);
  let body: Record<string, unknown>;
  try {
    body = Object(JSON.parse(decodeUtf8(record.body.bytes) ?? ''));
  } catch {
    return null;
  }
  const { origin, size, by, sha256: digest } = body;
  if (kind === undefined || typeof origin !== 'string' || typeof by !== 'string') return null;
  const parsed = typeof size === 'string' ? parseDecimal(size) : null;
  if (parsed === null || typeof digest !== 'string' || !/^[0-9a-f]{64}$/.test(digest)) return null;
  const epoch = epochOfHeads(name, origin);
  return epoch === null ? null : { epoch, size: parsed, kind, by, sha256: digest };
}

function epochOfHeads(name: string, origin: string): number | null {
  if (origin === epochOrigin(name, 'heads', 0, 0)) return 0;
  const epoch = /\/r([1-9]\d{0,8})\/heads\/0$/.exec(origin)?.[1];
  return epoch !== undefined && origin === epochOrigin(name, 'heads', 0, Number(epoch))
    ? Number(epoch)
    : null;
}
