/**
 * While a key hands over to the next, heads are signed by both. In a bundle a head stands as the log alone signed it with
 * the key that the bundle's own list of keys names: one signature, so that the same head gives the same bytes.
 */

import { concatBytes, decodeUtf8, encodeUtf8, fromHex, toBase64 } from '@evident/core/bytes.ts';
import { parseNote, parseVkey } from '@evident/core/note.ts';
import { vkeyAt } from './bundle-documents.ts';
import type { EvidenceDeps, SignedTreeHead } from './ports.ts';

/** @param before size of the head of heads/0 that the bundle ends in */
export async function withOneSignature<Head extends SignedTreeHead>(
  deps: EvidenceDeps,
  origin: string,
  head: Head,
  before: bigint,
): Promise<Head> {
  const parsed = parseNote(head.note);
  if (!parsed.ok || parsed.value.signatures.length === 1) return head;
  const key = parseVkey(await vkeyAt(deps, origin, head.size, before));
  const { text, signatures } = parsed.value;
  const own = signatures.find(({ name, keyId }) => key.ok && name === origin && keyId === key.value.keyId);
  const id = own === undefined ? null : fromHex(own.keyId);
  // What nobody signed as it should be goes in as it is: the check of the bundle says what is wrong with it.
  if (own === undefined || id === null || decodeUtf8(head.note) === null) return head;
  const line = `— ${own.name} ${toBase64(concatBytes([id, own.signature]))}\n`;
  return { ...head, note: encodeUtf8(`${text}\n${line}`) };
}
