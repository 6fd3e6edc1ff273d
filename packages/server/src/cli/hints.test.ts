import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';
import { hintOf } from './hints.ts';

/** What nobody sees who types a command. */
/** Said to applications, by the SDK: a request there is their own. */
const OF_THE_SDK: readonly ErrorCode[] = ['context-missing', 'context-ended'];
const WIRE =
  /header|retry-after|\/readyz|\broutes?\b|bearer|\brequests?\b|http|send the (?:same )?items?|framing/i;

it('says nothing of headers, routes and requests to whoever types a command', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const wrong = codes.filter((code) => WIRE.test(hintOf(code)) && !OF_THE_SDK.includes(code));
  assert.deepEqual(wrong, [], 'give these a hint of their own in hints.ts');
  // The catalogue itself does: without hints.ts the check above fails.
  assert.ok(codes.some((code) => WIRE.test(ERRORS[code].action)));
});

it('has a sentence for every code', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) assert.match(hintOf(code), /^[A-Z].*\.$/, code);
});
