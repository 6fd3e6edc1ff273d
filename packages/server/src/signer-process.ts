/** The signer as a process of its own: a folder, held by it alone, and a socket. */

import { mkdirSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';
import type { SignerInput, StartedSigner } from './cli/command-deps.ts';
import { formatSignerAddress } from './signer/address.ts';
import { type ServeDeps, serveSigner } from './signer/serve.ts';
import { storageFault } from './stores/durable-file.ts';
import { lockDataDirectory } from './stores/folder/data-lock.ts';
import { FolderSigner, type FolderSignerOptions } from './stores/folder/signer.ts';

/** Lets a test end the process at a step. */
export type SignerSteps = Pick<FolderSignerOptions, 'passed'> & { readonly answered?: ServeDeps['passed'] };

/**
 * @throws data-locked when another process signs from this folder; signer-refused when its memory is lost, cut or
 *   changed; usage-invalid for an address that can't be listened on
 */
export async function startSigner(input: SignerInput, steps: SignerSteps = {}): Promise<StartedSigner> {
  const { stateDir, name, listen, tls, beginAnew, onEvent } = input;
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw storageFault(error, stateDir, 'create it');
  }
  const lock = lockDataDirectory(stateDir);
  try {
    const signer = FolderSigner.open(stateDir, {
      mayMakeKey: true,
      ...(name === null ? {} : { name }),
      mayBegin: (origin) => beginAnew.includes(origin),
      ...(steps.passed === undefined ? {} : { passed: steps.passed }),
    });
    if (signer.lost !== null) throw new EvidentError('signer-refused', `${stateDir}: ${signer.lost}`);
    const begun = (await signer.describe()).inception;
    if (name !== null && begun !== null && begun.name !== name)
      throw new EvidentError('usage-invalid', `--name: ${stateDir} signs for ${begun.name}, not for ${name}`);
    signer.settle();
    const deps = { signer, onEvent, ...(steps.answered === undefined ? {} : { passed: steps.answered }) };
    const served = await serveSigner(deps, listen, tls);
    const { publicKeys, inception } = await signer.describe();
    return {
      address: formatSignerAddress(served.address),
      publicKeys,
      inception,
      stop: async () => {
        await served.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}
