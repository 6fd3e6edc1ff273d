import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cloudTrailMapper } from './cloudtrail.ts';
import { at, bytesOf, recordOf, refusal, told } from './mapping-fixture.ts';

const map = (body: unknown) => cloudTrailMapper.map(recordOf('cloudtrail'), bytesOf(body));
const event = {
  eventVersion: '1.08',
  userIdentity: {
    type: 'IAMUser',
    principalId: 'AIDAEXAMPLE',
    arn: 'arn:aws:iam::111122223333:user/ann',
    accountId: '111122223333',
    userName: 'ann',
  },
  eventTime: '2023-07-10T11:42:18Z',
  eventSource: 'ec2.amazonaws.com',
  eventName: 'StopInstances',
  sourceIPAddress: '192.0.2.44',
  requestParameters: { instancesSet: { items: [{ instanceId: 'i-0abc' }] } },
  responseElements: null,
  requestID: 'req-1',
  eventID: 'e-1',
  sharedEventID: 'shared-1',
};

describe('cloudtrail', () => {
  it('gives who called what on which resource', () => {
    assert.deepEqual(map(event), {
      eventTime: at('2023-07-10T11:42:18Z'),
      actorId: 'arn:aws:iam::111122223333:user/ann',
      actorType: 'IAMUser',
      action: 'ec2:StopInstances',
      resourceType: 'AWS::EC2::Instance',
      resourceId: 'i-0abc',
      result: 'success',
      correlationId: 'req-1',
      ip: '192.0.2.44',
      corrects: null,
      mapper: 'cloudtrail/1',
    });
    assert.equal(map({ ...event, requestID: undefined })?.correlationId, 'shared-1');
    assert.equal(map({ ...event, eventSource: 'aws-portal' })?.action, 'aws-portal:StopInstances');
  });

  it('names the actor of every kind of identity', () => {
    const session = 'arn:aws:sts::111122223333:assumed-role/Admin/ann';
    const identities: [unknown, string | undefined, string | undefined][] = [
      [
        { type: 'Root', principalId: '1', arn: 'arn:aws:iam::1:root', accountId: '1' },
        'arn:aws:iam::1:root',
        'Root',
      ],
      [
        {
          type: 'AssumedRole',
          principalId: 'AROA:ann',
          arn: session,
          sessionContext: { sessionIssuer: { arn: 'arn:role' } },
        },
        session,
        'AssumedRole',
      ],
      [{ type: 'AssumedRole', principalId: 'AROA:ann' }, 'AROA:ann', 'AssumedRole'],
      [{ type: 'AWSService', invokedBy: 'rds.amazonaws.com' }, 'rds.amazonaws.com', 'AWSService'],
      [{ type: 'AWSAccount', principalId: 'AIDA2', accountId: '2' }, 'AIDA2', 'AWSAccount'],
      [{ type: 'AWSAccount', accountId: 2 }, '2', 'AWSAccount'],
      [{ type: 'SAMLUser', principalId: 'x:ann', userName: 'ann' }, 'x:ann', 'SAMLUser'],
      [{ type: 'Unknown', principalId: '', userName: 'HIDDEN' }, 'HIDDEN', 'Unknown'],
      [
        { type: 'IdentityCenterUser', onBehalfOf: { userId: 'u-1' }, accountId: '3' },
        'u-1',
        'IdentityCenterUser',
      ],
      [{ invokedBy: 'a.amazonaws.com' }, 'a.amazonaws.com', undefined],
      [undefined, undefined, undefined],
      ['ann', undefined, undefined],
      [{ type: 7, arn: ['x'] }, undefined, undefined],
    ];
    for (const [userIdentity, actorId, actorType] of identities) {
      const row = told(map({ ...event, userIdentity }));
      assert.deepEqual([row.actorId, row.actorType], [actorId, actorType], JSON.stringify(userIdentity));
    }
  });

  it('tells denied from failed', () => {
    const ends: [object, string][] = [
      [{ errorCode: 'AccessDenied' }, 'denied'],
      [{ errorCode: 'AccessDeniedException', errorMessage: 'no' }, 'denied'],
      [{ errorCode: 'Client.UnauthorizedOperation' }, 'denied'],
      [{ errorCode: 'NotAuthorized' }, 'denied'],
      [{ errorCode: 'NoSuchBucket' }, 'failure'],
      [{ errorCode: 'Client.InvalidInstanceID.NotFound' }, 'failure'],
      [{ errorCode: 'toString' }, 'failure'],
      [{ errorMessage: 'Failed authentication' }, 'failure'],
      [{ eventName: 'ConsoleLogin', responseElements: { ConsoleLogin: 'Failure' } }, 'failure'],
      [{ eventName: 'ConsoleLogin', responseElements: { ConsoleLogin: 'Success' } }, 'success'],
      [{ errorCode: '' }, 'success'],
      [{ eventName: 'constructor' }, 'success'],
    ];
    for (const [facts, result] of ends)
      assert.equal(map({ ...event, ...facts })?.result, result, JSON.stringify(facts));
    assert.equal(map({})?.result, null);
  });

  it('finds the resource in what the event says, or in a parameter that is known', () => {
    const s3 = { eventSource: 's3.amazonaws.com', requestParameters: { bucketName: 'b', key: 'a/c.txt' } };
    const found: [object, unknown, unknown][] = [
      [
        { resources: [{}, { type: 'AWS::KMS::Key', ARN: 'arn:k' }, { ARN: 'arn:l' }] },
        'AWS::KMS::Key',
        'arn:k',
      ],
      [{ resources: 'none' }, 'AWS::EC2::Instance', 'i-0abc'],
      [s3, 'AWS::S3::Object', 'arn:aws:s3:::b/a/c.txt'],
      [{ ...s3, requestParameters: { bucketName: 'b' } }, 'AWS::S3::Bucket', 'arn:aws:s3:::b'],
      [{ ...s3, requestParameters: null }, undefined, undefined],
      [
        { requestParameters: {}, responseElements: { instancesSet: { items: [{ instanceId: 'i-new' }] } } },
        'AWS::EC2::Instance',
        'i-new',
      ],
      [
        { eventSource: 'iam.amazonaws.com', requestParameters: { roleName: 'r', policyArn: 'p' } },
        'AWS::IAM::Role',
        'r',
      ],
      [{ eventSource: 'constructor', requestParameters: { name: 'x' } }, undefined, undefined],
    ];
    for (const [facts, type, id] of found) {
      const row = told(map({ ...event, ...facts }));
      assert.deepEqual([row.resourceType, row.resourceId], [type, id], JSON.stringify(facts));
    }
  });

  it('refuses what is no object, and says where it stood', () => {
    const record = recordOf('cloudtrail', {
      meta: '{"element":3,"file":"trail.json","format":"cloudtrail"}',
    });
    for (const [body, message] of [
      ['[]', /^element 3 of trail.json: it is an array, and an object is expected$/],
      ['null', /it is null/],
      ['"x"', /it is a string/],
      ['{"a":1,}', /it is not JSON: byte 7: a member name/],
    ] as const)
      assert.throws(() => cloudTrailMapper.map(record, bytesOf(body)), refusal(message));
    assert.throws(() => cloudTrailMapper.map(record, Uint8Array.of(0x22, 0xff, 0x22)), refusal(/not UTF-8/));
  });
});
