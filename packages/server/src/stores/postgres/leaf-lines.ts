/** Leaf lines by place, for evidence: under row-level security, straight from COPY. */

import { EvidentError } from '@evident/core/errors.ts';
import { BODY_FORMS, type LeafSource, leafBytesBound, makeLeafWriter } from '@evident/core/leaf.ts';
import { isTenant, LEAF_BYTES_MAX, SYSTEM_TENANT } from '@evident/core/record.ts';
import type pg from 'pg';
import type { LeafLines, LeafObject, LeafSourceByPlace } from '../../evidence/ports.ts';
import { LEAF_PLACES_MAX, OWN_SPAN_MAX } from '../../evidence/ports.ts';
import { copyBinary, fieldPlaces, readInt8 } from './copy-binary.ts';
import { asEvidentError } from './faults.ts';
import type { TreeOfPartition } from './leaf-reader.ts';
import { copyRows, placedRowsQuery, rowsQuery } from './record-rows.ts';

/** Places are read as one run of the table when at most this many positions stand for each of them. */
const RUN_POSITIONS_MAX = 3;
/** Lines of one read end when they have this many bytes; what follows is asked for again. */
const LINES_BYTES_MAX = 4 * 1024 * 1024;
/** What the setting evident.tenant holds for a reader of all tenants. */
const ALL = '*';

const POSITION = fieldPlaces(1);

export class PostgresLeafLines implements LeafSourceByPlace {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;

  /** @param pool connections of the role evident_server with no tenant set */
  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  async read(
    tenant: string | null,
    log: string,
    partition: number,
    positions: Float64Array,
  ): Promise<LeafLines> {
    if (positions.length === 0 || positions.length > LEAF_PLACES_MAX)
      throw new RangeError(`1 to ${LEAF_PLACES_MAX} places are read at once, not ${positions.length}`);
    const lines = new LineBuilder(log, partition, positions);
    const query = queryOf(this.#treeOf(log, partition), positions);
    await this.#readOnly(tenant, `reading ${positions.length} leaves of ${log}/${partition}`, (client) =>
      copyRows(client, query, (row) => lines.add(row)),
    );
    return lines.finish();
  }

  async positionsOf(
    tenant: string,
    log: string,
    partition: number,
    from: bigint,
    to: bigint,
  ): Promise<Float64Array> {
    if (to - from > OWN_SPAN_MAX)
      throw new RangeError(`at most ${OWN_SPAN_MAX} positions are looked through`);
    const found: number[] = [];
    // The policy compares the tenant, and so do we: with '*' set by mistake others' positions would be among them.
    const query = `COPY (SELECT position FROM evident.records WHERE tree = ${this.#treeOf(log, partition)} AND position >= ${from} AND position < ${to}
      AND tenant = '${checkedTenant(tenant)}' ORDER BY position) TO STDOUT (FORMAT binary)`;
    await this.#readOnly(tenant, `looking for records of ${tenant} in ${log}/${partition}`, (client) =>
      copyBinary(client, query, POSITION, (_bytes, view) => found.push(readInt8(view, POSITION.places[0]))),
    );
    return Float64Array.from(found);
  }

  /** Runs in a transaction that says first whose rows it may see. */
  async #readOnly(
    tenant: string | null,
    what: string,
    use: (client: pg.PoolClient) => Promise<unknown>,
  ): Promise<void> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN READ ONLY');
      const seen = tenant === null ? ALL : checkedTenant(tenant);
      await client.query("SELECT set_config('evident.tenant', $1, true)", [seen]);
      await use(client);
      await client.query('COMMIT');
    } catch (error) {
      // The transaction is in a state that is not worth finding out: the connection goes, and its setting with it.
      broken = error as Error;
      throw asEvidentError(error, what, false);
    } finally {
      client?.release(broken);
    }
  }
}

/** Neighbours are read in one run of the table, the others by one look each. */
function queryOf(tree: number, positions: Float64Array): string {
  const [first, last] = [positions[0], positions[positions.length - 1]];
  const span = last - first + 1;
  return span <= RUN_POSITIONS_MAX * positions.length
    ? rowsQuery(tree, BigInt(first), BigInt(last + 1), span)
    : placedRowsQuery(tree, positions);
}

/** A tenant ends up in a statement and in a setting whose value `*` means all: nothing but a name gets there. */
function checkedTenant(tenant: string): string {
  if (!isTenant(tenant) && tenant !== SYSTEM_TENANT)
    throw new RangeError(`no tenant is named ${JSON.stringify(tenant)}`);
  return tenant;
}

/** Writes the lines of the places that were asked for, out of rows that may hold others between them. */
class LineBuilder {
  readonly #log: string;
  readonly #partition: number;
  readonly #positions: Float64Array;
  readonly #writer: ReturnType<typeof makeLeafWriter>;
  readonly #ends: Uint32Array;
  readonly #objects: LeafObject[] = [];
  #bytes = new Uint8Array(256 * 1024);
  #at = 0;
  #count = 0;
  #missing: number | null = null;

  constructor(log: string, partition: number, positions: Float64Array) {
    this.#log = log;
    this.#partition = partition;
    this.#positions = positions;
    this.#writer = makeLeafWriter(log, partition);
    this.#ends = new Uint32Array(positions.length);
  }

  add(row: LeafSource): void {
    // What is beyond the bound is read past: a COPY can't be ended early without ending its connection.
    if (this.#missing !== null || this.#at >= LINES_BYTES_MAX || this.#count === this.#positions.length)
      return;
    const wanted = this.#positions[this.#count];
    if (row.position < wanted) return;
    if (row.position > wanted) {
      this.#missing = wanted;
      return;
    }
    const bound = leafBytesBound(row) + 1;
    if (bound > LEAF_BYTES_MAX + 1) throw this.#broken(wanted, 'holds more than any append makes');
    this.#grow(bound);
    this.#at = this.#writer(this.#bytes, this.#at, row);
    this.#bytes[this.#at++] = 0x0a;
    this.#ends[this.#count++] = this.#at;
    if (row.form === BODY_FORMS.object) this.#objects.push(objectOf(row));
  }

  finish(): LeafLines {
    if (this.#count < this.#positions.length && this.#at < LINES_BYTES_MAX)
      throw this.#broken(this.#missing ?? this.#positions[this.#count], 'holds no record that can be read');
    return {
      bytes: this.#bytes.subarray(0, this.#at),
      ends: this.#ends.subarray(0, this.#count),
      objects: this.#objects,
    };
  }

  #grow(room: number): void {
    if (this.#at + room <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#at + room));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }

  #broken(position: number, what: string): EvidentError {
    const place = `${this.#log}/${this.#partition}/${position}`;
    return new EvidentError('evidence-broken', `the position ${place} ${what}`, {
      context: { log: this.#log, partition: this.#partition, position: BigInt(position) },
    });
  }
}

function objectOf(row: LeafSource): LeafObject {
  const { bytes, tenantAt, tenantLength, bodyAt, bodyLength, bodySize } = row;
  return {
    tenant: new TextDecoder().decode(bytes.subarray(tenantAt, tenantAt + tenantLength)),
    // `subarray` of a Buffer is memory that the next chunk overwrites: copy.
    sha256: new Uint8Array(bytes.subarray(bodyAt, bodyAt + bodyLength)),
    size: BigInt(bodySize),
  };
}
