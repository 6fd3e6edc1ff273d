/** Evidence over the memory logs of a test server: sealed, listed and signed when a test says so. */

import { generateKeyPairSync, sign } from 'node:crypto';
import { toBase64 } from '@evident/core/bytes.ts';
import { compareText } from '@evident/core/evidence/manifest.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { formatVkey, verifierKey } from '@evident/core/note.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { EvidenceDeps, LeafLines, ListedHead, SignedTreeHead } from '../evidence/ports.ts';
import type { Log } from '../log/log.ts';
import type { QueryDeps } from '../query/ports.ts';
import { listHeads } from '../seal/list-heads.ts';
import { openSealer, type SealedHead, sealRound } from '../seal/seal.ts';
import type { MemoryLogState } from '../stores/memory/log.ts';
import {
  LogLeafReader,
  MemoryHeadStore,
  type MemoryHeads,
  MemorySigner,
  MemoryTileStore,
} from '../stores/memory/seal-stores.ts';

export interface MemoryEvidence {
  readonly deps: EvidenceDeps;
  /** Seals what the logs hold, lists the heads in `heads`, and seals that. */
  seal(): Promise<void>;
  /** Hashes by `<log>/<partition>/<level>/<index>`: a test may take some away. */
  readonly tiles: Map<string, Uint8Array>;
}

export function openMemoryEvidence(
  states: ReadonlyMap<string, MemoryLogState>,
  logs: ReadonlyMap<string, Log>,
  query: QueryDeps,
): MemoryEvidence {
  const name = query.installation;
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  const keyOf = (origin: string) => verifierKey(origin, 'ed25519', key);
  const tiles = new Map<string, Uint8Array>();
  const heads: MemoryHeads = { stored: new Map(), published: [] };
  const sealDeps = {
    name,
    leaves: new LogLeafReader(logs),
    tiles: new MemoryTileStore(tiles),
    heads: new MemoryHeadStore(heads, states),
    signer: new MemorySigner(new Map(), (origin) => ({
      ...keyOf(origin),
      sign: (message) => new Uint8Array(sign(null, message, privateKey)),
    })),
  };
  const sealLog = async (log: Log): Promise<SealedHead[]> => {
    const { sealer } = await openSealer(sealDeps, log);
    const sealed: SealedHead[] = [];
    for (let more = true; more; ) {
      const round = await sealRound(sealDeps, sealer);
      sealed.push(...round.sealed);
      more = round.more;
    }
    return sealed;
  };
  const seal = async () => {
    const top = logs.get('heads') as Log;
    const sealed = (await Promise.all([...logs.values()].filter((log) => log !== top).map(sealLog))).flat();
    await listHeads(top, sealDeps.heads, sealed);
    await sealLog(top);
  };
  const deps: EvidenceDeps = {
    name,
    logs,
    query,
    tiles: sealDeps.tiles,
    heads: memorySignedHeads(name, heads, states),
    leaves: memoryLeafLines(states),
    identities: async (sought) =>
      sought.map(({ log, tenant, id }) => states.get(log)?.identities.get(`${tenant} ${id}`) ?? null),
    lost: async () => [],
    anchorsOf: async () => [],
    newestAnchored: async () => null,
    wantedAnchors: { timestamps: 0, cosignatures: 0 },
    keys: {
      keysOf: async (origins) =>
        origins
          .toSorted(compareText)
          .map((origin) => ({ origin, vkey: formatVkey(keyOf(origin)), from: 0n, to: null })),
      rotations: async () => [],
    },
    windows: { lastHour: async () => null, newest: async () => new Map(), ofTenant: async () => [] },
    sleep: async () => undefined,
  };
  return { deps, seal, tiles };
}

function memorySignedHeads(
  name: string,
  { published }: MemoryHeads,
  states: ReadonlyMap<string, MemoryLogState>,
): EvidenceDeps['heads'] {
  const of = (log: string, partition: number): SignedTreeHead[] =>
    published
      .filter((one) => one.log === log && one.partition === partition)
      .map(({ head: { epoch, size, root }, note }) => ({ epoch, size, root, note }));
  return {
    newest: async (log, partition, epoch) =>
      of(log, partition)
        .filter((head) => epoch === null || head.epoch === epoch)
        .at(-1) ?? null,
    at: async (log, partition, epoch, size) =>
      of(log, partition).find((head) => head.epoch === epoch && head.size === size) ?? null,
    listed: async (log, partition, before) => {
      const found: ListedHead[] = of(log, partition).flatMap((head) => {
        const origin = epochOrigin(name, log, partition, head.epoch);
        const body = JSON.stringify({ origin, size: head.size.toString(), root: toBase64(head.root) });
        const place = recordsOf(states, 'heads', 0).find((record) => bodyText(record) === body);
        return place === undefined || place.position >= before ? [] : [{ ...head, position: place.position }];
      });
      return found.at(-1) ?? null;
    },
  };
}

function recordsOf(states: ReadonlyMap<string, MemoryLogState>, log: string, partition: number): LogRecord[] {
  return (states.get(log)?.partitions[partition].records ?? []).filter((record) => record !== null);
}

function bodyText({ body }: LogRecord): string {
  return body.form === 'object' ? '' : new TextDecoder().decode(body.bytes);
}

function memoryLeafLines(states: ReadonlyMap<string, MemoryLogState>): EvidenceDeps['leaves'] {
  return {
    read: async (tenant, log, partition, positions): Promise<LeafLines> => {
      const found = [...positions].map((position) =>
        recordsOf(states, log, partition).find((record) => Number(record.position) === position),
      );
      if (found.some((record) => record === undefined || (tenant !== null && record.tenant !== tenant)))
        throw new Error(`not every place of ${log}/${partition} holds a record that ${tenant} may see`);
      const records = found as LogRecord[];
      const lines = records.map((record) => Buffer.concat([leafOf(record), Buffer.from('\n')]));
      let at = 0;
      return {
        bytes: Buffer.concat(lines),
        ends: Uint32Array.from(lines, (line) => (at += line.length)),
        objects: records.flatMap(({ tenant, body }) =>
          body.form === 'object' ? [{ tenant, sha256: body.sha256, size: body.size }] : [],
        ),
      };
    },
    positionsOf: async (tenant, log, partition, from, to) =>
      Float64Array.from(
        recordsOf(states, log, partition)
          .filter((record) => record.tenant === tenant && record.position >= from && record.position < to)
          .map(({ position }) => Number(position)),
      ),
  };
}
