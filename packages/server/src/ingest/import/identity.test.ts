import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, it } from 'node:test';
import { importId, nodeHmacSha256 } from './identity.ts';

const secret = Buffer.from('0123456789abcdef0123456789abcdef');
const idOf = (parts: Parameters<typeof importId>[2], key: Uint8Array = secret): string =>
  importId(nodeHmacSha256, key, parts);

describe('importId', () => {
  it('is the first half of the HMAC of the documented bytes, as a UUID of version 8', () => {
    const digest = createHmac('sha256', secret).update('cloudtrail\0ievent-1').digest('hex');
    const id = idOf({ format: 'cloudtrail', formatId: 'event-1' });
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const hex = id.replaceAll('-', '');
    for (let i = 0; i < 32; i++) if (i !== 12 && i !== 16) assert.equal(hex[i], digest[i]);
    const line = createHmac('sha256', secret).update('apache\0l12\0GET').digest('hex');
    assert.equal(
      idOf({ format: 'apache', occurrence: 12, line: Buffer.from('GET') }).slice(0, 8),
      line.slice(0, 8),
    );
  });

  it('stays the same for ever', () => {
    assert.equal(idOf({ format: 'cloudtrail', formatId: 'event-1' }), '00b7c64d-9b66-83f1-b41a-544ac83ca301');
    assert.equal(
      idOf({ format: 'apache', occurrence: 1, line: Buffer.from('x') }),
      '942daf7d-b8b0-87fb-9ffa-c0d84db04c97',
    );
  });

  it('differs by secret, format, kind, occurrence and line', () => {
    const line = Buffer.from('1');
    const ids = [
      idOf({ format: 'a', formatId: '1' }),
      idOf({ format: 'a', formatId: '1' }, Buffer.alloc(32)),
      idOf({ format: 'b', formatId: '1' }),
      idOf({ format: 'a', occurrence: 1, line }),
      idOf({ format: 'a', occurrence: 2, line }),
      idOf({ format: 'a', occurrence: 11, line: Buffer.alloc(0) }),
      idOf({ format: 'a', occurrence: 1, line: Buffer.from('11') }),
    ];
    assert.equal(new Set(ids).size, ids.length);
  });
});
