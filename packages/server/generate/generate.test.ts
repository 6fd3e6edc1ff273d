import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { checkAuditEvent } from '@evident/core/audit-event.ts';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { readEnvelope, splitNdjson } from '../src/ingest/envelope.ts';
import type { ImportFormatName } from '../src/ingest/import/formats.ts';
import { nodeHmacSha256 } from '../src/ingest/import/identity.ts';
import { type ImportedItem, importRecords, isUnparsed } from '../src/ingest/import/import-records.ts';
import { envelopeLine, type GeneratedEvent, generateEvents } from './events.ts';
import { apacheLines, cloudTrailFile } from './foreign-files.ts';
import { SeededRandom, Weighted } from './random.ts';

const COUNT = 20_000;
const events = generateEvents(7, COUNT, { tenants: ['acme', 'globex'] });
const bodies = events.map(({ body }) => checkAuditEvent(JSON.parse(new TextDecoder().decode(body))));

function digest(list: readonly GeneratedEvent[]): string {
  return hash('sha256', encodeUtf8(list.map(envelopeLine).join('\n')));
}

function share(holds: (index: number) => boolean): number {
  return bodies.filter((_, index) => holds(index)).length / COUNT;
}

/** Shares of the values, the largest first. */
function shares(values: readonly string[]): number[] {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => b - a).map((count) => count / values.length);
}

function assertBetween(value: number, least: number, most: number, what: string): void {
  assert.ok(value >= least && value <= most, `${what} is ${value}, not between ${least} and ${most}`);
}

async function importedItems(
  format: ImportFormatName,
  bytes: Uint8Array,
  secret: Uint8Array,
): Promise<ImportedItem[]> {
  const items: ImportedItem[] = [];
  const source = (async function* () {
    for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
  })();
  const deps = {
    hmacSha256: nodeHmacSha256,
    tenantSecret: secret,
    openOccurrenceStore: () => assert.fail('so few lines are counted in memory'),
  };
  for await (const batch of importRecords(deps, { format, tenant: 'acme', source })) {
    assert.deepEqual(batch.refused, []);
    items.push(...batch.items);
  }
  return items;
}

describe('generated events', () => {
  it('are the same bytes for the same seed, and others for another', () => {
    const options = { tenants: ['acme', 'globex'] };
    assert.equal(digest(generateEvents(7, 500, options)), digest(events.slice(0, 500)));
    assert.notEqual(digest(generateEvents(8, 500, options)), digest(events.slice(0, 500)));
  });

  it('never change for a seed: what was measured with them stays comparable', () => {
    assert.equal(
      digest(generateEvents(1, 1_000)),
      '55694b25823af46bbf9b25b6a0785896831b07b8bd70f8df98da903b60020a2b',
    );
  });

  it('are taken by ingest: envelopes with the id of the event and the key of its actor', () => {
    for (const [index, event] of events.slice(0, 2_000).entries()) {
      const line = encodeUtf8(envelopeLine(event));
      const envelope = readEnvelope(line, splitNdjson(line)[0], event.tenant);
      assert.equal(envelope.id, bodies[index].event_id);
      assert.equal(envelope.key, `${bodies[index].tenant}/${bodies[index].actor.id}`);
      assert.deepEqual(new Uint8Array(envelope.body), event.body);
    }
  });

  it('have ids that are all different, and times that never go back', () => {
    assert.equal(new Set(events.map(({ id }) => id)).size, COUNT);
    for (let i = 1; i < COUNT; i++) assert.ok(bodies[i].event_time >= bodies[i - 1].event_time);
    assert.match(events[0].id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  it('have bodies of 600 bytes on average, most of them 500 to 750', () => {
    const sizes = events.map(({ body }) => body.length).sort((a, b) => a - b);
    assertBetween(sizes.reduce((sum, size) => sum + size, 0) / COUNT, 580, 620, 'the mean size of a body');
    assertBetween(sizes[COUNT * 0.05], 500, 560, 'the 5th percentile');
    assertBetween(sizes[COUNT * 0.95], 640, 750, 'the 95th percentile');
  });

  it('spread over actors and resources as in a company: few do much, many do little', () => {
    const acme = bodies.filter(({ tenant }) => tenant === 'acme');
    assertBetween(acme.length / COUNT, 0.6, 0.8, 'the share of the first tenant');
    const actors = shares(acme.map(({ actor }) => actor.id));
    assertBetween(actors.length, 180, 200, 'the number of actors');
    assertBetween(actors[0], 0.09, 0.17, 'the share of the busiest actor');
    const documents = shares(
      acme.filter(({ resource }) => resource.type === 'document').map(({ resource }) => resource.id),
    );
    assertBetween(documents[0], 0.1, 0.2, 'the share of the most wanted document');
    assertBetween(shares(bodies.map(({ action }) => action)).length, 38, 46, 'the number of actions');
  });

  it('fail and are denied in usual shares, logins most often', () => {
    assertBetween(
      share((i) => bodies[i].result === 'failure'),
      0.012,
      0.04,
      'the share of failures',
    );
    assertBetween(
      share((i) => bodies[i].result === 'denied'),
      0.01,
      0.03,
      'the share of denials',
    );
    const logins = bodies.filter(({ action }) => action === 'login');
    assertBetween(
      logins.filter(({ result }) => result === 'failure').length / logins.length,
      0.06,
      0.11,
      'failed logins',
    );
    assertBetween(
      share((i) => bodies[i].changes !== undefined),
      0.1,
      0.3,
      'the share of events with changes',
    );
    assertBetween(
      share((i) => bodies[i].criticality === 'critical'),
      0.02,
      0.08,
      'the share of critical events',
    );
  });

  it('happen in working hours', () => {
    const hours = bodies.map(({ event_time: time }) => Number(time.slice(11, 13)));
    assertBetween(
      hours.filter((hour) => hour >= 7 && hour < 18).length / COUNT,
      0.75,
      0.995,
      'the share of working hours',
    );
  });
});

describe('generated files of other systems', () => {
  const secret = randomBytes(32);

  it('CloudTrail: the importer finds every event, with its own id', async () => {
    const file = cloudTrailFile(3, 700);
    assert.deepEqual(file, cloudTrailFile(3, 700));
    const records = (JSON.parse(new TextDecoder().decode(file)) as { Records: { eventID: string }[] })
      .Records;
    const items = await importedItems('cloudtrail', file, secret);
    assert.equal(items.filter(isUnparsed).length, 0);
    assert.deepEqual(
      items.map(({ meta }) => meta.format_id),
      records.map(({ eventID }) => eventID),
    );
    assert.deepEqual(
      items.map(({ id }) => id),
      (await importedItems('cloudtrail', file, secret)).map(({ id }) => id),
    );
  });

  it('Apache: the importer takes every line, and names those that are not of the format', async () => {
    const lines = [...apacheLines(3, 1_000, 50)];
    assert.deepEqual(lines, [...apacheLines(3, 1_000, 50)]);
    const items = await importedItems(
      'apache',
      encodeUtf8(lines.map((line) => `${line}\n`).join('')),
      secret,
    );
    assert.deepEqual(
      items.map(({ body }) => new TextDecoder().decode(body)),
      lines,
    );
    const malformed = items.filter(isUnparsed).map(({ sourceSeq }) => Number(sourceSeq));
    assert.deepEqual(
      malformed,
      Array.from({ length: 20 }, (_, index) => (index + 1) * 50),
    );
    assert.equal([...apacheLines(3, 1_000, 0)].filter((line) => line === '').length, 0);
  });
});

describe('chance from a seed', () => {
  it('is that of xoshiro128**: what its authors’ code gives from the state 1, 2, 3, 4', () => {
    const random = new SeededRandom([1, 2, 3, 4]);
    const first = Array.from({ length: 5 }, () => random.uint32());
    assert.deepEqual(first, [11_520, 0, 5_927_040, 70_819_200, 2_031_721_883]);
  });

  it('draws by weight', () => {
    const random = new SeededRandom(1);
    const weighted = new Weighted([1, 0, 3]);
    const counts = [0, 0, 0];
    for (let i = 0; i < 10_000; i++) counts[weighted.draw(random)]++;
    assert.equal(counts[1], 0);
    assertBetween(counts[2] / 10_000, 0.73, 0.77, 'the share of the heavier');
  });
});
