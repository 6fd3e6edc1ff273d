/** Guards of the source, taken away one at a time: the simulation must find each. */

import type { Replacement } from './source.ts';

export interface Mutant {
  readonly what: string;
  readonly replacements: readonly Replacement[];
}

const SEAL = 'src/seal/seal.ts';
const STORES = 'src/stores/memory/seal-stores.ts';
const WRITE_TILES = '  await deps.tiles.write(growths.map(({ tiles }) => tiles));\n';
const CONTRADICTS = '  const signed = `a head of size ';
const STORE_HEADS = '  const stored = await deps.heads.store(sealer.log.name, moves);\n';

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'no-fence': {
    what: 'the head store no longer compares the stored head with the predecessor',
    replacements: [
      {
        file: STORES,
        text: '        if (now === undefined || now.size !== from.size || !equalBytes(now.root, from.root) || to.size <= now.size) continue;\n',
        by: '',
      },
    ],
  },
  'heads-before-tiles': {
    what: 'tiles are written after the heads are stored',
    replacements: [
      { file: SEAL, text: WRITE_TILES, by: '' },
      { file: SEAL, text: STORE_HEADS, by: STORE_HEADS + WRITE_TILES },
    ],
  },
  'signer-forgets': {
    what: 'the signer refuses nothing, and nobody asks what it signed',
    replacements: [
      {
        file: STORES,
        text: 'const last = this.#last.get(origin);\n    if',
        by: 'const last = undefined as { size: bigint; root: Uint8Array } | undefined;\n    if',
      },
      { file: SEAL, text: CONTRADICTS, by: `  if (last.size >= 0n) return undefined;\n${CONTRADICTS}` },
    ],
  },
  'hole-ignored': {
    what: 'the sealer goes on at a hole',
    replacements: [
      {
        file: SEAL,
        text: 'if (run.holeAt !== null) return `position',
        by: 'if (run.holeAt === -1n) return `position',
      },
      {
        file: STORES,
        text: 'const whole = hole < 0 ? records : records.slice(0, hole);',
        by: 'const whole = records;',
      },
    ],
  },
};
