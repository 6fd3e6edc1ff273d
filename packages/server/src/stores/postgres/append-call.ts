/** A call of evident.append: records into arrays, and its answer into outcomes. */

import { parseUuid } from '@evident/core/derived-id.ts';
import { BODY_FORMS } from '@evident/core/leaf.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { boolArray, bytesArray, int2Array, int4Array, int8Array, OID, textArray } from './binary.ts';

/** One record on its way: what to append, in which tree, and whether to look for its identity. */
export interface Pending {
  readonly record: ProposedRecord;
  readonly tree: number;
  readonly bodyHash: Uint8Array | null;
  readonly keep: boolean;
}

/** What became of one pending record. */
export type Settled =
  | { kind: 'appended'; position: bigint; appendedAt: bigint }
  | { kind: 'repeat' | 'reused'; tree: number; position: bigint };

export interface AppendRow {
  bases: string[];
  times: string[];
  old_ordinal: number[] | null;
  old_tree: number[] | null;
  old_position: string[] | null;
  old_same: boolean[] | null;
}

/** The arrays of evident.append, and where each tree stands among its trees. */
export function encodeAppend(records: readonly Pending[]): { values: Buffer[]; slotOf: Map<number, number> } {
  const trees = [...new Set(records.map(({ tree }) => tree))].sort((a, b) => a - b);
  const slotOf = new Map(trees.map((tree, index) => [tree, index]));
  return { values: encode(records, trees, slotOf), slotOf };
}

function encode(records: readonly Pending[], trees: number[], slotOf: Map<number, number>): Buffer[] {
  const count = records.length;
  const slots = new Int32Array(count);
  const offsets = new Int32Array(count);
  const next = new Int32Array(trees.length);
  for (let i = 0; i < count; i++) {
    const slot = slotOf.get(records[i].tree) as number;
    slots[i] = slot + 1;
    offsets[i] = next[slot]++;
  }
  const bodies = records.map(({ record: { body } }) => body);
  return [
    int4Array(trees),
    int4Array(slots),
    int4Array(offsets),
    bytesArray(
      OID.uuid,
      records.map(({ record }) => parseUuid(record.id)),
    ),
    textArray(records.map(({ record }) => record.tenant)),
    textArray(records.map(({ record }) => record.source)),
    textArray(records.map(({ record }) => record.sourceSeq)),
    textArray(records.map(({ record }) => record.type)),
    int4Array(records.map(({ record }) => record.schema)),
    textArray(records.map(({ record }) => record.key)),
    textArray(records.map(({ record }) => record.meta)),
    int2Array(bodies.map((body) => BODY_FORMS[body.form])),
    bytesArray(
      OID.bytea,
      bodies.map((body) => (body.form === 'object' ? null : body.bytes)),
    ),
    bytesArray(
      OID.bytea,
      bodies.map((body) => (body.form === 'object' ? body.sha256 : null)),
    ),
    int8Array(bodies.map((body) => (body.form === 'object' ? body.size : null))),
    bytesArray(
      OID.bytea,
      records.map(({ bodyHash }) => bodyHash),
    ),
    boolArray(records.map(({ keep }) => keep)),
    int4Array(next),
  ];
}

/** What became of each record, from the row that evident.append answers. */
export function settleAppend(
  records: readonly Pending[],
  slotOf: Map<number, number>,
  row: AppendRow,
): Settled[] {
  const next = row.bases.map((base) => BigInt(base));
  const times = row.times.map((time) => BigInt(time));
  const old = new Map((row.old_ordinal ?? []).map((ordinal, index) => [ordinal - 1, index]));
  return records.map(({ tree }, index) => {
    const known = old.get(index);
    if (known !== undefined) {
      return {
        kind: row.old_same?.[known] ? 'repeat' : 'reused',
        tree: row.old_tree?.[known] as number,
        position: BigInt(row.old_position?.[known] as string),
      };
    }
    const slot = slotOf.get(tree) as number;
    return { kind: 'appended', position: next[slot]++, appendedAt: times[slot] };
  });
}
