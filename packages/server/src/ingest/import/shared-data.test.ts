/**
 * The importer over real files of others, which lie beside the repository and are not part of it. Each is compared
 * with what a second, naive extractor gives.
 */

import assert from 'node:assert/strict';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeHmacSha256 } from './identity.ts';
import { type ImportedItem, type ImportInput, importRecords, isUnparsed } from './import-records.ts';

const DATA = fileURLToPath(new URL('../../../../../../shared/data', import.meta.url));
const skip = existsSync(DATA) ? false : `THE FILES OF OTHERS ARE NOT THERE (${DATA}): nothing was compared`;

async function itemsOf(
  format: ImportInput['format'],
  file: string,
  chunkBytes = 64 * 1024,
): Promise<ImportedItem[]> {
  const items: ImportedItem[] = [];
  const source = createReadStream(file, { highWaterMark: chunkBytes });
  const dependencies = {
    hmacSha256: nodeHmacSha256,
    tenantSecret: Buffer.alloc(32, 9),
    openOccurrenceStore: () => assert.fail('these files are small'),
  };
  for await (const batch of importRecords(dependencies, { format, tenant: 'acme', source, fileName: file })) {
    assert.deepEqual(batch.refused, []);
    items.push(...batch.items);
  }
  return items;
}

const filesIn = (folder: string): string[] =>
  readdirSync(join(DATA, folder)).map((name) => join(DATA, folder, name));
const bodyOf = (item: ImportedItem): string => Buffer.from(item.body).toString('latin1');

/** Character by character over latin1, which maps bytes to characters one to one; only for files without spaces. */
function naiveRecords(file: string): string[] {
  const text = readFileSync(file, 'latin1');
  const records: string[] = [];
  let depth = 0;
  let start = 0;
  let inString = false;
  for (let i = text.indexOf('[') + 1; i < text.length; i++) {
    const char = text[i];
    if (inString) {
      if (char === '\\') i++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' && depth++ === 0) start = i;
    else if (char === '}' && --depth === 0) records.push(text.slice(start, i + 1));
    else if (char === ']' && depth === 0) break;
  }
  return records;
}

describe('files of others', { skip }, () => {
  it('gives all 2,900 CloudTrail events byte for byte, each with its own id', async () => {
    const ids = new Set<string>();
    let events = 0;
    for (const file of filesIn('cloudtrail/CloudTrail')) {
      const items = await itemsOf('cloudtrail', file, 999);
      assert.deepEqual(items.map(bodyOf), naiveRecords(file), file);
      assert.deepEqual(
        items.map((item) => item.meta.format_id),
        JSON.parse(readFileSync(file, 'utf8')).Records.map((event: { eventID: string }) => event.eventID),
      );
      assert.equal(items.some(isUnparsed), false);
      for (const item of items) ids.add(item.id);
      events += items.length;
    }
    assert.deepEqual([events, ids.size], [2_900, 2_900]);
  });

  it('gives all 10,000 Apache lines byte for byte, exactly one of them unparsed', async () => {
    const file = join(DATA, 'access-logs/apache_combined.log');
    const items = await itemsOf('apache', file);
    const lines = readFileSync(file, 'latin1').split('\n');
    assert.equal(lines.pop(), '');
    assert.deepEqual(items.map(bodyOf), lines);
    assert.equal(items.length, 10_000);
    assert.equal(new Set(items.map((item) => item.id)).size, 10_000);
    const unparsed = items.filter(isUnparsed);
    assert.equal(unparsed.length, 1);
    assert.match(
      String(unparsed[0]!.meta.unparsed),
      /^the user agent that begins at byte \d+ is not complete$/,
    );
    assert.match(bodyOf(unparsed[0]!), /20\/May\/2015:12:05:17.*Googlebot/);
  });

  it('gives every line of the 103 vendor files byte for byte', async () => {
    const files = filesIn('vendor-audit/by_log_type');
    let events = 0;
    for (const file of files) {
      const items = await itemsOf('ndjson', file);
      const content = readFileSync(file, 'latin1');
      assert.equal(items.map(bodyOf).join('\n') + (content.endsWith('\n') ? '\n' : ''), content, file);
      assert.equal(items.some(isUnparsed), false);
      events += items.length;
    }
    assert.deepEqual([files.length, events], [103, 3_053]);
  });
});
