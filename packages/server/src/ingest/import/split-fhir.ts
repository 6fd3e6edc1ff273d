/**
 * Cuts FHIR into its resources, each byte for byte: a file that holds one, resources one after another (NDJSON), or a
 * Bundle, of whose entries the `resource` is cut. What surrounds it in an entry (`fullUrl`, `search`, `request`) says
 * how a server answered and nothing of the event; it is left behind.
 */

import { objectMembers } from '@evident/core/json/scan.ts';
import { faultOf } from './json-fault.ts';
import { PIECE_BYTES_MAX, type Piece, type TakenPiece } from './piece.ts';
import { splitByList } from './split-cloudtrail.ts';

const ENTRY = new TextEncoder().encode('"entry"');

/** @param elementBytesMax a longer element is passed over and reported with its size; bytes */
export async function* splitFhir(
  source: AsyncIterable<Uint8Array>,
  elementBytesMax = PIECE_BYTES_MAX,
): AsyncGenerator<Piece[]> {
  for await (const pieces of splitByList(source, ENTRY, elementBytesMax))
    yield pieces.map((piece) => (piece.tooLong || piece.broken !== null ? piece : resourceOf(piece)));
}

/** The resource of an entry; a piece that is none stays whole. */
function resourceOf(piece: TakenPiece): TakenPiece {
  const { bytes } = piece;
  let [start, end] = [-1, -1];
  let isResource = false;
  const fault = faultOf(() =>
    objectMembers(
      bytes,
      0,
      bytes.length,
      (name, from, to) => {
        if (name === 'resourceType') isResource = true;
        if (name === 'resource') [start, end] = [from, to];
      },
      { loneSurrogates: 'keep' },
    ),
  );
  if (fault !== '' || isResource || start < 0) return piece;
  return { ...piece, offset: piece.offset + start, bytes: bytes.subarray(start, end) };
}
