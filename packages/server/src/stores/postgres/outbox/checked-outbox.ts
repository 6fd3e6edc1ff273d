/** An outbox that was looked at before it is relayed, and put right where the relay's role may. */

import { EvidentError } from '@evident/core/errors.ts';
import pg from 'pg';
import type { Outbox } from '../../../relay/ports.ts';
import { healOutbox } from './check.ts';
import { openOutbox } from './postgres-outbox.ts';
import { sourceFault } from './source-fault.ts';

/** Something that is not as it should be. */
export interface FoundDeviation {
  readonly healed: readonly string[];
  readonly left: readonly string[];
}

/**
 * @param onDeviation hears of what was found; the relay goes on, because a wrong grant must not stop what is captured
 * @throws outbox-damaged when there is no outbox at all, source-unavailable
 */
export async function checkedOutbox(
  connection: pg.ClientConfig,
  onDeviation: (found: FoundDeviation) => void,
): Promise<Outbox> {
  const client = new pg.Client({ ...connection, application_name: 'evident relay' });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ there: boolean }>(
      "SELECT to_regclass('evident_outbox.events') IS NOT NULL AS there",
    );
    if (!rows[0].there)
      throw new EvidentError('outbox-damaged', 'the database has no outbox: run evident outbox init');
    const { healed, left } = await healOutbox(client);
    const say = (list: readonly { object: string; what: string }[]) =>
      list.map(({ object, what }) => `${object}: ${what}`);
    if (healed.length + left.length > 0) onDeviation({ healed: say(healed), left: say(left) });
  } catch (error) {
    throw sourceFault(error, 'looking at the outbox');
  } finally {
    await client.end().catch(() => undefined);
  }
  return openOutbox(connection);
}
