/**
 * The JSON scanner against JSON.parse, on audit events of about 600 bytes.
 *
 *   node packages/core/bench/json-scan.ts
 *
 * One core, one process; medians and extremes of nine runs in turn, so that a slow moment of the machine meets both.
 */

import { isStrictJson, jsonBodyForm, objectMembers, scanDocument } from '../src/json/scan.ts';

const EVENTS = 20_000;
const RUNS = 9;

const event = (n: number): string =>
  JSON.stringify({
    event_id: `019a9f2e-7c1b-7d43-9a51-${n.toString(16).padStart(12, '0')}`,
    event_time: '2026-11-20T10:00:00.123Z',
    tenant: 'acme',
    actor: {
      id: `usr_${n % 997}`,
      type: 'user',
      role: 'editor',
      ip_address: '203.0.113.7',
      user_agent: 'Mozilla/5.0',
    },
    action: 'document.update',
    resource: { type: 'document', id: `doc_${n % 4999}`, name: 'Jahresabschluß 2026 – Entwurf' },
    result: 'success',
    changes: { title: { old: 'Draft', new: 'Final' }, pages: { old: 11, new: 12.5 } },
    details: { note: 'said "yes"\nand signed', tags: ['a', 'b', 'c'], flag: true, nothing: null },
    context: { request_id: `req_${n}`, correlation_id: `cor_${n % 77}` },
    criticality: 'normal',
  });

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
const bodies = Array.from({ length: EVENTS }, (_, n) => encoder.encode(event(n)));
const size = bodies.reduce((sum, body) => sum + body.length, 0);

const cases: Record<string, (body: Uint8Array) => unknown> = {
  'JSON.parse(decode)': (body) => JSON.parse(decoder.decode(body)),
  isStrictJson: (body) => isStrictJson(body),
  jsonBodyForm: (body) => jsonBodyForm(body),
  'scanDocument, duplicates refused': (body) => scanDocument(body, 0, body.length, { duplicates: 'refuse' }),
  objectMembers: (body) => objectMembers(body, 0, body.length, () => {}),
};

const times: Record<string, number[]> = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
for (let run = -2; run < RUNS; run++) {
  for (const [name, act] of Object.entries(cases)) {
    const begin = process.hrtime.bigint();
    for (const body of bodies) act(body);
    if (run >= 0) times[name]!.push(Number(process.hrtime.bigint() - begin));
  }
}

console.log(`Node ${process.version}, ${EVENTS} events of ${Math.round(size / EVENTS)} bytes, ${RUNS} runs`);
for (const [name, runs] of Object.entries(times)) {
  const sorted = runs.toSorted((a, b) => a - b);
  const rate = (ns: number): string => `${((size / ns) * 1000).toFixed(0)} MB/s`;
  const median = sorted[sorted.length >> 1]!;
  const spread = `${rate(sorted.at(-1)!)} to ${rate(sorted[0]!)}`;
  console.log(
    `${name.padEnd(34)} ${rate(median)} (${spread}), ${(median / EVENTS / 1000).toFixed(2)} µs per event`,
  );
}
