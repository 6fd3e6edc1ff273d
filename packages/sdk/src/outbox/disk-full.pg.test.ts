/** The disk of the outbox is full: the business change goes with its event, both ways. Real PostgreSQL, a small tmpfs. */

import assert from 'node:assert/strict';
import { chownSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder, mountSmall } from '../../../server/src/stores/postgres/embedded/engine-fixture.ts';
import { createAudit } from '../audit.ts';
import { type PgClient, type PgPool, pgDriver } from '../drivers.ts';
import { startApplication } from './outbox-fixture.ts';

const SIZE = '24m';
const BALLAST_BYTES = 8 << 20;
/** More than the disk takes. */
const EVENTS_MAX = 24;

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
  // Not to be made smaller by compression: of a megabyte a megabyte is written.
  details: { text: Array.from({ length: 1 << 16 }, (_, i) => Math.sin(i).toString(36).slice(-16)).join('') },
} as const;

test('a full disk of the outbox: disk-full, change and event roll back, and space makes it work again', async (t) => {
  const folder = mountSmall(t, makeFolder(t), `size=${SIZE},mode=777`);
  if (folder === undefined) return t.skip('SKIPPED: mounting is not permitted, so a full disk was not tried');
  const ballast = join(folder, 'ballast');
  writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES));
  const app = await startApplication(t);
  // The outbox alone lies there, so that the rest of the database has room to go on.
  const space = join(folder, 'space');
  mkdirSync(space);
  const { uid, gid } = statSync(join(app.running.dataDir, 'postgres'));
  chownSync(space, uid, gid);
  await app.asOwner(`CREATE TABLESPACE small LOCATION '${space}'`);
  for (let slot = 0; slot < 16; slot++)
    await app.asOwner(`ALTER TABLE evident_outbox.events_${slot} SET TABLESPACE small`);
  const problems: string[] = [];
  const audit = createAudit<PgClient>({
    service: 'bank',
    driver: pgDriver(app.pool as PgPool),
    onProblem: ({ what }) => problems.push(what),
  });
  const open = (id: number) =>
    audit.capture(event, (tx) => tx.query('INSERT INTO account VALUES ($1, 0)', [`a${id}`]));

  let opened = 0;
  await assert.rejects(
    async () => {
      for (; opened < EVENTS_MAX; opened++) await open(opened);
    },
    (error) => {
      const { code, message, context, cause } = error as Error & { code: string; context: object };
      assert.equal(code, 'disk-full');
      assert.match(message, /the disk of the database is full/);
      assert.deepEqual(context, { sqlstate: '53100' });
      assert.match((cause as Error).message, /No space left on device/);
      return true;
    },
  );
  assert.ok(opened > 0, 'some fit');
  assert.deepEqual([await app.accounts(), (await app.rows()).length], [opened, opened]);
  // Its failure could not be recorded either, which is said.
  assert.equal(problems.length, 1);
  assert.equal(audit.metrics().failedBestEffort, 1);
  // What does not audit goes on.
  await app.pool.query("INSERT INTO account VALUES ('other', 0)");

  rmSync(ballast);
  await open(opened);
  assert.deepEqual([await app.accounts(), (await app.rows()).length], [opened + 2, opened + 1]);
  assert.equal(problems.length, 1);
});
