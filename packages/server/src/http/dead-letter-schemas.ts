/** Shapes of dead letters over HTTP. */

import { decodeUtf8 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import Type, { type Static } from 'typebox';
import {
  BODY_HEAD_BYTES,
  DEAD_LETTERS_PAGE_MAX,
  type DeadLetterEntry,
  type Resolved,
} from '../project/dead-letters.ts';
import type { ViewPlace } from '../project/view-snapshot.ts';
import { AskedPosition, Instant, PartitionParams, Position } from './schemas.ts';

export const PAGE_DEFAULT = 100;
/** Letters that one request replays: each is a transaction of its own. */
export const REPLAYS_MAX = 200;

const ViewName = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,31}$',
  description: 'Name of the view, such as hot',
});
const NullableText = Type.Union([Type.String(), Type.Null()]);
const LETTER_MEMBERS = {
  view: Type.String(),
  log: Type.String(),
  partition: Type.Integer(),
  position: Position,
  generation: Type.Integer({ description: 'Generation of the view that is shown' }),
  tenant: Type.String(),
  id: Type.String({ description: 'Id of the record' }),
  type: Type.String(),
  class: Type.Enum(['validation', 'poison'], {
    description: 'validation: the record is not what its type says; poison: it ended or stalled a worker',
  }),
  error: Type.String(),
  attempts: Type.Integer({ minimum: 1 }),
  first_at: Instant,
  last_at: Instant,
  resolution: Type.Union([Type.Enum(['replayed', 'discarded', 'manual']), Type.Null()], {
    description: 'null: open',
  }),
  resolved_at: Type.Union([Instant, Type.Null()]),
  resolved_by: NullableText,
  reason: NullableText,
  event_id: { ...NullableText, description: 'The audit event that records the resolution' },
};
export const LetterSchema = Type.Object(LETTER_MEMBERS, { additionalProperties: false });
export const ShownLetter = Type.Object(
  {
    ...LETTER_MEMBERS,
    stack: NullableText,
    leaf: { ...NullableText, description: 'The leaf line of the record; null: the log no longer holds it' },
    body_bytes: Type.Union([Type.String({ pattern: '^[0-9]+$' }), Type.Null()]),
    body_head: {
      ...NullableText,
      description: `The first ${BODY_HEAD_BYTES} bytes of the body, where they are text`,
    },
    body_head_base64: { ...NullableText, description: 'The same, where they are not' },
    body_missing: { ...NullableText, description: "Why the body can't be read" },
  },
  { additionalProperties: false },
);
const FILTER_MEMBERS = {
  log: Type.Optional(Type.String({ maxLength: 32 })),
  tenant: Type.Optional(Type.String({ maxLength: 128 })),
  type: Type.Optional(Type.String({ maxLength: 128 })),
  class: Type.Optional(Type.Enum(['validation', 'poison'])),
};
export const ListQuery = Type.Object(
  {
    view: Type.Optional(ViewName),
    ...FILTER_MEMBERS,
    state: Type.Optional(Type.Enum(['open', 'resolved', 'all'], { description: 'open without it' })),
    after: Type.Optional(Type.String({ maxLength: 64, description: 'The next of the page before' })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: DEAD_LETTERS_PAGE_MAX, description: `${PAGE_DEFAULT} without it` }),
    ),
  },
  { additionalProperties: false },
);
const Next = { ...NullableText, description: 'What to give as after; null: that was all' };
export const PageSchema = Type.Object(
  { dead_letters: Type.Array(LetterSchema), next: Next },
  { additionalProperties: false },
);
export const PlaceParams = Type.Object({
  view: ViewName,
  ...PartitionParams.properties,
  position: AskedPosition,
});
export const ResolvedSchema = Type.Object(
  {
    outcome: Type.Enum(['resolved', 'already', 'failed'], {
      description:
        'already: it was resolved before, perhaps otherwise, and nothing was done; failed: mapping it failed again, and it stays open',
    }),
    dead_letter: LetterSchema,
  },
  { additionalProperties: false },
);
export const Reason = Type.Object(
  { reason: Type.String({ minLength: 1, maxLength: 2_000, description: 'Why; it is recorded' }) },
  { additionalProperties: false },
);
export const ReplayFilter = Type.Object(
  {
    view: Type.Optional(ViewName),
    ...FILTER_MEMBERS,
    after: Type.Optional(Type.String({ maxLength: 64, description: 'The next of the answer before' })),
  },
  { additionalProperties: false },
);
export const ReplaysSchema = Type.Object(
  { replayed: Type.Integer(), failed: Type.Integer(), already: Type.Integer(), next: Next },
  { additionalProperties: false },
);
export const RESOLVE_PROBLEMS = [
  'field-invalid',
  'field-unknown',
  'json-invalid',
  'json-duplicate-member',
  'json-too-deep',
  'body-too-large',
  'media-type-unsupported',
  'not-found',
  'log-unknown',
  'tenant-forbidden',
  'replay-refused',
  'partition-stopped',
  'outcome-unknown',
  'disk-full',
] as const;

const AFTER = /^([a-z0-9-]{1,32})\/(\d{1,4})\/(\d{1,18})$/;

export function parseAfter(text: string): ViewPlace {
  const match = AFTER.exec(text);
  if (match === null)
    throw new EvidentError('field-invalid', 'after: it is not the next of a page', {
      context: { field: 'after' },
    });
  return { log: match[1], partition: Number(match[2]), position: BigInt(match[3]) };
}

export function showAfter({ log, partition, position }: ViewPlace): string {
  return `${log}/${partition}/${position}`;
}

/** Text where the bytes are UTF-8; the head of a body may end within a character. */
export function textOf(bytes: Uint8Array): string | null {
  for (let cut = 0; cut < 4 && cut <= bytes.length; cut++) {
    const text = decodeUtf8(bytes.subarray(0, bytes.length - cut));
    if (text !== null) return text;
    if (bytes.length < BODY_HEAD_BYTES) return null;
  }
  return null;
}

export function shownLetter(letter: DeadLetterEntry): Static<typeof LetterSchema> {
  const {
    view,
    log,
    partition,
    position,
    generation,
    tenant,
    id,
    type,
    error,
    attempts,
    resolution,
    reason,
  } = letter;
  return {
    view,
    log,
    partition,
    position: position.toString(),
    generation,
    tenant,
    id,
    type,
    class: letter.class,
    error,
    attempts,
    first_at: formatInstant(letter.firstAt),
    last_at: formatInstant(letter.lastAt),
    resolution,
    resolved_at: letter.resolvedAt === null ? null : formatInstant(letter.resolvedAt),
    resolved_by: letter.resolvedBy,
    reason,
    event_id: letter.eventId,
  };
}

export function shownResolved({ kind, letter }: Resolved): Static<typeof ResolvedSchema> {
  return { outcome: kind, dead_letter: shownLetter(letter) };
}
