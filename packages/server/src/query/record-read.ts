/** Who read what stands in the log before the answer leaves (design §4 Query). */

import { EvidentError } from '@evident/core/errors.ts';
import { type OwnEventDeps, ownEventRecord } from '../audit/own-event.ts';
import type { Log } from '../log/log.ts';
import type { EventFilter } from './filter.ts';
import { namesOfFilter } from './filter-names.ts';
import type { Reader, ReadNote, ReadRecorder } from './ports.ts';

/** Most events of a stream between two records about it. */
export const STREAM_RECORD_EVENTS = 10_000;
/** Longest reason that is kept, in characters: that of an audit event. */
const WHY_LENGTH_MAX = 4_096;
const ERROR_LENGTH_MAX = 500;

/** What every note of a read of the view holds. */
export const VIEW_RESOURCE = { type: 'view', id: 'hot' } as const;

/**
 * The filter as a note holds it, by the names that a search takes: it can be asked again as it stands. `text` is among
 * it, because what was sought is what an auditor asks. Notes of versions before 2026-11-21 have the names of the code
 * (`actionPrefix`); nothing of ours reads them.
 */
export function noteFilter(filter: EventFilter): Readonly<Record<string, string>> {
  return namesOfFilter(filter);
}

/**
 * Records reads in a log, usually `audit`. Reads that come at one time share a commit: the log sees to that.
 *
 * A crash after the record and before the answer leaves a read on record that nobody saw the answer of, never the
 * other way round.
 */
export function makeReadRecorder({
  log,
  newId,
  instant,
}: { readonly log: Pick<Log, 'append'> } & OwnEventDeps): ReadRecorder {
  return {
    async record(reader, note) {
      const { actor, requestId } = reader;
      const reason = reader.why?.slice(0, WHY_LENGTH_MAX).toWellFormed();
      const proposed = ownEventRecord(
        { newId, instant },
        {
          actor,
          action: note.action,
          resource: note.resource,
          result: note.result ?? 'success',
          tenant: note.tenant,
          details: note.details,
          ...(reason === undefined || reason === '' ? {} : { reason }),
          ...(note.error === undefined || note.error === '' ? {} : { error: note.error }),
          ...(requestId === undefined ? {} : { requestId }),
        },
      );
      try {
        await log.append([proposed]);
      } catch (cause) {
        throw new EvidentError('read-unrecorded', 'The log did not take the record of this read.', { cause });
      }
    },
  };
}

/** A stream of events that is being read: a tail, an export. */
export interface ReadStream {
  /** Called with the number of events of the next piece, before it leaves. @throws read-unrecorded */
  advance(events: number): Promise<void>;
  /** @param error why it ended early; undefined: it is complete. @throws read-unrecorded */
  end(error?: unknown): Promise<void>;
}

/**
 * Begins a stream: resolves when its intent is durable. Recorded are `<action>.begin`, `<action>.progress` every
 * 10,000 events, `<action>.end`.
 * @throws read-unrecorded
 */
export async function openReadStream(
  recorder: ReadRecorder,
  reader: Reader,
  note: Omit<ReadNote, 'result' | 'error'>,
): Promise<ReadStream> {
  let events = 0;
  let recorded = 0;
  let ended = false;
  const write = (step: string, more: Partial<ReadNote> = {}) =>
    recorder.record(reader, {
      ...note,
      ...more,
      action: `${note.action}.${step}`,
      details: step === 'begin' ? note.details : { ...note.details, events },
    });
  await write('begin');
  return {
    async advance(count) {
      events += count;
      if (events - recorded < STREAM_RECORD_EVENTS) return;
      recorded = events;
      await write('progress');
    },
    async end(error) {
      if (ended) return;
      ended = true;
      await write('end', error === undefined ? {} : { result: 'failure', error: sentenceOf(error) });
    },
  };
}

function sentenceOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.slice(0, ERROR_LENGTH_MAX).toWellFormed();
}
