/**
 * A witness that ends itself by SIGKILL at a named step:
 *
 *   node witness-process.ts STATE VKEY STEP NTH [forgetful]
 *
 * STEP: read, checked, written, synced, renamed, durable, marked, remembered, cosigned, answering, answered; `none`: it
 * lives. `forgetful`: it remembers in memory only, what the test must find. Prints its address when it listens.
 */

import { replaceSource } from '../simulation/source.ts';

const [stateDir, vkey, step, nth, how] = process.argv.slice(2);
if (how === 'forgetful')
  replaceSource([
    {
      file: 'src/stores/folder/witness-memory.ts',
      text: 'await replaceFileDurably(path, formatMemory(heads), 0o600, this.#options.passed);',
      by: '',
    },
  ]);
const { startWitness } = await import('../src/witness-process.ts');

let times = 0;
const passed = (at: string): void => {
  if (at === step && ++times === Number(nth)) process.kill(process.pid, 'SIGKILL');
};
const witness = await startWitness(
  {
    stateDir,
    listen: { host: '127.0.0.1', port: 0 },
    name: 'witness.example/w',
    logs: [vkey],
    algorithm: 'ed25519',
    clock: () => BigInt(Date.now()) * 1_000n,
    onEvent: () => undefined,
  },
  { written: passed, decided: passed, answered: passed },
);
process.stdout.write(`${witness.url}\n`);
