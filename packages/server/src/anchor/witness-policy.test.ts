import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cosignerKey, formatCosignerVkey } from '@evident/core/cosignature.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { parseWitnessPolicy, type WitnessPolicyInput } from './witness-policy.ts';

function vkeyOf(name: string, seed: number): string {
  return formatCosignerVkey(cosignerKey(name, 'ed25519', new Uint8Array(32).fill(seed)));
}

const LIST = [
  { url: 'http://127.0.0.1:7380/', vkey: vkeyOf('own.example/w', 1) },
  { url: 'https://b.example/witness/', vkey: vkeyOf('b.example/w', 2), runByOthers: true },
  { url: 'https://a.example', vkey: vkeyOf('a.example/w', 3), runByOthers: true },
];

describe('the setting witnesses', () => {
  it('is read with its defaults', () => {
    const policy = parseWitnessPolicy({ list: LIST });
    assert.equal(policy.everySeconds, 60);
    assert.equal(policy.quorum, 1);
    assert.deepEqual(
      policy.list.map(({ url, runByOthers, key }) => [url, runByOthers, key.name]),
      [
        ['http://127.0.0.1:7380', false, 'own.example/w'],
        ['https://b.example/witness', true, 'b.example/w'],
        ['https://a.example', true, 'a.example/w'],
      ],
    );
  });

  it('is refused, with the name of the member, when it means nothing or says too much', () => {
    const [one] = LIST;
    const bad: [string, unknown][] = [
      ['witnesses', []],
      ['witnesses.list', {}],
      ['witnesses.list', { list: [] }],
      ['witnesses.list', { list: Array.from({ length: 17 }, () => one) }],
      ['witnesses.list', { list: [one, { ...one, vkey: vkeyOf('own.example/w', 9) }] }],
      ['witnesses.list', { list: [one, { ...one, vkey: vkeyOf('another.example/w', 1) }] }],
      ['witnesses.quorum', { list: LIST, quorum: 0 }],
      ['witnesses.quorum', { list: LIST, quorum: 4 }],
      ['witnesses.everySeconds', { list: LIST, everySeconds: 0 }],
      ['witnesses.everySeconds', { list: LIST, everySeconds: '60' }],
      ['witnesses.every', { list: LIST, every: 60 }],
      ['witnesses.list[0].url', { list: [{ ...one, url: 'ftp://a.example' }] }],
      ['witnesses.list[0].url', { list: [{ ...one, url: 'https://user:secret@a.example' }] }],
      ['witnesses.list[0].url', { list: [{ ...one, url: 'https://a.example/?x=1' }] }],
      ['witnesses.list[0].vkey', { list: [{ url: one.url }] }],
      ['witnesses.list[0].vkey', { list: [{ ...one, vkey: `${one.vkey}x` }] }],
      ['witnesses.list[0].vkey', { list: [{ ...one, vkey: vkeyOf('w'.repeat(129), 1) }] }],
      ['witnesses.list[0].runByOthers', { list: [{ ...one, runByOthers: 'yes' }] }],
      ['witnesses.list[0].name', { list: [{ ...one, name: 'x' }] }],
    ];
    for (const [field, input] of bad)
      assert.throws(
        () => parseWitnessPolicy(input as WitnessPolicyInput),
        (error) =>
          isEvidentError(error) && error.code === 'usage-invalid' && error.message.startsWith(`${field}:`),
        `${field}: ${JSON.stringify(input)}`,
      );
  });
});
