import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Piece } from './piece.ts';
import { splitFhir } from './split-fhir.ts';

async function split(text: string, elementBytesMax?: number): Promise<Piece[]> {
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < text.length; at += 11) yield Buffer.from(text.slice(at, at + 11));
  };
  return (await Array.fromAsync(splitFhir(source(), elementBytesMax))).flat();
}

const texts = (pieces: Piece[]): unknown[] =>
  pieces.map((piece) => (piece.tooLong ? piece.size : Buffer.from(piece.bytes).toString()));

describe('splitFhir', () => {
  it('cuts the resource of each entry of a Bundle verbatim', async () => {
    const one = '{ "resourceType" : "AuditEvent",\n "id":"a" }';
    const two = '{"resourceType":"AuditEvent","entity":[{"what":{"reference":"Patient/1"}}]}';
    const bundle = `{"resourceType":"Bundle","link":[{"url":"x"}],"entry": [ {"fullUrl":"u","resource": ${one} , "search":{"mode":"match"}},\n{"resource":${two}}],"total":2}`;
    const pieces = await split(bundle);
    assert.deepEqual(texts(pieces), [one, two]);
    for (const piece of pieces) assert.equal(piece.offset, bundle.indexOf(piece.number === 1 ? one : two));
  });

  it('takes a file of one resource, and resources one after another', async () => {
    const one = '{"resourceType":"AuditEvent","resource":{"a":1}}';
    assert.deepEqual(texts(await split(`\ufeff${one}\n`)), [one]);
    assert.deepEqual(texts(await split(`${one}\n${one}\n`)), [one, one]);
  });

  it('keeps what is no resource as it is', async () => {
    const pieces = await split('{"entry":[{"fullUrl":"u"},7,{"resource":1,}]}');
    assert.deepEqual(texts(pieces), ['{"fullUrl":"u"}', '7', '{"resource":1,}']);
    assert.deepEqual(
      pieces.map((piece) => !piece.tooLong && piece.broken !== null),
      [false, false, true],
    );
    assert.deepEqual(texts(await split(`{"entry":[{"resource":"${'x'.repeat(50)}"}]}`, 30)), [65]);
  });
});
