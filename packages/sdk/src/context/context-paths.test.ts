/** Two hundred requests at once, over everything that Node can wait for; and mutants that must not pass. */

import assert from 'node:assert/strict';
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import {
  type ContextUnderTest,
  evident,
  GUARDED_PATHS,
  OWN_PATHS,
  SharedThings,
  type Sighting,
  sequence,
  walk,
} from './paths-fixture.ts';

const REQUESTS = 200;

/** Runs all requests, keeps every one alive until the last is done, and lists who was seen where he is not. */
async function strangers(
  context: ContextUnderTest,
  paths: typeof OWN_PATHS,
  requests = REQUESTS,
): Promise<{ wrong: Sighting[]; errors: number; sightings: number }> {
  const shared = new SharedThings();
  const random = sequence(20_261_120);
  try {
    const walked = await Promise.all(
      Array.from({ length: requests }, (_, index) => `usr_${index}`).map((actor) =>
        context.run(actor, async () => ({ actor, sightings: await walk(paths, context, shared, random) })),
      ),
    );
    const all = walked.flatMap(({ actor, sightings }) =>
      sightings.map((sighting) => ({ actor, ...sighting })),
    );
    const errors = all.filter(({ seen }) => seen?.startsWith('error: '));
    return {
      wrong: all.filter((each) => each.seen !== each.actor && !errors.includes(each)),
      errors: errors.length,
      sightings: all.length,
    };
  } finally {
    await shared.close();
  }
}

/** Keeps the actor in a variable of the module: right for one request at a time. */
function moduleVariable(): ContextUnderTest {
  let current: string | null = null;
  return {
    run(actorId, fn) {
      current = actorId;
      return fn();
    },
    read: () => current,
    bind: (fn) => fn,
  };
}

/** AsyncLocalStorage as it comes, without our guard. */
function plainStorage(): ContextUnderTest {
  const storage = new AsyncLocalStorage<string>();
  return {
    run: (actorId, fn) => storage.run(actorId, fn),
    read: () => storage.getStore() ?? null,
    bind: (fn) => AsyncResource.bind(fn as () => unknown) as unknown as typeof fn,
  };
}

describe('two hundred requests at once', () => {
  it('see themselves on every way that belongs to them', async () => {
    const { wrong, errors, sightings } = await strangers(evident, OWN_PATHS);
    assert.deepEqual(wrong, []);
    assert.equal(errors, 0);
    assert.ok(sightings >= REQUESTS * Object.keys(OWN_PATHS).length);
  });

  it('see an error, and nobody else, in callbacks of things that they share', async () => {
    const { wrong, errors } = await strangers(evident, GUARDED_PATHS);
    assert.deepEqual(wrong, []);
    assert.ok(errors > 0);
  });

  it('would see each other if the actor stood in a variable', async () => {
    const { wrong } = await strangers(moduleVariable(), OWN_PATHS);
    assert.ok(wrong.length > 0);
  });

  it('would see whoever opened the shared thing without the guard', async () => {
    const { wrong } = await strangers(plainStorage(), GUARDED_PATHS, 20);
    assert.deepEqual([...new Set(wrong.map(({ path }) => path))].sort(), Object.keys(GUARDED_PATHS).sort());
  });

  // Node 22 carries contexts by async_hooks, Node 24 and later by frames of V8. This flag chooses the former.
  const flag = '--no-async-context-frame';
  const hasFlag =
    process.allowedNodeEnvironmentFlags.has(flag) ||
    process.allowedNodeEnvironmentFlags.has('--async-context-frame');
  it('see the same under the older way in which Node carries contexts', {
    skip:
      !hasFlag || process.execArgv.includes(flag)
        ? 'this Node has only one way, or this is the other'
        : false,
  }, () => {
    const { NODE_TEST_CONTEXT: _nested, ...env } = process.env;
    const output = execFileSync(process.execPath, [flag, '--test-reporter=tap', import.meta.filename], {
      env,
      encoding: 'utf8',
      timeout: 120_000,
    });
    assert.match(output, /^# fail 0$/m);
    assert.match(output, /^# pass 4$/m);
  });
});
