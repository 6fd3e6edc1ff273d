import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { openFolderOccurrenceStore } from '../../stores/folder/occurrence-store.ts';
import { nodeHmacSha256 } from './identity.ts';
import { OccurrenceCounter, type OccurrenceStore } from './occurrence-counter.ts';

const folder = mkdtempSync(join(tmpdir(), 'evident-occurrence-'));
after(() => rmSync(folder, { recursive: true }));

const memoryStore = (): OccurrenceStore => {
  const counts = new Map<bigint, number>();
  return {
    next(fingerprint) {
      const n = (counts.get(fingerprint) ?? 0) + 1;
      counts.set(fingerprint, n);
      return n;
    },
    close() {},
  };
};

function counterOver(openStore: () => OccurrenceStore, linesMax?: number): OccurrenceCounter {
  const tenantSecret = Buffer.alloc(32, 7);
  return new OccurrenceCounter({ hmacSha256: nodeHmacSha256, tenantSecret, openStore }, linesMax);
}

describe('OccurrenceCounter', () => {
  it('counts as a Map does, with any limit, in memory and in a folder', () => {
    const lines = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 200 });
    fc.assert(
      fc.property(lines, fc.integer({ min: 0, max: 40 }), fc.boolean(), (values, linesMax, inFolder) => {
        const counter = counterOver(
          inFolder ? () => openFolderOccurrenceStore(folder) : memoryStore,
          linesMax,
        );
        const expected = new Map<number, number>();
        for (const value of values) {
          expected.set(value, (expected.get(value) ?? 0) + 1);
          assert.equal(counter.next(Buffer.from(`line ${value}`)), expected.get(value));
        }
        counter.close();
      }),
      { numRuns: 50 },
    );
    assert.deepEqual(readdirSync(folder), [], 'close deletes the folder');
  });

  it('keeps its counts while the table grows', () => {
    const counter = counterOver(() => assert.fail('the table is not full'));
    for (let round = 1; round <= 2; round++) {
      for (let i = 0; i < 20_000; i++) assert.equal(counter.next(Buffer.from(`${i}`)), round);
    }
    counter.close();
  });

  it('opens its store only past the limit, and once', () => {
    let opened = 0;
    const counter = counterOver(() => {
      opened++;
      return memoryStore();
    }, 2);
    const count = (text: string): number => counter.next(Buffer.from(text));
    assert.deepEqual([count('a'), count('b'), count('a'), opened], [1, 1, 2, 0]);
    assert.deepEqual(
      [count('c'), count('d'), count('c'), count('a'), count('b'), opened],
      [1, 1, 2, 3, 2, 1],
    );
    counter.close();
    counter.close();
  });
});

describe('openFolderOccurrenceStore', () => {
  it('counts fingerprints of all 64 bits across its commits', () => {
    const store = openFolderOccurrenceStore(folder);
    const edges = [0n, 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
    for (let round = 1; round <= 2; round++) {
      for (const edge of edges) assert.equal(store.next(edge), round);
      for (let i = 10n; i < 30_010n; i++)
        assert.equal(store.next((i * 0x9e3779b97f4a7c15n) & (2n ** 64n - 1n)), round);
    }
    assert.equal(readdirSync(folder).length, 1);
    store.close();
    store.close();
    assert.deepEqual(readdirSync(folder), []);
  });
});
