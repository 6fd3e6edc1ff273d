import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { serialiseMeta } from '@evident/core/record.ts';
import { nodeHmacSha256 } from './identity.ts';
import {
  baseNameForMeta,
  IMPORT_BATCH_BYTES_MAX,
  type ImportBatch,
  type ImportDependencies,
  type ImportInput,
  importRecords,
  isUnparsed,
} from './import-records.ts';

const dependencies: ImportDependencies = {
  hmacSha256: nodeHmacSha256,
  tenantSecret: Buffer.alloc(32, 1),
  openOccurrenceStore: () => assert.fail('these files are small'),
};

async function* once(text: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield typeof text === 'string' ? Buffer.from(text) : text;
}

function batchesOf(
  format: ImportInput['format'],
  text: string | Uint8Array,
  fileName?: string,
): Promise<ImportBatch[]> {
  const input: ImportInput = { format, tenant: 'acme', source: once(text) };
  return Array.fromAsync(
    importRecords(dependencies, fileName === undefined ? input : { ...input, fileName }),
  );
}

describe('importRecords', () => {
  it('gives each event with its bytes, key, number and the facts of its capture', async () => {
    const [batch, ...more] = await batchesOf(
      'cloudtrail',
      '{"Records":[{"eventID":"e-1"}, {bad}]}',
      '/var/log/x/ct.json',
    );
    assert.deepEqual(more, []);
    assert.deepEqual(batch!.refused, []);
    const [event, bad] = batch!.items;
    assert.deepEqual(
      { ...event, body: Buffer.from(event!.body).toString() },
      {
        id: event!.id,
        type: 'cloudtrail',
        key: `acme/${event!.id}`,
        schema: 0,
        sourceSeq: '1',
        meta: { format: 'cloudtrail', element: 1, file: 'ct.json', format_id: 'e-1' },
        body: '{"eventID":"e-1"}',
      },
    );
    assert.equal(Buffer.from(bad!.body).toString(), '{bad}');
    assert.equal(bad!.meta.unparsed, 'byte 1: a member name in double quotes is expected here');
    assert.deepEqual(batch!.items.map(isUnparsed), [false, true]);
  });

  it('gives records of CSV their header, and other ids under another header', async () => {
    const [first] = await batchesOf('csv', 'a,b\n1,2\n1,2\n', 'x.csv');
    const [header, one, two] = first!.items;
    assert.deepEqual(header!.meta, { format: 'csv', line: 1, file: 'x.csv', part: 'header' });
    assert.deepEqual(one!.meta, { format: 'csv', line: 2, file: 'x.csv', header: 'a,b' });
    assert.equal(Buffer.from(two!.body).toString(), '1,2');
    const [other] = await batchesOf('csv', 'a,c\n1,2\n1,2\n', 'x.csv');
    const [again] = await batchesOf('csv', 'a,b\n1,2\n1,2\n', 'y.csv');
    const ids = (batch: ImportBatch | undefined) => batch!.items.map((item) => item.id);
    assert.equal(new Set([...ids(first), ...ids(other)]).size, 6);
    assert.deepEqual(ids(again), ids(first));
  });

  it('gives facts of capture that meta can hold, whatever the file is called and its header says', async () => {
    const header = `a,${'é'.repeat(490)},"${'""'.repeat(4)}"`;
    const [batch] = await batchesOf('csv', `${header}\n1,2\n`, `/${'"'.repeat(255)}`);
    const record = batch!.items[1]!;
    assert.ok(isUnparsed(record) && record.meta.header === header);
    assert.ok(Buffer.byteLength(serialiseMeta(record.meta)!) > 1_500);
  });

  it('derives the same ids in every run, and another for each repeat of a line', async () => {
    const file = '{"a":1}\n{"a":1}\n\n{"a":2}\n{"a":1}\n';
    const [first] = await batchesOf('ndjson', file, 'a.ndjson');
    const [second] = await batchesOf('ndjson', file, 'renamed.ndjson');
    const ids = first!.items.map((item) => item.id);
    assert.deepEqual(
      second!.items.map((item) => item.id),
      ids,
    );
    assert.equal(new Set(ids).size, 5);
    assert.deepEqual(
      first!.items.map((item) => item.meta.line),
      [1, 2, 3, 4, 5],
    );
    assert.deepEqual(
      first!.items.map((item) => item.sourceSeq),
      ['1', '2', '3', '4', '5'],
    );
    assert.deepEqual(first!.items.map(isUnparsed), [false, false, true, false, false]);
  });

  it('gives an event of CloudTrail the same id in every file that delivers it', async () => {
    const [a] = await batchesOf('cloudtrail', '{"Records":[{"eventID":"e-1"}]}');
    const [b] = await batchesOf('cloudtrail', '{"eventID":"e-0"}\n{"eventID":"e-1","x":1}');
    assert.equal(a!.items[0]!.id, b!.items[1]!.id);
  });

  it('bounds its batches by number and bytes', async () => {
    const many = await batchesOf('ndjson', '1\n'.repeat(2_500));
    assert.deepEqual(
      many.map((batch) => batch.items.length),
      [1_000, 1_000, 500],
    );
    const large = `${'x'.repeat(IMPORT_BATCH_BYTES_MAX / 2)}\n`;
    const huge = `${'y'.repeat(IMPORT_BATCH_BYTES_MAX * 2)}\n`;
    const batches = await batchesOf('apache', `${large.repeat(3)}${huge}z`);
    assert.deepEqual(
      batches.map((batch) => batch.items.length),
      [2, 1, 1, 1],
    );
  });

  it('reports what is over 16 MiB and takes the lines around it', async () => {
    const size = 16 * 1024 * 1024 + 1;
    const file = Buffer.concat([Buffer.from('1\n'), Buffer.alloc(size, 0x78), Buffer.from('\n2\n')]);
    const batches = await batchesOf('ndjson', file);
    assert.deepEqual(
      batches.flatMap((batch) => batch.refused),
      [{ unit: 'line', number: 2, size }],
    );
    assert.deepEqual(
      batches.flatMap((batch) => batch.items.map((item) => item.sourceSeq)),
      ['1', '3'],
    );
  });

  it('gives what came before the source failed, without the torn line, then fails as it did', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('1\n2\n{"torn');
      throw new Error('the disk is gone');
    }
    const items: string[] = [];
    await assert.rejects(async () => {
      for await (const batch of importRecords(dependencies, {
        format: 'ndjson',
        tenant: 't',
        source: failing(),
      })) {
        items.push(...batch.items.map((item) => Buffer.from(item.body).toString()));
      }
    }, /the disk is gone/);
    assert.deepEqual(items, ['1', '2']);
  });

  it('keeps meta within its bounds', async () => {
    const [batch] = await batchesOf(
      'cloudtrail',
      `{"Records":[{${'x'.repeat(5_000)}}]}`,
      `dir/${'é'.repeat(300)}`,
    );
    const { file, unparsed } = batch!.items[0]!.meta;
    assert.ok(String(unparsed).length <= 200);
    assert.equal(file, 'é'.repeat(127));
  });
});

describe('baseNameForMeta', () => {
  it('keeps the last part only, without control characters and halves of pairs', () => {
    assert.equal(baseNameForMeta('/a/b.log'), 'b.log');
    assert.equal(baseNameForMeta('C:\\logs\\b.log'), 'b.log');
    assert.equal(baseNameForMeta('b\n\u0001\ud800.log'), 'b\ufffd\ufffd\ufffd.log');
    assert.equal(Buffer.byteLength(baseNameForMeta('😀'.repeat(100))), 252);
    assert.equal(Buffer.byteLength(baseNameForMeta('\n'.repeat(100))), 255);
  });
});
