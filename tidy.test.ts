/** The rules of the house that a machine can check: imports by folder, length of files, words, tests beside code. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { it } from 'node:test';

const FILE_LINES_MAX = 500;

const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));
const sources = tracked.filter(
  (file) =>
    /^packages\/[^/]+\/src\/.*\.ts$/.test(file) && !file.endsWith('.test.ts') && !file.includes('-fixture'),
);

/** Folders of packages/server/src that hold stages and applications. */
const STAGES = [
  'log',
  'ingest',
  'relay',
  'seal',
  'signer',
  'verify',
  'access',
  'audit',
  'query',
  'evidence',
  'alerts',
  'project',
  'windows',
  'anchor',
  'witness',
];

interface Import {
  readonly file: string;
  readonly from: string;
  /** Only types: gone at run time, but a dependency of thought all the same. */
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const found: Import[] = [];
  for (const match of text.matchAll(
    /^(import|export)\s+(type\s+)?[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'|import\('([^']+)'\)/gms,
  )) {
    found.push({ file, from: match[3] ?? match[4] ?? match[5], typeOnly: match[2] !== undefined });
  }
  return found;
}

/** The file that a relative import names, from the root of the repository; other imports as they stand. */
function targetOf({ file, from }: Import): string {
  return from.startsWith('.') ? normalize(join(dirname(file), from)) : from;
}

function serverFolder(path: string): string | null {
  return /^packages\/server\/src\/([^/]+)\//.exec(path)?.[1] ?? null;
}

/** Why an import is not allowed, or null. */
function complaint(one: Import): string | null {
  const target = targetOf(one);
  if (one.file.startsWith('packages/core/')) {
    if (target.startsWith('node:')) return 'core runs in browsers: no node:*';
    if (!target.startsWith('packages/core/') && !/^typebox(\/|$)/.test(target))
      return 'core imports itself and a schema library only';
    return null;
  }
  const folder = serverFolder(one.file);
  const to = serverFolder(target);
  if (target === 'packages/server/src/compose.ts' || target === 'packages/server/src/main.ts') {
    return folder === null ? null : 'nothing imports compose or main';
  }
  if (folder !== null && STAGES.includes(folder)) {
    if (to === 'stores' || to === 'http' || to === 'cli') return `a stage imports no ${to}`;
    if (/^(pg|fastify|commander|prom-client)$/.test(target)) return 'a stage imports no driver';
  }
  if (folder === 'http' || folder === 'cli') {
    if (to === 'stores') return `${folder} imports no store`;
    if (target === 'pg') return `${folder} imports no driver`;
  }
  if (folder === 'stores') {
    const store = /^packages\/server\/src\/stores\/([^/]+)\//;
    const [own, other] = [store.exec(one.file)?.[1], store.exec(target)?.[1]];
    if (own !== undefined && other !== undefined && own !== other) return 'a store imports no other store';
    if (to === 'http' && !one.typeOnly) return 'a store imports no http';
  }
  return null;
}

it('keeps the import rules of the house', () => {
  const complaints = sources.flatMap((file) =>
    importsOf(file).flatMap((one) => {
      const reason = complaint(one);
      return reason === null ? [] : [`${one.file} imports ${one.from}: ${reason}`];
    }),
  );
  assert.deepEqual(complaints, []);
});

it('finds an import that breaks them', () => {
  const bad = {
    file: 'packages/server/src/seal/seal.ts',
    from: '../stores/postgres/log.ts',
    typeOnly: false,
  };
  assert.equal(complaint(bad), 'a stage imports no stores');
  assert.equal(
    complaint({ file: 'packages/core/src/leaf.ts', from: 'node:fs', typeOnly: false }),
    'core runs in browsers: no node:*',
  );
});

it(`keeps every file under ${FILE_LINES_MAX} lines`, () => {
  const long = tracked
    .filter((file) => /\.(ts|js|sql)$/.test(file))
    .map((file) => ({ file, lines: readFileSync(file, 'utf8').split('\n').length - 1 }))
    .filter(({ lines }) => lines > FILE_LINES_MAX);
  assert.deepEqual(long, []);
});

it('keeps the clock and the environment out of stages and core', () => {
  const guilty = sources.filter((file) => {
    const folder = serverFolder(file);
    if (!file.startsWith('packages/core/') && !(folder !== null && STAGES.includes(folder))) return false;
    return /\bDate\.now\(\)|\bnew Date\(\)|\bMath\.random\(|\bprocess\.env\b|\bperformance\.now\(/.test(
      readFileSync(file, 'utf8'),
    );
  });
  assert.deepEqual(guilty, []);
});

it('uses no name that says nothing', () => {
  const vague = /(^|[/-])(utils?|helpers?|manager|service|common)([./-]|$)/;
  assert.deepEqual(
    tracked.filter((file) => /\.ts$/.test(file) && vague.test(file)),
    [],
  );
});

it('says what each stage and store promises', () => {
  const folders = [
    ...STAGES.map((stage) => `packages/server/src/${stage}`),
    'packages/server/src/http',
    'packages/server/src/stores/postgres',
    'packages/server/src/stores/folder',
    'packages/server/src/stores/memory',
    'packages/server/src/stores/webhook',
    'packages/server/src/stores/signer-socket',
  ];
  assert.deepEqual(
    folders.filter((folder) => !existsSync(join(folder, 'README.md'))),
    [],
  );
});

it('commits no path of a machine and no data of others', () => {
  const guilty = tracked.filter(
    (file) =>
      /\.(ts|js|md|json|sql)$/.test(file) &&
      file !== 'tidy.test.ts' &&
      file !== 'package-lock.json' &&
      /\/(work|root|home)\/[a-z]/.test(readFileSync(file, 'utf8')),
  );
  assert.deepEqual(guilty, []);
});
