/** Runs command lines one after another in one process, as bin/evident.js runs one: [[arg, …], …] on standard input. */

import { writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { runProgram } from '../src/cli/program.ts';
import { readConfigFile } from '../src/config.ts';
import { commandDeps } from '../src/main.ts';

export interface CommandAnswer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const RESULT = 3;

async function main(): Promise<void> {
  const lines = JSON.parse(await text(process.stdin)) as string[][];
  const deps = commandDeps();
  const said = { stdout: '', stderr: '' };
  // Commands that stream end with their process, and leave listeners behind here.
  process.stdout.setMaxListeners(0);
  for (const name of ['stdout', 'stderr'] as const)
    process[name].write = (chunk: string | Uint8Array) => {
      said[name] += Buffer.from(chunk as Uint8Array).toString();
      return true;
    };
  for (const args of lines) {
    said.stdout = '';
    said.stderr = '';
    const code = await runProgram(deps, args, readConfigFile);
    writeSync(RESULT, `${JSON.stringify({ code, ...said })}\n`);
  }
  process.exit(0);
}

await main();
