/** The port `RotationStore` on PostgreSQL, and what readers take keys from. */

import type pg from 'pg';
import type { RotationStore, StoredRotation } from '../../seal/ports.ts';
import { ask } from './ask.ts';

interface RotationRow {
  note: Buffer;
  position: string;
  head: Buffer;
}

export class PostgresKeyRotations implements RotationStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async count(): Promise<number> {
    const { rows } = await ask<{ count: number }>(
      this.#pool,
      'counting key rotations',
      'SELECT count(*)::int AS count FROM evident.key_rotations',
      [],
    );
    return rows[0].count;
  }

  async put(number: number, { note, position, head }: StoredRotation): Promise<void> {
    await ask(
      this.#pool,
      `storing key rotation ${number}`,
      'SELECT evident.put_key_rotation($1, $2, $3, $4)',
      [number, position.toString(), Buffer.from(note), Buffer.from(head)],
    );
  }

  /** Oldest first, from number `from` on. */
  async read(from: number): Promise<StoredRotation[]> {
    const { rows } = await ask<RotationRow>(
      this.#pool,
      'reading key rotations',
      'SELECT note, position, head FROM evident.key_rotations WHERE number >= $1 ORDER BY number',
      [from],
    );
    return rows.map(({ note, position, head }) => ({
      note: new Uint8Array(note),
      position: BigInt(position),
      head: new Uint8Array(head),
    }));
  }
}
