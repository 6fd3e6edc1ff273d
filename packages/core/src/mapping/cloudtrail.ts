/**
 * Rows of `cloudtrail` (AWS CloudTrail record contents, event version 1.x).
 *
 * The actor is the ARN of `userIdentity`, which of an assumed role names the session and so who it is; without an ARN
 * it is the principal, the calling service, the user's name or the account, in this order.
 *
 * The correlation id is `requestID`: AWS gives it to one call, and all events that the call caused carry it.
 * `sharedEventID` ties copies of one event in the trails of several accounts, which is a narrower thing: it stands in
 * where there is no `requestID`, which is so for events that no request caused.
 */

import type { LogRecord } from '../record.ts';
import { cloudTrailResource } from './cloudtrail-resource.ts';
import { instantMicros } from './instant.ts';
import { readObject } from './read-json.ts';
import type { EventResult, EventRow, Mapper } from './row.ts';
import { type JsonObject, objectOf, rowId, rowText } from './row-text.ts';

const AWS_DOMAIN = '.amazonaws.com';

/** Error codes that refuse the right to act; others say that the act failed. Beside all that begin with AccessDenied. */
const DENIED: ReadonlySet<string> = new Set([
  'AuthorizationError',
  'AuthorizationErrorException',
  'Forbidden',
  'ForbiddenException',
  'NotAuthorized',
  'NotAuthorizedException',
  'Unauthorized',
  'UnauthorizedAccess',
  'UnauthorizedException',
  'UnauthorizedOperation',
]);

export const cloudTrailMapper: Mapper = { type: 'cloudtrail', version: 1, map };

function map(record: LogRecord, body: Uint8Array): EventRow {
  const event = readObject(record, body);
  const identity = objectOf(event.userIdentity);
  const resource = cloudTrailResource(event);
  return {
    eventTime: instantMicros(event.eventTime),
    actorId: actorOf(identity),
    actorType: rowText(identity.type),
    action: actionOf(event),
    resourceType: resource.type,
    resourceId: resource.id,
    result: resultOf(event),
    correlationId: rowText(event.requestID) ?? rowText(event.sharedEventID),
    ip: rowText(event.sourceIPAddress),
    corrects: null,
    mapper: 'cloudtrail/1',
  };
}

function actorOf(identity: JsonObject): string | null {
  return (
    rowText(identity.arn) ??
    rowText(identity.principalId) ??
    rowText(identity.invokedBy) ??
    rowText(identity.userName) ??
    rowText(objectOf(identity.onBehalfOf).userId) ??
    rowId(identity.accountId)
  );
}

/** `ec2:RunInstances`: the service as it is called in policies, and the operation. */
function actionOf(event: JsonObject): string | null {
  const { eventSource, eventName } = event;
  if (typeof eventName !== 'string' || eventName === '') return null;
  if (typeof eventSource !== 'string' || eventSource === '') return rowText(eventName);
  const service = eventSource.endsWith(AWS_DOMAIN) ? eventSource.slice(0, -AWS_DOMAIN.length) : eventSource;
  return rowText(`${service}:${eventName}`);
}

/** Null only where nothing of an API call is there: every call that CloudTrail records ended one way or the other. */
function resultOf(event: JsonObject): EventResult | null {
  const code = rowText(event.errorCode);
  if (code !== null) {
    const bare = code.startsWith('Client.') ? code.slice('Client.'.length) : code;
    return bare.startsWith('AccessDenied') || DENIED.has(bare) ? 'denied' : 'failure';
  }
  if (rowText(event.errorMessage) !== null) return 'failure';
  const name = rowText(event.eventName);
  if (name === null) return null;
  // Sign-in says it there: {"ConsoleLogin": "Failure"}.
  const response = objectOf(event.responseElements);
  return Object.hasOwn(response, name) && response[name] === 'Failure' ? 'failure' : 'success';
}
