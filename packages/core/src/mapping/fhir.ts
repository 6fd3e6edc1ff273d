/**
 * Rows of `fhir`: AuditEvent of HL7 FHIR, R4 (`type`, `subtype`, `outcome` as a code) and R5 (`category`, `code`,
 * `outcome` as an object).
 *
 * The actor is the agent that asked for it (`requestor`), or the first one: his reference or identifier, never his
 * name, which is personal. The resource is the first entity that is identified; a version of it (`/_history/3`) counts
 * as the thing itself, so that its history stands together.
 */

import type { LogRecord } from '../record.ts';
import { instantMicros } from './instant.ts';
import { mappingError, readObject } from './read-json.ts';
import type { EventResult, EventRow, Mapper } from './row.ts';
import { elementsOf, isObject, type JsonObject, objectOf, rowText } from './row-text.ts';

/** Of IHE's profile of basic audit: an entity of this type holds the id of the request, and is no resource. */
const REQUEST_ID_TYPE = 'XrequestId';
/** Codes of `issue-type` that refuse the right to act. */
const DENIED: ReadonlySet<unknown> = new Set(['forbidden', 'login', 'security']);
const HISTORY = '/_history/';

export const fhirMapper: Mapper = { type: 'fhir', version: 1, map };

function map(record: LogRecord, body: Uint8Array): EventRow {
  const event = readObject(record, body);
  if (event.resourceType !== 'AuditEvent') throw mappingError(record, 'resourceType AuditEvent is expected');
  const agent = agentOf(event);
  const who = identified(agent.who);
  const entities = elementsOf(event.entity).filter(isObject);
  const resource = resourceOf(entities);
  return {
    eventTime: timeOf(event),
    actorId: who.id ?? rowText(agent.altId),
    actorType: who.type ?? codeOf(agent.type),
    action: actionOf(event),
    resourceType: resource.type,
    resourceId: resource.id,
    result: resultOf(event),
    correlationId: requestIdOf(entities),
    ip: addressOf(agent),
    corrects: null,
    mapper: 'fhir/1',
  };
}

/** When it happened; else when it was recorded. A date without a time is no instant, and is passed over. */
function timeOf(event: JsonObject): bigint | null {
  return (
    instantMicros(event.occurredDateTime) ??
    instantMicros(objectOf(event.occurredPeriod).start) ??
    instantMicros(objectOf(event.period).start) ??
    instantMicros(event.recorded)
  );
}

function agentOf(event: JsonObject): JsonObject {
  const agents = elementsOf(event.agent).filter(isObject);
  return agents.find((agent) => agent.requestor === true) ?? objectOf(agents[0]);
}

/** The first code of a CodeableConcept, or the code of a Coding. */
function codeOf(concept: unknown): string | null {
  const { coding, code } = objectOf(concept);
  return rowText(objectOf(elementsOf(coding)[0]).code) ?? rowText(code);
}

function actionOf(event: JsonObject): string | null {
  return (
    codeOf(event.code) ??
    codeOf(elementsOf(event.subtype)[0]) ??
    codeOf(elementsOf(event.category)[0]) ??
    codeOf(event.type) ??
    rowText(event.action)
  );
}

/** What a Reference points at: `Patient/example`, or an identifier. A display is for people and identifies nothing. */
function identified(reference: unknown): { type: string | null; id: string | null } {
  const { reference: address, identifier, type } = objectOf(reference);
  const full = rowText(address);
  const version = full === null ? -1 : full.indexOf(HISTORY);
  const path = full === null || version < 0 ? full : rowText(full.slice(0, version));
  const steps = path === null ? [] : path.split('/');
  return {
    type: rowText(type) ?? (steps.length > 1 ? rowText(steps[steps.length - 2]) : null),
    id: path ?? rowText(objectOf(identifier).value),
  };
}

function resourceOf(entities: readonly JsonObject[]): { type: string | null; id: string | null } {
  for (const entity of entities) {
    if (codeOf(entity.type) === REQUEST_ID_TYPE) continue;
    const { type, id } = identified(entity.what);
    if (id !== null) return { type: type ?? codeOf(entity.type), id };
  }
  return { type: null, id: null };
}

function requestIdOf(entities: readonly JsonObject[]): string | null {
  const named = entities.find((entity) => codeOf(entity.type) === REQUEST_ID_TYPE);
  return named === undefined ? null : identified(named.what).id;
}

function addressOf(agent: JsonObject): string | null {
  return (
    rowText(objectOf(agent.network).address) ?? rowText(agent.networkString) ?? rowText(agent.networkUri)
  );
}

/** R4: 0 is success, 4, 8 and 12 are failures of growing weight. R5: severity of an issue, and what it was about. */
function resultOf(event: JsonObject): EventResult | null {
  const { outcome } = event;
  if (typeof outcome === 'string') return R4_OUTCOMES.get(outcome) ?? null;
  const { code, detail } = objectOf(outcome);
  const severity = codeOf(code);
  if (severity === null) return null;
  if (severity !== 'error' && severity !== 'fatal') return R5_FINE.has(severity) ? 'success' : null;
  return elementsOf(detail).some((one) => DENIED.has(codeOf(one))) ? 'denied' : 'failure';
}

const R5_FINE: ReadonlySet<string> = new Set(['success', 'information', 'warning']);
const R4_OUTCOMES: ReadonlyMap<string, EventResult> = new Map([
  ['0', 'success'],
  ['4', 'failure'],
  ['8', 'failure'],
  ['12', 'failure'],
]);
