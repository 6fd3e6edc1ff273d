import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '../errors.ts';
import { parseMappingFile } from './mapping-file.ts';

const file = {
  mapping: 1,
  type: 'ndjson',
  format: 'ndjson',
  rules: [
    {
      when: [{ text: '{/kind}', in: ['login'] }],
      time: { text: '{/at}', format: 'epoch-ms' },
      actor: { id: ['{/user/id}', '{/user/name}'], type: 'user' },
      action: 'app:{/verb}',
      resource: { id: '{/target}', type: 'thing' },
      result: { text: '{/ok}', values: { true: 'success', false: 'failure' }, otherwise: 'denied' },
      correlation: '{/trace}',
      ip: '{/from}',
    },
  ],
};
const rule = file.rules[0]!;
const withRule = (facts: object): object => ({ ...file, rules: [{ ...rule, ...facts }] });

describe('parseMappingFile', () => {
  it('takes a whole file, and one that says next to nothing', () => {
    const parsed = parseMappingFile(file);
    assert.deepEqual([parsed.type, parsed.format, parsed.rules.length], ['ndjson', 'ndjson', 1]);
    assert.match(parsed.version, /^[0-9a-f]{16}$/);
    assert.equal(parseMappingFile({ ...file, type: 'acme.vpn', rules: [{}] }).rules[0]!.result, null);
  });

  it('has a version that follows from what it says and not from how it is written', () => {
    const { version } = parseMappingFile(file);
    const turned = Object.fromEntries(Object.entries(file).reverse());
    assert.equal(parseMappingFile(turned).version, version);
    for (const other of [
      withRule({ action: 'app:{/Verb}' }),
      { ...file, type: 'x' },
      withRule({ ip: undefined }),
    ])
      assert.notEqual(parseMappingFile(JSON.parse(JSON.stringify(other))).version, version);
  });

  it('names the member that is wrong, and why', () => {
    const many = Array.from({ length: 129 }, () => ({}));
    const wrong: [unknown, string, RegExp][] = [
      [null, 'mapping file', /an object/],
      [{ ...file, mapping: 2 }, 'mapping', /the number 1/],
      [{ ...file, colour: 1 }, 'colour', /not known here/],
      [{ ...file, type: 'log.hour' }, 'type', /not Evident's own/],
      [{ ...file, type: 'a b' }, 'type', /a type of records/],
      [{ ...file, format: 'xml' }, 'format', /ndjson or csv/],
      [{ ...file, format: 'csv' }, 'format', /records of the type ndjson are ndjson/],
      [{ ...file, columns: ['a'] }, 'columns', /only csv/],
      [{ ...file, type: 'csv', format: 'csv', header: false }, 'columns', /no header/],
      [{ ...file, type: 'csv', format: 'csv', header: 'no' }, 'header', /true or false/],
      [{ ...file, type: 'csv', format: 'csv', columns: [1] }, 'columns[0]', /a text/],
      [{ ...file, rules: [] }, 'rules', /1 to 128/],
      [{ ...file, rules: many }, 'rules', /1 to 128/],
      [{ ...file, rules: [7] }, 'rules[0]', /an object/],
      [withRule({ actr: {} }), 'rules[0].actr', /not known here/],
      [withRule({ actor: { name: 'x' } }), 'rules[0].actor.name', /not known here/],
      [withRule({ actor: { id: 7 } }), 'rules[0].actor.id', /a text/],
      [withRule({ actor: { id: [] } }), 'rules[0].actor.id', /a list/],
      [withRule({ action: '{verb}' }), 'rules[0].action', /begins with a slash/],
      [withRule({ action: '{/verb' }), 'rules[0].action', /not closed/],
      [withRule({ action: 'a}' }), 'rules[0].action', /not open/],
      [withRule({ action: '' }), 'rules[0].action', /empty/],
      [withRule({ action: 'x'.repeat(1_025) }), 'rules[0].action', /longer than/],
      [withRule({ action: '{/a}'.repeat(17) }), 'rules[0].action', /16 parts/],
      [withRule({ action: `{${'/a'.repeat(33)}}` }), 'rules[0].action', /32 steps/],
      [withRule({ time: { text: '{/at}', format: 'soon' } }), 'rules[0].time.format', /rfc3339/],
      [withRule({ time: [rule.time, { text: '{/at}' }] }), 'rules[0].time[1].format', /a text/],
      [withRule({ time: 7 }), 'rules[0].time', /an object/],
      [
        withRule({ result: { text: '{/ok}', values: { yes: 'good' } } }),
        'rules[0].result.values.yes',
        /success/,
      ],
      [withRule({ result: { values: {} } }), 'rules[0].result.text', /missing/],
      [withRule({ result: { text: '{/ok}' } }), 'rules[0].result.values', /an object/],
      [withRule({ when: [{ text: '{/k}' }] }), 'rules[0].when[0]', /either in or begins/],
      [withRule({ when: [{ text: '{/k}', in: ['a'], begins: ['b'] }] }), 'rules[0].when[0]', /either/],
    ];
    for (const [json, field, reason] of wrong) {
      assert.throws(
        () => parseMappingFile(json),
        (error) => {
          assert.ok(isEvidentError(error), String(error));
          assert.match(error.code, /^field-(invalid|unknown)$/);
          assert.equal(error.context.field, field);
          assert.ok(error.message.startsWith(`${field}: `), error.message);
          assert.match(error.message, reason);
          return true;
        },
      );
    }
  });
});
