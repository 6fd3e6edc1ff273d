/** The witness as a process of its own: a folder, held by it alone, and an address. */

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatCosignerVkey } from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { parseVkey, type Verifier, verifierOf } from '@evident/core/note.ts';
import type { StartedWitness, WitnessInput } from './cli/command-deps.ts';
import { storageFault, writeFileDurably } from './stores/durable-file.ts';
import { lockDataDirectory } from './stores/folder/data-lock.ts';
import { readIfThere, VERIFY_FUNCTIONS } from './stores/folder/signing-keys.ts';
import { openWitnessKey } from './stores/folder/witness-key.ts';
import { FolderWitnessMemory, type FolderWitnessMemoryOptions } from './stores/folder/witness-memory.ts';
import { LOGS_MAX } from './witness/memory.ts';
import type { FollowedLogs } from './witness/ports.ts';
import { type ServeWitnessDeps, serveWitness } from './witness/serve.ts';
import { Witness, type WitnessDeps } from './witness/witness.ts';

/** Lets a test wait or end the process at a step. */
export interface WitnessSteps {
  readonly written?: FolderWitnessMemoryOptions['passed'];
  readonly decided?: WitnessDeps['passed'];
  readonly answered?: ServeWitnessDeps['passed'];
}

/**
 * @throws data-locked when another process has the folder open; witness-refused when its memory is lost, cut or changed;
 *   key-mismatch when the key has another name; usage-invalid for vkeys that are none, an address that can't be listened on
 */
export async function startWitness(input: WitnessInput, steps: WitnessSteps = {}): Promise<StartedWitness> {
  const { stateDir, listen, name, algorithm, onEvent, clock } = input;
  const logs = followedLogs(input.logs);
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw storageFault(error, stateDir, 'create it');
  }
  const lock = lockDataDirectory(stateDir);
  try {
    const memory = new FolderWitnessMemory(
      stateDir,
      steps.written === undefined ? {} : { passed: steps.written },
    );
    const key = openWitnessKey(stateDir, name, algorithm);
    const ownerKey = openOwnerKey(stateDir);
    const decided = steps.decided === undefined ? {} : { passed: steps.decided };
    const witness = new Witness({ logs, memory, key, clock, ...decided });
    const answered = steps.answered === undefined ? {} : { passed: steps.answered };
    const served = await serveWitness({ witness, memory, ownerKey, onEvent, ...answered }, listen);
    return {
      url: served.url,
      vkey: formatCosignerVkey(key.key),
      ownerKeyFile: join(stateDir, 'owner.key'),
      logs: [...logs.keys()],
      stop: async () => {
        await served.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw storageFault(error, stateDir, 'start the witness');
  }
}

/** By origin, which is the name of the key. Two keys of one origin: those of a rotation. */
function followedLogs(vkeys: readonly string[]): FollowedLogs {
  const logs = new Map<string, Verifier[]>();
  for (const vkey of vkeys) {
    const key = parseVkey(vkey.trim());
    if (!key.ok) throw new EvidentError('usage-invalid', `--log: ${key.reason}`);
    const known = logs.get(key.value.name) ?? [];
    if (!known.some(({ keyId }) => keyId === key.value.keyId))
      known.push(verifierOf(key.value, VERIFY_FUNCTIONS));
    logs.set(key.value.name, known);
  }
  if (logs.size < 1 || logs.size > LOGS_MAX)
    throw new EvidentError('usage-invalid', `--log: a witness follows 1 to ${LOGS_MAX} logs`);
  return logs;
}

function openOwnerKey(stateDir: string): string {
  const path = join(stateDir, 'owner.key');
  const known = readIfThere(path)?.trim();
  if (known !== undefined && known !== '') return known;
  const key = randomBytes(32).toString('base64url');
  writeFileDurably(path, `${key}\n`, 0o600);
  return key;
}
