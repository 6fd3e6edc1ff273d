/** Real events of others as CloudEvents and OCSF: every one valid, and in the class that a person would look in. */

import assert from 'node:assert/strict';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { cloudEventLine } from '@evident/core/shapes/cloudevents.ts';
import { toOcsf } from '@evident/core/shapes/ocsf.ts';
import { ocsfFaults } from '@evident/core/shapes/ocsf-fixture.ts';
import { nodeHmacSha256 } from '../ingest/import/identity.ts';
import { type ImportInput, importRecords } from '../ingest/import/import-records.ts';

const DATA = fileURLToPath(new URL('../../../../../shared/data', import.meta.url));
const skip = existsSync(DATA) ? false : `THE FILES OF OTHERS ARE NOT THERE (${DATA}): nothing was shaped`;
/** The mapping file of the guide, which describes some of the hundred products. */
const MAPPING = new URL('../../../../docs/guides/mapping-vendor-audit.json', import.meta.url);
const { rowOf } = makeRegistry([parseMappingFile(JSON.parse(readFileSync(MAPPING, 'utf8')))]);

const filesIn = (folder: string): string[] =>
  readdirSync(join(DATA, folder))
    .filter((name) => !/^(LICENSE|PROVENANCE)/.test(name))
    .map((name) => join(DATA, folder, name));

function rowOrNull(record: LogRecord, body: Uint8Array): EventRow | null {
  try {
    return rowOf(record, body);
  } catch {
    return null;
  }
}

/** How many events of each class and activity the files give; each is held against the schema. */
async function classesOf(
  format: ImportInput['format'],
  files: readonly string[],
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const dependencies = {
    hmacSha256: nodeHmacSha256,
    tenantSecret: Buffer.alloc(32, 9),
    openOccurrenceStore: () => assert.fail('these files are small'),
  };
  let position = 0n;
  for (const file of files) {
    const source = createReadStream(file);
    for await (const batch of importRecords(dependencies, {
      format,
      tenant: 'acme',
      source,
      fileName: file,
    })) {
      for (const item of batch.items) {
        const record: LogRecord = {
          log: 'audit',
          partition: 0,
          position: position++,
          appendedAt: 1_800_000_000_000_000n,
          id: item.id,
          tenant: 'acme',
          source: 'import:1',
          sourceSeq: null,
          type: item.type,
          schema: 0,
          key: `acme/${item.id}`,
          meta: null,
          body: { form: 'json', bytes: item.body },
        };
        const row = rowOrNull(record, item.body);
        const event = toOcsf(record, row, item.body);
        assert.deepEqual(ocsfFaults(event), [], JSON.stringify(event));
        const line = cloudEventLine(record, row, item.body, 'evident.invalid/x');
        const shaped = JSON.parse(line);
        assert.ok(!line.includes('\n') && ('data' in shaped || 'data_base64' in shaped));
        const name = `${event.class_name}: ${event.activity_name}`;
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
  }
  return counts;
}

const sum = (counts: Map<string, number>, start: string) =>
  [...counts].filter(([name]) => name.startsWith(start)).reduce((total, [, count]) => total + count, 0);

describe('real events', { skip }, () => {
  it('of CloudTrail are calls of interfaces, sign-ins, and changes of accounts and entities', async () => {
    const counts = await classesOf('cloudtrail', filesIn('cloudtrail/CloudTrail'));
    assert.equal(sum(counts, ''), 2_900);
    assert.equal(sum(counts, 'Base Event'), 0);
    assert.equal(counts.get('Authentication: Logon'), 2);
    assert.equal(counts.get('Account Change: Create'), 4);
    assert.equal(counts.get('Account Change: Delete'), 4);
    assert.equal(counts.get('Entity Management: Create'), 18);
    assert.ok(sum(counts, 'API Activity: Read') > 1_500, JSON.stringify([...counts]));
  });

  it('of Apache are HTTP activity, but for the line that is none', async () => {
    const counts = await classesOf('apache', [join(DATA, 'access-logs/apache_combined.log')]);
    assert.equal(sum(counts, 'HTTP Activity'), 9_999);
    assert.equal(sum(counts, ''), 10_000);
    assert.equal(counts.get('HTTP Activity: Get'), 9_951);
  });

  it('of FHIR, and of a hundred products', async () => {
    const fhir = await classesOf('fhir', filesIn('fhir-auditevent'));
    assert.equal(sum(fhir, ''), filesIn('fhir-auditevent').length);
    assert.deepEqual([...fhir].filter(([name]) => name.startsWith('Authentication')).sort(), [
      ['Authentication: Logoff', 1],
      ['Authentication: Logon', 1],
    ]);
    const vendors = await classesOf('ndjson', filesIn('vendor-audit/by_log_type'));
    assert.equal(sum(vendors, ''), 3_053);
    // What nobody has described is told with its body, and in no class.
    assert.ok(
      sum(vendors, 'API Activity') > 300 && sum(vendors, 'Base Event') > 300,
      JSON.stringify([...vendors]),
    );
  });
});
