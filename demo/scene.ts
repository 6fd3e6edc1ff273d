/** What is attacked: a real installation in a temporary folder, filled the way a server fills it, with two copies of it. */

import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { Installation } from '../packages/server/faults/installation.ts';
import { envelopeLine, type GeneratedEvent, makeEventGenerator } from '../packages/server/generate/events.ts';
import { apacheLines, cloudTrailFile } from '../packages/server/generate/foreign-files.ts';
import type { ImportFormatName } from '../packages/server/src/ingest/import/formats.ts';
import { nodeHmacSha256 } from '../packages/server/src/ingest/import/identity.ts';
import type { ImportCounts } from '../packages/server/src/ingest/import/import-records.ts';
import { runImport } from '../packages/server/src/ingest/import/run-import.ts';
import { ingest } from '../packages/server/src/ingest/ingest.ts';
import type { SealBreak } from '../packages/server/src/seal/seal.ts';
import { openFolderOccurrenceStore } from '../packages/server/src/stores/folder/occurrence-store.ts';
import { tenantSecret } from '../packages/server/src/stores/postgres/tenant-secrets.ts';

export const PARTITIONS = 2;
const SEED = 20_261_121;
const TENANTS = ['acme', 'globex'];
/** Every so manyth line of the Apache file is not of that format. */
const MALFORMED_EVERY = 50;
/** Heads that are signed while half of the events come in. */
const ROUNDS = 5;
/** Ingest takes 5,000 items at most in a request. */
const REQUEST_ITEMS_MAX = 2_000;

export class Scene {
  readonly one: Installation;
  readonly #folder: string;
  #events = makeEventGenerator(SEED, { tenants: TENANTS });

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'evident-demo-'));
    this.one = new Installation(join(this.#folder, 'data'), PARTITIONS);
  }

  get folder(): string {
    return this.#folder;
  }

  /** K: what a verifier is given, once. */
  get vkey(): string {
    const { storage } = this.one;
    return storage.vkeyOf(treeOrigin(storage.name, 'heads', 0), 0n);
  }

  /** Other events than those that came first, as if history had gone another way. */
  takeAnotherTurn(): void {
    this.#events = makeEventGenerator(SEED + 1, { tenants: TENANTS });
  }

  /** Takes events in through the ingest stage, and seals several times on the way. @returns how many were appended */
  async fill(count: number): Promise<number> {
    let appended = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const share = Math.ceil((count * (round + 1)) / ROUNDS) - Math.ceil((count * round) / ROUNDS);
      appended += await this.ingest(share);
      await this.seal();
    }
    return appended;
  }

  /** As POST /v1/logs/audit/records does it: NDJSON, a tenant at a time. */
  async ingest(count: number): Promise<number> {
    const { logs, objects } = this.one.storage;
    const log = logs.get('audit');
    if (log === undefined) throw new Error('there is no log audit');
    const byTenant = new Map<string, GeneratedEvent[]>(TENANTS.map((tenant) => [tenant, []]));
    for (let made = 0; made < count; made++) {
      const event = this.#events.next().value;
      byTenant.get(event.tenant)?.push(event);
    }
    let appended = 0;
    for (const [tenant, events] of byTenant) {
      for (let from = 0; from < events.length; from += REQUEST_ITEMS_MAX) {
        const lines = events.slice(from, from + REQUEST_ITEMS_MAX).map(envelopeLine);
        const bytes = encodeUtf8(lines.join('\n'));
        const results = await ingest({ log, objects }, { format: 'ndjson', bytes, tenant, source: 'demo' });
        appended += results.filter(({ status }) => status === 'appended').length;
      }
    }
    return appended;
  }

  async importCloudTrail(count: number): Promise<ImportCounts> {
    return this.#import('cloudtrail', cloudTrailFile(SEED, count), 'generated-cloudtrail.json');
  }

  async importApache(count: number): Promise<ImportCounts> {
    const lines = [...apacheLines(SEED, count, MALFORMED_EVERY)];
    return this.#import(
      'apache',
      encodeUtf8(lines.map((line) => `${line}\n`).join('')),
      'generated-access.log',
    );
  }

  async #import(format: ImportFormatName, bytes: Uint8Array, fileName: string): Promise<ImportCounts> {
    const { logs, objects, pool, dataDir } = this.one.storage;
    const log = logs.get('audit');
    if (log === undefined) throw new Error('there is no log audit');
    const deps = {
      log,
      objects,
      hmacSha256: nodeHmacSha256,
      tenantSecret: await tenantSecret(pool, 'acme', randomBytes),
      openOccurrenceStore: () => openFolderOccurrenceStore(dataDir),
    };
    const source = (async function* () {
      yield bytes;
    })();
    const { counts } = await runImport(deps, {
      format,
      tenant: 'acme',
      source,
      fileName,
      runId: randomUUID(),
    });
    return counts;
  }

  async seal(): Promise<void> {
    const { breaks } = await this.one.seal();
    if (breaks.length > 0)
      throw new Error(`sealing stopped: ${breaks.map(({ reason }) => reason).join('; ')}`);
  }

  /** Copies the whole machine as it stands: database, tiles, the signer with key and memory. */
  async copyMachine(name: string): Promise<void> {
    await this.one.stop();
    this.one.copy(this.one.dir, join(this.#folder, name));
    await this.one.start();
  }

  /** Puts a copy back: the whole machine, or the parts named. @returns what the server finds broken as it starts */
  async putBack(name: string, parts: readonly string[] | null = null): Promise<SealBreak[]> {
    await this.one.stop();
    const copy = join(this.#folder, name);
    if (parts === null) this.one.copy(copy, this.one.dir);
    else for (const part of parts) this.one.copy(join(copy, part), this.one.path(part));
    return this.one.start();
  }

  async remove(): Promise<void> {
    await this.one.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
