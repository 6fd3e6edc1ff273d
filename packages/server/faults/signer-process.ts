/**
 * A signer that ends itself by SIGKILL at a named step:
 *
 *   node signer-process.ts STATE LISTEN STEP NTH [forgetful]      LISTEN: unix:/path, or tls:… with CERT KEY CA in the environment
 *
 * STEP: checked, written, synced, renamed, durable, marked, signed, answering, answered; `none`: it lives.
 * `forgetful`: it remembers in memory only, what the test must find. Prints its address when it listens.
 */

import { replaceSource } from '../simulation/source.ts';
import { parseSignerAddress } from '../src/signer/address.ts';

const [state, listen, step, nth, how] = process.argv.slice(2);
if (how === 'forgetful')
  replaceSource([
    {
      file: 'src/stores/folder/signer.ts',
      text: 'if (refusals.includes(null)) await this.#remember({ inception, last });',
      by: 'this.#memory = { inception, last };',
    },
  ]);
const { startSigner } = await import('../src/signer-process.ts');

let times = 0;
const passed = (at: string): void => {
  if (at === step && ++times === Number(nth)) process.kill(process.pid, 'SIGKILL');
};
const { CERT: cert, KEY: key, CA: ca } = process.env;
const signer = await startSigner(
  {
    stateDir: state,
    name: null,
    listen: parseSignerAddress(listen, 'listen'),
    tls: cert === undefined || key === undefined || ca === undefined ? null : { cert, key, ca },
    beginAnew: [],
    onEvent: () => undefined,
  },
  { passed, answered: passed },
);
process.stdout.write(`${signer.address}\n`);
