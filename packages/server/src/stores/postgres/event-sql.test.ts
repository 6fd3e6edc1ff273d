import assert from 'node:assert/strict';
import { it } from 'node:test';
import { checkFilter } from '../../query/check-filter.ts';
import { gatheredPage } from './event-sql.ts';

it('names no time that PostgreSQL does not read, at either end of all times', () => {
  const scope = { generation: 1, tenants: ['acme'], trees: null };
  for (const [appendedFrom, appendedTo] of [
    ['0001-01-01', '0001-01-01T00:00:00.000001Z'],
    ['9999-12-31', '9999-12-31T23:59:59.999999Z'],
  ]) {
    const filter = checkFilter({ appendedFrom, appendedTo });
    const { values } = gatheredPage(scope, filter, null, 10);
    const times = values.filter((value) => typeof value === 'string' && value.includes('T'));
    assert.ok(times.length >= 4);
    for (const time of times) assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z$/);
    const [, dayEnd, , to] = times.map(String);
    assert.ok(dayEnd >= to, `the bound of days cuts off what is before ${to}: ${dayEnd}`);
  }
});
