/**
 * What importer and mappers make of real files of others, which lie beside the repository and are not part of it:
 * counts by actor, action, resource, result and hour equal those that are taken from the files in another way.
 */

import assert from 'node:assert/strict';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { recordOf } from '@evident/core/mapping/mapping-fixture.ts';
import { type MapperRegistry, makeRegistry } from '@evident/core/mapping/registry.ts';
import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import { serialiseMeta } from '@evident/core/record.ts';
import { nodeHmacSha256 } from './identity.ts';
import { type ImportInput, importRecords } from './import-records.ts';

const DATA = fileURLToPath(new URL('../../../../../../shared/data', import.meta.url));
const MAPPING = new URL('../../../../../docs/guides/mapping-vendor-audit.json', import.meta.url);
const skip = existsSync(DATA) ? false : `THE FILES OF OTHERS ARE NOT THERE (${DATA}): nothing was compared`;

interface Outcome {
  readonly rows: EventRow[];
  readonly refused: string[];
}

const QUESTIONS = ['actor', 'action', 'resource', 'result', 'hour', 'correlation', 'ip'] as const;
type Answer = Readonly<Record<(typeof QUESTIONS)[number], string | null>>;
type Counts = Record<string, Record<string, number>>;

/** What the importer cuts and the registry maps. */
async function outcomeOf(
  format: ImportInput['format'],
  files: string[],
  registry: MapperRegistry,
): Promise<Outcome> {
  const dependencies = {
    hmacSha256: nodeHmacSha256,
    tenantSecret: Buffer.alloc(32, 9),
    openOccurrenceStore: () => assert.fail('these files are small'),
  };
  const rows: EventRow[] = [];
  const refused: string[] = [];
  for (const file of files) {
    const input = { format, tenant: 'acme', source: createReadStream(file), fileName: file };
    for await (const { items } of importRecords(dependencies, input)) {
      for (const { id, type, sourceSeq, meta, body } of items) {
        try {
          const row = registry.rowOf(recordOf(type, { id, sourceSeq, meta: serialiseMeta(meta) }), body);
          if (row !== null) rows.push(row);
        } catch (error) {
          if (!(error instanceof MappingError)) throw error;
          refused.push(error.message);
        }
      }
    }
  }
  return { rows, refused };
}

function answerOf(row: EventRow): Answer {
  const { eventTime } = row;
  return {
    actor: row.actorId,
    action: row.action,
    resource: row.resourceId === null ? null : `${row.resourceType} ${row.resourceId}`,
    result: row.result,
    hour: eventTime === null ? null : new Date(Number(eventTime / 1000n)).toISOString().slice(0, 13),
    correlation: row.correlationId,
    ip: row.ip,
  };
}

function countsOf(answers: Answer[]): Counts {
  const counts: Counts = {};
  for (const question of QUESTIONS) {
    const values = answers.map((answer) => String(answer[question])).sort();
    counts[question] = {};
    for (const value of values) counts[question][value] = (counts[question][value] ?? 0) + 1;
  }
  return counts;
}

const filesIn = (folder: string): string[] =>
  readdirSync(join(DATA, folder)).map((name) => join(DATA, folder, name));
const hourOf = (instant: string): string => new Date(instant).toISOString().slice(0, 13);

// biome-ignore lint/suspicious/noExplicitAny: a second reader, which takes the files as they are
type Loose = any;

/** By AWS's documentation, of the parameters that occur in these files; the longest word that fits goes first. */
const PARAMETERS = `
  iam userName AWS::IAM::User;iam roleName AWS::IAM::Role;iam groupName AWS::IAM::Group
  iam policyArn AWS::IAM::ManagedPolicy;iam instanceProfileName AWS::IAM::InstanceProfile;sts roleArn AWS::IAM::Role
  ec2 instanceId AWS::EC2::Instance;ec2 groupId AWS::EC2::SecurityGroup;ec2 volumeId AWS::EC2::Volume
  ec2 snapshotId AWS::EC2::Snapshot;ec2 imageId AWS::EC2::Image;ec2 networkAclId AWS::EC2::NetworkAcl
  ec2 routeTableId AWS::EC2::RouteTable;ec2 subnetId AWS::EC2::Subnet;ec2 vpcId AWS::EC2::VPC
  ec2 keyName AWS::EC2::KeyPair;kms keyId AWS::KMS::Key;lambda functionName AWS::Lambda::Function
  secretsmanager secretId AWS::SecretsManager::Secret;dynamodb tableName AWS::DynamoDB::Table
  rds dBInstanceIdentifier AWS::RDS::DBInstance;rds dBClusterIdentifier AWS::RDS::DBCluster
  logs logGroupName AWS::Logs::LogGroup;ssm name AWS::SSM::Parameter;ssm documentName AWS::SSM::Document
  cloudtrail name AWS::CloudTrail::Trail;cloudtrail trailName AWS::CloudTrail::Trail;sns topicArn AWS::SNS::Topic
  sqs queueUrl AWS::SQS::Queue;ecr repositoryName AWS::ECR::Repository;ecs cluster AWS::ECS::Cluster
  eks name AWS::EKS::Cluster;cloudformation stackName AWS::CloudFormation::Stack;kinesis streamName AWS::Kinesis::Stream
  route53 hostedZoneId AWS::Route53::HostedZone;guardduty detectorId AWS::GuardDuty::Detector
  config configRuleName AWS::Config::ConfigRule`
  .split(/[;\n]/)
  .map((entry) => entry.trim().split(' '))
  .filter((entry) => entry.length === 3);

function trailResource(event: Loose): string | null {
  const named = event.resources?.find((one: Loose) => one.ARN || one.ARNPrefix);
  if (named) return `${named.type ?? null} ${named.ARN || named.ARNPrefix}`;
  const service = String(event.eventSource).replace('.amazonaws.com', '');
  const given = event.requestParameters ?? {};
  if (service === 's3' && given.bucketName)
    return given.key
      ? `AWS::S3::Object arn:aws:s3:::${given.bucketName}/${given.key}`
      : `AWS::S3::Bucket arn:aws:s3:::${given.bucketName}`;
  const entry = PARAMETERS.find(([of, name]) => of === service && given[name!]);
  if (entry) return `${entry[2]} ${given[entry[1]!]}`;
  const id =
    service === 'ec2' &&
    (given.instancesSet?.items?.[0]?.instanceId ||
      event.responseElements?.instancesSet?.items?.[0]?.instanceId);
  return id ? `AWS::EC2::Instance ${id}` : null;
}

function trailAnswer(event: Loose): Answer {
  const who = event.userIdentity ?? {};
  const refused = /^(Client\.)?(AccessDenied.*|Unauthorized(Operation|Access)?|NotAuthorized|Forbidden)$/;
  const failed =
    event.errorCode || event.errorMessage || event.responseElements?.[event.eventName] === 'Failure';
  return {
    actor: who.arn || who.principalId || who.invokedBy || who.userName || who.accountId || null,
    action: `${event.eventSource.replace(/\.amazonaws\.com$/, '')}:${event.eventName}`,
    resource: trailResource(event),
    result: refused.test(event.errorCode) ? 'denied' : failed ? 'failure' : 'success',
    hour: hourOf(event.eventTime),
    correlation: event.requestID || event.sharedEventID || null,
    ip: event.sourceIPAddress,
  };
}

function apacheAnswer(line: string): Answer | null {
  const fields =
    /^(\S+) \S+ (.+?) \[(\d+)\/(\w+)\/(\d+):(\d+:\d+:\d+) (.{3})(..)\] "(.*?[^\\]|)" (\d+) \S+ ".*" ".*"$/.exec(
      line,
    );
  if (fields === null) return null;
  const [, host, user, day, month, year, clock, hours, minutes, request, status] =
    fields as unknown as string[];
  const [method, target] = request!.split(' ');
  const code = Number(status);
  return {
    actor: user === '-' ? null : user!,
    action: method!,
    resource: `path ${target!.split('?')[0]!.slice(0, 512)}`,
    result: code < 400 ? 'success' : code === 401 || code === 403 ? 'denied' : 'failure',
    hour: hourOf(`${day} ${month} ${year} ${clock} GMT${hours}:${minutes}`),
    correlation: null,
    ip: host!,
  };
}

const VENDOR_RESULTS: Record<string, Record<string, string>> = {
  okta: { SUCCESS: 'success', ALLOW: 'success', FAILURE: 'failure', DENY: 'denied' },
  azure: { Success: 'success', Succeeded: 'success', Failed: 'failure', Failure: 'failure' },
};

describe('files of others as rows', { skip }, () => {
  it('gives 2,900 rows of CloudTrail, with the counts of a second reader', async () => {
    const files = filesIn('cloudtrail/CloudTrail');
    const { rows, refused } = await outcomeOf('cloudtrail', files, makeRegistry());
    const events = files.flatMap((file): Loose[] => JSON.parse(readFileSync(file, 'utf8')).Records);
    assert.deepEqual(refused, []);
    assert.equal(rows.length, 2_900);
    assert.deepEqual(countsOf(rows.map(answerOf)), countsOf(events.map(trailAnswer)));
  });

  it('gives 9,999 rows of Apache and names the one line that is none', async () => {
    const file = join(DATA, 'access-logs/apache_combined.log');
    const { rows, refused } = await outcomeOf('apache', [file], makeRegistry());
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    const answers = lines.map(apacheAnswer);
    const bad = answers.indexOf(null);
    assert.equal(rows.length, 9_999);
    assert.equal(refused.length, 1);
    assert.ok(refused[0]!.startsWith(`line ${bad + 1} of apache_combined.log: the user agent`), refused[0]);
    assert.match(lines[bad]!, /20\/May\/2015:12:05:17.*Googlebot/);
    const taken = answers.filter((answer) => answer !== null);
    assert.deepEqual(countsOf(rows.map(answerOf)), countsOf(taken));
  });

  it('gives a row for each AuditEvent of FHIR, as reading them gives', async () => {
    const files = filesIn('fhir-auditevent').filter((file) => /audit-?event[^/]*\.json$/.test(file));
    const { rows, refused } = await outcomeOf('fhir', files, makeRegistry());
    assert.deepEqual([refused, files.length], [[], 9]);
    const media = 'e3cdfc81a0d24bd^^^&2.16.840.1.113883.4.2&ISO';
    const read: [string | null, string, string | null, string, string, string | null][] = [
      ['95', '110122', null, 'success', '2013-06-20T23', '127.0.0.1'],
      ['95', '110123', null, 'success', '2013-06-20T23', '127.0.0.1'],
      ['95', 'ITI-32', `1 ${media}`, 'success', '2015-08-27T23', null],
      ['95', 'ITI-9', `1 ${media}`, 'success', '2015-08-26T23', null],
      ['95', 'search', null, 'success', '2015-08-22T23', null],
      ['95', 'vread', 'Patient Patient/example', 'success', '2013-06-20T23', null],
      [
        'SomeIdiot@nowhere',
        'Disclosure',
        'Patient Patient/example',
        'success',
        '2013-09-22T00',
        'custodian.net',
      ],
      ['95', 'create', 'OperationOutcome #o1', 'failure', '2017-09-07T23', null],
      // 22:04:27+11:00.
      ['Grahame', '110120', '4 ABCDEF', 'success', '2012-10-25T11', '127.0.0.1'],
    ];
    const answers = read.map(([actor, action, resource, result, hour, ip]) => ({
      actor,
      action,
      resource,
      result,
      hour,
      correlation: null,
      ip,
    }));
    assert.deepEqual(countsOf(rows.map(answerOf)), countsOf(answers));
  });

  it('gives a row for every line of the vendor files that is JSON, and refuses the others', async () => {
    const files = filesIn('vendor-audit/by_log_type');
    const lines = files.flatMap((file) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    );
    const isJson = (line: string): boolean => {
      try {
        return JSON.parse(line) !== undefined;
      } catch {
        return false;
      }
    };
    const plain = await outcomeOf('ndjson', files, makeRegistry());
    const good = lines.filter(isJson);
    assert.deepEqual([plain.rows.length, plain.refused.length], [good.length, lines.length - good.length]);
    assert.ok(plain.rows.every(({ mapper }) => mapper === 'unmapped'));

    const file = parseMappingFile(JSON.parse(readFileSync(MAPPING, 'utf8')));
    const mapped = await outcomeOf('ndjson', files, makeRegistry([file]));
    assert.deepEqual([mapped.rows.length, mapped.refused.length], [good.length, lines.length - good.length]);
    assert.ok(mapped.rows.every(({ mapper }) => mapper === `ndjson/${file.version}`));
    for (const [type, read] of Object.entries(VENDORS)) {
      const events: Loose[] = good
        .map((line) => JSON.parse(line))
        .filter((line) => line.log_type === type)
        .map((line) => line.event);
      const places = good.flatMap((line, i) => (JSON.parse(line).log_type === type ? [i] : []));
      assert.ok(events.length > 80, type);
      const actual = countsOf(places.map((place) => answerOf(mapped.rows[place]!)));
      const expected = countsOf(events.map((event) => ({ ...NOTHING, ...read(event) })));
      for (const question of ['actor', 'action', 'result', 'hour'] as const)
        assert.deepEqual(actual[question], expected[question], `${type} by ${question}`);
    }
  });
});

const NOTHING: Answer = {
  actor: null,
  action: null,
  resource: null,
  result: null,
  hour: null,
  correlation: null,
  ip: null,
};

/** A time with a space, and one without an offset, which is UTC. */
const vendorHour = (time: unknown): string | null => {
  if (time === undefined || time === null || time === '') return null;
  if (typeof time === 'number') return hourOf(new Date(time).toISOString());
  const text = String(time).replace(' ', 'T');
  // Four lines have lost the point before their fraction, and with it their time.
  return /^[\d-]{10}T[\d:]{8}(\.\d+)?Z?$/.test(text) ? hourOf(`${text.slice(0, 19)}Z`) : null;
};

const VENDORS: Record<string, (event: Loose) => Partial<Answer>> = {
  'Okta.SystemLog': (event) => ({
    actor: event.actor?.id || null,
    action: event.eventType || null,
    result: VENDOR_RESULTS.okta![event.outcome?.result] ?? null,
    hour: vendorHour(event.published),
  }),
  'GitHub.Audit': (event) => ({
    actor: event.actor || null,
    action: event.action || null,
    hour: vendorHour(event.created_at),
  }),
  'Databricks.Audit': (event) => {
    const status = event.response?.statusCode;
    return {
      actor: event.userIdentity?.email || null,
      action: event.serviceName && event.actionName ? `${event.serviceName}:${event.actionName}` : null,
      result:
        status === undefined
          ? null
          : status === 200
            ? 'success'
            : [401, 403].includes(status)
              ? 'denied'
              : 'failure',
      hour: vendorHour(event.timestamp),
    };
  },
  'Azure.MonitorActivity': (event) => ({
    // One of them is an object.
    action: typeof event.operationName === 'string' ? event.operationName : null,
    result: VENDOR_RESULTS.azure![event.resultType] ?? null,
    hour: vendorHour(event.time),
  }),
};
