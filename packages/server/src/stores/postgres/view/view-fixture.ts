/** A hot view on a database of its own, with a mapper whose faults a test chooses. */

import { randomUUID } from 'node:crypto';
import { decodeUtf8, encodeUtf8 } from '@evident/core/bytes.ts';
import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import { openTestDatabase, type TestDatabase } from '../../../../test/database.ts';
import { makeRecordOwn } from '../../../audit/record-own.ts';
import type { DeadLetterDeps } from '../../../project/dead-letters.ts';
import type { Projection } from '../../../project/projection.ts';
import { READER_BOUNDS, type ReaderBounds, ViewReader } from '../../../project/reader.ts';
import type { RebuildDeps } from '../../../project/rebuild.ts';
import { Findings } from '../../../verify/finding.ts';
import { type ViewReport, verifyView } from '../../../verify/verify-view.ts';
import { Appender } from '../appender.ts';
import { PostgresIdentityReader } from '../identities.ts';
import { openLog, type PostgresLog } from '../log.ts';
import { PostgresRecordSource } from '../record-source.ts';
import { PostgresViewStore } from '../view-store.ts';
import { PostgresDeadLetterStore } from './dead-letter-store.ts';
import { PostgresGenerationStore } from './generation-store.ts';
import { PostgresViewSnapshots } from './snapshots.ts';

export const OPERATOR = { id: 'operator', role: 'operator' };

/** What the fixture's records hold. `fault` makes the mapper refuse them. */
export interface NoteBody {
  readonly n: number;
  readonly actor?: string;
  readonly fault?: string;
  readonly at?: number;
}

/** `note/<version>` maps notes; from version 2 on it takes what it called faulty before. */
export function noteProjection(version = 1): Projection {
  return {
    name: 'hot',
    definition: `note/${version}`,
    onDeadLetter: 'skip',
    map: (record, body) => mapNote(record, body, version),
  };
}

function mapNote(record: LogRecord, body: Uint8Array, version: number): EventRow | null {
  if (record.type !== 'note') return null;
  const { n, actor, fault, at } = JSON.parse(decodeUtf8(body) ?? 'null') as Partial<NoteBody>;
  if (fault !== undefined && version < 2) throw new MappingError(`fault: ${fault}`);
  return {
    eventTime: at === undefined ? null : BigInt(at),
    actorId: actor ?? null,
    actorType: null,
    action: record.type,
    resourceType: 'number',
    resourceId: String(n),
    result: 'success',
    correlationId: null,
    ip: '192.0.2.1',
    corrects: null,
    mapper: `note/${version}`,
  };
}

export class HotView {
  readonly database: TestDatabase;
  readonly logs: ReadonlyMap<string, PostgresLog>;
  readonly store: PostgresViewStore;
  readonly letters: PostgresDeadLetterStore;
  readonly generations: PostgresGenerationStore;
  readonly snapshots: PostgresViewSnapshots;
  readonly #identities: PostgresIdentityReader;

  private constructor(database: TestDatabase, appender: Appender, logs: ReadonlyMap<string, PostgresLog>) {
    const { pool } = database;
    this.database = database;
    this.logs = logs;
    this.store = new PostgresViewStore(pool);
    this.letters = new PostgresDeadLetterStore({
      pool,
      logs,
      treeOf: (log, partition) => (logs.get(log) as PostgresLog).trees[partition],
    });
    this.generations = new PostgresGenerationStore(pool, logs);
    this.snapshots = new PostgresViewSnapshots(pool);
    this.#identities = new PostgresIdentityReader(pool, logs, (listener) => appender.onAppended(listener));
  }

  /** @param logs made in this order, so that trees can be numbered in several ways */
  static async open(logs: readonly [name: string, partitions: number][] = [['audit', 2]]): Promise<HotView> {
    const database = await openTestDatabase();
    const appender = new Appender(database.pool);
    const made = new Map<string, PostgresLog>();
    for (const [name, partitions] of logs)
      made.set(name, await openLog({ pool: database.pool, appender }, name, partitions));
    return new HotView(database, appender, made);
  }

  log(name = 'audit'): PostgresLog {
    return this.logs.get(name) as PostgresLog;
  }

  /** Appends a note without looking for its identity: repeats reach the log, as they do outside the window of identities. */
  async append(
    body: NoteBody,
    over: { id?: string; log?: string; key?: string; tenant?: string } = {},
  ): Promise<string> {
    const { id = randomUUID(), log = 'audit', tenant = 'acme', key = `${tenant}/${body.n % 7}` } = over;
    const record = {
      id,
      tenant,
      key,
      source: 'test',
      sourceSeq: null,
      type: 'note',
      schema: 0,
      meta: null,
      body: { form: 'json' as const, bytes: encodeUtf8(JSON.stringify(body)) },
    };
    await this.log(log).append([record]);
    return id;
  }

  async appendMany(bodies: readonly NoteBody[], log = 'audit'): Promise<void> {
    for (const body of bodies) await this.append(body, { log });
  }

  reader(projection: Projection, generation: number, bounds: Partial<ReaderBounds> = {}): ViewReader {
    return new ViewReader(
      {
        ...this.readerDeps(bounds),
        touch: () => undefined,
        untouch: () => undefined,
        onBatch: () => undefined,
      },
      projection,
      { view: 'hot', generation },
    );
  }

  readerDeps(bounds: Partial<ReaderBounds> = {}): RebuildDeps['reader'] {
    return {
      source: new PostgresRecordSource(this.database.pool),
      store: this.store,
      bodies: { get: async () => null },
      bounds: { ...READER_BOUNDS, ...bounds },
    };
  }

  /** Brings the generation that is shown to the end of the log. */
  async project(projection = noteProjection(), bounds: Partial<ReaderBounds> = {}): Promise<void> {
    const { ref } = await this.store.open(projection.name, projection.definition);
    await this.store.continueWith(ref, projection.definition);
    const reader = this.reader(projection, ref.generation, bounds);
    await reader.begin();
    while ((await reader.round()).kind !== 'idle');
    await reader.end();
  }

  rebuildDeps(bounds: Partial<ReaderBounds> = {}): RebuildDeps {
    const own = { newId: randomUUID, instant: () => '2026-11-20T10:00:00.000000Z' };
    return {
      ...own,
      generations: this.generations,
      reader: this.readerDeps(bounds),
      record: makeRecordOwn({ ...own, log: this.log() }),
      sleep: async () => undefined,
    };
  }

  deadLetterDeps(projection = noteProjection()): DeadLetterDeps {
    return {
      newId: randomUUID,
      instant: () => '2026-11-20T10:00:00.000000Z',
      letters: this.letters,
      views: this.store,
      logs: this.logs,
      bodies: { get: async () => null },
      projections: new Map([[projection.name, projection]]),
      mayMapPoison: true,
    };
  }

  async verify(projection = noteProjection()): Promise<{ report: ViewReport | null; findings: Findings }> {
    const findings = new Findings();
    const deps = {
      logs: [...this.logs.values()],
      objects: { get: async () => null },
      registry: { definition: projection.definition, rowOf: projection.map },
      snapshots: this.snapshots,
      findEvent: async (log: string, tenant: string, id: string) =>
        (await this.#identities.find([{ log, tenant, id }]))[0],
    };
    return { report: await verifyView(deps, 'hot', findings, () => undefined), findings };
  }

  asSuperuser(text: string, values: unknown[] = []): Promise<pg.QueryResult> {
    return this.database.owner.query(text, values);
  }
}

/** `count` notes from `first` on, every tenth of which the first mapper refuses when `faulty` is set. */
export function notes(count: number, first = 0, faulty = false): NoteBody[] {
  return Array.from({ length: count }, (_, index) => {
    const n = first + index;
    const at = 1_700_000_000_000_000 + n * 1_000;
    return { n, at, actor: `usr_${n % 5}`, ...(faulty && n % 10 === 3 ? { fault: 'a test' } : {}) };
  });
}
