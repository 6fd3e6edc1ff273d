/** Header values are what a stranger wrote: each is taken in one form, or not at all. */

import { isIP } from 'node:net';

export const IDENTIFIER_CHARACTERS_MAX = 256;
export const USER_AGENT_CHARACTERS_MAX = 1_024;

/** A header as Node or a framework gives it; a repeated one may be an array, and is then nobody's value. */
export type HeaderValue = string | string[] | null | undefined;

const VISIBLE_ASCII = new RegExp(`^[\\x21-\\x7e]{1,${IDENTIFIER_CHARACTERS_MAX}}$`);
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const CONTROL = /\p{Cc}/u;
const CONTROLS = /\p{Cc}+/gu;

/** A request id that may also go back in a header: visible ASCII without spaces, at most 256 characters. */
export function requestIdOf(value: HeaderValue): string | undefined {
  return typeof value === 'string' && VISIBLE_ASCII.test(value) ? value : undefined;
}

/** W3C Trace Context, level 1, section 3.2: version 00, neither id all zero. Anything else is dropped. */
export function traceparentOf(value: HeaderValue): string | undefined {
  return typeof value === 'string' && TRACEPARENT.test(value) ? value : undefined;
}

/**
 * An identifier that the application hands over, often out of a cookie or a header. One that does not fit is
 * dropped, never cut: two cut identifiers could be one.
 */
export function identifierOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length === 0 || value.length > IDENTIFIER_CHARACTERS_MAX)
    return undefined;
  return value.isWellFormed() && !CONTROL.test(value) ? value : undefined;
}

/**
 * The user agent describes and identifies nothing, so it is kept as far as it goes: cut at 1,024 characters, and
 * U+FFFD where control characters stood.
 */
export function userAgentOf(value: HeaderValue): string | undefined {
  if (typeof value !== 'string' || value === '') return undefined;
  return value.slice(0, USER_AGENT_CHARACTERS_MAX).replace(CONTROLS, '\ufffd').toWellFormed();
}

/** An IP address without its IPv4-in-IPv6 prefix, so that one client has one form on every kind of socket. */
export function ipAddressOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 64 || isIP(value) === 0) return undefined;
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(value);
  return mapped === null ? value : mapped[1];
}
