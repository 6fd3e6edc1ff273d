/** Files of foreign formats, through the importer into a real log: every piece is there byte for byte, and once. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { apacheLines, cloudTrailFile } from '../generate/foreign-files.ts';
import type { ImportFormatName } from '../src/ingest/import/formats.ts';
import { gunzipIfPacked } from '../src/ingest/import/gunzip.ts';
import { nodeHmacSha256 } from '../src/ingest/import/identity.ts';
import { type ImportCounts, noImportCounts } from '../src/ingest/import/import-records.ts';
import { runImport } from '../src/ingest/import/run-import.ts';
import { openFolderOccurrenceStore } from '../src/stores/folder/occurrence-store.ts';
import { type Installation, makeInstallation } from './installation.ts';

interface File {
  readonly name: string;
  readonly bytes: Buffer;
}

const SHARED = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const skip = existsSync(SHARED) ? false : 'the real data of others is not beside the repository';

async function importFiles(
  one: Installation,
  format: ImportFormatName,
  files: readonly File[],
): Promise<ImportCounts> {
  const log = one.storage.logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit');
  const deps = {
    log,
    objects: one.storage.objects,
    hmacSha256: nodeHmacSha256,
    tenantSecret: Buffer.alloc(32, 7),
    openOccurrenceStore: () => openFolderOccurrenceStore(one.dir),
  };
  const sum = noImportCounts();
  for (const { name, bytes } of files) {
    const source = gunzipIfPacked(chunks(bytes), name);
    const { counts } = await runImport(deps, {
      format,
      tenant: 'acme',
      source,
      fileName: name,
      runId: 'test',
    });
    for (const key of Object.keys(sum) as (keyof ImportCounts)[]) sum[key] += counts[key];
  }
  return sum;
}

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
}

/** SHA-256 of every body in the log, sorted: equal multisets of bytes are equal lists. */
async function storedBodies(one: Installation): Promise<string[]> {
  const { rows } = await one.asSuperuser(
    "SELECT encode(coalesce(body_sha256, sha256(body)), 'hex') AS hash FROM evident.records WHERE source <> 'evident'",
  );
  return rows.map(({ hash }) => hash as string).sort();
}

const hashesOf = (pieces: readonly Buffer[]): string[] =>
  pieces.map((piece) => createHash('sha256').update(piece).digest('hex')).sort();

/** Lines without their LF; an empty last piece is no line. Independent of the importer. */
function linesOf(bytes: Buffer): Buffer[] {
  const lines = bytes.toString('latin1').split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line) => Buffer.from(line, 'latin1'));
}

/** The elements of `{"Records":[…]}` by counting brackets outside strings. Independent of the importer. */
function elementsOf(bytes: Buffer): Buffer[] {
  const text = bytes.toString('latin1');
  const found: Buffer[] = [];
  let depth = 0;
  let from = 0;
  let inString = false;
  for (let at = text.indexOf('['); at < text.length; at++) {
    const char = text[at];
    if (inString) {
      if (char === '\\') at++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' && depth++ === 0) from = at;
    else if (char === '}' && --depth === 0) found.push(Buffer.from(text.slice(from, at + 1), 'latin1'));
    else if (char === ']' && depth === 0) break;
  }
  return found;
}

async function expectTakenOnce(
  one: Installation,
  format: ImportFormatName,
  files: readonly File[],
  pieces: readonly Buffer[],
): Promise<void> {
  const before = await storedBodies(one);
  const first = await importFiles(one, format, files);
  assert.equal(first.taken, pieces.length);
  assert.equal(first.repeated + first.reused + first.refused, 0);
  const after = await storedBodies(one);
  assert.deepEqual(after, [...before, ...hashesOf(pieces)].sort());
  const again = await importFiles(one, format, files);
  assert.deepEqual({ ...again, unparsed: 0 }, { ...noImportCounts(), repeated: pieces.length });
  assert.deepEqual(await storedBodies(one), after, 'the second import appended nothing');
}

function sharedFiles(folder: string): File[] {
  return readdirSync(join(SHARED, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(json|ndjson)$/.test(name))
    .sort()
    .map((name) => ({ name: basename(name), bytes: readFileSync(join(SHARED, folder, name)) }));
}

describe('imports into a real log', () => {
  it('take generated CloudTrail, packed and plain, and Apache lines, byte for byte and once', async (t) => {
    const one = await makeInstallation(t);
    const trail = Buffer.from(cloudTrailFile(3, 700));
    const access = Buffer.from(`${[...apacheLines(3, 900, 100)].join('\n')}\n`);
    await expectTakenOnce(
      one,
      'cloudtrail',
      [{ name: 'trail.json.gz', bytes: gzipSync(trail) }],
      elementsOf(trail),
    );
    await expectTakenOnce(one, 'apache', [{ name: 'access.log', bytes: access }], linesOf(access));
    await one.seal();
    assert.equal((await one.verify()).verdict, 'verified');
  });

  it('take every event and line of the shared data, byte for byte and once', { skip }, async (t) => {
    const one = await makeInstallation(t);
    const trails = sharedFiles('cloudtrail');
    const events = trails.flatMap(({ bytes }) => elementsOf(bytes));
    assert.equal(events.length, 2_900);
    await expectTakenOnce(one, 'cloudtrail', trails, events);
    const access = {
      name: 'apache_combined.log',
      bytes: readFileSync(join(SHARED, 'access-logs/apache_combined.log')),
    };
    await expectTakenOnce(one, 'apache', [access], linesOf(access.bytes));
    const vendors = sharedFiles('vendor-audit');
    assert.equal(vendors.length, 103);
    await expectTakenOnce(
      one,
      'ndjson',
      vendors,
      vendors.flatMap(({ bytes }) => linesOf(bytes)),
    );
    await one.seal();
    assert.equal((await one.verify()).verdict, 'verified');
  });
});
