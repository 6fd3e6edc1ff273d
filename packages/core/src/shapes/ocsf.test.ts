import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeUtf8 } from '../bytes.ts';
import type { EventRow } from '../mapping/row.ts';
import type { LogRecord } from '../record.ts';
import { OCSF_VERSION, toOcsf } from './ocsf.ts';
import { OCSF_SCHEMA, ocsfFaults } from './ocsf-fixture.ts';
import { recordOf, rowOf } from './record-fixture.ts';

function shape(over: Partial<EventRow> | null, body: unknown = {}, record: Partial<LogRecord> = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const event = toOcsf(recordOf(text, record), over === null ? null : rowOf(over), encodeUtf8(text));
  assert.deepEqual(ocsfFaults(event), [], JSON.stringify(event));
  return event;
}

const activity = (event: ReturnType<typeof shape>) => `${event.class_name}: ${event.activity_name}`;

it('is of the version that the schema has', () => {
  assert.equal(OCSF_VERSION, OCSF_SCHEMA.version);
});

describe('class and activity', () => {
  const own: readonly [action: string, resourceType: string | null, expected: string][] = [
    ['document.update', 'document', 'API Activity: Update'],
    ['document.view', 'document', 'API Activity: Read'],
    ['payment.approve', 'payment', 'API Activity: payment.approve'],
    ['audit.read', 'log', 'API Activity: Read'],
    ['user.login', 'user', 'Authentication: Logon'],
    ['auth.logout', 'session', 'Authentication: Logoff'],
    ['session.create', 'session', 'Authentication: Logon'],
    ['user.create', 'user', 'Account Change: Create'],
    ['user.password.reset', 'user', 'Account Change: Password Reset'],
    ['user.mfa.enable', 'user', 'Account Change: MFA Factor Enable'],
    ['user.lock', 'user', 'Account Change: Lock'],
    ['role.create', 'role', 'Entity Management: Create'],
    ['api_key.revoke', 'api_key', 'Entity Management: Update'],
    ['policy.enable', 'policy', 'Entity Management: Enable'],
    ['file.read', 'file', 'File System Activity: Read'],
    ['file.upload', null, 'File System Activity: Create'],
    ['folder.rename', 'folder', 'File System Activity: Rename'],
    ['database.connect', 'database', 'Datastore Activity: Connect'],
    ['database.table.query', 'table', 'Datastore Activity: Query'],
    ['bucket.list', 'bucket', 'Datastore Activity: List'],
    ['group.create', 'group', 'Group Management: Create'],
    ['group.member.add', 'group', 'Group Management: Add User'],
    ['group.role.revoke', 'group', 'Group Management: Revoke Privileges'],
    // Of groups, what has no activity of its own there; of what only sounds like a store or a file, nothing.
    ['group.update', 'group', 'Entity Management: Update'],
    ['file.share', 'file', 'API Activity: file.share'],
    ['table.create', 'table', 'API Activity: Create'],
    ['database.backup', 'database', 'API Activity: database.backup'],
    ['group.member.add', 'department', 'API Activity: Create'],
    // Whom, or what, the event does not tell: the class requires it, so a call of an interface it is.
    ['role.grant', 'document', 'API Activity: Update'],
  ];
  for (const [action, resourceType, expected] of own)
    it(`takes ${action} for ${expected}`, () => {
      assert.equal(activity(shape({ action, resourceType })), expected);
    });

  it('takes a grant whose user and privilege are told for User Access Management', () => {
    const event = shape(
      { action: 'role.grant', resourceType: 'user', resourceId: 'usr_9' },
      { details: { role: 'auditor' } },
    );
    assert.equal(activity(event), 'User Access Management: Assign Privileges');
    assert.deepEqual(event.privileges, ['auditor']);
    assert.equal((event.user as { uid: string }).uid, 'usr_9');
  });

  const aws: readonly [action: string, expected: string][] = [
    ['ec2:DescribeRouteTables', 'API Activity: Read'],
    ['kms:GenerateDataKey', 'API Activity: kms:GenerateDataKey'],
    ['ec2:RunInstances', 'API Activity: Create'],
    ['signin:ConsoleLogin', 'Authentication: Logon'],
    ['signin:CheckMfa', 'Authentication: CheckMfa'],
    ['iam:CreateUser', 'Account Change: Create'],
    ['iam:AttachUserPolicy', 'Account Change: Attach Policy'],
    ['iam:PutUserPolicy', 'User Access Management: Assign Privileges'],
    ['iam:DeleteRole', 'Entity Management: Delete'],
    ['iam:CreateGroup', 'Group Management: Create'],
    ['iam:AddUserToGroup', 'Group Management: Add User'],
    ['iam:AttachGroupPolicy', 'Group Management: Assign Privileges'],
    ['iam:GetGroup', 'Entity Management: Read'],
    ['s3:GetObject', 'Datastore Activity: Read'],
    ['s3:DeleteBucket', 'Datastore Activity: Delete'],
    ['s3:PutBucketPolicy', 'API Activity: Update'],
    ['dynamodb:Query', 'Datastore Activity: Query'],
  ];
  for (const [action, expected] of aws)
    it(`takes CloudTrail's ${action} for ${expected}`, () => {
      const body = {
        eventSource: 'iam.amazonaws.com',
        awsRegion: 'us-east-1',
        recipientAccountId: '123456789012',
        requestID: 'r-1',
        requestParameters: {
          userName: 'ann',
          policyName: 'p',
          groupName: 'g',
          bucketName: 'b',
          tableName: 't',
        },
      };
      const event = shape({ action, resourceType: 'thing' }, body, { type: 'cloudtrail', schema: 0 });
      assert.equal(activity(event), expected);
      assert.deepEqual((event.metadata as { profiles: string[] }).profiles, ['cloud']);
    });
});

it('names the file, the store and the group, and keeps to API Activity where the event names none', () => {
  const file = shape(
    { action: 'file.read', resourceType: 'file', resourceId: 'f_1' },
    { resource: { name: '/srv/a/report.pdf' }, details: { host: 'files-1' } },
  );
  assert.deepEqual(file.file, {
    name: 'report.pdf',
    path: '/srv/a/report.pdf',
    uid: 'f_1',
    type_id: 1,
    type: 'Regular File',
  });
  assert.equal((file.device as { name: string }).name, 'files-1');
  const store = shape(
    { action: 's3:GetObject', resourceId: null },
    { requestParameters: { bucketName: 'reports', key: 'a' } },
    { type: 'cloudtrail', schema: 0 },
  );
  assert.deepEqual(store.databucket, { name: 'reports', type_id: 1, type: 'S3' });
  const member = shape(
    { action: 'group.member.add', resourceType: 'group', resourceId: 'grp_1' },
    { details: { user: 'usr_9' } },
  );
  assert.deepEqual(member.group, { uid: 'grp_1' });
  assert.equal((member.user as { uid: string }).uid, 'usr_9');
  for (const [action, type] of [
    ['file.read', 'audit.event'],
    ['database.query', 'audit.event'],
    ['group.create', 'audit.event'],
    ['s3:GetObject', 'cloudtrail'],
    ['iam:CreateGroup', 'cloudtrail'],
  ]) {
    const over = { action, resourceType: null, resourceId: null };
    assert.match(activity(shape(over, {}, { type })), /^API Activity: /, action);
  }
});

it('gives an Apache line as HTTP Activity', () => {
  const line =
    '203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 404 123 "-" "Agent \\"x\\""';
  const event = shape({ action: 'GET', actorId: null, result: 'failure' }, line, {
    type: 'apache',
    schema: 0,
  });
  assert.equal(activity(event), 'HTTP Activity: Get');
  assert.deepEqual(event.http_request, {
    http_method: 'GET',
    url: { path: '/a', query_string: 'b=1' },
    user_agent: 'Agent \\"x\\"',
  });
  assert.deepEqual(event.http_response, { code: 404, length: 123 });
  assert.equal(event.status, 'Failure');
});

it('takes a record without a row, or without an action, for a base event', () => {
  assert.equal(shape(null, 'not JSON').class_uid, 0);
  assert.equal(shape({ action: null }, [1, 2]).type_uid, 0);
});

it('says that a denied action failed, and why', () => {
  const event = shape({ result: 'denied' });
  assert.deepEqual([event.status_id, event.status_detail, event.severity], [2, 'denied', 'Low']);
});

it('is valid for any row, body and type', () => {
  const text = fc.option(fc.string({ unit: 'grapheme', maxLength: 30 }), { nil: null });
  const words = fc.constantFrom(
    'user',
    'role',
    'login',
    'grant',
    'policy',
    'session',
    'password',
    'reset',
    'iam:CreateUser',
    'file',
    'read',
    'database',
    'query',
    'group',
    's3:GetObject',
    'dynamodb:PutItem',
  );
  const row = fc.record({
    eventTime: fc.option(fc.bigInt(-62_135_596_800_000_000n, 253_402_300_799_999_999n), { nil: null }),
    actorId: text,
    actorType: fc.oneof(text, fc.constantFrom('user', 'service', 'constructor')),
    action: fc.oneof(
      text,
      fc.array(words, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('.')),
    ),
    resourceType: fc.oneof(text, words),
    resourceId: text,
    result: fc.constantFrom('success' as const, 'failure' as const, 'denied' as const, null),
    ip: fc.oneof(text, fc.ipV4(), fc.ipV6()),
  });
  fc.assert(
    fc.property(
      row,
      fc.json(),
      fc.constantFrom('audit.event', 'cloudtrail', 'k8s', 'apache', 'fhir', 'x'),
      (over, body, type) => {
        shape(over, body, { type, position: 9_999_999_999n });
      },
    ),
    { numRuns: 300 },
  );
});

it('finds what is wrong with an event', () => {
  const good = shape({});
  const broken: [Record<string, unknown>, RegExp][] = [
    [{ actor: undefined }, /^actor: it is required/],
    [{ actor: {} }, /^actor: one of process/],
    [{ api: {} }, /^api.operation: it is required/],
    [{ activity_id: 7, type_uid: 600307 }, /^activity_id: 7 is none/],
    [{ type_uid: 600399 }, /type_uid/],
    [{ time: 1.5 }, /^time: an integer/],
    [{ src_endpoint: { ip: '1.2.3' } }, /^src_endpoint.ip: it is not of the form/],
    [{ cloud: { provider: 'x' } }, /^cloud: it needs a profile/],
    [{ nothing: 1 }, /^nothing: API Activity has no such/],
    [{ status: 'Fine' }, /^status_id: status is not Success/],
  ];
  for (const [change, expected] of broken) {
    const event = Object.fromEntries(
      Object.entries({ ...good, ...change }).filter(([, value]) => value !== undefined),
    );
    assert.match(ocsfFaults(event)[0] ?? '', expected);
  }
});
