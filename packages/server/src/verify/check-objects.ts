import { hash } from 'node:crypto';
import { toHex } from '@evident/core/bytes.ts';
import type { ObjectReader, ObjectRef } from './ports.ts';

/** Holds large bodies against the size and hash that their leaves state. @returns how many were looked at */
export async function checkObjects(
  objects: ObjectReader,
  refs: readonly ObjectRef[],
  note: (verdict: 'tampered' | 'not checked', position: bigint, detail: string) => void,
): Promise<number> {
  for (const ref of refs) {
    const name = `${ref.tenant}/${toHex(ref.sha256)}`;
    const position = BigInt(ref.position);
    try {
      const body = await objects.get(ref.tenant, ref.sha256);
      if (body === null) note('not checked', position, `the object ${name} is missing`);
      else if (body.length !== ref.size || !hash('sha256', body, 'buffer').equals(ref.sha256)) {
        note('tampered', position, `the object ${name} is not the body that was recorded`);
      }
    } catch (error) {
      note('not checked', position, `the object ${name} can't be read: ${(error as Error).message}`);
    }
  }
  return refs.length;
}
