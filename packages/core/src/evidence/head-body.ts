import { encodeUtf8, toBase64 } from '../bytes.ts';

/** The body of the record `head` that lists a tree head in heads/0. */
export function formatHeadBody(head: { origin: string; size: bigint; root: Uint8Array }): Uint8Array {
  const { origin, size, root } = head;
  return encodeUtf8(JSON.stringify({ origin, size: size.toString(), root: toBase64(root) }));
}
