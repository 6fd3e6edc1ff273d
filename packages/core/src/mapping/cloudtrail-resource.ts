/** What a CloudTrail event acted upon: what it says itself in `resources`, or else a parameter that is known to name it. */

import { elementsOf, isObject, type JsonObject, objectOf, rowId, rowText } from './row-text.ts';

export interface Resource {
  readonly type: string | null;
  readonly id: string | null;
}

const NONE: Resource = { type: null, id: null };

/** A member of `requestParameters` and the type of resource that it names. */
type Parameter = readonly [member: string, type: string];

/** By event source; the first parameter that is there counts. Types are those of AWS CloudFormation, as in `resources`. */
const PARAMETERS: Readonly<Record<string, readonly Parameter[]>> = {
  'iam.amazonaws.com': [
    ['userName', 'AWS::IAM::User'],
    ['roleName', 'AWS::IAM::Role'],
    ['groupName', 'AWS::IAM::Group'],
    ['policyArn', 'AWS::IAM::ManagedPolicy'],
    ['instanceProfileName', 'AWS::IAM::InstanceProfile'],
  ],
  'sts.amazonaws.com': [['roleArn', 'AWS::IAM::Role']],
  'ec2.amazonaws.com': [
    ['instanceId', 'AWS::EC2::Instance'],
    ['groupId', 'AWS::EC2::SecurityGroup'],
    ['volumeId', 'AWS::EC2::Volume'],
    ['snapshotId', 'AWS::EC2::Snapshot'],
    ['imageId', 'AWS::EC2::Image'],
    ['networkAclId', 'AWS::EC2::NetworkAcl'],
    ['routeTableId', 'AWS::EC2::RouteTable'],
    ['subnetId', 'AWS::EC2::Subnet'],
    ['vpcId', 'AWS::EC2::VPC'],
    ['keyName', 'AWS::EC2::KeyPair'],
  ],
  'kms.amazonaws.com': [['keyId', 'AWS::KMS::Key']],
  'lambda.amazonaws.com': [['functionName', 'AWS::Lambda::Function']],
  'secretsmanager.amazonaws.com': [['secretId', 'AWS::SecretsManager::Secret']],
  'dynamodb.amazonaws.com': [['tableName', 'AWS::DynamoDB::Table']],
  'rds.amazonaws.com': [
    ['dBInstanceIdentifier', 'AWS::RDS::DBInstance'],
    ['dBClusterIdentifier', 'AWS::RDS::DBCluster'],
  ],
  'logs.amazonaws.com': [['logGroupName', 'AWS::Logs::LogGroup']],
  'ssm.amazonaws.com': [
    ['name', 'AWS::SSM::Parameter'],
    ['documentName', 'AWS::SSM::Document'],
  ],
  'cloudtrail.amazonaws.com': [
    ['name', 'AWS::CloudTrail::Trail'],
    ['trailName', 'AWS::CloudTrail::Trail'],
  ],
  'sns.amazonaws.com': [['topicArn', 'AWS::SNS::Topic']],
  'sqs.amazonaws.com': [['queueUrl', 'AWS::SQS::Queue']],
  'ecr.amazonaws.com': [['repositoryName', 'AWS::ECR::Repository']],
  'ecs.amazonaws.com': [['cluster', 'AWS::ECS::Cluster']],
  'eks.amazonaws.com': [['name', 'AWS::EKS::Cluster']],
  'cloudformation.amazonaws.com': [['stackName', 'AWS::CloudFormation::Stack']],
  'kinesis.amazonaws.com': [['streamName', 'AWS::Kinesis::Stream']],
  'route53.amazonaws.com': [['hostedZoneId', 'AWS::Route53::HostedZone']],
  'guardduty.amazonaws.com': [['detectorId', 'AWS::GuardDuty::Detector']],
  'config.amazonaws.com': [['configRuleName', 'AWS::Config::ConfigRule']],
};

/** One resource: a view has room for one. Where an event names several, it is the first. */
export function cloudTrailResource(event: JsonObject): Resource {
  for (const one of elementsOf(event.resources)) {
    if (!isObject(one)) continue;
    const id = rowText(one.ARN) ?? rowText(one.ARNPrefix);
    if (id !== null) return { type: rowText(one.type), id };
  }
  const source = event.eventSource;
  const parameters = objectOf(event.requestParameters);
  if (source === 's3.amazonaws.com') return bucketOrObject(parameters);
  if (typeof source !== 'string' || !Object.hasOwn(PARAMETERS, source)) return NONE;
  for (const [member, type] of PARAMETERS[source]!) {
    const id = rowId(parameters[member]);
    if (id !== null) return { type, id };
  }
  return source === 'ec2.amazonaws.com' ? firstInstance(event, parameters) : NONE;
}

/** As an ARN, which holds neither region nor account, so that data events and others name one bucket in one way. */
function bucketOrObject(parameters: JsonObject): Resource {
  const bucket = rowText(parameters.bucketName);
  if (bucket === null) return NONE;
  const key = rowText(parameters.key);
  if (key === null) return { type: 'AWS::S3::Bucket', id: rowText(`arn:aws:s3:::${bucket}`) };
  return { type: 'AWS::S3::Object', id: rowText(`arn:aws:s3:::${bucket}/${key}`) };
}

/** Instances are named in a list; those that a call made, in its answer. */
function firstInstance(event: JsonObject, parameters: JsonObject): Resource {
  for (const part of [parameters, objectOf(event.responseElements)]) {
    const [item] = elementsOf(objectOf(part.instancesSet).items);
    const id = rowText(objectOf(item).instanceId);
    if (id !== null) return { type: 'AWS::EC2::Instance', id };
  }
  return NONE;
}
