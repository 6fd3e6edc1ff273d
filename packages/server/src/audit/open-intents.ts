/** Intents without outcome: critical actions that began, and of which nobody said how they ended. */

import { EvidentError } from '@evident/core/errors.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Log } from '../log/log.ts';

export const INTENT_TYPE = 'audit.intent';
const READ_RECORDS = 2_000;
/** Intents that are open at once in a partition while it is read. */
const OPEN_MAX = 200_000;

export interface OpenIntent {
  readonly id: string;
  readonly tenant: string;
  readonly partition: number;
  readonly position: bigint;
  /** Microseconds since the Unix epoch. */
  readonly appendedAt: bigint;
  /** As the body says, or null when it is not what the SDK writes. */
  readonly action: string | null;
  readonly actor: string | null;
  readonly resource: string | null;
}

const utf8 = new TextDecoder();
/** What an outcome's body holds, searched as bytes: most events are none, and are not parsed. */
const INTENT_MEMBER = Buffer.from('"intent_id"');

interface IntentBody {
  action?: unknown;
  actor?: { id?: unknown };
  resource?: { type?: unknown; id?: unknown };
  intent_id?: unknown;
}

function parseBody(record: LogRecord): IntentBody {
  if (record.body.form === 'object') return {};
  try {
    return JSON.parse(utf8.decode(record.body.bytes)) as IntentBody;
  } catch {
    return {};
  }
}

const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null);

function openIntent(record: LogRecord): OpenIntent {
  const { action, actor, resource } = parseBody(record);
  const { id, tenant, partition, position, appendedAt } = record;
  const what = [textOrNull(resource?.type), textOrNull(resource?.id)].filter((part) => part !== null);
  return {
    id,
    tenant,
    partition,
    position,
    appendedAt,
    action: textOrNull(action),
    actor: textOrNull(actor?.id),
    resource: what.length === 0 ? null : what.join(' '),
  };
}

/** The intent that a record is the outcome of, or null. */
function intentOf(record: LogRecord): string | null {
  if (record.type !== 'audit.event' || record.body.form === 'object') return null;
  const { bytes } = record.body;
  if (Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(INTENT_MEMBER) < 0) return null;
  return textOrNull(parseBody(record).intent_id);
}

/**
 * Reads a log to its end. Intent and outcome have one key, so each partition is read by itself, and in it the
 * intent comes first: it was committed before the action began.
 * @param before only intents that were appended before this, microseconds since the Unix epoch
 */
export async function findOpenIntents(log: Log, before: bigint): Promise<OpenIntent[]> {
  const found: OpenIntent[] = [];
  for (const head of await log.heads()) {
    const open = new Map<string, OpenIntent>();
    for (let from = head.first; from < head.next; ) {
      const records = await log.read(head.partition, from, READ_RECORDS);
      if (records.length === 0) break;
      for (const record of records) settle(record, open);
      from = records[records.length - 1].position + 1n;
    }
    for (const intent of open.values()) if (intent.appendedAt < before) found.push(intent);
  }
  return found.sort((a, b) => (a.appendedAt < b.appendedAt ? -1 : a.appendedAt > b.appendedAt ? 1 : 0));
}

function settle(record: LogRecord, open: Map<string, OpenIntent>): void {
  if (record.type === INTENT_TYPE) {
    if (open.size >= OPEN_MAX)
      throw new EvidentError(
        'overloaded',
        `${record.log}/${record.partition}: more than ${OPEN_MAX} intents are open at position ${record.position}`,
      );
    open.set(`${record.tenant}/${record.id}`, openIntent(record));
    return;
  }
  const intent = intentOf(record);
  if (intent !== null) open.delete(`${record.tenant}/${intent.toLowerCase()}`);
}
