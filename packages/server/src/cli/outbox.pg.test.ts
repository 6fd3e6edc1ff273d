/** `evident outbox init | check` as processes, on real PostgreSQL. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { openDatabase } from '../stores/postgres/outbox/outbox-fixture.ts';

const EVIDENT = fileURLToPath(new URL('../../bin/evident.js', import.meta.url));
const RUN_MS_MAX = 60_000;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function evident(args: readonly string[], url?: string): Promise<Ended> {
  const { EVIDENT_OUTBOX_POSTGRES: _, ...rest } = process.env;
  const env = url === undefined ? rest : { ...rest, EVIDENT_OUTBOX_POSTGRES: url };
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [EVIDENT, 'outbox', ...args],
      { env, timeout: RUN_MS_MAX },
      (failure, out, error) => {
        resolve({ code: failure === null ? 0 : Number(failure.code), out, error });
      },
    );
  });
}

function urlOf({ connectionString, host, port, user, password, database }: pg.ClientConfig): string {
  if (connectionString !== undefined) return connectionString;
  const secret = encodeURIComponent(String(password ?? ''));
  const place = host?.startsWith('/')
    ? `@/${database}?host=${encodeURIComponent(host)}&port=${port}`
    : `@${host}:${port}/${database}`;
  return `postgres://${encodeURIComponent(user ?? '')}:${secret}${place}`;
}

describe('evident outbox', () => {
  it('makes, checks and heals an outbox, and says what is next', async (t) => {
    const database = await openDatabase(t);
    const url = urlOf(database.connection);
    const role = await database.makeRole('LOGIN');

    const missing = await evident(['check'], url);
    assert.deepEqual([missing.code, missing.out.includes('schema evident_outbox: is missing')], [1, true]);

    const made = await evident(['init', '--slots', '4', '--slot-seconds', '30', '--writer', role], url);
    assert.equal(made.code, 0, made.error);
    assert.match(
      made.out,
      /has an outbox now: 4 slots of 30 s\.\n {2}granted evident_outbox_writer to test /,
    );
    assert.match(made.out, /Next:\n.*\n {4}evident outbox add NAME --database URL --tenants /s);

    const clean = await evident(['check', '--json'], url);
    assert.deepEqual([clean.code, JSON.parse(clean.out)], [0, { deviations: [] }]);

    await database.admin.query('DROP TABLE evident_outbox.events_3');
    const broken = await evident(['check', '--json'], url);
    const [{ object, what }] = (JSON.parse(broken.out) as { deviations: { object: string; what: string }[] })
      .deviations;
    assert.deepEqual([broken.code, object, what], [1, 'evident_outbox.events_3', 'is missing']);

    const healed = await evident(['init', '--json', '--database', url]);
    const report = JSON.parse(healed.out) as Record<string, unknown>;
    assert.deepEqual([healed.code, report.made, (report.healed as unknown[]).length], [0, false, 1]);
  });

  it('says without a password what is wrong with its address', async (t) => {
    const { connection } = await openDatabase(t);
    const none = await evident(['check']);
    assert.deepEqual([none.code, /EVIDENT_OUTBOX_POSTGRES/.test(none.error)], [64, true]);
    const text = await evident(['init'], 'postgres://user:hidden@[bad');
    assert.deepEqual([text.code, text.error.includes('hidden')], [64, false], text.error);
    const url = new URL(urlOf({ ...connection, host: '127.0.0.1', port: 1, connectionString: undefined }));
    url.password = 'hidden';
    const nobody = await evident(['init'], url.href);
    assert.deepEqual([nobody.code, nobody.error.includes('hidden')], [70, false], nobody.error);
    assert.match(nobody.error, /source-unavailable/);
    const number = await evident(['init', '--slots', 'many'], url.href);
    assert.equal(number.code, 64);
  });
});
