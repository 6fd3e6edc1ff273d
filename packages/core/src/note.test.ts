import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, encodeUtf8, toBase64, toHex } from './bytes.ts';
import {
  formatVkey,
  isKeyName,
  keyId,
  NOTE_BYTES_MAX,
  openNote,
  parseNote,
  parseVkey,
  type Signer,
  signNote,
  type Verifier,
  verifierKey,
  verifierOf,
} from './note.ts';

// The DER that goes before the 32 bytes of an Ed25519 key (RFC 8410 §7 and §4).
const PRIVATE_DER = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b6570032100', 'hex');

function checkEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: Buffer.concat([PUBLIC_DER, publicKey]), format: 'der', type: 'spki' });
  return verify(null, message, key, signature);
}

/** A key of the tests' own: its seed is one byte, repeated. */
function testKey(name: string, seed: number): { signer: Signer; verifier: Verifier; vkey: string } {
  const der = Buffer.concat([PRIVATE_DER, Buffer.alloc(32, seed)]);
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  const key = verifierKey(name, 'ed25519', new Uint8Array(spki.subarray(PUBLIC_DER.length)));
  const signer = {
    name,
    keyId: key.keyId,
    sign: (message: Uint8Array) => new Uint8Array(sign(null, message, secret)),
  };
  return { signer, verifier: verifierOf(key, { ed25519: checkEd25519 }), vkey: formatVkey(key) };
}

const log = testKey('log.example/audit', 1);
const witness = testKey('witness.example', 2);
const stranger = testKey('stranger.example', 3);
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const TEXT = 'first line\n\nthird line: ä\n';

function asText(note: Uint8Array): string {
  return new TextDecoder().decode(note);
}

function edited(edit: (note: string) => string): Uint8Array {
  return encodeUtf8(edit(asText(signNote(TEXT, [log.signer]))));
}

test('a note opens with a key that signed it, and with no other', () => {
  const note = signNote(TEXT, [log.signer, witness.signer]);
  const opened = openNote(note, [log.verifier]);
  assert.ok(opened.ok);
  assert.equal(opened.value.text, TEXT);
  assert.deepEqual(opened.value.verifiedBy, [log.verifier]);
  assert.equal(opened.value.signatures.length, 2);
  const both = openNote(note, [witness.verifier, log.verifier, stranger.verifier]);
  assert.ok(both.ok);
  assert.deepEqual(both.value.verifiedBy, [log.verifier, witness.verifier]);
  assert.equal(openNote(note, [stranger.verifier]).ok, false);
  assert.equal(openNote(note, []).ok, false);
});

test('a bad signature of a known key refuses the whole note, of an unknown key nothing', () => {
  const liar = { ...witness.signer, sign: () => new Uint8Array(64) };
  const note = signNote(TEXT, [log.signer, liar]);
  assert.equal(openNote(note, [log.verifier]).ok, true);
  assert.equal(openNote(note, [log.verifier, witness.verifier]).ok, false);
});

test('a second signature line of a known key is verified too', () => {
  const liar = { ...log.signer, sign: () => new Uint8Array(64) };
  assert.equal(openNote(signNote(TEXT, [log.signer, liar]), [log.verifier]).ok, false);
  const twice = openNote(signNote(TEXT, [log.signer, log.signer]), [log.verifier]);
  assert.ok(twice.ok);
  assert.equal(twice.value.verifiedBy.length, 1);
});

test('a key that shares only its name, or only its id, with a known key is unknown', () => {
  const garbage = () => new Uint8Array(64);
  const sameName = { name: log.signer.name, keyId: stranger.signer.keyId, sign: garbage };
  const sameId = { name: 'other.example', keyId: log.signer.keyId, sign: garbage };
  assert.equal(openNote(signNote(TEXT, [sameName, log.signer, sameId]), [log.verifier]).ok, true);
  assert.equal(openNote(signNote(TEXT, [sameName, sameId]), [log.verifier]).ok, false);
});

test('of two known keys with one name and id both must agree', () => {
  const twin: Verifier = { ...log.verifier, verify: () => false };
  const note = signNote(TEXT, [log.signer]);
  assert.equal(openNote(note, [log.verifier, log.verifier]).ok, true);
  assert.equal(openNote(note, [log.verifier, twin]).ok, false);
});

test('a note with any byte changed does not open', () => {
  const note = signNote(TEXT, [log.signer]);
  fc.assert(
    fc.property(fc.nat(note.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = note.slice();
      changed[at]! ^= mask;
      assert.equal(openNote(changed, [log.verifier]).ok, false);
    }),
  );
});

test('a note has one form: what differs from it is refused before any key is asked', () => {
  assert.equal(parseNote(edited((note) => note)).ok, true);
  const edits: Record<string, (note: string) => string> = {
    'carriage returns': (note) => note.replaceAll('\n', '\r\n'),
    'a tab': (note) => note.replace('first line', 'first\tline'),
    'a zero byte': (note) => note.replace('first line', 'first\0line'),
    'no last line feed': (note) => note.slice(0, -1),
    'an empty line at the end': (note) => `${note}\n`,
    'text after the signatures': (note) => `${note}more\n`,
    'a hyphen for the dash': (note) => note.replace('—', '-'),
    'two spaces': (note) => note.replace('— ', '—  '),
    'a space at the end': (note) => note.replace(/\n$/, ' \n'),
    'a no-break space in the name': (note) => note.replace('log.example', 'log\u00a0example'),
    'a next-line character in the name': (note) => note.replace('log.example', 'log\u0085example'),
    'a plus in the name': (note) => note.replace('log.example', 'log+example'),
    'no name': (note) => note.replace('— log.example/audit', '—'),
    'base64 without padding': (note) => note.replace(/=+\n$/, '\n'),
    'base64 with other trailing bits': (note) =>
      note.replace(/(.)=\n$/, (_, last) => `${BASE64[BASE64.indexOf(last) + 1]}=\n`),
    'base64 in the alphabet for addresses': (note) => note.replace(/ [^ ]*\n$/, ' -_-_-_-_\n'),
    'a signature of no bytes': (note) => note.replace(/ [^ ]*\n$/, ` ${toBase64(new Uint8Array(4))}\n`),
    'no signatures': (note) => note.slice(0, note.lastIndexOf('—')),
    'no empty line': (note) => note.replaceAll('\n\n', '\n'),
  };
  for (const [name, edit] of Object.entries(edits)) {
    assert.notDeepEqual(
      edited(edit),
      edited((note) => note),
      name,
    );
    assert.equal(parseNote(edited(edit)).ok, false, name);
  }
  assert.equal(parseNote(concatBytes([Uint8Array.of(0xff), signNote(TEXT, [log.signer])])).ok, false);
});

test('up to 64 signatures and one mebibyte are read, and no more', () => {
  const signers = Array<Signer>(64).fill(log.signer);
  assert.equal(parseNote(signNote(TEXT, signers)).ok, true);
  assert.throws(() => signNote(TEXT, [...signers, log.signer]), RangeError);
  const rest = NOTE_BYTES_MAX - signNote('\n', [log.signer]).length;
  assert.equal(parseNote(signNote(`${'x'.repeat(rest)}\n`, [log.signer])).ok, true);
  assert.throws(() => signNote(`${'x'.repeat(rest + 1)}\n`, [log.signer]), RangeError);
});

test('what would not be read back is not signed', () => {
  for (const text of ['', 'no line feed', 'a\n\nb', 'a\tb\n', 'a\r\n']) {
    assert.throws(() => signNote(text, [log.signer]), RangeError, JSON.stringify(text));
  }
  assert.throws(() => signNote(TEXT, []), RangeError);
  assert.throws(() => signNote(TEXT, [{ ...log.signer, name: 'a b' }]), RangeError);
  assert.throws(() => signNote(TEXT, [{ ...log.signer, keyId: 'xyz' as never }]), RangeError);
});

test('key names hold no white space, plus or control character', () => {
  for (const name of ['example.com/log', 'a', 'ä/日', '\u{1f511}']) assert.equal(isKeyName(name), true, name);
  for (const name of ['', 'a b', 'a+b', 'a\nb', 'a\u2003b', 'a\u3000', 'a\x01', '\ud800']) {
    assert.equal(isKeyName(name), false, JSON.stringify(name));
  }
});

test('the published vkey of example.com/log/testdata has the id of its key', () => {
  const vkey = 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx';
  const parsed = parseVkey(vkey);
  assert.ok(parsed.ok);
  assert.equal(parsed.value.name, 'example.com/log/testdata');
  assert.equal(parsed.value.keyId, '33d7b496');
  assert.equal(keyId(parsed.value.name, 'ed25519', parsed.value.publicKey), '33d7b496');
  assert.equal(toHex(parsed.value.publicKey).length, 64);
  assert.equal(formatVkey(parsed.value), vkey);
});

test('a vkey has one spelling, a known type and its own key id', () => {
  const [name, id, key] = log.vkey.split(/\+(.{8})\+/) as [string, string, string];
  assert.equal(parseVkey(`${name}+${id}+${key}`).ok, true);
  const raw = new Uint8Array(Buffer.from(key, 'base64'));
  const others = [
    ...[
      `${name}+${id.toUpperCase()}A+${key}`,
      `${name}+${id}`,
      `${name}+${id}+`,
      `${name}+${id}+${key}\n`,
      ` ${log.vkey}`,
    ],
    ...[
      `+${id}+${key}`,
      `${name}+${id}+${key.slice(0, -1)}`,
      `${name}+00000000+${key}`,
      `other+${id}+${key}`,
    ],
    ...[
      raw.subarray(0, 32),
      concatBytes([raw, Uint8Array.of(0)]),
      raw.with(0, 2),
      raw.with(5, raw[5]! ^ 1),
    ].map((bytes) => `${name}+${id}+${toBase64(bytes)}`),
  ];
  for (const other of others) assert.equal(parseVkey(other).ok, false, other);
  assert.throws(() => verifierKey('a b', 'ed25519', new Uint8Array(32)), RangeError);
  assert.throws(() => verifierKey('a', 'ed25519', new Uint8Array(31)), RangeError);
});
