import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readCertificates } from './certificate-path.ts';
import { readRoots, type TimestampTerms, timestampCheck, verifyTimestamp } from './timestamp.ts';
import { CA_EXTENSIONS, der, noOpenssl, TestAuthority, TSA_EXTENSIONS, tokenContent } from './tsa-fixture.ts';

const DATA = new TextEncoder().encode('a signed head\n');
const DIGEST = new Uint8Array(createHash('sha256').update(DATA).digest());

describe('a time stamp of openssl', { skip: noOpenssl }, () => {
  let tsa: TestAuthority;
  before(() => {
    tsa = new TestAuthority();
  });
  after(() => tsa.close());
  const terms = (): TimestampTerms => ({ certificates: readRoots(tsa.pem('root')) });

  it('is verified under the root that is pinned, with each hash', async () => {
    for (const hash of ['sha256', 'sha384', 'sha512']) {
      const request = tsa.query(DATA, hash);
      const from = BigInt(Date.now() - 1_000) * 1_000n;
      const verdict = await verifyTimestamp(tsa.reply(request), DATA, { ...terms(), request });
      assert.ok(
        verdict.ok,
        JSON.stringify(verdict, (_, value) => String(value)),
      );
      assert.equal(verdict.authority, 'test tsa');
      assert.ok(verdict.at >= from - 1_000_000n && verdict.at <= BigInt(Date.now()) * 1_000n);
    }
  });

  it('is refused over other data, for another request, another policy, another name', async () => {
    const request = tsa.query(DATA);
    const reply = tsa.reply(request);
    const refused = async (data: Uint8Array, also: Partial<TimestampTerms>, reason: RegExp) => {
      const verdict = await verifyTimestamp(reply, data, { ...terms(), ...also });
      assert.ok(!verdict.ok && verdict.verdict === 'tampered');
      assert.match(verdict.reason, reason);
    };
    await refused(DATA.subarray(1), {}, /other data/);
    await refused(DATA, { request: tsa.query(DATA) }, /nonce/);
    await refused(DATA, { request: tsa.query(DATA, 'sha512', '-no_nonce') }, /other data than the request/);
    await refused(DATA, { request: reply }, /request/);
    await refused(DATA, { policy: '1.2.3' }, /policy/);
    await refused(DATA, { commonName: 'another' }, /another was expected/);
    const named = { ...terms(), request, policy: '1.3.6.1.4.1.99999.1', commonName: 'test tsa' };
    assert.ok((await verifyTimestamp(reply, DATA, named)).ok);
  });

  it('is not checked under a root that did not issue it, whatever its name', async () => {
    const other = new TestAuthority();
    try {
      const verdict = await timestampCheck(other.pem('root'))(tsa.reply(tsa.query(DATA)), DATA);
      assert.ok(!verdict.ok && verdict.verdict === 'not checked');
      assert.match(verdict.reason, /no way leads/);
    } finally {
      await other.close();
    }
  });

  it('shows nothing else in whatever byte it is changed, cut or longer', async () => {
    const reply = tsa.reply(tsa.query(DATA));
    const held = terms();
    const right = await verifyTimestamp(reply, DATA, held);
    assert.ok(right.ok);
    let harmless = 0;
    for (let at = 0; at < reply.length; at++) {
      const changed = reply.slice();
      changed[at]! ^= 1 << (at % 8);
      const verdict = await verifyTimestamp(changed, DATA, held);
      if (!verdict.ok) continue;
      // What is not signed, and says nothing: the text of the status, lists of algorithms.
      assert.deepEqual(verdict, right, `byte ${at}`);
      harmless++;
    }
    assert.ok(harmless < reply.length / 20, `${harmless} of ${reply.length} bytes are not covered`);
    for (let length = 0; length < reply.length; length += 7)
      assert.equal((await verifyTimestamp(reply.subarray(0, length), DATA, held)).ok, false);
    const longer = Uint8Array.of(...reply, 0);
    assert.equal((await verifyTimestamp(longer, DATA, held)).ok, false);
    assert.equal((await verifyTimestamp(new Uint8Array(64 * 1024 + 1), DATA, held)).ok, false);
  });

  it('is taken in DER alone: the same with a longer length, or in parts, is refused', async () => {
    const reply = tsa.reply(tsa.query(DATA));
    assert.equal(reply[1], 0x82);
    const longer = Uint8Array.of(0x30, 0x83, 0, ...reply.subarray(2));
    const indefinite = Uint8Array.of(0x30, 0x80, ...reply.subarray(4), 0, 0);
    for (const [bytes, reason] of [
      [longer, /shortest/],
      [indefinite, /indefinite/],
    ] as const) {
      const verdict = await verifyTimestamp(bytes, DATA, terms());
      assert.ok(!verdict.ok && verdict.verdict === 'tampered');
      assert.match(verdict.reason, reason);
    }
  });

  it('is none when the authority refused: the status says why', async () => {
    const request = tsa.query(DATA);
    // A hash that the authority does not take.
    const sha1 = tsa.query(DATA, 'sha1');
    for (const reply of [tsa.reply(sha1), der(0x30, der(0x30, der(0x02, Uint8Array.of(2))))]) {
      const verdict = await verifyTimestamp(reply, DATA, { ...terms(), request });
      assert.ok(!verdict.ok);
      assert.match(verdict.reason, /did not grant the request: status 2/);
    }
  });
});

describe('a token', { skip: noOpenssl }, () => {
  let tsa: TestAuthority;
  before(() => {
    tsa = new TestAuthority();
  });
  after(() => tsa.close());

  async function check(reply: Uint8Array, roots: Uint8Array = tsa.pem('root')) {
    const verdict = await timestampCheck(roots)(reply, DATA);
    return verdict.ok ? `ok ${verdict.authority}` : `${verdict.verdict}: ${verdict.reason}`;
  }

  it('gives its time in microseconds, and no time that DER or the calendar does not have', async () => {
    for (const [time, at] of [
      ['20300101000000Z', 1_893_456_000_000_000n],
      ['20300101000000.5Z', 1_893_456_000_500_000n],
      ['20300101000000.1234567Z', 1_893_456_000_123_456n],
    ] as const) {
      const verdict = await timestampCheck(tsa.pem('root'))(
        tsa.sign(tokenContent({ digest: DIGEST, time })),
        DATA,
      );
      assert.ok(verdict.ok, time);
      assert.equal(verdict.at, at);
    }
    for (const time of [
      '20300101000000',
      '20300101000000+0100',
      '20300101000000.50Z',
      '20300101000000.Z',
      '203001010000Z',
      '20300631000000Z',
      '20300101240000Z',
      '20300101000060Z',
      '19690101000000Z',
    ]) // prettier-ignore
      assert.match(
        await check(tsa.sign(tokenContent({ digest: DIGEST, time }))),
        /^tampered: the time/,
        time,
      );
  });

  it('is refused with another version, imprint or content than RFC 3161 has', async () => {
    const nonce = der(0x02, Uint8Array.of(5));
    const extension = (isCritical: boolean) =>
      der(
        0xa1,
        der(
          0x30,
          Uint8Array.fromHex('06022a03'),
          ...(isCritical ? [der(0x01, Uint8Array.of(255))] : []),
          der(0x04),
        ),
      );
    const made = (also: object) => tsa.sign(tokenContent({ digest: DIGEST, ...also }));
    assert.equal(await check(made({ rest: [nonce, extension(false)] })), 'ok test tsa');
    for (const [also, reason] of [
      [{ version: 2 }, /version 1/],
      [{ hashOid: Uint8Array.fromHex('06052b0e03021a'), digest: DIGEST.subarray(0, 20) }, /imprint/],
      [{ digest: DIGEST.subarray(1) }, /imprint/],
      [{ rest: [nonce, nonce] }, /no TSTInfo holds/],
      [{ rest: [nonce, der(0x30)] }, /no TSTInfo holds/],
      [{ rest: [der(0x04)] }, /no TSTInfo holds/],
      [{ rest: [extension(true)] }, /critical extension/],
    ] as const)
      assert.match(await check(made(also)), reason);
  });

  it('is refused without the name of its certificate in what is signed, and with two signers', async () => {
    const content = tokenContent({ digest: DIGEST });
    assert.match(await check(tsa.sign(content, ['tsa'], '-md', 'sha256')), /does not name its certificate/);
    tsa.issue('tsa2', 'root', TSA_EXTENSIONS);
    assert.match(await check(tsa.sign(content, ['tsa', 'tsa2'])), /exactly one signer/);
    assert.match(await check(tsa.sign(content, ['tsa'], '-noattr')), /no signed attributes/);
  });

  it('is refused when it was signed with a broken hash', async () => {
    const reply = tsa.sign(tokenContent({ digest: DIGEST }), ['tsa'], '-cades', '-md', 'sha1');
    assert.match(await check(reply), /^not checked: .*is not taken/);
  });

  it('is refused of a key that is not for time stamps alone, or not critically so', async () => {
    const of = (usage: string) => TSA_EXTENSIONS.replace('extendedKeyUsage=critical,timeStamping', usage);
    for (const [name, extensions, reason] of [
      ['loose', of('extendedKeyUsage=timeStamping'), /not marked critical/],
      ['both', of('extendedKeyUsage=critical,timeStamping,codeSigning'), /not for time stamping alone/],
      ['other', of('extendedKeyUsage=critical,codeSigning'), /not for time stamping alone/],
      ['any', of(''), /not for time stamping alone/],
      ['mute', TSA_EXTENSIONS.replace('digitalSignature', 'keyAgreement'), /may not sign/],
    ] as const) {
      tsa.issue(name, 'root', extensions);
      const verdict = await check(tsa.sign(tokenContent({ digest: DIGEST }), [name]));
      assert.match(verdict, reason, name);
      assert.match(verdict, /^tampered/);
    }
  });

  it('is judged by the time of the token, not by that of the check', async () => {
    for (const time of ['20000101000000Z', '22000101000000Z'])
      assert.match(
        await check(tsa.sign(tokenContent({ digest: DIGEST, time }))),
        /^tampered: .*was not valid at/,
      );
  });

  it('is verified over authorities between, and refused where one of them is none', async () => {
    const content = tokenContent({ digest: DIGEST });
    tsa.issue('between', 'root', CA_EXTENSIONS);
    tsa.issue('under', 'between', TSA_EXTENSIONS, '/CN=test under');
    const bare = tsa.sign(content, ['under']);
    assert.match(await check(bare), /^not checked: no way/);
    assert.equal(await check(bare, tsa.pem('root', 'between')), 'ok test under');
    assert.equal(
      await check(tsa.sign(content, ['under'], '-cades', '-certfile', 'between.pem')),
      'ok test under',
    );
    for (const [name, extensions, reason] of [
      ['leaf', 'basicConstraints=critical,CA:FALSE', /no authority/],
      ['silent', 'subjectKeyIdentifier=hash', /no authority/],
      ['unfit', 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign', /may not sign certificates/],
      ['mail', `${CA_EXTENSIONS}\nextendedKeyUsage=emailProtection`, /may not issue for time stamping/],
      ['strange', `${CA_EXTENSIONS}\n1.2.3.4=critical,DER:0500`, /critical extension 1\.2\.3\.4/],
      [
        'named',
        `${CA_EXTENSIONS}\nnameConstraints=critical,permitted;DNS:example`,
        /critical extension 2\.5\.29\.30/,
      ],
    ] as const) {
      tsa.issue(name, 'root', extensions);
      tsa.issue(`of-${name}`, name, TSA_EXTENSIONS);
      assert.match(await check(tsa.sign(content, [`of-${name}`]), tsa.pem('root', name)), reason, name);
    }
    tsa.issue('short', 'root', CA_EXTENSIONS.replace('CA:TRUE', 'CA:TRUE,pathlen:0'));
    tsa.issue('below', 'short', CA_EXTENSIONS);
    tsa.issue('of-short', 'short', TSA_EXTENSIONS);
    tsa.issue('of-below', 'below', TSA_EXTENSIONS);
    assert.equal(await check(tsa.sign(content, ['of-short']), tsa.pem('root', 'short')), 'ok test of-short');
    const long = tsa.pem('root', 'short', 'below');
    assert.match(
      await check(tsa.sign(content, ['of-below']), long),
      /may have 0 authorities below it, and has 1/,
    );
  });

  it('is of the certificate that is signed, whatever others are put in beside it', async () => {
    const other = new TestAuthority();
    try {
      other.issue('fake', 'root', TSA_EXTENSIONS, '/CN=Spoofed');
      writeFileSync(tsa.path('fakes.pem'), other.pem('fake', 'root'));
      const reply = tsa.sign(tokenContent({ digest: DIGEST }), ['tsa'], '-cades', '-certfile', 'fakes.pem');
      assert.equal(await check(reply), 'ok test tsa');
      const verdict = await verifyTimestamp(reply, DATA, {
        certificates: readRoots(tsa.pem('root')),
        commonName: 'Spoofed',
      });
      assert.equal(verdict.ok, false);
      // A root that came with the token pins nothing.
      const own = other.sign(tokenContent({ digest: DIGEST }), ['fake'], '-cades', '-certfile', 'root.pem');
      assert.match(await check(own), /^not checked: no way/);
    } finally {
      await other.close();
    }
  });

  it('may bring certificates that sign one another in circles: the search ends', async () => {
    tsa.root('ring');
    for (let i = 0; i < 12; i++) {
      tsa.issue(`ring${i}`, 'ring', CA_EXTENSIONS, '/CN=test ring');
      execFileSync('cp', ['ring.key', `ring${i}.key`], { cwd: tsa.dir });
    }
    tsa.issue('of-ring', 'ring', TSA_EXTENSIONS);
    const rings = Array.from({ length: 12 }, (_, i) => `ring${i}`);
    writeFileSync(tsa.path('rings.pem'), tsa.pem(...rings));
    const reply = tsa.sign(tokenContent({ digest: DIGEST }), ['of-ring'], '-cades', '-certfile', 'rings.pem');
    assert.match(await check(reply), /^not checked/);
  });
});

describe('a file of roots', { skip: noOpenssl }, () => {
  it('is PEM or one certificate in DER, and holds a root', async () => {
    const tsa = new TestAuthority();
    try {
      assert.equal(readCertificates(tsa.pem('root', 'tsa')).length, 2);
      const [root] = readRoots(tsa.pem('root'));
      assert.equal(readRoots(root!.der).length, 1);
      assert.throws(() => readRoots(tsa.pem('tsa')), /none of them is a root/);
      const broken = new TextDecoder().decode(tsa.pem('root', 'tsa')).replace(/MII/, 'AAA');
      for (const [file, reason] of [
        [broken, /number 1 is broken/],
        ['', /there is none/],
        ['-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----', /there is none|broken/],
        ['x'.repeat(1024 * 1024 + 1), /more than/],
        [new TextDecoder().decode(tsa.pem('root')).repeat(201), /more than 200/],
      ] as const)
        assert.throws(() => timestampCheck(new TextEncoder().encode(file)), {
          name: 'RangeError',
          message: reason,
        });
    } finally {
      await tsa.close();
    }
  });
});

/** Data of others, which is not part of this repository (RFC 3161 vectors of rfc3161-client). */
const VECTORS =
  process.env.EVIDENT_VECTORS ?? join(import.meta.dirname, '../../../../../shared/data/vectors');
const vectors = join(VECTORS, 'rfc3161');
describe('vectors of others', {
  skip: existsSync(vectors) ? false : `SKIPPED: no vectors at ${vectors}`,
}, () => {
  const read = (file: string) => new Uint8Array(readFileSync(join(vectors, file)));
  const check = async (
    reply: string,
    also: Partial<TimestampTerms> & { data?: Uint8Array; chain?: string } = {},
  ) => {
    const { data = new TextEncoder().encode('hello'), chain, ...rest } = also;
    const folder = chain ?? reply.slice(0, reply.indexOf('/'));
    const certificates = readRoots(read(`${folder}/ts_chain.pem`));
    const verdict = await verifyTimestamp(read(reply), data, { certificates, ...rest });
    return verdict.ok ? 'ok' : verdict.verdict;
  };

  it('have the verdicts that they are published with', async () => {
    for (const name of ['sha256', 'sha384', 'sha512', 'no-embedded-cert'])
      assert.equal(await check(`sigstage/response-${name}.tsr`), 'ok', name);
    assert.equal(await check('sigstage/response-invalid-signature.tsr'), 'tampered');
    const request = read('sigstage/request.der');
    for (const name of ['sha256', 'sha384', 'sha512'])
      assert.equal(await check(`sigstage/response-${name}.tsr`, { request }), 'tampered', name);
    assert.equal(await check('test_tsa/response.tsr', { request: read('test_tsa/request.der') }), 'ok');
    assert.equal(
      await check('test_tsa/response.tsr', { request: read('test_tsa/other_request.der') }),
      'tampered',
    );
    assert.equal(await check('test_tsa/other_response.tsr'), 'not checked');
    assert.equal(await check('identrust/issue-104.tsr'), 'ok');
    const data = read('sigstore.mock/payload');
    assert.equal(await check('sigstore.mock/response-expired.tsr', { data }), 'ok');
    assert.equal(await check('sigstore.mock/response-expired.tsr'), 'tampered');
  });

  it('show the certificate that signed, and not one that was put in', async () => {
    const injected = 'test_tsa/response-injected-certs.tsr';
    assert.equal(await check(injected, { commonName: 'Test TSA Timestamping' }), 'ok');
    assert.equal(await check(injected, { commonName: 'Spoofed TSA' }), 'tampered');
  });

  it('are of the roots that issued them alone', async () => {
    for (const chain of ['sigstage', 'identrust', 'sigstore.mock'])
      assert.equal(await check('test_tsa/response.tsr', { chain }), 'not checked');
    const certificates = readRoots(read('sigstage/ts_chain.pem')).filter(({ certificate }) =>
      certificate.subject.isEqual(certificate.issuer),
    );
    assert.equal(await check('sigstage/response-no-embedded-cert.tsr', { certificates }), 'not checked');
  });
});
