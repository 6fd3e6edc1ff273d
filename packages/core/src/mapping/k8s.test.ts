import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { k8sMapper } from './k8s.ts';
import { at, bytesOf, recordOf, refusal, told } from './mapping-fixture.ts';

const event = {
  kind: 'Event',
  apiVersion: 'audit.k8s.io/v1',
  auditID: 'a-1',
  stage: 'ResponseComplete',
  requestURI: '/apis/apps/v1/namespaces/shop/deployments/web/scale?x=1',
  verb: 'patch',
  user: { username: 'ann', groups: ['system:authenticated'] },
  sourceIPs: ['198.51.100.7', '10.0.0.1'],
  objectRef: {
    resource: 'deployments',
    namespace: 'shop',
    name: 'web',
    apiGroup: 'apps',
    subresource: 'scale',
  },
  responseStatus: { code: 200 },
  requestReceivedTimestamp: '2026-11-20T10:00:00.100000Z',
  stageTimestamp: '2026-11-20T10:00:00.250000Z',
  annotations: { 'authorization.k8s.io/decision': 'allow' },
};
const map = (body: unknown) => k8sMapper.map(recordOf('k8s'), bytesOf(body));

describe('k8s', () => {
  it('gives user, verb, object, result and audit id', () => {
    assert.deepEqual(map(event), {
      eventTime: at('2026-11-20T10:00:00.250Z'),
      actorId: 'ann',
      actorType: 'user',
      action: 'patch',
      resourceType: 'deployments.apps/scale',
      resourceId: 'shop/web',
      result: 'success',
      correlationId: 'a-1',
      ip: '198.51.100.7',
      corrects: null,
      mapper: 'k8s/1',
    });
  });

  it('tells accounts of services and of the system from users', () => {
    const types = ['system:serviceaccount:kube-system:dns', 'system:node:n1', 'system:anonymous', 'ann'].map(
      (username) => map({ ...event, user: { username } })?.actorType,
    );
    assert.deepEqual(types, ['service', 'system', 'system', 'user']);
    assert.equal(map({ ...event, user: null })?.actorType, null);
  });

  it('tells denied, failed and not yet answered', () => {
    const ends: [object, string | null][] = [
      [{ responseStatus: { code: 403 } }, 'denied'],
      [{ annotations: { 'authorization.k8s.io/decision': 'forbid' } }, 'denied'],
      [{ responseStatus: { code: 409 } }, 'failure'],
      [{ responseStatus: { code: 101 } }, 'success'],
      [{ responseStatus: undefined, stage: 'RequestReceived' }, null],
      [{ responseStatus: { code: '200' } }, null],
      [{ responseStatus: undefined, stage: 'Panic' }, 'failure'],
    ];
    for (const [facts, result] of ends) assert.equal(map({ ...event, ...facts })?.result, result);
  });

  it('takes the path where no object is named', () => {
    const row = told(map({ ...event, objectRef: undefined, requestURI: '/healthz?verbose' }));
    assert.deepEqual([row.resourceType, row.resourceId], ['path', '/healthz']);
    const list = told(map({ ...event, objectRef: { resource: 'pods', namespace: 'shop' } }));
    assert.deepEqual([list.resourceType, list.resourceId], ['pods', 'shop']);
  });

  it('refuses what is no audit event', () => {
    for (const facts of [{ kind: 'EventList' }, { apiVersion: 'v1' }, { apiVersion: undefined }])
      assert.throws(() => map({ ...event, ...facts }), refusal(/kind Event of audit\.k8s\.io/));
    assert.throws(() => map('[]'), refusal(/an array/));
  });
});
