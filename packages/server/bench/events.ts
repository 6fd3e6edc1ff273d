/** Events to append: audit events of about 600 bytes, made beforehand so that making them is not measured. */

import { encodeUtf8 } from '@evident/core/bytes.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Proposal } from '../src/log/log.ts';

const ACTORS = 2_000;
let counter = 0n;

/** A UUIDv7-like id: ascending, as the SDK gives them. */
export function nextId(): string {
  counter++;
  const time = (1_795_000_000_000n + counter / 40n).toString(16).padStart(12, '0');
  const random = (counter * 0x9e3779b97f4a7c15n) & ((1n << 74n) - 1n);
  const tail = random.toString(16).padStart(19, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${tail.slice(0, 3)}-8${tail.slice(3, 6)}-${tail.slice(6, 18)}`;
}

export interface BenchEvent {
  readonly id: string;
  readonly key: string;
  readonly body: string;
}

export function makeEvent(): BenchEvent {
  return makeEventOf('2026-11-20T10:00:00.123Z');
}

/** An event of this time, and of this actor if one is given. Its key is as that of any other. */
export function makeEventOf(time: string, actorId?: string): BenchEvent {
  const id = nextId();
  const number = Number(counter);
  const actor = `usr_${(number * 7919) % ACTORS}`;
  const body = JSON.stringify({
    event_id: id,
    event_time: time,
    tenant: 'acme',
    actor: {
      id: actorId ?? actor,
      type: 'user',
      role: 'editor',
      department: 'finance',
      ip_address: `10.1.${number % 250}.${number % 240}`,
    },
    action: ['document.update', 'document.view', 'invoice.pay', 'permission.grant'][number % 4],
    resource: {
      type: 'document',
      id: `doc_${number % 100_000}`,
      name: 'Quarterly report',
      section: 'summary',
    },
    result: number % 50 === 0 ? 'denied' : 'success',
    changes: { title: { old: 'Draft of the quarterly report', new: `Quarterly report ${number}` } },
    context: {
      request_id: `req-${number}`,
      session_id: `ses-${number % 5_000}`,
      traceparent: `00-${id.replaceAll('-', '')}-00f067aa0ba902b7-01`,
    },
    criticality: 'normal',
  });
  return { id, key: `acme/${actor}`, body };
}

export function proposalOf({ id, key, body }: BenchEvent): Proposal {
  const bytes = encodeUtf8(body);
  return {
    bodyHash: sha256(bytes),
    reused: 'refuse',
    record: {
      id,
      tenant: 'acme',
      source: 'bench',
      sourceSeq: null,
      type: 'audit.event',
      schema: 1,
      key,
      meta: null,
      body: { form: 'json', bytes },
    },
  };
}

export function makeProposals(count: number): Proposal[] {
  return Array.from({ length: count }, () => proposalOf(makeEvent()));
}

/** The body of one HTTP request with `count` envelopes, as NDJSON. */
export function makeRequest(count: number): Buffer {
  const lines: string[] = [];
  for (let i = 0; i < count; i++) {
    const { id, key, body } = makeEvent();
    lines.push(`{"id":"${id}","type":"audit.event","key":"${key}","schema":1,"body":${body}}`);
  }
  return Buffer.from(`${lines.join('\n')}\n`);
}
