import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { EXIT } from './command-deps.ts';
import { type MapOptions, runMapCommand } from './map.ts';
import { makeOutput } from './output.ts';

const MAPPING = {
  mapping: 1,
  type: 'csv',
  format: 'csv',
  rules: [
    {
      time: { text: '{When}', format: '%d.%m.%Y %H:%M:%S' },
      actor: { id: '{Badge}', type: 'badge' },
      action: 'door.open',
    },
  ],
};
const VISITS = 'When,Badge\n20.11.2026 08:58:12,b-1\n20.11.2026 08:59:00,b-2\nsoon,"b\n';

describe('evident map', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'evident-map-'));
    writeFileSync(join(dir, 'visits.csv'), VISITS);
    writeFileSync(join(dir, 'doors.json'), JSON.stringify(MAPPING));
  });
  after(() => rmSync(dir, { recursive: true }));

  const run = async (format: string, files: string[], options: Partial<MapOptions>, json = true) => {
    const stream = new PassThrough();
    const given = { mapping: null, limit: 10, ...options };
    const paths = files.map((file) => join(dir, file));
    const code = await runMapCommand({ data: dir }, format, paths, given, makeOutput(json, stream));
    stream.end();
    return { code, text: (await stream.toArray()).join('') };
  };

  it('shows the rows that a file would give, and counts what would be refused', async () => {
    const { code, text } = await run('csv', ['visits.csv'], { mapping: join(dir, 'doors.json'), limit: 1 });
    const { counts, rows, refused } = JSON.parse(text);
    assert.deepEqual(counts, { records: 4, rows: 2, unmapped: 0, untimed: 0, refused: 1 });
    assert.deepEqual(
      rows.map((row: Record<string, string>) => [row.eventTime, row.actorId, row.action]),
      [['2026-11-20T08:58:12.000000Z', 'b-1', 'door.open']],
    );
    assert.deepEqual(refused, ['line 4 of visits.csv: the quote that opens field 2 is not closed']);
    assert.equal(code, EXIT.failed);
  });

  it('takes the mapping files of the data directory, where none is named', async () => {
    const unmapped = JSON.parse((await run('csv', ['visits.csv'], {})).text);
    assert.deepEqual([unmapped.counts.unmapped, unmapped.counts.untimed], [2, 2]);
    mkdirSync(join(dir, 'mappings'));
    writeFileSync(join(dir, 'mappings', 'doors.json'), JSON.stringify(MAPPING));
    assert.equal(JSON.parse((await run('csv', ['visits.csv'], {})).text).counts.unmapped, 0);
    rmSync(join(dir, 'mappings'), { recursive: true });
  });

  it('prints no control character of a file on a terminal', async () => {
    writeFileSync(join(dir, 'hostile.csv'), 'When,Badge\nx,\u001b[2J\n');
    const { code, text } = await run('csv', ['hostile.csv'], { mapping: join(dir, 'doors.json') }, false);
    assert.match(text, /actor +badge \\u001b\[2J/);
    assert.equal(text.includes('\u001b'), false);
    assert.equal(code, EXIT.success);
  });

  it('does what docs/guides/mapping.md shows', async () => {
    const guide = readFileSync(new URL('../../../../docs/guides/mapping.md', import.meta.url), 'utf8');
    const block = (kind: string, holds: string): string => {
      const blocks = guide.split(`\`\`\`${kind}\n`).slice(1);
      const found = blocks
        .map((text) => text.slice(0, text.indexOf('```')))
        .find((text) => text.includes(holds));
      assert.ok(found !== undefined, holds);
      return found;
    };
    writeFileSync(join(dir, 'visits.csv'), block('csv', 'Badge'));
    writeFileSync(join(dir, 'guide.json'), block('json', 'door.open'));
    const options = { mapping: join(dir, 'guide.json'), limit: 2 };
    const { text } = await run('csv', ['visits.csv'], options, false);
    writeFileSync(join(dir, 'visits.csv'), VISITS);
    const shown = block('console', 'evident map');
    assert.equal(text, shown.slice(shown.indexOf('\n') + 1));
  });

  it('names the file that is not there, and the member that is wrong', async () => {
    await assert.rejects(run('csv', ['nosuch.csv'], {}), /nosuch\.csv can't be read/);
    await assert.rejects(run('xml', ['visits.csv'], {}), /there is no format xml; known are .*csv/);
    writeFileSync(join(dir, 'bad.json'), JSON.stringify({ ...MAPPING, rules: [{ actr: {} }] }));
    const mapping = join(dir, 'bad.json');
    await assert.rejects(
      run('csv', ['visits.csv'], { mapping }),
      /bad\.json: rules\[0\]\.actr: it is not known/,
    );
  });
});
