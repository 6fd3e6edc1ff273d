import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { OutboxRow } from './driver.ts';
import { insertStatement, insertStatements, STATEMENT_BYTES_MAX, STATEMENT_ROWS_MAX } from './statement.ts';

const row = (body = '{}'): OutboxRow => ({
  eventId: '0198c0de-0000-7000-8000-000000000001',
  tenant: 'acme',
  type: 'audit.event',
  key: 'acme/u',
  schema: 1,
  meta: '{}',
  body,
});

describe('the INSERT', () => {
  it('says the same as text with numbers and as pieces of a template', () => {
    for (const rows of [[row()], [row(), { ...row(), type: 'audit.intent', schema: 0 } as const]]) {
      const { text, strings, values } = insertStatement(rows);
      assert.equal(values.length, 5 * rows.length);
      assert.equal(strings.length, values.length + 1);
      assert.deepEqual(strings.raw, [...strings]);
      assert.equal(
        strings.reduce((before, piece, index) => `${before}$${index}${piece}`),
        text,
      );
    }
  });

  it('holds type and schema of each row, and nothing of what came from the caller', () => {
    const { text } = insertStatement([row(`'; DROP TABLE x`), { ...row(), type: 'audit.intent', schema: 0 }]);
    assert.match(text, /\$2::text,'audit\.event',\$3::text,1,/);
    assert.match(text, /\$7::text,'audit\.intent',\$8::text,0,/);
    assert.doesNotMatch(text, /DROP/);
  });

  it('has a name of its text for one row, and none for more: their number would have no bound', () => {
    const names = [row(), { ...row(), type: 'audit.intent', schema: 0 } as const].map(
      (one) => insertStatement([one]).name,
    );
    for (const name of names) assert.match(name ?? '', /^evident_[0-9a-f]{16}$/);
    assert.notEqual(names[0], names[1]);
    assert.equal(insertStatement([row('{"n":2}')]).name, names[0]);
    assert.equal(insertStatement([row(), row()]).name, undefined);
  });

  it('is cut by rows and by size, in order', () => {
    const rows = Array.from({ length: STATEMENT_ROWS_MAX + 1 }, (_, i) => row(String(i)));
    const cut = insertStatements(rows);
    assert.deepEqual(
      cut.map((statement) => statement.rows.length),
      [STATEMENT_ROWS_MAX, 1],
    );
    assert.deepEqual(
      cut.flatMap((statement) => statement.rows),
      rows,
    );
    const large = row('x'.repeat(STATEMENT_BYTES_MAX / 2));
    assert.deepEqual(
      insertStatements([large, large, large]).map((statement) => statement.rows.length),
      [2, 1],
    );
    assert.deepEqual(insertStatements([]), []);
  });
});
