/**
 * What the row of a record costs, in microseconds of CPU of one core, and where it goes for `audit.event`.
 *
 *   node packages/core/bench/mapping.ts
 *
 * Nine runs in turn after two that warm up; median, least and most. CPU time of the process, so that other work of the
 * machine counts less than it would by the clock.
 */

import { checkAuditEvent } from '../src/audit-event.ts';
import { scanDocument } from '../src/json/scan.ts';
import { parseMappingFile } from '../src/mapping/mapping-file.ts';
import { makeRegistry } from '../src/mapping/registry.ts';
import type { LogRecord } from '../src/record.ts';

const EVENTS = 5_000;
const RUNS = 9;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const idOf = (n: number): string => `019a9f2e-7c1b-7d43-9a51-${n.toString(16).padStart(12, '0')}`;

const auditEvent = (n: number): object => ({
  event_id: idOf(n),
  event_time: '2026-11-20T10:00:00.123456Z',
  tenant: 'acme',
  actor: { id: `usr_${n % 997}`, type: 'user', role: 'editor', ip_address: '203.0.113.7' },
  action: 'document.update',
  resource: { type: 'document', id: `doc_${n % 4999}`, name: 'Quarterly report' },
  result: 'success',
  changes: { title: { old: 'Draft', new: 'Final' }, pages: { old: 11, new: 12 } },
  context: {
    request_id: `req_${n}`,
    session_id: 's-1234567890',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  },
  criticality: 'normal',
});

const cloudTrail = (n: number): object => ({
  eventVersion: '1.08',
  userIdentity: {
    type: 'AssumedRole',
    principalId: 'AROAEXAMPLE:build',
    arn: `arn:aws:sts::111122223333:assumed-role/build/${n % 997}`,
    accountId: '111122223333',
    sessionContext: { sessionIssuer: { type: 'Role', arn: 'arn:aws:iam::111122223333:role/build' } },
  },
  eventTime: '2026-11-20T10:00:00Z',
  eventSource: 'kms.amazonaws.com',
  eventName: 'Decrypt',
  awsRegion: 'us-east-1',
  sourceIPAddress: '192.0.2.44',
  userAgent: 'aws-sdk-go/1.44 (go1.20; linux; amd64)',
  requestParameters: { encryptionContext: { PARAMETER_ARN: `arn:p${n % 499}` } },
  responseElements: null,
  requestID: idOf(n),
  eventID: idOf(n + 1),
  readOnly: true,
  resources: [
    { accountId: '111122223333', type: 'AWS::KMS::Key', ARN: `arn:aws:kms:us-east-1:1:key/${n % 4999}` },
  ],
  eventType: 'AwsApiCall',
  managementEvent: true,
  recipientAccountId: '111122223333',
  eventCategory: 'Management',
});

const apache = (n: number): string =>
  `203.0.113.${n % 256} - - [20/Nov/2026:10:00:00 +0000] "GET /blog/${n % 4999}?q=1 HTTP/1.1" 200 ${n} "http://example.org/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"`;

const ndjson = (n: number): object => ({
  at: '2026-11-20T10:00:00Z',
  who: { id: n },
  verb: 'open',
  door: `d${n % 99}`,
  ok: true,
});

const mapping = parseMappingFile({
  mapping: 1,
  type: 'ndjson',
  format: 'ndjson',
  rules: [
    {
      when: [{ text: '{/verb}', in: ['open'] }],
      time: { text: '{/at}', format: 'rfc3339' },
      actor: { id: '{/who/id}', type: 'badge' },
      action: 'door.{/verb}',
      resource: { type: 'door', id: '{/door}' },
      result: { text: '{/ok}', values: { true: 'success' }, otherwise: 'failure' },
    },
  ],
});

const registry = makeRegistry([mapping]);
const recordsOf = (
  type: string,
  make: (n: number) => object | string,
): { record: LogRecord; body: Uint8Array }[] =>
  Array.from({ length: EVENTS }, (_, n) => {
    const made = make(n);
    const body = encoder.encode(typeof made === 'string' ? made : JSON.stringify(made));
    const record: LogRecord = {
      ...{ log: 'audit', partition: 0, position: BigInt(n), appendedAt: 0n, id: idOf(n), tenant: 'acme' },
      ...{ source: 'outbox:bank', sourceSeq: '1.1', type, schema: type === 'audit.event' ? 1 : 0 },
      ...{ key: 'acme/k', meta: null, body: { form: 'json', bytes: body } },
    };
    return { record, body };
  });

const auditEvents = recordsOf('audit.event', auditEvent);
const parsed = auditEvents.map(({ body }): unknown => JSON.parse(decoder.decode(body)));
const over = (records: typeof auditEvents, act: (body: Uint8Array) => unknown) => (): void => {
  for (const { body } of records) act(body);
};
const rows = (records: typeof auditEvents) => (): void => {
  for (const { record, body } of records) registry.rowOf(record, body);
};
const cases: Record<string, { bytes: number; act: () => void }> = Object.fromEntries(
  (
    [
      ['audit.event: row', auditEvents, rows(auditEvents)],
      ['  decode and JSON.parse', auditEvents, over(auditEvents, (body) => JSON.parse(decoder.decode(body)))],
      [
        '  scan for repeated members',
        auditEvents,
        over(auditEvents, (body) => scanDocument(body, 0, body.length, { duplicates: 'refuse' })),
      ],
      [
        '  checkAuditEvent',
        auditEvents,
        () => {
          for (const event of parsed) checkAuditEvent(event, 'body', 'well-formed');
        },
      ],
      ...Object.entries({ cloudtrail: cloudTrail, apache, ndjson, other: ndjson }).map(([type, make]) => {
        const records = recordsOf(type, make);
        return [`${type}: row`, records, rows(records)] as const;
      }),
    ] as const
  ).map(([name, records, act]) => [
    name,
    { bytes: Math.round(records.reduce((sum, { body }) => sum + body.length, 0) / EVENTS), act },
  ]),
);

const times: Record<string, number[]> = {};
for (let run = -2; run < RUNS; run++) {
  for (const [name, { act }] of Object.entries(cases)) {
    const begun = process.cpuUsage();
    for (let round = 0; round < 4; round++) act();
    const { user, system } = process.cpuUsage(begun);
    if (run >= 0) (times[name] ??= []).push((user + system) / (4 * EVENTS));
  }
}

console.log(
  `Node ${process.version}, ${EVENTS} records, ${RUNS} runs; µs of CPU a record: median (least to most)`,
);
for (const [name, runs] of Object.entries(times)) {
  const sorted = runs.toSorted((a, b) => a - b);
  const shown = [sorted[RUNS >> 1]!, sorted[0]!, sorted[RUNS - 1]!].map((one) => one.toFixed(2));
  console.log(
    `${name.padEnd(30)} ${String(cases[name]!.bytes).padStart(5)} bytes  ${shown[0]} (${shown[1]} to ${shown[2]})`,
  );
}
