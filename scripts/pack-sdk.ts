/**
 * Builds the package that an application installs: `npm pack` of @evident/sdk as JavaScript with declarations, with the
 * parts of core that it needs inside. In the repository TypeScript runs directly and nothing is built; this is what
 * is published.
 *
 *   node scripts/pack-sdk.ts [FOLDER]      writes evident-sdk-<version>.tgz into FOLDER (default .cache/packed)
 *
 *   packages/sdk/src/**   ──tsc──►  lib/**         without tests and fixtures
 *   packages/core/src/**  ──tsc──►  lib/core/**    only what the SDK imports
 */

import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, posix, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SDK = join(ROOT, 'packages', 'sdk');
const SDK_SOURCE = join(SDK, 'src');
const CORE_SOURCE = join(ROOT, 'packages', 'core', 'src');
const COMPILE_MS_MAX = 120_000;
const PACK_MS_MAX = 60_000;
/** What an application may import, and the module behind it. Everything else is ours to change. */
const PUBLIC: Readonly<Record<string, string>> = {
  '.': 'audit',
  './access-denied': 'access-denied',
  './context': 'context/context',
  './context/context': 'context/context',
  './drivers': 'drivers',
  './http/client': 'http/client',
  './middleware/express': 'middleware/express',
  './middleware/fastify': 'middleware/fastify',
  './middleware/hono': 'middleware/hono',
  './middleware/http': 'middleware/http',
  './testing': 'testing',
};
/** Only their types are named, and only by the middleware for them. */
const PEERS: Readonly<Record<string, string>> = { fastify: '>=5', hono: '>=4' };

interface SdkPackage {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly engines: object;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** @returns the path of the tarball */
export function packSdk(folder: string): string {
  // Inside the repository, so that the compiler finds what the sources import.
  mkdirSync(join(ROOT, '.cache'), { recursive: true });
  const stage = mkdtempSync(join(ROOT, '.cache', 'pack-sdk-'));
  try {
    const lib = join(stage, 'package', 'lib');
    copySources(join(stage, 'source'));
    compile(stage, lib);
    for (const file of globSync('**/*.{js,d.ts}', { cwd: lib })) checkImports(lib, join(lib, file));
    writePackage(join(stage, 'package'));
    return runNpmPack(join(stage, 'package'), folder);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** The SDK's sources, and what they import of core in a folder beside them. */
function copySources(target: string): void {
  // Without verify/: it wants a newer platform than an application that writes events, and a library for certificates.
  // It is given out as the page of check-page.ts and as `evident check`.
  const sdk = globSync('**/*.ts', { cwd: SDK_SOURCE }).filter(
    (file) => !/(\.test|-fixture)\.ts$/.test(file) && !file.startsWith('verify/'),
  );
  const placed = new Map(sdk.map((file) => [file, join(SDK_SOURCE, file)]));
  // The map grows while we walk it: what core imports of itself is followed as well.
  for (const [file, source] of placed) {
    const text = readFileSync(source, 'utf8').replaceAll(
      SPECIFIER,
      (_all, before: string, quote: string, from: string) => {
        const named = /^@evident\/core\/(.+)$/.exec(from)?.[1];
        if (named !== undefined) return `${before}${quote}${place(file, named)}${quote}`;
        if (file.startsWith('core/') && from.startsWith('.'))
          place(file, posix.join(posix.dirname(file), from).slice(5));
        return `${before}${quote}${from}${quote}`;
      },
    );
    mkdirSync(dirname(join(target, file)), { recursive: true });
    writeFileSync(join(target, file), text);
  }

  /** Brings a module of core in. @returns how `importer` names it */
  function place(importer: string, module: string): string {
    const file = `core/${module}`;
    if (!placed.has(file)) placed.set(file, join(CORE_SOURCE, module));
    const path = posix.relative(posix.dirname(importer), file);
    return path.startsWith('.') ? path : `./${path}`;
  }
}

/** Compiles for Node 22: its language and library are the limit, so that a newer call is an error here. */
function compile(stage: string, outDir: string): void {
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2024'],
    module: 'nodenext',
    rootDir: join(stage, 'source'),
    outDir,
    types: ['node'],
    declaration: true,
    rewriteRelativeImportExtensions: true,
    noEmitOnError: true,
    strict: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
  };
  writeFileSync(join(stage, 'source', 'package.json'), '{"type":"module"}');
  writeFileSync(
    join(stage, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, include: ['source/**/*.ts'] }),
  );
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  run(process.execPath, [compiler, '-p', stage], ROOT, COMPILE_MS_MAX);
}

const SPECIFIER = /(\bfrom\s+|\bimport\s+|\bimport\()(['"])([^'"\n]+)\2/g;

/** Every import leads to a file of the package, to Node, or to a package that package.json names. */
function checkImports(lib: string, file: string): void {
  const text = readFileSync(file, 'utf8');
  // The compiler leaves the extensions of declarations as they stand.
  const rewritten = text.replaceAll(
    SPECIFIER,
    (all, before: string, quote: string, from: string, at: number) => {
      // Examples in comments import what they like.
      if (/^\s*(\/?\*|\/\/)/.test(text.slice(text.lastIndexOf('\n', at) + 1))) return all;
      const target = from.startsWith('.') ? from.replace(/\.ts$/, '.js') : from;
      checkTarget(lib, file, target);
      return `${before}${quote}${target}${quote}`;
    },
  );
  if (rewritten !== text) writeFileSync(file, rewritten);
}

function checkTarget(lib: string, file: string, from: string): void {
  const where = `${relative(lib, file)} imports ${from}`;
  if (from.startsWith('.')) {
    if (!existsSync(join(dirname(file), from))) throw new Error(`${where}, which is not in the package`);
    return;
  }
  const name = from.split('/', 1)[0];
  if (from.startsWith('node:') || name === 'typebox') return;
  if (Object.hasOwn(PEERS, name) && file.endsWith('.d.ts')) return;
  throw new Error(`${where}, which the package does not bring`);
}

function writePackage(folder: string): void {
  const sdk = JSON.parse(readFileSync(join(SDK, 'package.json'), 'utf8')) as SdkPackage;
  const { name, version, description, license, engines, dependencies } = sdk;
  const exports = Object.fromEntries(
    Object.entries(PUBLIC).map(([path, module]) => {
      const target = `./lib/${module}`;
      if (!existsSync(join(folder, `${target}.js`))) throw new Error(`${path}: there is no module ${module}`);
      return [path, { types: `${target}.d.ts`, default: `${target}.js` }];
    }),
  );
  const written = {
    name,
    version,
    description,
    license,
    type: 'module',
    engines,
    sideEffects: false,
    files: ['lib'],
    exports: { ...exports, './package.json': './package.json' },
    dependencies: { typebox: dependencies.typebox },
    peerDependencies: PEERS,
    peerDependenciesMeta: Object.fromEntries(Object.keys(PEERS).map((peer) => [peer, { optional: true }])),
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(written, null, 2)}\n`);
  cpSync(join(SDK, 'README.md'), join(folder, 'README.md'));
  cpSync(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'));
}

function runNpmPack(folder: string, destination: string): string {
  mkdirSync(destination, { recursive: true });
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', resolve(destination)];
  const printed: unknown = JSON.parse(run('npm', args, folder, PACK_MS_MAX));
  // An array before npm 11.18, an object by package name from there on.
  const [packed] = Object.values(printed as object) as { filename: string }[];
  return join(resolve(destination), packed.filename);
}

function run(command: string, args: readonly string[], cwd: string, timeout: number): string {
  try {
    return execFileSync(command, args, { cwd, timeout, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args[0]}: ${message}\n${stdout ?? ''}${stderr ?? ''}`, { cause: error });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`${packSdk(process.argv[2] ?? join(ROOT, '.cache', 'packed'))}\n`);
}
