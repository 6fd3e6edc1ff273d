import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { countPlaces, PlaceGatherer } from './places.ts';

it('gives places by log, by code unit, partition and position, each once, in whatever order they came', () => {
  const place = fc.record({
    log: fc.constantFrom('audit', 'a-b', 'a1', 'b'),
    partition: fc.integer({ min: 0, max: 11 }),
    position: fc.nat({ max: 2_000 }),
  });
  fc.assert(
    fc.property(fc.array(place, { maxLength: 3_000 }), (places) => {
      const gatherer = new PlaceGatherer();
      for (const { log, partition, position } of places) gatherer.add(log, partition, position);
      const found = gatherer.finish();
      const flat = found.flatMap(({ log, partition, positions }) =>
        [...positions].map((position) => ({ log, partition, position })),
      );
      const wanted = [...new Map(places.map((one) => [JSON.stringify(one), { ...one }])).values()].sort(
        (a, b) =>
          (a.log < b.log ? -1 : a.log > b.log ? 1 : 0) ||
          a.partition - b.partition ||
          a.position - b.position,
      );
      assert.deepEqual(flat, wanted);
      assert.equal(countPlaces(found), wanted.length);
    }),
    { numRuns: 50 },
  );
});
