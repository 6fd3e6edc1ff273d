/** What tests of strong attackers share: a filled log, copies of heads kept outside, and the answers of those who keep them. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parseCosignerVkey } from '@evident/core/cosignature.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { logAnchors } from '../src/anchor/log-anchor.ts';
import type { AnchorAnswer, HeadToAnchor } from '../src/anchor/ports.ts';
import type { DeclaredWitness } from '../src/anchor/witness-policy.ts';
import { newestHeadOf } from '../src/anchoring.ts';
import type { StartedWitness } from '../src/cli/command-deps.ts';
import type { ConfigInput } from '../src/config.ts';
import { makeConfig } from '../src/config.ts';
import type { Log } from '../src/log/log.ts';
import { PostgresAnchorStore } from '../src/stores/postgres/anchor-store.ts';
import { trustOf } from '../src/trust.ts';
import { type Finding, Findings } from '../src/verify/finding.ts';
import { checkKeptHead, type KeptHead } from '../src/verify/kept-heads.ts';
import type { TierStanding } from '../src/verify/tiers.ts';
import { verifyAnchors } from '../src/verify/verify-anchors.ts';
import { startWitness } from '../src/witness-process.ts';
import { witnessAnchorers } from '../src/witnessing.ts';
import { type Installation, makeInstallation } from './installation.ts';

/** Records whose denial somebody would like to read otherwise. */
const DENIED = (index: number) => `{"n":${index},"result":"denied"}`;
/** The clock of everybody in these tests, microseconds since the Unix epoch. */
export const clock = () => BigInt(Date.now()) * 1_000n;

/** A log of one partition, sealed several times. */
export async function filledLog(
  t: Pick<TestContext, 'after'>,
  settings: ConfigInput = {},
): Promise<Installation> {
  const one = await makeInstallation(t, 1, settings);
  await grow(one, 3);
  return one;
}

export async function grow(one: Installation, rounds: number, text = DENIED): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await one.append(300, text);
    const { breaks } = await one.seal();
    if (breaks.length > 0) throw new Error(`sealing stopped: ${breaks[0].reason}`);
  }
}

/** A position below the first signed head, so that each of them covers it. */
export const EARLY = 17n;

/** The newest signed head of each tree: what its keeper writes down. */
export async function keepHeads({ storage }: Installation): Promise<KeptHead[]> {
  const kept: KeptHead[] = [];
  for (const { log, partition } of [
    { log: 'audit', partition: 0 },
    { log: 'heads', partition: 0 },
  ]) {
    const seal = await storage.records.readSeal(log, partition);
    const [row] = await storage.records.readHeads(log, partition, 0, (seal?.size ?? 1n) - 1n, 1);
    kept.push({ label: `${log}/${partition}`, note: new Uint8Array(row.note) });
  }
  return kept;
}

/** What comes of holding kept heads against the log as it is now. */
export async function holdAgainst(
  { storage }: Installation,
  kept: readonly KeptHead[],
): Promise<{ verdict: string; findings: readonly Finding[] }> {
  const { keptHeads } = trustOf(storage, makeConfig({}), clock);
  const findings = new Findings();
  for (const one of kept) await checkKeptHead(keptHeads, one, findings);
  return { verdict: findings.verdict, findings: findings.list };
}

/** Stores and logs an anchor over the newest head of heads/0, as the loop does. */
export async function anchorNewest(
  one: Installation,
  kind: 'timestamp' | 'cosignature',
  by: string,
  make: (head: HeadToAnchor) => Promise<{ bytes: Uint8Array; at: bigint }>,
): Promise<HeadToAnchor> {
  const { storage } = one;
  const head = await newestHeadOf(storage)();
  if (head === null) throw new Error('there is no head yet');
  const store = new PostgresAnchorStore(storage.pool);
  const { bytes, at } = await make(head);
  await store.put({ epoch: head.epoch, size: head.size, kind, by, bytes, at });
  await logAnchors({ name: storage.name, store, heads: storage.logs.get('heads') as Log });
  return head;
}

/** `evident verify --timestamps`, with these authorities and witnesses. */
export async function checkAnchors(
  { storage }: Installation,
  settings: ConfigInput,
): Promise<{ verdict: string; findings: readonly Finding[]; good: number }> {
  const { anchors } = trustOf(storage, makeConfig(settings), clock);
  const findings = new Findings();
  const { timestamps, cosignatures } = await verifyAnchors(anchors, findings);
  return { verdict: findings.verdict, findings: findings.list, good: timestamps + cosignatures };
}

export async function tiersOf({ storage }: Installation, settings: ConfigInput): Promise<TierStanding[]> {
  return [...(await trustOf(storage, makeConfig(settings), clock).tiers())];
}

/** A witness that somebody else runs, over HTTP. */
export class OthersWitness {
  readonly #witness: StartedWitness;

  private constructor(witness: StartedWitness) {
    this.#witness = witness;
  }

  static async start(t: Pick<TestContext, 'after'>, one: Installation): Promise<OthersWitness> {
    const folder = mkdtempSync(join(tmpdir(), 'evident-witness-'));
    mkdirSync(folder, { recursive: true });
    const witness = await startWitness({
      stateDir: folder,
      listen: { host: '127.0.0.1', port: 0 },
      name: 'others.example/w',
      logs: [vkeyOf(one)],
      algorithm: 'ed25519',
      clock,
      onEvent: () => undefined,
    });
    t.after(async () => {
      await witness.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    return new OthersWitness(witness);
  }

  get settings(): ConfigInput {
    const { url, vkey } = this.#witness;
    return { witnesses: { quorum: 1, list: [{ url, vkey, runByOthers: true }] } };
  }

  get name(): string {
    return this.#declared.key.name;
  }

  get #declared(): DeclaredWitness {
    const key = parseCosignerVkey(this.#witness.vkey);
    if (!key.ok) throw new Error(key.reason);
    return { url: this.#witness.url.replace(/\/$/, ''), key: key.value, runByOthers: true };
  }

  /** What it answers when it is asked to cosign the newest head as it stands now. */
  async ask({ storage }: Installation): Promise<AnchorAnswer> {
    const newestHead = newestHeadOf(storage);
    const head = await newestHead();
    if (head === null) throw new Error('there is no head yet');
    const store = new PostgresAnchorStore(storage.pool);
    const deps = { tiles: storage.tiles, newestHead, store, clock };
    const policy = { everySeconds: 60, quorum: 1, list: [this.#declared] };
    const [anchorer] = witnessAnchorers(deps, policy);
    return anchorer.anchor(head, new AbortController().signal);
  }

  /** The head with its cosignature: what a reader who demands one is shown. */
  async cosign(one: Installation): Promise<KeptHead> {
    let bytes = new Uint8Array(0);
    const head = await anchorNewest(one, 'cosignature', this.name, async () => {
      const answer = await this.ask(one);
      if (answer.kind !== 'anchored') throw new Error(answer.reason);
      bytes = new Uint8Array(answer.bytes);
      return answer;
    });
    return { label: 'cosigned', note: new Uint8Array(Buffer.concat([head.note, bytes])) };
  }
}

/** K of an installation. */
export function vkeyOf({ storage }: Installation): string {
  return storage.vkeyOf(treeOrigin(storage.name, 'heads', 0), 1n);
}
