/** Files as other systems write them, made from a seed, so that importers can be tried without anybody's data. */

import { encodeUtf8 } from '@evident/core/bytes.ts';
import { START_MS_DEFAULT } from './events.ts';
import { SeededRandom, Weighted } from './random.ts';
import { WorkingClock } from './working-clock.ts';

const EVENTS_PER_DAY = 20_000;
/** The account that AWS uses in its documentation. */
const ACCOUNT = '111122223333';
const REGIONS = ['eu-central-1', 'eu-west-1', 'us-east-1'];
const CALLS: readonly (readonly [source: string, name: string, readOnly: boolean, weight: number])[] = [
  ['s3', 'GetObject', true, 300],
  ['s3', 'PutObject', false, 120],
  ['s3', 'DeleteObject', false, 15],
  ['sts', 'AssumeRole', true, 160],
  ['ec2', 'DescribeInstances', true, 140],
  ['ec2', 'RunInstances', false, 8],
  ['iam', 'ListRoles', true, 30],
  ['iam', 'AttachRolePolicy', false, 3],
  ['kms', 'Decrypt', true, 180],
  ['signin', 'ConsoleLogin', false, 12],
  ['cloudtrail', 'StopLogging', false, 1],
];
const BY_CALL = new Weighted(CALLS.map(([, , , weight]) => weight));

/** A document `{"Records":[…]}` with synthetic events, as CloudTrail delivers them. */
export function cloudTrailFile(seed: number, count: number): Uint8Array {
  const random = new SeededRandom(seed);
  const clock = new WorkingClock(random, START_MS_DEFAULT, EVENTS_PER_DAY);
  const users = Array.from({ length: 40 }, () => ({
    name: `usr-${random.hex(6)}`,
    id: `AIDA${random.hex(16).toUpperCase()}`,
  }));
  const byUser = Weighted.zipf(users.length, 1);
  const events = Array.from({ length: count }, () =>
    JSON.stringify(cloudTrailEvent(users[byUser.draw(random)], clock.next(), random)),
  );
  return encodeUtf8(`{"Records":[${events.join(',')}]}`);
}

function cloudTrailEvent(user: { name: string; id: string }, now: number, random: SeededRandom): object {
  const [source, name, readOnly] = CALLS[BY_CALL.draw(random)];
  const denied = random.chance(25);
  return {
    eventVersion: '1.11',
    userIdentity: {
      type: 'IAMUser',
      principalId: user.id,
      arn: `arn:aws:iam::${ACCOUNT}:user/${user.name}`,
      accountId: ACCOUNT,
      userName: user.name,
    },
    // CloudTrail states whole seconds.
    eventTime: `${new Date(now).toISOString().slice(0, 19)}Z`,
    eventSource: `${source}.amazonaws.com`,
    eventName: name,
    awsRegion: random.pick(REGIONS),
    sourceIPAddress: `198.51.100.${random.between(1, 254)}`,
    userAgent: 'aws-cli/2.31.0 md/Botocore#1.40.0',
    ...(denied
      ? { errorCode: 'AccessDenied', errorMessage: `not authorized to perform ${source}:${name}` }
      : {}),
    requestParameters:
      source === 's3'
        ? { bucketName: `acme-${random.pick(REGIONS)}`, key: `exports/${random.hex(8)}.csv` }
        : null,
    responseElements: null,
    requestID: random.hex(16).toUpperCase(),
    eventID: random.uuid(),
    readOnly,
    eventType: 'AwsApiCall',
    managementEvent: source !== 's3',
    recipientAccountId: ACCOUNT,
    eventCategory: source === 's3' ? 'Data' : 'Management',
  };
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const STATUS_OF = new Weighted([880, 60, 20, 30, 10]);
const STATUS_CODES = [200, 304, 403, 404, 500];
const MALFORMED = [
  '198.51.100.7 - - [02/Nov/2026:09:00:00 +0000] "GET /cut/off',
  'AH00558: could not reliably determine the server name',
  '198.51.100.9 - - "GET / HTTP/1.1" 200 12 "-" "-"',
  '',
];

/**
 * Lines of the Apache combined format, without their LF.
 * @param malformedEvery every so manyth line is not of that format; 0: none
 */
export function* apacheLines(seed: number, count: number, malformedEvery: number): Generator<string, void> {
  const random = new SeededRandom(seed);
  const clock = new WorkingClock(random, START_MS_DEFAULT, EVENTS_PER_DAY);
  const paths = Array.from(
    { length: 300 },
    () => `/${random.pick(['docs', 'api/v1/documents', 'invoices', 'assets'])}/${random.hex(8)}`,
  );
  const byPath = Weighted.zipf(paths.length, 1);
  for (let line = 1; line <= count; line++) {
    const now = new Date(clock.next()).toISOString();
    const time = `${now.slice(8, 10)}/${MONTHS[Number(now.slice(5, 7)) - 1]}/${now.slice(0, 4)}:${now.slice(11, 19)} +0000`;
    const user = random.chance(600) ? `usr_${random.hex(4)}` : '-';
    const method = random.chance(850) ? 'GET' : 'POST';
    const path = paths[byPath.draw(random)];
    const status = STATUS_CODES[STATUS_OF.draw(random)];
    const size = status === 304 ? '-' : String(Math.round(200 + random.exponential(9_000)));
    const text = `198.51.100.${random.between(1, 254)} - ${user} [${time}] "${method} ${path} HTTP/1.1" ${status} ${size} "https://app.example.com/" "Mozilla/5.0 (X11; Linux x86_64) Firefox/142.0"`;
    yield malformedEvery > 0 && line % malformedEvery === 0 ? random.pick(MALFORMED) : text;
  }
}
