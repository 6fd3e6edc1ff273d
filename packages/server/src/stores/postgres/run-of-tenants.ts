/** Whose the records of a run are: a number by record, and each name once. */

import type { TenantRun } from '../../windows/ports.ts';

export class RunOfTenants {
  readonly #positions: Float64Array;
  readonly #tenantAt: Uint32Array;
  readonly #tenants: string[] = [];
  readonly #places = new Map<string, number>();
  readonly #hours: number[] = [];
  #count = 0;
  /** The tenant of the record before: most records stand beside one of their own tenant. */
  #last = '';
  #lastPlace = -1;

  constructor(limit: number) {
    this.#positions = new Float64Array(limit);
    this.#tenantAt = new Uint32Array(limit);
  }

  /** The tenant's name is ASCII: `evident.append` takes no other. */
  add(position: number, bytes: Buffer, tenantAt: number, tenantLength: number, isHour: boolean): void {
    const tenant = bytes.toString('latin1', tenantAt, tenantAt + tenantLength);
    if (tenant !== this.#last || this.#lastPlace < 0) {
      this.#last = tenant;
      this.#lastPlace = this.#placeOf(tenant);
    }
    this.#positions[this.#count] = position;
    this.#tenantAt[this.#count++] = this.#lastPlace;
    if (isHour) this.#hours.push(position);
  }

  finish(): TenantRun {
    return {
      positions: this.#positions.subarray(0, this.#count),
      tenants: this.#tenants,
      tenantAt: this.#tenantAt.subarray(0, this.#count),
      hours: this.#hours,
    };
  }

  #placeOf(tenant: string): number {
    let place = this.#places.get(tenant);
    if (place === undefined) {
      place = this.#tenants.length;
      this.#tenants.push(tenant);
      this.#places.set(tenant, place);
    }
    return place;
  }
}
