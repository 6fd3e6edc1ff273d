/** From an append to the verdict of a stranger: exported by the server's code, checked by the checker's, on real PostgreSQL. */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { checkBundle } from '@evident/core/evidence/check-bundle.ts';
import { openZip } from '@evident/core/evidence/zip-reader.ts';
import { makeRecord } from '../contract/log-contract.ts';
import { sealDepsOf } from '../src/compose.ts';
import { bundleFiles } from '../src/evidence/bundle.ts';
import type { BundleRequest } from '../src/evidence/bundle-plan.ts';
import type { EvidenceDeps } from '../src/evidence/ports.ts';
import { proveRecord } from '../src/evidence/prove-record.ts';
import { readEntries } from '../src/evidence/static-layout.ts';
import { parseHours } from '../src/evidence/tenant-hours.ts';
import { writeWholeFile, zipOf } from '../src/evidence/write-folder.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import type { Log } from '../src/log/log.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import { listHeads } from '../src/seal/list-heads.ts';
import { openSealer, sealRound } from '../src/seal/seal.ts';
import { SealLoop } from '../src/seal/seal-loop.ts';
import { VERIFY_FUNCTIONS } from '../src/stores/folder/signing-keys.ts';
import { PostgresHourSource } from '../src/stores/postgres/hour-source.ts';
import { PostgresWindowIndex } from '../src/stores/postgres/window-index.ts';
import { WindowLoop } from '../src/windows/window-loop.ts';
import { AUDITOR, check, exportFolder, readFolder, SELECTION, withRecords } from './evidence-scene.ts';
import { type Installation, makeInstallation } from './installation.ts';

const ACME = { ...AUDITOR, tenant: 'acme' };

const undo: (() => void | Promise<void>)[] = [];
let one: Installation;
let deps: EvidenceDeps;
let exported = 0;

/** What was appended becomes an hour older, before it is sealed: the clock is PostgreSQL's own. */
async function passHour(): Promise<void> {
  for (const table of [
    'records SET appended_at = appended_at',
    'partitions SET last_appended_at = last_appended_at',
  ])
    await one.asSuperuser(`UPDATE evident.${table} - interval '1 hour' WHERE tree > 0`);
  await one.storage.logs.get('audit')?.closeHours();
}

async function writeWindows(): Promise<void> {
  const { pool, treeOf, tiles, logs } = one.storage;
  const ignore = () => undefined;
  const loop = new WindowLoop(
    {
      source: new PostgresHourSource(pool, treeOf),
      index: new PostgresWindowIndex(pool),
      tiles,
      windows: logs.get('windows') as Log,
      clock: () => 0n,
      onHour: ignore,
      onState: ignore,
      onError: (error) => {
        throw error;
      },
    },
    [logs.get('audit') as Log],
  );
  while (await loop.turn());
}

async function append(tenant: string, count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, n) => makeRecord({ tenant, key: `${tenant}/${n % 13}` }));
  await one.storage.logs.get('audit')?.append(records);
}

async function filesOf(request: Partial<BundleRequest>, reader = AUDITOR): Promise<Map<string, Buffer>> {
  return readFolder(await exportFolder(deps, one.path('out', `bundle-${++exported}`), request, reader));
}

before(async () => {
  one = await makeInstallation({ after: (fn) => void undo.push(fn as () => Promise<void>) }, 3);
  mkdirSync(one.path('out'));
  for (let hour = 0; hour < 4; hour++) {
    await append('acme', 40);
    if (hour !== 1) await append('beta', 25);
    await passHour();
  }
  await one.appendLarge(150_000);
  await one.seal();
  await writeWindows();
  await one.seal();
  await projectPending(one.storage);
  deps = evidenceDepsOf(one.storage, queryDepsOf(one.storage));
});
after(async () => {
  for (const step of undo) await step();
});

/** Hours that the log committed to, the earliest first. */
async function hours(): Promise<string[]> {
  const { rows } = await one.asSuperuser(
    `SELECT DISTINCT to_char(appended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') AS hour FROM evident.records
      WHERE tenant = 'acme' AND type = 'note' ORDER BY 1`,
  );
  return rows.map(({ hour }) => hour);
}

describe('a bundle of a whole installation', { timeout: 300_000 }, () => {
  for (const proofs of ['each', 'tiles'] as const) {
    it(`with proofs of ${proofs} is verified, and is not with a record deleted, doubled, moved or changed`, async () => {
      const files = await filesOf({ proofs });
      const report = await check(one, files);
      assert.deepEqual(report.findings, []);
      assert.equal(report.verdict, 'verified');
      assert.equal(report.records, 4n * 40n + 3n * 25n + 1n);
      assert.ok(
        report.notShown.some((line) => /nothing was left out/.test(line)),
        report.notShown.join('\n'),
      );
      const changes: [string, (lines: string[]) => string[]][] = [
        ['doubled', ([first, ...rest]) => [first, first, ...rest]],
        ['moved', ([first, second, ...rest]) => [second, first, ...rest]],
        ['moved to the end', ([first, ...rest]) => [...rest, first]],
        ['changed', ([first, ...rest]) => [first.replace('"n":1', '"n":2'), ...rest]],
        // In a selection a record may lack; not while the manifest and the proofs speak of it.
        ...(proofs === 'each'
          ? ([['deleted', ([, ...rest]) => rest]] as [string, (lines: string[]) => string[]][])
          : []),
      ];
      for (const [what, change] of changes) {
        const changed = withRecords(files, change);
        const verdict = await check(one, changed);
        assert.notEqual(verdict.verdict, 'verified', what);
        assert.equal(
          verdict.verdict,
          'tampered',
          `${what}: ${verdict.findings.map(({ detail }) => detail).join()}`,
        );
      }
      const deleted = new Map(files);
      deleted.set('records.ndjson', files.get('records.ndjson')!.subarray(0, -100));
      assert.equal((await check(one, deleted)).verdict, 'tampered');
    });
  }

  it('as a zip is verified, too', async () => {
    const zip = one.path('out', 'bundle.zip');
    await writeWholeFile(zipOf(bundleFiles(deps, AUDITOR, SELECTION)), zip);
    const file = await open(zip);
    undo.unshift(() => file.close());
    const read = async (from: number, to: number) => {
      const { buffer, bytesRead } = await file.read(new Uint8Array(to - from), 0, to - from, from);
      return buffer.subarray(0, bytesRead);
    };
    const source = await openZip(read, (await file.stat()).size);
    assert.ok(source.ok);
    const vkey = one.storage.vkeyOf(`${one.storage.name}/heads/0`, 0n);
    const report = await checkBundle(source.value, { vkey, signatures: VERIFY_FUNCTIONS });
    assert.deepEqual(report.findings, []);
    assert.equal(report.verdict, 'verified');
  });

  it('of nothing is made only where that is allowed, and verified, too', async () => {
    const scope: BundleRequest['scope'] = { kind: 'selection', filter: { log: 'audit', actor: 'nobody' } };
    await assert.rejects(filesOf({ scope }), { code: 'not-found', message: /^0 records match/ });
    const files = await filesOf({ scope, allowEmpty: true });
    const report = await check(one, files);
    assert.deepEqual(report.findings, []);
    assert.deepEqual([report.verdict, report.records], ['verified', 0n]);
  });

  it('of one tenant’s reader holds that tenant’s records alone, and says so in its scope', async () => {
    const files = await filesOf({}, ACME);
    const { scope } = JSON.parse(files.get('manifest.json')!.toString());
    assert.equal(scope.filter.tenant, 'acme');
    const lines = files.get('records.ndjson')!.toString().trimEnd().split('\n');
    assert.equal(lines.length, 4 * 40 + 1);
    assert.ok(lines.every((line) => JSON.parse(line).tenant === 'acme'));
    assert.equal((await check(one, files)).verdict, 'verified');
    const other: BundleRequest['scope'] = { kind: 'selection', filter: { tenant: 'beta' } };
    await assert.rejects(filesOf({ scope: other }, ACME), { code: 'tenant-forbidden' });
  });

  it('of one record is verified', async () => {
    const files = await filesOf({});
    const { id } = JSON.parse(files.get('records.ndjson')!.toString().split('\n')[7]);
    const own = await filesOf({ scope: { kind: 'record', what: { id } } });
    const report = await check(one, own);
    assert.deepEqual(report.findings, []);
    assert.deepEqual([report.verdict, report.records], ['verified', 1n]);
  });

  it('ends in the newest head that somebody vouches for, where that is asked for, and holds what they gave', async () => {
    await assert.rejects(filesOf({ head: 'with-anchor' }), { code: 'not-anchored' });
    const { size } = (await deps.heads.newest('heads', 0, null))!;
    await one.asSuperuser(
      "INSERT INTO evident.anchors VALUES (0, $1, 'timestamp', 'Some authority', 'no token', 0)",
      [size.toString()],
    );
    await append('acme', 1);
    await one.seal();
    await projectPending(one.storage);
    const files = await filesOf({ head: 'with-anchor' });
    assert.equal(JSON.parse(files.get('manifest.json')!.toString()).head.size, size.toString());
    assert.equal(files.get(`timestamps/Some%20authority.${size}.tsr`)?.toString(), 'no token');
    // A newer head has two cosignatures; whoever wants both kinds gets the one that has both.
    const newest = (await deps.heads.newest('heads', 0, null))!.size;
    assert.ok(newest > size);
    await one.asSuperuser(
      `INSERT INTO evident.anchors VALUES (0, $1, 'cosignature', 'w/1', 'none', 0),
        (0, $2, 'cosignature', 'w/1', 'none', 0), (0, $2, 'cosignature', 'w/2', 'none', 0)`,
      [size.toString(), newest.toString()],
    );
    for (const [timestamps, cosignatures, found] of [
      [1, 1, size],
      [1, 0, size],
      [0, 1, newest],
      [0, 2, newest],
      [1, 2, null],
      [0, 3, null],
    ] as const)
      assert.equal(await deps.newestAnchored(0, { timestamps, cosignatures }), found);
    assert.equal(await deps.newestAnchored(1, { timestamps: 0, cosignatures: 1 }), null);
    await one.asSuperuser('DELETE FROM evident.anchors');
  });
});

describe('a bundle of whole hours of a tenant', { timeout: 300_000 }, () => {
  const scopeOf = async (tenant: string, from: number, to: number): Promise<BundleRequest['scope']> => {
    const known = await hours();
    return { kind: 'tenant-hours', log: 'audit', tenant, ...parseHours(`${known[from]}..${known[to]}`) };
  };

  for (const [tenant, from, to, count] of [
    ['acme', 0, 2, 120],
    ['acme', 1, 1, 40],
    ['beta', 0, 2, 50],
    ['beta', 1, 1, 0],
  ] as const) {
    it(`${tenant}, hours ${from} to ${to}, equals the ${count} records that the log committed to`, async () => {
      for (const proofs of ['each', 'tiles'] as const) {
        const files = await filesOf({ scope: await scopeOf(tenant, from, to), proofs });
        const report = await check(one, files);
        assert.deepEqual(report.findings, []);
        assert.deepEqual([report.verdict, report.records], ['verified', BigInt(count)]);
        assert.ok(
          report.shown.some((line) => line.includes(String(count)) && line.includes(tenant)),
          report.shown.join('\n'),
        );
        if (count === 0) continue;
        for (const change of [
          (lines: string[]) => lines.slice(1),
          (lines: string[]) => lines.slice(0, -1),
          ([first, ...rest]: string[]) => [first, first, ...rest],
          ([first, second, ...rest]: string[]) => [second, first, ...rest],
        ])
          assert.equal((await check(one, withRecords(files, change))).verdict, 'tampered');
      }
    });
  }

  it('is refused while an hour of it is not done, and for another tenant’s reader', async () => {
    const [, , , last] = await hours();
    const open: BundleRequest['scope'] = {
      kind: 'tenant-hours',
      log: 'audit',
      tenant: 'acme',
      from: last,
      to: '2200-01-01T00',
    };
    await assert.rejects(filesOf({ scope: open }), { code: 'windows-missing' });
    await assert.rejects(filesOf({ scope: await scopeOf('beta', 0, 0) }, ACME), { code: 'tenant-forbidden' });
  });

  it('is the same bytes at the same head, whatever is appended, sealed and committed to afterwards', async () => {
    const scope = await scopeOf('acme', 0, 2);
    const first = await filesOf({ scope });
    const { head } = JSON.parse(first.get('manifest.json')!.toString());
    await append('acme', 20);
    await one.seal();
    await writeWindows();
    await one.seal();
    assert.deepEqual(await filesOf({ scope, head: BigInt(head.size) }), first);
  });
});

describe('the proof of a record', { timeout: 300_000 }, () => {
  it('is anchored, or says what it waits for', async () => {
    const record = makeRecord({ tenant: 'acme', key: 'acme/late' });
    const [{ partition, position }] = (await one.storage.logs.get('audit')?.append([record])) ?? [];
    const what = { log: 'audit', partition, position };
    await assert.rejects(proveRecord(deps, AUDITOR, what), { code: 'not-sealed' });
    await one.seal();
    const proven = await proveRecord(deps, AUDITOR, what);
    assert.ok(proven.anchoring !== null);
    assert.ok(proven.anchoring.head.size > position);
    await assert.rejects(proveRecord(deps, ACME, { log: 'audit', partition, position: 10n ** 6n }), {
      code: 'not-found',
    });
    await assert.rejects(proveRecord(deps, AUDITOR, { log: 'audit', partition, position: 10n ** 6n }), {
      code: 'not-found',
    });
  });

  it('of another tenant’s record is as of one that is not there', async () => {
    const { rows } = await one.asSuperuser("SELECT id FROM evident.identities WHERE tenant = 'beta' LIMIT 1");
    const beta =
      rows[0]?.id ??
      (await one.asSuperuser("SELECT id FROM evident.records WHERE tenant = 'beta' LIMIT 1")).rows[0].id;
    await assert.rejects(proveRecord(deps, ACME, { id: beta }), { code: 'not-found' });
  });

  it('is refused when the record is not the one that was sealed, and when tiles are gone', async () => {
    const { rows } = await one.asSuperuser(
      "SELECT tree, position FROM evident.records WHERE type = 'note' AND tree = $1 ORDER BY position LIMIT 1",
      [one.treeOf('audit', 0)],
    );
    const what = { log: 'audit', partition: 0, position: BigInt(rows[0].position) };
    const values = [rows[0].tree, rows[0].position];
    await proveRecord(deps, AUDITOR, what);
    await one.asSuperuser(
      "UPDATE evident.records SET key = key || 'x' WHERE tree = $1 AND position = $2",
      values,
    );
    await assert.rejects(proveRecord(deps, AUDITOR, what), { code: 'evidence-broken' });
    await one.asSuperuser(
      'UPDATE evident.records SET key = left(key, -1) WHERE tree = $1 AND position = $2',
      values,
    );
    await proveRecord(deps, AUDITOR, what);
    await one.asSuperuser('CREATE TABLE public.kept (LIKE evident.records)');
    await one.asSuperuser(
      'WITH gone AS (DELETE FROM evident.records WHERE tree = $1 AND position = $2 RETURNING *) INSERT INTO public.kept SELECT * FROM gone',
      values,
    );
    await assert.rejects(proveRecord(deps, AUDITOR, what), { code: 'evidence-broken' });
    await one.asSuperuser('INSERT INTO evident.records SELECT * FROM public.kept');
    await proveRecord(deps, AUDITOR, what);
  });
});

describe('where heads are listed', { timeout: 300_000 }, () => {
  const listedAt = async () =>
    (
      await one.asSuperuser(
        'SELECT tree, epoch, size, listed_at FROM evident.heads WHERE listed ORDER BY tree, epoch, size',
      )
    ).rows;

  it('is found again at the start after a crash between the record and its mark', async () => {
    await append('acme', 5);
    const heads = one.storage.logs.get('heads') as Log;
    const log = one.storage.logs.get('audit') as Log;
    const { sealer } = await openSealer(sealDepsOf(one.storage), log);
    const { sealed } = await sealRound(sealDepsOf(one.storage), sealer);
    assert.ok(sealed.length > 0);
    const dying = {
      ...sealDepsOf(one.storage).heads,
      markListed: () => Promise.reject(new Error('the process died here')),
    };
    await assert.rejects(listHeads(heads, dying as never, sealed), /died here/);
    const before = await deps.heads.listed('audit', sealed[0].partition, 2n ** 62n);
    assert.ok(before !== null && before.size < sealed[0].size, 'the crash left the mark out');
    const ignore = () => undefined;
    const loop = new SealLoop(
      {
        ...sealDepsOf(one.storage),
        now: () => 0,
        clock: () => 0n,
        onSealed: ignore,
        onBreak: ignore,
        onError: ignore,
        onSigner: ignore,
      },
      [...one.storage.logs.values()],
    );
    await loop.open();
    for (const { partition, size } of sealed) {
      const after = await deps.heads.listed('audit', partition, 2n ** 62n);
      assert.equal(after?.size, size);
      const [record] = await heads.read(0, after?.position as bigint, 1);
      assert.ok(record.body.form === 'json');
      assert.equal(JSON.parse(Buffer.from(record.body.bytes).toString()).size, size.toString());
    }
  });

  it('is filled in by the migration for heads that were listed before', async () => {
    const before = await listedAt();
    assert.ok(before.length > 5 && before.every(({ listed_at }) => listed_at !== null));
    const file = new URL('../sql/postgres/0018_evidence.sql', import.meta.url);
    const [update] = /^UPDATE evident\.heads[^;]*;/m.exec(readFileSync(file, 'utf8')) as RegExpExecArray;
    await one.asSuperuser('UPDATE evident.heads SET listed_at = NULL');
    assert.ok((await listedAt()).every(({ listed_at }) => listed_at === null));
    await one.asSuperuser(update);
    assert.deepEqual(await listedAt(), before);
  });
});

describe('a position that was lost', { timeout: 300_000 }, () => {
  it('is named with its recovery, in a proof, an entry bundle and an export', async () => {
    await one.seal();
    await projectPending(one.storage);
    const { rows } = await one.asSuperuser(
      "SELECT position FROM evident.records WHERE type = 'note' AND tenant = 'acme' AND tree = $1 ORDER BY position DESC LIMIT 1",
      [one.treeOf('audit', 1)],
    );
    const position = BigInt(rows[0].position);
    const values = [one.treeOf('audit', 1), position.toString()];
    await one.asSuperuser('DELETE FROM evident.records WHERE tree = $1 AND position = $2', values);
    const what = { log: 'audit', partition: 1, position };
    const request: BundleRequest = { ...SELECTION, scope: { kind: 'selection', filter: { tenant: 'acme' } } };
    const read = async () => {
      for await (const { bytes } of bundleFiles(deps, AUDITOR, request))
        if (!(bytes instanceof Uint8Array)) for await (const _piece of bytes);
    };
    // Taken away by somebody is not lost.
    await assert.rejects(proveRecord(deps, AUDITOR, what), { code: 'evidence-broken' });
    await assert.rejects(read(), { code: 'evidence-broken' });
    await one.asSuperuser(
      "INSERT INTO evident.lost VALUES ($1, $2::bigint, $2::bigint + 1, '0198c0de-0000-7000-8000-000000000000', 0)",
      values,
    );
    const lost = { code: 'position-lost', message: /0198c0de-0000-7000-8000-000000000000/ };
    await assert.rejects(proveRecord(deps, AUDITOR, what), lost);
    const tree = { log: 'audit', partition: 1, epoch: 0 };
    await assert.rejects(readEntries(deps, tree, position / 256n, Number(position % 256n) + 1), lost);
    await assert.rejects(read(), lost);
  });
});
