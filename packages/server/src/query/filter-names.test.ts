import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { FILTER_MEMBERS } from './check-filter.ts';
import { FILTER_NAMES, filterOfNames, namesOfFilter } from './filter-names.ts';

const VALUES: Readonly<Record<string, string>> = {
  result: 'denied',
  ip: '10.0.0.1',
  from: '2026-11-20T10:00:00.000000Z',
  to: '2026-11-21T00:00:00.000000Z',
  appended_from: '2026-11-20T10:00:00.000000Z',
  appended_to: '2026-11-21T00:00:00.000000Z',
};

it('has one outside name in snake_case for each member of a filter, and back', () => {
  assert.equal(FILTER_NAMES.length, FILTER_MEMBERS.length);
  for (const name of FILTER_NAMES) assert.match(name, /^[a-z]+(_[a-z]+)*$/);
  const all = Object.fromEntries(FILTER_NAMES.map((name) => [name, VALUES[name] ?? `x-${name.length}`]));
  const filter = filterOfNames(all);
  assert.deepEqual(Object.keys(filter).sort(), [...FILTER_MEMBERS].sort());
  assert.deepEqual(namesOfFilter(filter), all);
});

it('names a member at fault as it was written, and takes none by its name in the code', () => {
  const fieldOf = (input: Record<string, unknown>) => {
    try {
      filterOfNames(input);
    } catch (error) {
      assert.ok(isEvidentError(error));
      assert.ok(error.message.startsWith(`${error.context.field}: `), error.message);
      return error.context.field;
    }
    return assert.fail(JSON.stringify(input));
  };
  assert.equal(fieldOf({ action_prefix: '' }), 'action_prefix');
  assert.equal(fieldOf({ actionPrefix: 'x' }), 'actionPrefix');
  assert.equal(fieldOf({ appended_from: '2026-01-02', appended_to: '2026-01-01' }), 'appended_to');
  assert.equal(fieldOf({ __proto__x: 'x' }), '__proto__x');
});
