/**
 * `evident outbox add | mode | list` and `evident intents` as processes against a real server, and what that server
 * says of its sources: GET /v1/sources, /metrics, and the file in which addresses of databases lie.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createAudit } from '@evident/sdk';
import type { OutboxRow } from '@evident/sdk/outbox/driver';
import pg from 'pg';
import {
  type CommandResult,
  makeServer,
  runCommand,
  type ServerProcess,
  until,
} from '../../faults/server-process.ts';
import { ALERTS } from '../relay/alerts.ts';
import { cleanUp } from '../stores/postgres/embedded/engine-fixture.ts';
import { initOutbox } from '../stores/postgres/outbox/init.ts';

type Json = Record<string, unknown>;

class Scene {
  readonly server: ServerProcess;
  readonly database: pg.Client;

  private constructor(server: ServerProcess, database: pg.Client) {
    this.server = server;
    this.database = database;
  }

  static async open(t: TestContext): Promise<Scene> {
    const server = makeServer(t);
    await server.start();
    const database = new pg.Client(server.postgres);
    database.on('error', () => undefined);
    await database.connect();
    cleanUp(t, () => database.end());
    await initOutbox(database, { slots: 4, slotSeconds: 86_400 });
    return new Scene(server, database);
  }

  run(...args: string[]): Promise<CommandResult> {
    return runCommand([...args, '--data', this.server.dataDir]);
  }

  async json(...args: string[]): Promise<{ code: number | null; result: Json }> {
    const { code, stdout, stderr } = await this.run(...args, '--json');
    assert.notEqual(stdout, '', stderr);
    return { code, result: JSON.parse(stdout) as Json };
  }

  /** As GET /v1/sources shows them. */
  async sources(): Promise<Json[]> {
    const answer = await fetch(`${this.server.url}/v1/sources`, {
      headers: { authorization: `Bearer ${this.server.adminKey}` },
    });
    assert.equal(answer.status, 200);
    return ((await answer.json()) as { sources: Json[] }).sources;
  }

  /** The values of a metric by its labels. */
  async metric(name: string): Promise<Record<string, number>> {
    const text = await this.server.metrics();
    const lines = text.matchAll(new RegExp(`^${name}\\{(.*)\\} (\\S+)$`, 'gm'));
    return Object.fromEntries([...lines].map(([, labels, value]) => [labels, Number(value)]));
  }

  async write(
    row: Pick<OutboxRow, 'eventId' | 'tenant' | 'type' | 'schema' | 'key' | 'body'>,
  ): Promise<void> {
    await this.database.query(
      `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
         VALUES ($1, $2, $3, $4, $5, NULL, $6)`,
      [row.eventId, row.tenant, row.type, row.key, row.schema, row.body],
    );
  }
}

/** Rows that the SDK writes for a critical action: the intent, and its outcome. */
async function criticalRows(id: string): Promise<OutboxRow[]> {
  const rows: OutboxRow[] = [];
  const audit = createAudit<object>({
    service: 'bank',
    tenant: 'acme',
    driver: {
      query: async (_tx, statement) => void rows.push(...statement.rows),
      transaction: (fn) => fn({}),
    },
  });
  const event = {
    actor: { id: 'usr_1', type: 'user' as const },
    action: 'transfer.release',
    resource: { type: 'transfer', id },
    criticality: 'critical' as const,
  };
  await audit.capture(event, async () => undefined);
  assert.deepEqual(
    rows.map(({ type }) => type),
    ['audit.intent', 'audit.event'],
  );
  return rows;
}

const note = (tenant: string, eventId: string = randomUUID()) => ({
  eventId,
  tenant,
  // A type of the application's own.
  type: 'note' as OutboxRow['type'],
  key: `${tenant}/1`,
  schema: 0 as const,
  body: '{"n":1}',
});

test('sources and intents of a running server', async (t) => {
  const scene = await Scene.open(t);
  const { server } = scene;

  await t.test('what is wrong with a command is said by its field', async () => {
    const url = ['--database', 'embedded'];
    const wrong: [string[], number, RegExp][] = [
      [['add', 'bank', ...url], 64, /--tenants: say for whom/],
      [['add', 'bank', ...url, '--tenants', 'acme', '--mode', 'guess'], 64, /mode: polling or wal/],
      [['add', 'bank', '--tenants', 'acme'], 64, /--database: say where/],
      [['mode', 'bank', 'wal'], 70, /source-unknown/],
    ];
    // Two by two: each is a process of its own.
    for (let next = 0; next < wrong.length; next += 2) {
      await Promise.all(
        wrong.slice(next, next + 2).map(async ([args, code, message]) => {
          const ended = await scene.run('outbox', ...args);
          assert.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`);
          assert.match(ended.stderr, message);
        }),
      );
    }
    assert.deepEqual(await scene.sources(), []);
  });

  await t.test('an outbox that is added is read, and its address is kept for the owner alone', async () => {
    const args = ['outbox', 'add', 'bank', '--database', 'embedded', '--tenants', 'acme,globex'];
    assert.deepEqual(await scene.json(...args), {
      code: 0,
      result: { source: 'bank', log: 'audit', tenants: ['acme', 'globex'], mode: 'polling', changed: false },
    });
    const file = join(server.dataDir, 'outboxes.json');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { bank: 'embedded' });
    await until('the relay polls', async () => (await scene.sources())[0]?.mode === 'polling');
  });

  await t.test('rows are counted as appended, repeated or rejected, each once', async () => {
    const twice = note('acme');
    for (const row of [note('acme'), note('globex'), twice, twice, note('other')]) await scene.write(row);
    const rows = () => scene.metric('evident_relay_rows_total');
    const label = (outcome: string) => `source="bank",outcome="${outcome}"`;
    await until('five rows are relayed', async () => {
      return Object.values(await rows()).reduce((sum, value) => sum + value, 0) >= 5;
    });
    assert.deepEqual(await rows(), { [label('appended')]: 3, [label('repeat')]: 1, [label('rejected')]: 1 });
    await until('the relay has looked at its outbox', async () => (await scene.sources())[0].depth === '0');
    assert.deepEqual(await scene.metric('evident_relay_epoch'), { 'source="bank"': 1 });
    assert.deepEqual(await scene.metric('evident_outbox_depth'), { 'source="bank"': 0 });
    assert.ok((await scene.metric('evident_outbox_bytes'))['source="bank"'] > 0);
    assert.deepEqual(
      await scene.metric('evident_relay_alert'),
      Object.fromEntries(ALERTS.map((alert) => [`source="bank",alert="${alert}"`, 0])),
    );
  });

  await t.test('GET /v1/sources says all of it, and so does list', async () => {
    const [{ bytes, oldest_ms: oldest, ...rest }] = await scene.sources();
    assert.match(String(bytes), /^[1-9][0-9]*$/);
    assert.equal(oldest, null);
    assert.deepEqual(rest, {
      source: 'bank',
      log: 'audit',
      tenants: ['acme', 'globex'],
      wanted_mode: 'polling',
      mode: 'polling',
      epoch: 1,
      depth: '0',
      slot_lag_bytes: null,
      alerts: [],
      error: null,
    });
    const { stdout } = await scene.run('outbox', 'list');
    assert.match(
      stdout,
      /^bank → audit {3}polling {3}epoch 1\n {2}tenants {3}acme, globex\n {2}waiting {3}0 rows at most; [0-9]+ bytes on disk\n$/,
    );
  });

  await t.test('mode changes how it is read, and nothing else', async () => {
    assert.deepEqual(await scene.json('outbox', 'mode', 'bank', 'wal'), {
      code: 0,
      result: { source: 'bank', mode: 'wal' },
    });
    await until('the relay streams', async () => (await scene.sources())[0].mode === 'wal');
    await scene.write(note('acme'));
    await until('the row has come', async () => {
      return (await scene.metric('evident_relay_rows_total'))['source="bank",outcome="appended"'] === 4;
    });
    const [{ tenants, wanted_mode: wanted, epoch }] = await scene.sources();
    assert.deepEqual([tenants, wanted, epoch], [['acme', 'globex'], 'wal', 1]);
  });

  await t.test('an unreachable outbox is shown with its error, without its password', async () => {
    await scene.run(
      'outbox',
      'add',
      'shop',
      '--tenants',
      '*',
      '--database',
      'postgres://u:hidden@127.0.0.1:1/x',
    );
    const shop = async () => (await scene.sources()).find(({ source }) => source === 'shop');
    await until('its error is known', async () => typeof (await shop())?.error === 'string');
    const { tenants, mode, epoch, error } = (await shop()) as Json;
    assert.deepEqual([tenants, mode, epoch], [null, null, null]);
    assert.doesNotMatch(String(error), /hidden/);
    assert.equal(statSync(join(server.dataDir, 'outboxes.json')).mode & 0o777, 0o600);
  });

  await t.test('intents shows a critical action without outcome, and no other', async () => {
    const [ended, open] = [await criticalRows('t1'), await criticalRows('t2')];
    const appended = async () =>
      (await scene.metric('evident_relay_rows_total'))['source="bank",outcome="appended"'];
    const relay = async (...rows: OutboxRow[]) => {
      const before = await appended();
      for (const row of rows) await scene.write(row);
      await until('they are in the log', async () => (await appended()) === before + rows.length);
    };
    await relay(...ended, open[0]);
    const [{ code, result }, later] = await Promise.all([
      scene.json('intents', '--older-than', '0'),
      scene.json('intents', '--older-than', '3600'),
    ]);
    const [{ appendedAt, position, partition, ...intent }] = result.intents as Json[];
    assert.deepEqual([code, result.log, (result.intents as Json[]).length], [1, 'audit', 1]);
    assert.deepEqual(intent, {
      id: open[0].eventId,
      tenant: 'acme',
      action: 'transfer.release',
      actor: 'usr_1',
      resource: 'transfer t2',
    });
    assert.match(`${appendedAt} ${partition} ${position}`, /^2.*Z [0-9]+ [0-9]+$/);
    assert.deepEqual(later, { code: 0, result: { log: 'audit', intents: [] } });
    await relay(open[1]);
    const { stdout } = await scene.run('intents', '--older-than', '0');
    assert.equal(stdout, 'no intent older than 0 s is without its outcome\n');
  });

  await t.test('without its server list shows what is stored', async () => {
    await scene.database.end();
    await server.stop();
    const { result } = await scene.json('outbox', 'list');
    const unknown = {
      depth: null,
      bytes: null,
      oldest_ms: null,
      slot_lag_bytes: null,
      alerts: [],
      error: null,
    };
    assert.deepEqual(result, {
      live: false,
      sources: [
        {
          source: 'bank',
          log: 'audit',
          tenants: ['acme', 'globex'],
          wanted_mode: 'wal',
          mode: 'wal',
          epoch: 1,
          ...unknown,
        },
        {
          source: 'shop',
          log: 'audit',
          tenants: null,
          wanted_mode: 'polling',
          mode: null,
          epoch: null,
          ...unknown,
        },
      ],
    });
  });
});
