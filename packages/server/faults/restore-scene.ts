/**
 * A source that is restored behind the relay's back: the database that answers may be another than before. Afterwards
 * the log is held against what the surviving database has committed, and against what it is known to have forgotten.
 */

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { LogRecord } from '@evident/core/record.ts';
import type { Handover, Outbox, OutboxRow, RelayLog, Source, SourceIdentity } from '../src/relay/ports.ts';
import type { RelayState } from '../src/relay/state.ts';
import { PostgresRelayLog } from '../src/stores/postgres/relay-log.ts';
import type { Installation } from './installation.ts';
import { sharedInstallation, until } from './outbox-scene.ts';
import { wrapPort } from './port-wrappers.ts';
import { SceneRelay } from './scene-relay.ts';
import { SourceCluster } from './source-cluster.ts';

export type Mode = Source['wantedMode'];

let scenes = 0;

export interface RestoreOptions {
  /** Wraps every outbox that the relay opens. */
  readonly outbox?: (outbox: Outbox) => Outbox;
  readonly log?: (log: RelayLog) => RelayLog;
  readonly installation?: Installation;
}

export class RestoreScene {
  readonly name: string;
  readonly mode: Mode;
  readonly installation: Installation;
  /** The database that the application uses now. */
  source: SourceCluster;
  relay: SceneRelay | null = null;
  readonly epochs: string[] = [];
  readonly faults: string[] = [];
  repeats = 0;
  readonly #options: RestoreOptions;
  #from: readonly bigint[] = [];

  private constructor(
    mode: Mode,
    installation: Installation,
    source: SourceCluster,
    options: RestoreOptions,
  ) {
    this.name = `restored-${++scenes}`;
    this.mode = mode;
    this.installation = installation;
    this.source = source;
    this.#options = options;
  }

  static async open(
    t: Pick<TestContext, 'after'>,
    mode: Mode,
    options: RestoreOptions = {},
  ): Promise<RestoreScene> {
    const installation = options.installation ?? (await sharedInstallation());
    const source = await SourceCluster.open(t);
    const scene = new RestoreScene(mode, installation, source, options);
    t.after(() => scene.stopRelay());
    scene.#from = (await scene.#log.heads()).map(({ next }) => next);
    await scene.want(mode);
    return scene;
  }

  get #log() {
    const log = this.installation.storage.logs.get('audit');
    if (log === undefined) throw new Error('there is no log audit');
    return log;
  }

  get relayLog(): PostgresRelayLog {
    const { pool, logs } = this.installation.storage;
    return new PostgresRelayLog({ pool, logs });
  }

  want(mode: Mode): Promise<void> {
    return this.relayLog.register(this.name, 'audit', ['acme'], mode);
  }

  startRelay(): SceneRelay {
    const scene = this;
    const { log = (same) => same, outbox = (same) => same } = this.#options;
    this.relay = new SceneRelay({
      source: this.name,
      get connection() {
        return scene.source.connection;
      },
      objects: this.installation.storage.objects,
      log: log(this.relayLog),
      wrap: outbox,
    });
    return this.relay;
  }

  async stopRelay(): Promise<void> {
    const { relay } = this;
    if (relay === null) return;
    this.relay = null;
    await relay.stop();
    this.epochs.push(...relay.epochs);
    this.faults.push(...relay.errors.map((error) => (error as Error).message));
    this.repeats += relay.repeats;
  }

  async state(): Promise<RelayState> {
    const state = (await this.relayLog.readSource(this.name))?.state;
    if (state === undefined || state === null) throw new Error('the relay has not begun');
    return state;
  }

  /** Resolves when the relay works in the mode that it should, and has the slot that goes with it. */
  async untilSettled(mode: Mode = this.mode): Promise<void> {
    await this.#until(`the mode ${mode}`, async () => {
      const source = await this.relayLog.readSource(this.name);
      return source?.state?.mode === mode;
    });
  }

  async untilRelayed(ids: readonly string[]): Promise<void> {
    await this.#until(`${ids.length} rows in the log`, async () => {
      const there = new Set((await this.relayed()).map(({ id }) => id));
      return ids.every((id) => there.has(id));
    });
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    try {
      await until(what, isSo);
    } catch (error) {
      const errors = this.relay?.errors.map((one) => (one as Error).message) ?? [];
      throw new Error(`${(error as Error).message}; the relay said: ${[...new Set(errors)].join('; ')}`);
    }
  }

  /** What the surviving database has committed: body by id. */
  async committed(): Promise<Map<string, string>> {
    const rows = await this.source.query('SELECT id, body FROM app.business');
    return new Map(rows.map(({ id, body }) => [id as string, body as string]));
  }

  async untilComplete(): Promise<void> {
    await this.untilRelayed([...(await this.committed()).keys()]);
  }

  /** All that the log has taken since the scene began, in the order of each partition. */
  async #records(): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    for (const [partition, from] of this.#from.entries()) {
      for (let next = from; ; ) {
        const page = await this.#log.read(partition, next, 5_000);
        const last = page.at(-1);
        if (last === undefined) break;
        records.push(...page);
        // Positions may be lost.
        next = last.position + 1n;
      }
    }
    return records;
  }

  async relayed(): Promise<LogRecord[]> {
    return (await this.#records()).filter(({ source }) => source === `outbox:${this.name}`);
  }

  /** Reasons of the epochs that the log has recorded for the source. */
  async recordedEpochs(): Promise<{ epoch: number; reason: string }[]> {
    return (await this.#records())
      .filter(({ type }) => type === 'relay.epoch')
      .map((record) => JSON.parse(bodyText(record)) as { source: string; epoch: number; reason: string })
      .filter(({ source }) => source === this.name)
      .map(({ epoch, reason }) => ({ epoch, reason }));
  }

  async rowsInOutbox(): Promise<number> {
    return Number(await this.source.one('SELECT count(*) FROM evident_outbox.events'));
  }

  async seal(): Promise<void> {
    const { breaks } = await this.installation.seal();
    assert.deepEqual(breaks, []);
  }

  /** Rows that the surviving database committed and the log lacks. */
  async lost(): Promise<string[]> {
    const there = new Set((await this.relayed()).map(({ id }) => id));
    return [...(await this.committed()).keys()].filter((id) => !there.has(id));
  }

  /** No record of the source is in the log twice, and all of it verifies. */
  async checkOnce(): Promise<void> {
    const ids = (await this.relayed()).map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    await this.seal();
    assert.equal((await this.installation.verify()).verdict, 'verified');
  }

  /**
   * Every committed row is in the log exactly once, byte for byte; what else the log holds of the source is exactly
   * what the source has forgotten.
   */
  async check(forgotten: readonly string[]): Promise<void> {
    const committed = await this.committed();
    const seen = new Set<string>();
    const surplus: string[] = [];
    for (const record of await this.relayed()) {
      assert.ok(!seen.has(record.id), `${record.id} is in the log twice`);
      seen.add(record.id);
      const body = committed.get(record.id);
      if (body === undefined) surplus.push(record.id);
      else assert.equal(bodyText(record), body);
    }
    assert.deepEqual(
      [...committed.keys()].filter((id) => !seen.has(id)),
      [],
      'committed, and not in the log',
    );
    assert.deepEqual(surplus.sort(), [...forgotten].sort(), 'in the log, and forgotten by the source');
    await this.seal();
    const { verdict, findings } = await this.installation.verify();
    assert.equal(
      verdict,
      'verified',
      JSON.stringify(findings.map(({ check, detail }) => `${check}: ${detail}`)),
    );
  }
}

function bodyText(record: LogRecord): string {
  if (record.body.form !== 'json') throw new Error(`the body of ${record.id} is no JSON`);
  return Buffer.from(record.body.bytes).toString();
}

const placeOf = ({ xid, id }: { xid: bigint; id: bigint }): string => `${xid}.${id}`;

/**
 * Answers as the database that was known would have answered, whichever it is: a relay that does not look. With it a
 * scenario must lose rows, or it shows nothing.
 */
export class Impostor {
  #identity: SourceIdentity | null = null;
  readonly #tokens: string[] = [];
  readonly #rows = new Map<string, OutboxRow>();
  readonly #only: readonly (keyof Outbox)[] | null;

  /** @param only the methods that lie; default all */
  constructor(only: readonly (keyof Outbox)[] | null = null) {
    this.#only = only;
  }

  readonly wrap = (outbox: Outbox): Outbox => {
    const keep = async <Rows extends readonly OutboxRow[]>(found: Promise<Rows>): Promise<Rows> => {
      const rows = await found;
      for (const row of rows) this.#rows.set(placeOf(row), row);
      return rows;
    };
    const lies: Partial<Outbox> = {
      identify: async () => (this.#identity ??= await outbox.identify()),
      tokens: async () => [...this.#tokens],
      beat: async (token) => {
        this.#tokens.push(token);
        await outbox.beat(token);
      },
      readRow: async (place) => this.#rows.get(placeOf(place)) ?? outbox.readRow(place),
      read: (after, bounds) => keep(outbox.read(after, bounds)),
      readAll: (after, sweep, bounds) => keep(outbox.readAll(after, sweep, bounds)),
      createSlot: async (name, signal): Promise<Handover> => {
        const handover = await outbox.createSlot(name, signal);
        return { ...handover, read: (after, bounds) => keep(handover.read(after, bounds)) };
      },
      stream: async (name, acknowledged) => {
        const stream = await outbox.stream(name, acknowledged);
        return {
          ...stream,
          next: async (bounds) => {
            const streamed = await stream.next(bounds);
            await keep(Promise.resolve(streamed.rows));
            return streamed;
          },
        };
      },
    };
    const told = Object.entries(lies).filter(([name]) => this.#only?.includes(name as keyof Outbox) ?? true);
    return wrapPort(outbox, Object.fromEntries(told));
  };
}
