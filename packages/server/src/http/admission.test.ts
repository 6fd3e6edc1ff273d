import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Admission } from './admission.ts';

it('leaves room for others, whatever one tenant holds', () => {
  const admission = new Admission(8);
  const held = Array.from({ length: 8 }, () => admission.admit(1, 'acme'));
  assert.equal(held.filter((ticket) => ticket !== null).length, 6);
  assert.ok(admission.admit(1, 'beta') !== null && admission.admit(1) !== null);
  assert.equal(admission.admit(1), null);
  held[0]?.release();
  held[0]?.release();
  assert.ok(admission.admit(1, 'acme') !== null);
  assert.equal(admission.admit(1, 'acme'), null);
});

it('gives a tenant its room back as requests end, and takes one alone whatever the bound', () => {
  const admission = new Admission(1);
  for (let n = 0; n < 3; n++) {
    const ticket = admission.admit(5, 'acme');
    assert.ok(ticket !== null);
    assert.equal(admission.admit(1, 'acme'), null);
    ticket.shrink(2);
    ticket.release();
    assert.equal(admission.bytes, 0);
  }
});
