/** A request for a bundle as it is written outside: in addresses and on the command line. */

import { parseDecimal } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { EventFilter } from '../query/filter.ts';
import type { Reader } from '../query/ports.ts';
import type { BundleRequest, Proofs } from './bundle-plan.ts';
import { parseHours } from './tenant-hours.ts';

/** The log of whole hours when none is named. */
const LOG_DEFAULT = 'audit';
const PROOFS: readonly Proofs[] = ['each', 'tiles'];

/** What is asked of a bundle beside its filter. */
export interface AskedBundle {
  /** "2026-11-20T10..2026-11-20T12": all records of a tenant in whole hours of the append. */
  readonly hours?: string | undefined;
  /** One record. */
  readonly id?: string | undefined;
  /** Size of the head of heads/0, decimal; or `with-anchor`: the newest that somebody vouches for. */
  readonly head?: string | undefined;
  readonly proofs?: string | undefined;
  /** A selection may be empty. */
  readonly allowEmpty?: boolean | undefined;
}

type Given = Readonly<Record<string, unknown>>;

/**
 * @param given members of the filter, by names of outside
 * @param filterOf makes the filter of them
 * @throws field-invalid: beside hours only tenant and log are named, beside an id only the tenant; what `filterOf` throws
 */
export async function bundleRequestOf(
  reader: Reader,
  { hours, id, head, proofs, allowEmpty = false }: AskedBundle,
  given: Given,
  filterOf: (given: Given) => Promise<EventFilter>,
): Promise<BundleRequest> {
  // Who names a head wants that one, at once.
  const frame = { head: headOf(head), proofs: proofsOf(proofs), waits: head === undefined, allowEmpty };
  if (id !== undefined) {
    refuseOthers(given, ['tenant'], 'id', hours === undefined ? undefined : 'hours');
    const { tenant } = given as { tenant?: string };
    return { ...frame, scope: { kind: 'record', what: { id, ...(tenant === undefined ? {} : { tenant }) } } };
  }
  if (hours === undefined) return { ...frame, scope: { kind: 'selection', filter: await filterOf(given) } };
  refuseOthers(given, ['tenant', 'log'], 'hours', undefined);
  const { tenant = reader.tenant ?? undefined, log = LOG_DEFAULT } = given as {
    tenant?: string;
    log?: string;
  };
  if (tenant === undefined)
    throw new EvidentError('field-invalid', 'tenant: hours are of one tenant, so the request names it', {
      context: { field: 'tenant' },
    });
  return { ...frame, scope: { kind: 'tenant-hours', log, tenant, ...parseHours(hours) } };
}

function refuseOthers(
  given: Given,
  allowed: readonly string[],
  what: string,
  other: string | undefined,
): void {
  const members = Object.keys(given).filter((name) => given[name] !== undefined && !allowed.includes(name));
  const field = other ?? members[0];
  if (field !== undefined)
    throw new EvidentError(
      'field-invalid',
      `${field}: beside ${what} there is no filter but ${allowed.join(' and ')}`,
      {
        context: { field },
      },
    );
}

function headOf(text: string | undefined): BundleRequest['head'] {
  if (text === undefined) return null;
  if (text === 'with-anchor') return text;
  const size = parseDecimal(text);
  if (size === null || size === 0n)
    throw new EvidentError(
      'field-invalid',
      'head: it is the size of a signed head of heads/0, at least 1, or with-anchor',
      {
        context: { field: 'head' },
      },
    );
  return size;
}

function proofsOf(text: string | undefined): Proofs | null {
  if (text === undefined) return null;
  const proofs = PROOFS.find((one) => one === text);
  if (proofs === undefined)
    throw new EvidentError('field-invalid', `proofs: it is one of ${PROOFS.join(', ')}`, {
      context: { field: 'proofs' },
    });
  return proofs;
}
