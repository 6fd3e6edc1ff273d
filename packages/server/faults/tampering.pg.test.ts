/** Whatever is changed in storage, by SQL or in a file, is found, and placed. Each case begins from a sealed, verified log. */

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Check, Finding } from '../src/verify/finding.ts';
import { type Installation, makeInstallation } from './installation.ts';

const RECORDS = 3_000;

/** Runs `tamper` in a transaction-like frame: verified before, `undo` after, verified again. */
interface Case {
  readonly name: string;
  readonly tamper: (it: Installation) => Promise<() => Promise<void>>;
  readonly expect: (findings: readonly Finding[], it: Installation) => void;
  readonly verdict: 'tampered' | 'not checked';
}

function flip(path: string, at: number): () => Promise<void> {
  const bytes = readFileSync(path);
  bytes[at] ^= 0x01;
  writeFileSync(path, bytes);
  return async () => {
    bytes[at] ^= 0x01;
    writeFileSync(path, bytes);
  };
}

const has = (findings: readonly Finding[], check: Check, partition: number, from: bigint | null): void => {
  const found = findings.find(
    (one) => one.check === check && one.partition === partition && (from === null || one.from === from),
  );
  assert.ok(
    found,
    `expected ${check} at ${partition}/${from}, found ${JSON.stringify(findings, (_, value) => (typeof value === 'bigint' ? `${value}` : value))}`,
  );
};

/** Changes rows and gives back what restores them. */
async function sqlCase(
  it: Installation,
  change: string,
  undo: string,
  values: unknown[] = [],
): Promise<() => Promise<void>> {
  await it.asSuperuser(change, values);
  return async () => {
    await it.asSuperuser(undo, values);
  };
}

const RECORD_COLUMNS: Record<string, [change: string, undo: string]> = {
  appended_at: [
    "appended_at = appended_at + interval '1 microsecond'",
    "appended_at = appended_at - interval '1 microsecond'",
  ],
  id: ["id = '00000000-0000-0000-0000-000000000000'", ''],
  tenant: ["tenant = tenant || 'x'", 'tenant = left(tenant, -1)'],
  source: ["source = source || 'x'", 'source = left(source, -1)'],
  source_seq: ["source_seq = '1'", 'source_seq = NULL'],
  type: ["type = type || 'x'", 'type = left(type, -1)'],
  schema: ['schema = schema + 1', 'schema = schema - 1'],
  key: ["key = key || 'x'", 'key = left(key, -1)'],
  meta: ['meta = \'{"a":1}\'', 'meta = NULL'],
  body_form: ['body_form = 1', 'body_form = 0'],
  body: [
    'body = set_byte(body, 1, get_byte(body, 1) # 1)',
    'body = set_byte(body, 1, get_byte(body, 1) # 1)',
  ],
};
/** These place the record; they are tested by moving it. body_sha256 and body_size belong to large bodies. */
const OTHER_COLUMNS = ['tree', 'position', 'body_sha256', 'body_size'];

function recordCases(): Case[] {
  return Object.entries(RECORD_COLUMNS).map(([column, [change, undo]]) => ({
    name: `a record's ${column} changed`,
    verdict: 'tampered' as const,
    tamper: async (one: Installation) => {
      const tree = one.treeOf('audit', 0);
      const { rows } = await one.asSuperuser(
        'SELECT id FROM evident.records WHERE tree = $1 AND position = 700',
        [tree],
      );
      await one.asSuperuser(`UPDATE evident.records SET ${change} WHERE tree = $1 AND position = 700`, [
        tree,
      ]);
      return async () => {
        const back = undo === '' ? `id = '${rows[0].id}'` : undo;
        await one.asSuperuser(`UPDATE evident.records SET ${back} WHERE tree = $1 AND position = 700`, [
          tree,
        ]);
      };
    },
    expect: (findings: readonly Finding[]) => has(findings, 'record', 0, 700n),
  }));
}

const audit0 = (one: Installation) => one.treeOf('audit', 0);
const pack = (one: Installation, log = 'audit', partition = 0) =>
  one.path('tiles', log, String(partition), '0-00000000');
const UPPER_AT = 65_536 * 32;
const CHAIN_AT = UPPER_AT + 256 * 32;

const CASES: Case[] = [
  ...recordCases(),
  {
    name: 'a record deleted',
    verdict: 'tampered',
    tamper: async (one) => {
      await one.asSuperuser(
        'CREATE TABLE kept AS SELECT * FROM evident.records WHERE tree = $1 AND position = 33'.replace(
          '$1',
          String(audit0(one)),
        ),
      );
      return sqlCase(
        one,
        `DELETE FROM evident.records WHERE tree = ${audit0(one)} AND position = 33`,
        'WITH k AS (INSERT INTO evident.records SELECT * FROM kept) SELECT 1',
      ).then((undo) => async () => {
        await undo();
        await one.asSuperuser('DROP TABLE kept');
      });
    },
    expect: (findings) => has(findings, 'record-missing', 0, 33n),
  },
  {
    name: 'two records swapped',
    verdict: 'tampered',
    tamper: async (one) => {
      const step = async () => {
        const table = `evident.records_${audit0(one)}_0`;
        await one.asSuperuser(
          `UPDATE ${table} a SET body = b.body, id = b.id, key = b.key, appended_at = b.appended_at FROM ${table} b WHERE (a.position, b.position) IN ((40, 41), (41, 40))`,
        );
      };
      await step();
      return step;
    },
    expect: (findings) => {
      has(findings, 'record', 0, 40n);
      has(findings, 'record', 0, 41n);
    },
  },
  {
    name: 'the tail of the log cut off, with its counter',
    verdict: 'tampered',
    tamper: async (one) => {
      const tree = audit0(one);
      const { rows } = await one.asSuperuser('SELECT next_position FROM evident.partitions WHERE tree = $1', [
        tree,
      ]);
      const next = Number(rows[0].next_position);
      await one.asSuperuser(
        `CREATE TABLE kept AS SELECT * FROM evident.records WHERE tree = ${tree} AND position >= ${next - 10}`,
      );
      await one.asSuperuser(`DELETE FROM evident.records WHERE tree = ${tree} AND position >= ${next - 10}`);
      await one.asSuperuser(
        `UPDATE evident.partitions SET next_position = ${next - 10} WHERE tree = ${tree}`,
      );
      return async () => {
        await one.asSuperuser('INSERT INTO evident.records SELECT * FROM kept');
        await one.asSuperuser('DROP TABLE kept');
        await one.asSuperuser(`UPDATE evident.partitions SET next_position = ${next} WHERE tree = ${tree}`);
      };
    },
    expect: (findings) =>
      assert.ok(findings.some(({ check, partition }) => check === 'record-missing' && partition === 0)),
  },
  {
    name: 'a bit of a leaf hash flipped in a tile',
    verdict: 'tampered',
    tamper: async (one) => flip(pack(one), 500 * 32 + 3),
    expect: (findings) => has(findings, 'tile', 0, 500n),
  },
  {
    name: 'a bit of an upper tile flipped',
    verdict: 'tampered',
    tamper: async (one) => flip(pack(one), UPPER_AT + 2 * 32),
    expect: (findings) => has(findings, 'tile', 0, 512n),
  },
  {
    name: 'a bit of the chain flipped',
    verdict: 'tampered',
    tamper: async (one) => flip(pack(one), CHAIN_AT + 1 * 32),
    expect: (findings) => has(findings, 'chain', 0, 256n),
  },
  {
    name: 'a tile file missing',
    verdict: 'not checked',
    tamper: async (one) => {
      renameSync(pack(one), `${pack(one)}.away`);
      return async () => renameSync(`${pack(one)}.away`, pack(one));
    },
    expect: (findings) => has(findings, 'tile', 0, 0n),
  },
  {
    name: 'a tile file unreadable',
    verdict: 'not checked',
    tamper: async (one) => {
      renameSync(pack(one), `${pack(one)}.away`);
      mkdirSync(pack(one));
      return async () => {
        rmSync(pack(one), { recursive: true });
        renameSync(`${pack(one)}.away`, pack(one));
      };
    },
    expect: (findings) => has(findings, 'storage', 0, 0n),
  },
  {
    name: "a bit of a head's signed note flipped",
    verdict: 'tampered',
    tamper: async (one) => {
      const sql = `UPDATE evident.heads SET note = set_byte(note, length(note) - 10, get_byte(note, length(note) - 10) # 1) WHERE tree = ${audit0(one)}`;
      return sqlCase(one, sql, sql);
    },
    expect: (findings) => has(findings, 'head-signature', 0, null),
  },
  {
    name: "a head's row changed beside its note",
    verdict: 'tampered',
    tamper: async (one) => {
      const sql = `UPDATE evident.heads SET root = set_byte(root, 0, get_byte(root, 0) # 1) WHERE tree = ${audit0(one)}`;
      return sqlCase(one, sql, sql);
    },
    expect: (findings) => has(findings, 'head', 0, null),
  },
  {
    name: 'the chain value of a head changed',
    verdict: 'tampered',
    tamper: async (one) => {
      const sql = `UPDATE evident.heads SET chain = set_byte(chain, 0, get_byte(chain, 0) # 1) WHERE tree = ${audit0(one)}`;
      return sqlCase(one, sql, sql);
    },
    expect: (findings) => has(findings, 'chain', 0, null),
  },
  {
    name: 'all heads of a partition deleted',
    verdict: 'not checked',
    tamper: async (one) => {
      await one.asSuperuser(`CREATE TABLE kept AS SELECT * FROM evident.heads WHERE tree = ${audit0(one)}`);
      await one.asSuperuser(`DELETE FROM evident.heads WHERE tree = ${audit0(one)}`);
      return async () => {
        await one.asSuperuser('INSERT INTO evident.heads SELECT * FROM kept');
        await one.asSuperuser('DROP TABLE kept');
      };
    },
    expect: (findings) => has(findings, 'head', 0, null),
  },
  {
    name: 'the stored right edge changed',
    verdict: 'tampered',
    tamper: async (one) => {
      const sql = `UPDATE evident.seals SET edge = set_byte(edge, 0, get_byte(edge, 0) # 1) WHERE tree = ${audit0(one)}`;
      return sqlCase(one, sql, sql);
    },
    expect: (findings) => has(findings, 'tile', 0, null),
  },
  {
    name: 'a byte of a large body flipped',
    verdict: 'tampered',
    tamper: async (one) => {
      const folder = one.path('objects', 'acme');
      return flip(join(folder, readdirSync(folder)[0]), 1_000);
    },
    expect: (findings) => assert.ok(findings.some(({ check }) => check === 'object')),
  },
  {
    name: 'a large body missing',
    verdict: 'not checked',
    tamper: async (one) => {
      const folder = one.path('objects', 'acme');
      const file = join(folder, readdirSync(folder)[0]);
      renameSync(file, one.path('away'));
      return async () => renameSync(one.path('away'), file);
    },
    expect: (findings) => assert.ok(findings.some(({ check }) => check === 'object')),
  },
  {
    name: 'a record edited, and every hash beside it that can be reached recomputed without the key',
    verdict: 'tampered',
    tamper: async (one) => {
      const tree = audit0(one);
      const sql = `UPDATE evident.records SET body = set_byte(body, 1, get_byte(body, 1) # 1) WHERE tree = ${tree} AND position = 5`;
      await one.asSuperuser(sql);
      const run = await one.storage.records.readRun('audit', 0, 5n, 6n);
      const file = readFileSync(pack(one));
      const changed = Buffer.from(file);
      changed.set(run.hashes, 5 * 32);
      writeFileSync(pack(one), changed);
      return async () => {
        await one.asSuperuser(sql);
        writeFileSync(pack(one), file);
      };
    },
    expect: (findings) => has(findings, 'head', 0, 0n),
  },
];

describe('tampering', () => {
  let one: Installation;
  const undone: (() => Promise<void>)[] = [];
  before(async () => {
    one = await makeInstallation({ after: (fn) => void undone.push(fn as () => Promise<void>) });
    await one.append(RECORDS, (index) => `{"n":${index},"text":"${'x'.repeat(index % 200)}"}`);
    await one.appendLarge(100_000);
    await one.seal();
    await one.append(100);
    await one.seal();
    await one.append(5);
    await one.seal();
  });
  after(async () => {
    for (const undo of undone) await undo();
  });

  it('finds nothing in an untouched log', async () => {
    const report = await one.verify();
    assert.deepEqual(report.findings, []);
    assert.equal(report.verdict, 'verified');
    assert.ok(report.partitions.reduce((sum, { records }) => sum + records, 0) > RECORDS);
  });

  it('has a case for every column of a record, so that no stored field escapes the hash', async () => {
    const { rows } = await one.asSuperuser(
      "SELECT column_name FROM information_schema.columns WHERE table_schema = 'evident' AND table_name = 'records'",
    );
    assert.deepEqual(
      rows.map((row) => row.column_name).sort(),
      [...Object.keys(RECORD_COLUMNS), ...OTHER_COLUMNS].sort(),
    );
  });

  for (const { name, tamper, expect, verdict } of CASES) {
    it(`${verdict}: ${name}`, async () => {
      const undo = await tamper(one);
      const report = await one.verify();
      await undo();
      assert.equal(
        report.verdict,
        verdict,
        JSON.stringify(report.findings, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
      );
      expect(report.findings, one);
      assert.equal((await one.verify()).verdict, 'verified', 'undone, it verifies again');
    });
  }
});
