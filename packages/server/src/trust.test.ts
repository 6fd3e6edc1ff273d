import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cosignerKey, formatCosignerVkey } from '@evident/core/cosignature.ts';
import { makeConfig } from './config.ts';
import { anchorChecksOf, signerPlaceOf, trustLeft, trustToLeave } from './trust.ts';

const FILES = { ca: 'ca.pem', cert: 'cert.pem', key: 'key.pem' };
const placeOf = (signer: Parameters<typeof makeConfig>[0]['signer']) =>
  signerPlaceOf(makeConfig(signer === undefined ? {} : { signer }).signer);

describe('the place of the signer', () => {
  it('is the data directory unless one is named', () => {
    assert.equal(placeOf(undefined), 'data directory');
  });

  it('is another process behind a socket, or an address of this machine: both may be under one owner', () => {
    assert.equal(placeOf('unix:/run/signer.sock'), 'another process');
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '127.8.0.1', '[::ffff:127.0.0.1]', 'a.localhost'])
      assert.equal(placeOf({ address: `tls:${host}:7000`, ...FILES }), 'another process', host);
  });

  it('is elsewhere behind another address, or when the settings say so', () => {
    assert.equal(placeOf({ address: 'tls:signer.example:7000', ...FILES }), 'elsewhere');
    assert.equal(placeOf({ address: 'unix:/run/signer.sock', elsewhere: true }), 'elsewhere');
    assert.equal(placeOf({ address: 'tls:127.0.0.1:7000', ...FILES, elsewhere: true }), 'elsewhere');
    assert.equal(placeOf({ address: 'unix:/run/signer.sock', elsewhere: false }), 'another process');
    assert.throws(
      () => placeOf({ address: 'unix:/run/signer.sock', elsewhere: 'yes' as never }),
      /signer.elsewhere/,
    );
  });
});

describe('what a running server leaves for commands', () => {
  const witness = formatCosignerVkey(cosignerKey('w.example/one', 'ed25519', new Uint8Array(32).fill(7)));
  const config = makeConfig({
    selfAuditRate: 77,
    timestamps: { authorities: [{ name: 'tsa', url: 'http://tsa.example/', roots: '/etc/roots.pem' }] },
    witnesses: { quorum: 1, list: [{ url: 'http://w.example/', vkey: witness, runByOthers: true }] },
  });

  it('is read back as the same settings', () => {
    const { timestamps, witnesses, selfAuditRate } = makeConfig(
      trustLeft(JSON.parse(JSON.stringify(trustToLeave(config)))),
    );
    assert.deepEqual(
      { timestamps, witnesses, selfAuditRate },
      {
        timestamps: config.timestamps,
        witnesses: config.witnesses,
        selfAuditRate: 77,
      },
    );
  });

  it('is nothing where nothing was set', () => {
    const left = trustLeft(JSON.parse(JSON.stringify(trustToLeave(makeConfig({})))));
    assert.deepEqual(makeConfig(left).timestamps, null);
    assert.deepEqual(makeConfig(left).witnesses, null);
  });

  it('names files of roots in full: commands run in other folders', () => {
    const relative = makeConfig({
      timestamps: { authorities: [{ name: 'a', url: 'http://a.example/', roots: 'r.pem' }] },
    });
    assert.match(trustToLeave(relative).timestamps?.authorities[0].roots ?? '', /^\/.*\/r\.pem$/);
  });
});

describe('checks of tokens', () => {
  it('say “not checked” where the roots cannot be read, and throw nothing', async () => {
    const config = makeConfig({
      timestamps: { authorities: [{ name: 'tsa', url: 'http://tsa.example/', roots: '/nowhere/roots.pem' }] },
    });
    const verdict = await anchorChecksOf(config).timestamps.get('tsa')?.(
      new Uint8Array(8),
      new Uint8Array(8),
    );
    assert.equal(verdict?.ok, false);
    assert.equal(verdict?.ok === false && verdict.verdict, 'not checked');
  });
});

describe('the rate of the self-audit', () => {
  it('is modest unless set, may be 0 for none, and is a whole number', () => {
    assert.equal(makeConfig({}).selfAuditRate, 5_000);
    assert.equal(makeConfig({ selfAuditRate: 0 }).selfAuditRate, 0);
    assert.equal(makeConfig({ selfAuditRate: '250' }).selfAuditRate, 250);
    for (const rate of [-1, 1.5, 'fast', 10_000_000])
      assert.throws(() => makeConfig({ selfAuditRate: rate }), /selfAuditRate/);
  });
});
