import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { beginRequest } from '../context/request-scope.ts';
import { identifierOf, ipAddressOf, requestIdOf, traceparentOf, userAgentOf } from './header-values.ts';

describe('header values', () => {
  it('are taken in a form that every event can hold, whatever was sent', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 2_000 }),
      fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) }),
      fc.string({
        unit: fc.constantFrom('\0', '\r', '\n', '\u007f', '\u0085', '\ud800', '\udc00', 'a', '\u{1f600}'),
      }),
    );
    fc.assert(
      fc.property(hostile, (value) => {
        const taken = {
          request_id: requestIdOf(value),
          traceparent: traceparentOf(value),
          session_id: identifierOf(value),
        };
        const context = JSON.parse(JSON.stringify(taken)) as Record<string, string>;
        const user_agent = userAgentOf(value);
        const client = user_agent === undefined ? {} : { user_agent };
        for (const each of [...Object.values(context), ...Object.values(client)]) {
          assert.ok(each.isWellFormed());
          assert.doesNotMatch(each, /\p{Cc}/u);
        }
        beginRequest({ context }, client).identify({ id: 'usr_1', type: 'user' });
      }),
    );
  });

  it('that came more than once are nobody’s', () => {
    assert.equal(requestIdOf(['a', 'b']), undefined);
    assert.equal(userAgentOf(['a', 'b']), undefined);
  });

  it('are dropped rather than cut when they identify', () => {
    assert.equal(identifierOf('x'.repeat(256))?.length, 256);
    assert.equal(identifierOf('x'.repeat(257)), undefined);
    assert.equal(identifierOf('\ud800'), undefined);
    assert.equal(identifierOf(7), undefined);
  });

  it('cut in the middle of a character leave no half of it', () => {
    const cut = userAgentOf(`${'x'.repeat(1_023)}\u{1f600}`);
    assert.equal(cut, `${'x'.repeat(1_023)}\ufffd`);
  });
});

describe('a network address', () => {
  it('is an IP address in one form', () => {
    assert.equal(ipAddressOf('192.0.2.1'), '192.0.2.1');
    assert.equal(ipAddressOf('::ffff:192.0.2.1'), '192.0.2.1');
    assert.equal(ipAddressOf('2001:db8::1'), '2001:db8::1');
    assert.equal(ipAddressOf('fe80::1%eth0'), 'fe80::1%eth0');
  });

  it('is nothing when it is none', () => {
    for (const bad of ['unknown', '192.0.2.1:80', '192.0.2.1, 10.0.0.1', '', undefined, null, 7]) {
      assert.equal(ipAddressOf(bad), undefined);
    }
  });
});
