/**
 * Cursors: base64url of `{"v":1,"for":"<hash>","time":"<µs>","tree":<n>,"position":"<n>"}`. A cursor says where a page
 * ended, never what may be seen: a forged one moves its owner about within the owner's own events.
 */

import { hash } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';
import { describeFilter } from './check-filter.ts';
import type { EventFilter } from './filter.ts';
import type { EventPlace } from './ports.ts';

const VERSION = 1;
const CURSOR_LENGTH_MAX = 400;
const TREE_MAX = 2 ** 31 - 1;
const INTEGER = /^-?(?:0|[1-9]\d{0,18})$/;
/** 0001-01-01 and 10000-01-01. */
const [TIME_FIRST, TIME_END] = [-62_135_596_800_000_000n, 253_402_300_800_000_000n];
const POSITION_END = 2n ** 63n;

/** What a cursor belongs to: whose events, and which. */
function searchHash(tenant: string | null, filter: EventFilter): string {
  const { tenant: _named, ...described } = describeFilter(filter);
  return hash('sha256', JSON.stringify([VERSION, tenant, described]), 'base64url').slice(0, 22);
}

function textOf(place: EventPlace, belongsTo: string): string {
  const { eventTime, tree, position } = place;
  return JSON.stringify({
    v: VERSION,
    for: belongsTo,
    time: eventTime.toString(),
    tree,
    position: position.toString(),
  });
}

export function writeCursor(tenant: string | null, filter: EventFilter, place: EventPlace): string {
  return Buffer.from(textOf(place, searchHash(tenant, filter))).toString('base64url');
}

function placeOf(parsed: unknown): EventPlace | null {
  if (typeof parsed !== 'object' || parsed === null) return null;
  const { time, tree, position } = parsed as Record<string, unknown>;
  if (typeof time !== 'string' || !INTEGER.test(time)) return null;
  if (typeof position !== 'string' || !INTEGER.test(position)) return null;
  if (typeof tree !== 'number' || !Number.isInteger(tree) || tree < 0 || tree > TREE_MAX) return null;
  const place = { eventTime: BigInt(time), tree, position: BigInt(position) };
  const isInRange =
    place.eventTime >= TIME_FIRST &&
    place.eventTime < TIME_END &&
    place.position >= 0n &&
    place.position < POSITION_END;
  return isInRange ? place : null;
}

/**
 * Where to go on.
 * @throws cursor-invalid for whatever `writeCursor` did not make for this search; one answer for every reason
 */
export function readCursor(tenant: string | null, filter: EventFilter, cursor: string): EventPlace {
  if (cursor.length <= CURSOR_LENGTH_MAX) {
    const text = Buffer.from(cursor, 'base64url').toString();
    const place = placeOf(parsedOrNull(text));
    // Written again it has to be the same: no other spelling, no other member, no other search.
    if (place !== null && cursor === writeCursor(tenant, filter, place)) return place;
  }
  throw new EvidentError('cursor-invalid', 'cursor: it is not one of this search', {
    context: { field: 'cursor' },
  });
}

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
