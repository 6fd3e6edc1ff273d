/** The page that checks bundles, in a real Chromium, opened from disk, without a network. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { formatCosignerVkey } from '@evident/core/cosignature.ts';
import { FixtureInstallation, fixtureWitness } from '@evident/core/evidence/bundle-fixture.ts';
import { makeBundle, vkeyOf, withManifest } from '@evident/core/evidence/make-bundle-fixture.ts';
import { writeZip } from '@evident/core/evidence/zip-writer.ts';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const skip =
  PROGRAM === undefined
    ? 'SKIPPED: there is no Chromium; install one (apt-get install chromium) to have the page tested in it'
    : false;
const WAIT_MS_MAX = 60_000;

describe('the page that checks bundles', { skip, timeout: 240_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'evident-page-'));
  const installation = new FixtureInstallation();
  const vkey = vkeyOf(installation);
  let browser: Browser;
  let context: BrowserContext;

  before(async () => {
    execFileSync(process.execPath, [join(ROOT, 'scripts/check-page.ts'), join(folder, 'check.html')]);
    browser = await chromium.launch({
      executablePath: PROGRAM as string,
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    });
    context = await browser.newContext({ offline: true });
  });
  after(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function bundleFiles(proofs: 'each' | 'tiles' = 'each') {
    const scope = { kind: 'selection', filter: { tenant: 'acme' } } as const;
    return makeBundle(installation, { scope, proofs, witnesses: [7] });
  }

  function writeFolder(name: string, files: ReadonlyMap<string, Uint8Array>): string {
    for (const [path, bytes] of files) {
      const file = join(folder, name, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, bytes);
    }
    return join(folder, name);
  }

  async function writeZipFile(name: string, files: ReadonlyMap<string, Uint8Array>): Promise<string> {
    const pieces: Uint8Array[] = [];
    const entries = [...files].map(([path, bytes]) => ({ path, bytes }));
    for await (const piece of writeZip(entries)) pieces.push(piece.slice());
    const file = join(folder, `${name}.zip`);
    writeFileSync(file, Buffer.concat(pieces));
    return file;
  }

  async function openPage(): Promise<Page> {
    const page = await context.newPage();
    await page.goto(pathToFileURL(join(folder, 'check.html')).href);
    return page;
  }

  /** Gives the page a bundle by one of its two inputs, and the key. */
  async function check(page: Page, input: 'zip' | 'folder', path: string, key = vkey): Promise<string> {
    await page.fill('#vkey', key);
    await page.setInputFiles(`#${input}`, path);
    await page.waitForFunction(() =>
      /\((?:zip|folder)/.test(document.getElementById('chosen')?.textContent ?? ''),
    );
    return submit(page);
  }

  async function submit(page: Page): Promise<string> {
    await page.click('#check');
    await page.waitForFunction(
      () => /^(?:verified|tampered|not checked)$/.test(document.getElementById('verdict')?.textContent ?? ''),
      undefined,
      { timeout: WAIT_MS_MAX },
    );
    return (await page.textContent('#verdict')) ?? '';
  }

  for (const proofs of ['each', 'tiles'] as const) {
    it(`verifies a folder and a zip with ${proofs}, and says what that shows`, async () => {
      const { files } = await bundleFiles(proofs);
      const page = await openPage();
      assert.equal(await check(page, 'folder', writeFolder(`good-${proofs}`, files)), 'verified');
      assert.match((await page.textContent('#not-shown')) ?? '', /this is a selection/);
      assert.match((await page.textContent('#progress')) ?? '', /^[1-9]\d* records read$/);
      const zip = await openPage();
      assert.equal(await check(zip, 'zip', await writeZipFile(`good-${proofs}`, files)), 'verified');
      assert.deepEqual(
        await zip.locator('#shown li').allTextContents(),
        await page.locator('#shown li').allTextContents(),
      );
    });
  }

  it('finds a byte that was changed, also when the manifest was made to fit', async () => {
    const { files, base } = await bundleFiles();
    const records = new Uint8Array(files.get('records.ndjson') as Uint8Array);
    const at = Buffer.from(records).indexOf('acme/');
    records[at] = 0x62;
    const changed = withManifest(new Map([...files, ['records.ndjson', records]]), base);
    const page = await openPage();
    assert.equal(await check(page, 'folder', writeFolder('changed', changed)), 'tampered');
    assert.match(
      (await page.textContent('#findings')) ?? '',
      /\[proof\] audit\/0\/0 the inclusion proof fails/,
    );
    const cut = await openPage();
    const zip = await writeZipFile('cut', files);
    writeFileSync(zip, readFileSync(zip).subarray(0, -1));
    assert.equal(await check(cut, 'zip', zip), 'not checked');
  });

  it('does not verify under another key, nor under none', async () => {
    const { files } = await bundleFiles();
    const path = writeFolder('other-key', files);
    const other = vkeyOf(new FixtureInstallation({ keySeed: 9 }));
    assert.equal(await check(await openPage(), 'folder', path, other), 'tampered');
    const page = await openPage();
    assert.equal(await check(page, 'folder', path, 'no key'), 'not checked');
    assert.match((await page.textContent('#progress')) ?? '', /vkey/);
  });

  it('asks for the cosignatures of the witnesses that are named', async () => {
    const { files } = await bundleFiles();
    const path = writeFolder('witnessed', files);
    for (const [seed, verdict] of [
      [7, 'verified'],
      [8, 'not checked'],
    ] as const) {
      const page = await openPage();
      await page.click('summary');
      await page.fill('#witnesses', formatCosignerVkey(fixtureWitness(seed).key));
      assert.equal(await check(page, 'folder', path), verdict);
    }
  });

  it('shows what a bundle says as text, never as markup', async () => {
    const { files } = await bundleFiles();
    const named = new Map([...files, ['<img src=x onerror=document.title="run">', new Uint8Array(1)]]);
    const page = await openPage();
    assert.equal(await check(page, 'folder', writeFolder('markup', named)), 'tampered');
    assert.match((await page.textContent('#findings')) ?? '', /<img src=x/);
    assert.equal(await page.locator('#report img').count(), 0);
    assert.notEqual(await page.title(), 'run');
  });

  it('can neither load nor send anything, by its own policy', async () => {
    const online = await browser.newContext();
    const page = await online.newPage();
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    const address = pathToFileURL(join(folder, 'check.html')).href;
    await page.goto(address);
    const sent = await page.evaluate(() =>
      fetch('http://127.0.0.1:9/').then(
        () => 'sent',
        () => 'refused',
      ),
    );
    const inline = await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'document.title = "run"';
      document.body.append(script);
      return document.title;
    });
    assert.equal(sent, 'refused');
    assert.notEqual(inline, 'run');
    assert.deepEqual(asked, [address]);
    await online.close();
  });
});
