/**
 * Writes the page that checks evidence bundles in a browser: one HTML file with script and style inside, which works from
 * a disk and, by its own content security policy, can neither load nor send anything.
 *
 *   node scripts/check-page.ts [FILE]      default evident-check.html
 */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const FOLDER = fileURLToPath(new URL('../packages/sdk/src/verify/page', import.meta.url));

const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');

async function bundleScript(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(FOLDER, 'page.ts')],
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: 'es2024',
    minify: true,
    legalComments: 'eof',
  });
  return outputFiles[0].text;
}

/** What the policy allows by its hash: exactly these bytes. */
function hashOf(content: string): string {
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
}

/** The page as it lies in the sources, with what it names put inside, and a policy that allows exactly that. */
async function makePage(): Promise<string> {
  const [script, style] = [await bundleScript(), read('page.css')];
  if (/<\/(?:script|style)/i.test(script + style))
    throw new Error('the script or the style ends its own element');
  const policy = `default-src 'none'; script-src ${hashOf(script)} 'wasm-unsafe-eval'; style-src ${hashOf(style)}; form-action 'none'; base-uri 'none'`;
  let page = read('page.html');
  for (const [from, to] of [
    [`default-src 'none'`, policy],
    ['<link rel="stylesheet" href="page.css">', `<style>${style}</style>`],
    ['<script src="page.ts"></script>', `<script>${script}</script>`],
  ]) {
    if (page.split(from).length !== 2) throw new Error(`the page does not hold ${from} once`);
    page = page.replace(from, () => to);
  }
  return page;
}

const file = process.argv[2] ?? 'evident-check.html';
const page = await makePage();
writeFileSync(file, page);
process.stdout.write(
  `${file}: ${page.length.toLocaleString('en')} characters, SHA-256 ${createHash('sha256').update(page).digest('hex')}\n`,
);
