/** What a bundle will hold, settled before its first byte. */

import { EvidentError } from '@evident/core/errors.ts';
import type { BundleScope } from '@evident/core/evidence/manifest.ts';
import { compareText } from '@evident/core/evidence/manifest.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { checkLogName, isTenant, SYSTEM_TENANT } from '@evident/core/record.ts';
import type { Log } from '../log/log.ts';
import type { EventFilter } from '../query/filter.ts';
import { namesOfFilter } from '../query/filter-names.ts';
import type { Reader, SoughtEvent } from '../query/ports.ts';
import { tenantOfRead } from '../query/scope.ts';
import { type TopHead, topHead } from './anchoring.ts';
import { endsOf, type PartitionEnd, waitForCover } from './cover.ts';
import { withOneSignature } from './one-signature.ts';
import { countPlaces, type PartitionPlaces } from './places.ts';
import { type EvidenceDeps, HEADS_LOG, type ListedHead, type SignedTreeHead } from './ports.ts';
import { findSought } from './prove-record.ts';
import { CoveredHeads, type Selected, selectByFilter } from './select.ts';
import { selectTenantHours, type TenantHours, type TenantSelection, WINDOWS_LOG } from './tenant-hours.ts';

/** Most records whose proofs are written one by one unless that is asked for. */
export const EACH_RECORDS_DEFAULT = 1_000;
/** Most for which it can be asked. */
export const EACH_RECORDS_MAX = 100_000;

export type Proofs = 'each' | 'tiles';

export interface BundleRequest {
  readonly scope:
    | { readonly kind: 'selection'; readonly filter: EventFilter }
    | ({ readonly kind: 'tenant-hours' } & TenantHours)
    | { readonly kind: 'record'; readonly what: SoughtEvent & { readonly tenant?: string } };
  /** Size of the head of heads/0 that it ends in, or the newest that somebody vouches for; null: the newest. */
  readonly head: bigint | 'with-anchor' | null;
  /** Null: `each` up to `EACH_RECORDS_DEFAULT` records. */
  readonly proofs: Proofs | null;
  /** Without a head of its own: wait, a bounded time, for one that covers what the logs hold now. */
  readonly waits?: boolean;
  /** A selection may be empty. */
  readonly allowEmpty?: boolean;
}

/** A tree that records of the bundle stand in. */
export interface PlannedTree {
  readonly log: string;
  readonly partition: number;
  readonly origin: string;
  readonly head: ListedHead;
  /** Of records of the bundle; none where the tree only holds windows. */
  readonly positions: Float64Array;
}

export interface BundlePlan {
  readonly scope: BundleScope;
  /** Whose records are read; null: of all. */
  readonly tenant: string | null;
  readonly top: SignedTreeHead;
  readonly topOrigin: string;
  readonly places: readonly PartitionPlaces[];
  readonly records: number;
  /** As `Selected` has it. */
  readonly newer: number;
  readonly proofs: Proofs;
  /** Sorted by log, by code unit, and partition. */
  readonly trees: readonly PlannedTree[];
  readonly windows: TenantSelection | null;
}

/** What is settled before anything is read: whose data it is, and the head. */
export interface BundleFrame extends TopHead {
  readonly scope: BundleScope;
  readonly tenant: string | null;
  /** Where the logs ended when it was asked for: before its own intent was recorded. */
  readonly ends: readonly PartitionEnd[];
}

/**
 * @throws tenant-forbidden, field-invalid, not-anchored, not-found for a head that is not stored; for a record what
 *   `findSought` throws
 */
export async function frameOf(
  deps: EvidenceDeps,
  reader: Reader,
  { scope, head, waits = false }: BundleRequest,
): Promise<BundleFrame> {
  const settle = async (ends: readonly PartitionEnd[]): Promise<TopHead & Pick<BundleFrame, 'ends'>> => {
    if (waits && head === null) await waitForCover(deps, ends);
    return { ...(await topHead(deps, head)), ends };
  };
  switch (scope.kind) {
    case 'selection': {
      const tenant = tenantOfRead(reader, scope.filter.tenant);
      const filter = tenant === null ? scope.filter : { ...scope.filter, tenant };
      return {
        scope: { kind: 'selection', filter: namesOfFilter(filter) },
        tenant,
        ...(await settle(await endsOf(logsOf(deps, filter.log)))),
      };
    }
    case 'tenant-hours': {
      const { log, tenant, from, to } = scope;
      if (!isTenant(tenant) && tenant !== SYSTEM_TENANT)
        throw new EvidentError('field-invalid', 'tenant: it is no name of a tenant', {
          context: { field: 'tenant' },
        });
      tenantOfRead(reader, tenant);
      return {
        scope: { kind: 'tenant-hours', log: checkLogName(log), tenant, from, to },
        tenant,
        // Without the windows there is no bundle, and what they commit to was sealed before them.
        ...(await settle(await endsOf(logsOf(deps, WINDOWS_LOG)))),
      };
    }
    case 'record': {
      const record = await findSought(deps, reader, scope.what);
      const { log, partition, position } = record;
      const ends = log === HEADS_LOG ? [] : [{ log, partition, end: position + 1n, isStopped: false }];
      return {
        scope: { kind: 'record', id: record.id },
        tenant: record.tenant,
        ...(await settle(ends)),
      };
    }
  }
}

/** One log, or all that a view may read. */
function logsOf({ logs }: EvidenceDeps, log: string | undefined): Log[] {
  return [...logs.values()].filter(({ name }) => name !== HEADS_LOG && (log === undefined || name === log));
}

/** @throws not-found for an empty selection; view-behind, windows-missing, not-anchored, evidence-broken, field-invalid, query-too-slow, log-unavailable */
export async function planBundle(
  deps: EvidenceDeps,
  reader: Reader,
  request: BundleRequest,
  frame: BundleFrame,
): Promise<BundlePlan> {
  const { tenant, top, scope } = frame;
  const covered = new CoveredHeads(deps, top);
  const windows =
    request.scope.kind === 'tenant-hours' ? await selectTenantHours(deps, covered, request.scope) : null;
  const { places, newer } =
    windows === null
      ? await placesOf(deps, reader, request, frame, covered)
      : { places: windows.places, newer: 0 };
  const records = countPlaces(places);
  if (records === 0 && scope.kind === 'selection' && request.allowEmpty !== true) refuseEmpty(top, newer);
  const proofs = request.proofs ?? (records <= EACH_RECORDS_DEFAULT ? 'each' : 'tiles');
  if (proofs === 'each' && records > EACH_RECORDS_MAX)
    throw new EvidentError(
      'field-invalid',
      `proofs: a proof each is written for at most ${EACH_RECORDS_MAX} records, and these are ${records}; use tiles`,
      { context: { field: 'proofs' } },
    );
  const trees = await treesOf(deps, covered, places, windows !== null, top.size);
  const topOrigin = epochOrigin(deps.name, HEADS_LOG, 0, top.epoch);
  return { scope, tenant, top, topOrigin, places, records, newer, proofs, trees, windows };
}

/** Nothing in a bundle without records shows that nothing matches: a selection does not show what it leaves out. */
function refuseEmpty({ size }: SignedTreeHead, newer: number): never {
  if (newer > 0)
    throw new EvidentError(
      'not-anchored',
      `0 of the matching records are covered by the head of size ${size}; not covered: ${newer}`,
    );
  throw new EvidentError(
    'not-found',
    '0 records match, and a bundle without records shows nothing; an empty one has to be allowed (--allow-empty, allow_empty=true)',
  );
}

async function placesOf(
  deps: EvidenceDeps,
  reader: Reader,
  { scope }: BundleRequest,
  { tenant, ends }: BundleFrame,
  covered: CoveredHeads,
): Promise<Selected> {
  if (scope.kind === 'selection') return selectByFilter(deps, covered, tenant, scope.filter, ends);
  if (scope.kind !== 'record') return { places: [], newer: 0 };
  const { log, partition, position } = await findSought(deps, reader, scope.what);
  if (log === HEADS_LOG)
    throw new EvidentError('field-invalid', `id: a record of ${HEADS_LOG} is proven by evident proof alone`, {
      context: { field: 'id' },
    });
  if (position >= (await covered.end(log, partition)))
    throw new EvidentError(
      'not-anchored',
      `no head of ${HEADS_LOG} covers ${log}/${partition}/${position} yet`,
      {
        context: { log, partition, position },
      },
    );
  return { places: [{ log, partition, positions: Float64Array.of(Number(position)) }], newer: 0 };
}

async function treesOf(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  places: readonly PartitionPlaces[],
  withWindows: boolean,
  topSize: bigint,
): Promise<readonly PlannedTree[]> {
  const holdsWindows = places.some(({ log }) => log === WINDOWS_LOG);
  const added =
    withWindows && !holdsWindows ? [{ log: WINDOWS_LOG, partition: 0, positions: new Float64Array(0) }] : [];
  const trees: PlannedTree[] = [];
  for (const { log, partition, positions } of [...places, ...added]) {
    const head = await covered.of(log, partition);
    if (head === null)
      throw new EvidentError('not-anchored', `no head of ${HEADS_LOG} covers ${log}/${partition} yet`);
    const origin = epochOrigin(deps.name, log, partition, head.epoch);
    trees.push({
      log,
      partition,
      positions,
      head: await withOneSignature(deps, origin, head, topSize),
      origin,
    });
  }
  return trees.sort((a, b) => compareText(a.log, b.log) || a.partition - b.partition);
}
