/**
 * Rows of `k8s`: events of the Kubernetes audit log (`audit.k8s.io`, kind `Event`).
 *
 * A request is recorded in stages, each an event with the same `auditID`: each gets a row, with its own time and the
 * audit id as correlation id; before the answer there is no result. The actor is who was authenticated, also where he
 * impersonates another.
 */

import type { LogRecord } from '../record.ts';
import { resultOfStatus } from './apache.ts';
import { instantMicros } from './instant.ts';
import { mappingError, readObject } from './read-json.ts';
import type { EventResult, EventRow, Mapper } from './row.ts';
import { elementsOf, isObject, type JsonObject, objectOf, rowText } from './row-text.ts';

export const k8sMapper: Mapper = { type: 'k8s', version: 1, map };

function map(record: LogRecord, body: Uint8Array): EventRow {
  const event = readObject(record, body);
  const { apiVersion, kind } = event;
  if (kind !== 'Event' || typeof apiVersion !== 'string' || !apiVersion.startsWith('audit.k8s.io/'))
    throw mappingError(record, 'kind Event of audit.k8s.io is expected');
  const username = rowText(objectOf(event.user).username);
  const resource = resourceOf(event);
  return {
    eventTime:
      instantMicros(event.stageTimestamp) ??
      instantMicros(event.requestReceivedTimestamp) ??
      instantMicros(event.timestamp),
    actorId: username,
    actorType: username === null ? null : actorTypeOf(username),
    action: rowText(event.verb),
    resourceType: resource.type,
    resourceId: resource.id,
    result: resultOf(event),
    correlationId: rowText(event.auditID),
    ip: rowText(elementsOf(event.sourceIPs)[0]),
    corrects: null,
    mapper: 'k8s/1',
  };
}

function actorTypeOf(username: string): string {
  if (username.startsWith('system:serviceaccount:')) return 'service';
  return username.startsWith('system:') ? 'system' : 'user';
}

/** `deployments.apps/scale` and `namespace/name`; of a request that names no resource, its path. */
function resourceOf(event: JsonObject): { type: string | null; id: string | null } {
  if (!isObject(event.objectRef)) return pathOf(event);
  const { apiGroup, name, namespace, resource, subresource } = event.objectRef;
  const kind = rowText(resource);
  if (kind === null) return pathOf(event);
  const group = rowText(apiGroup);
  const part = rowText(subresource);
  const named = [rowText(namespace), rowText(name)].filter((one) => one !== null).join('/');
  return {
    type: rowText(`${kind}${group === null ? '' : `.${group}`}${part === null ? '' : `/${part}`}`),
    id: rowText(named),
  };
}

function pathOf(event: JsonObject): { type: string | null; id: string | null } {
  const uri = event.requestURI;
  if (typeof uri !== 'string') return { type: null, id: null };
  const query = uri.indexOf('?');
  const id = rowText(query < 0 ? uri : uri.slice(0, query));
  return { type: id === null ? null : 'path', id };
}

function resultOf(event: JsonObject): EventResult | null {
  if (objectOf(event.annotations)['authorization.k8s.io/decision'] === 'forbid') return 'denied';
  const { code } = objectOf(event.responseStatus);
  if (typeof code === 'number' && code >= 100) return resultOfStatus(code);
  return event.stage === 'Panic' ? 'failure' : null;
}
