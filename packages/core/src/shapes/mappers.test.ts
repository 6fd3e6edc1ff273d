/** One event of every mapper, through its mapper, as OCSF and CloudEvents: valid, and of the class expected. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeUtf8 } from '../bytes.ts';
import { parseMappingFile } from '../mapping/mapping-file.ts';
import { makeRegistry } from '../mapping/registry.ts';
import { toCloudEvent } from './cloudevents.ts';
import { toOcsf } from './ocsf.ts';
import { ocsfFaults } from './ocsf-fixture.ts';
import { INSTALLATION, recordOf } from './record-fixture.ts';

const mapping = {
  mapping: 1,
  type: 'vendor',
  format: 'ndjson',
  rules: [
    {
      time: { text: '{/at}', format: 'iso' },
      actor: { id: '{/who}' },
      action: '{/what}',
      resource: { id: '{/target}', type: 'user' },
    },
  ],
};

const EVENTS: Readonly<Record<string, { body: unknown; expected: string; subject: string }>> = {
  'audit.event': {
    body: {
      event_id: '0198c0de-0000-7000-8000-000000000001',
      event_time: '2026-11-20T10:00:00Z',
      tenant: 'acme',
      actor: { id: 'usr_1', type: 'service', ip_address: '203.0.113.9', user_agent: 'curl/8' },
      action: 'document.delete',
      resource: { type: 'document', id: 'doc_1' },
      result: 'denied',
      context: { request_id: 'r-1', session_id: 's-1' },
      criticality: 'normal',
    },
    expected: 'API Activity: Delete, Failure',
    subject: 'document/doc_1',
  },
  cloudtrail: {
    body: {
      eventVersion: '1.08',
      userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::123456789012:user/ann', accountId: '123456789012' },
      eventTime: '2026-11-20T10:00:00Z',
      eventSource: 'iam.amazonaws.com',
      eventName: 'CreateUser',
      awsRegion: 'us-east-1',
      sourceIPAddress: 'console.amazonaws.com',
      requestParameters: { userName: 'bob' },
      requestID: 'r-1',
      recipientAccountId: '123456789012',
    },
    expected: 'Account Change: Create, Success',
    subject: 'bob',
  },
  apache: {
    body: '203.0.113.9 - ann [20/Nov/2026:10:00:00 +0000] "POST /login?x=1 HTTP/1.1" 401 12',
    expected: 'HTTP Activity: Post, Failure',
    subject: 'path//login',
  },
  k8s: {
    body: {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      stage: 'ResponseComplete',
      auditID: 'a-1',
      requestURI: '/apis/rbac.authorization.k8s.io/v1/namespaces/a/rolebindings',
      verb: 'create',
      user: { username: 'system:serviceaccount:a:b' },
      sourceIPs: ['203.0.113.9'],
      objectRef: {
        resource: 'rolebindings',
        namespace: 'a',
        name: 'n',
        apiGroup: 'rbac.authorization.k8s.io',
      },
      responseStatus: { code: 201 },
      stageTimestamp: '2026-11-20T10:00:00.000001Z',
    },
    expected: 'Entity Management: Create, Success',
    subject: 'a/n',
  },
  fhir: {
    body: {
      resourceType: 'AuditEvent',
      type: { system: 'http://dicom.nema.org/resources/ontology/DCM', code: '110114' },
      subtype: [{ system: 'http://dicom.nema.org/resources/ontology/DCM', code: '110122' }],
      recorded: '2026-11-20T10:00:00Z',
      outcome: '0',
      agent: [{ altId: 'ann', requestor: true, network: { address: '203.0.113.9', type: '2' } }],
      source: { observer: { display: 'x' } },
    },
    expected: 'Authentication: Logon, Success',
    subject: '',
  },
  ndjson: { body: { any: 'thing' }, expected: 'Base Event: Unknown, Unknown', subject: '' },
  vendor: {
    body: { at: '2026-11-20T10:00:00Z', who: 'ann', what: 'user.disable', target: 'bob' },
    expected: 'Account Change: Disable, Unknown',
    subject: 'user/bob',
  },
  unknown: { body: [1, 2], expected: 'Base Event: Unknown, Unknown', subject: '' },
};

it('shapes an event of every mapper', () => {
  const { rowOf, definition } = makeRegistry([parseMappingFile(mapping)]);
  for (const [type, { body, expected, subject }] of Object.entries(EVENTS)) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const record = recordOf(text, { type, schema: type === 'audit.event' ? 1 : 0 });
    const row = rowOf(record, encodeUtf8(text));
    const event = toOcsf(record, row, encodeUtf8(text));
    assert.deepEqual(ocsfFaults(event), [], type);
    assert.equal(`${event.class_name}: ${event.activity_name}, ${event.status}`, expected, type);
    assert.ok(
      (toCloudEvent(record, row, encodeUtf8(text), INSTALLATION).subject ?? '').endsWith(subject),
      type,
    );
  }
  const known = definition.split(' ').map((one) => one.split('/')[0]);
  assert.deepEqual(
    known.filter((type) => type !== 'unmapped' && type !== 'csv' && !(type in EVENTS)),
    [],
  );
});
