#!/usr/bin/env node
// Runs the command line on a Node that can: this file is plain JavaScript so that any Node gets this far.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 26;

if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) {
  const args = process.argv.slice(2);
  // A check of a bundle loads neither the server nor a database driver: it has to run where there is neither.
  if (args[0] === 'check') await (await import('../src/check-main.ts')).runCheckLine(args);
  else await (await import('../src/main.ts')).runCommandLine(args);
} else {
  const node = findPinnedNode(dirname(fileURLToPath(import.meta.url)));
  if (node === undefined) {
    process.stderr.write(
      `evident needs Node ${NODE_MAJOR} or later; this is ${process.version}. Run npm ci, which brings one.\n`,
    );
    process.exit(70);
  }
  const child = spawn(node, process.argv.slice(1), { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    if (signal !== null) process.kill(process.pid, signal);
    else process.exit(code ?? 70);
  });
}

/** The node that npm installed as the development dependency `node`, in this folder or one above. */
function findPinnedNode(from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const node = join(folder, 'node_modules', 'node', 'bin', 'node');
    if (existsSync(node)) return node;
    if (folder === dirname(folder)) return undefined;
  }
}
