/** The ports `WebhookStore` and `DeliveryQueue` on PostgreSQL. */

import { isEvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import {
  type Delivery,
  type DeliveryMark,
  type DeliveryQueue,
  type SecretBox,
  WEBHOOKS_MAX,
  type Webhook,
  type WebhookCounts,
  type WebhookStore,
} from '../../alerts/ports.ts';
import {
  type AlertRow,
  alertOf,
  call,
  readAs,
  storedTenant,
  type WebhookRow,
  webhookOf,
} from './alert-rows.ts';

interface CountsRow {
  pending: string;
  delivered: string;
  failed: string;
  last_error: string | null;
}

interface DeliveryRow {
  delivery_id: string;
  webhook_id: string;
  alert_id: string;
  count: string;
  places: string[];
  attempts: number;
}

const LIST = `SELECT w.webhook_id, w.tenant, w.name, w.url, w.payload, w.made_by, w.made_us, c.*
  FROM evident.webhooks w CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.state = 'pending') AS pending, count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
           count(*) FILTER (WHERE d.state = 'failed') AS failed,
           (array_agg(d.error ORDER BY d.made_us DESC) FILTER (WHERE d.error IS NOT NULL))[1] AS last_error
      FROM evident.webhook_deliveries d WHERE d.webhook_id = w.webhook_id) c
 WHERE w.removed_us IS NULL AND ($1::text IS NULL OR w.tenant = $1) ORDER BY w.tenant, w.name`;

export class PostgresWebhookStore implements WebhookStore, DeliveryQueue {
  readonly #pool: pg.Pool;
  readonly #box: SecretBox;

  constructor(pool: pg.Pool, box: SecretBox) {
    this.#pool = pool;
    this.#box = box;
  }

  /**
   * Seals the secrets that are stored as they are. Of two that do so at once, one changes each. If we die in between, the
   * rest is sealed at the next start.
   * @returns how many were sealed, and how many are sealed with another key
   */
  async sealSecrets(): Promise<{ readonly sealed: number; readonly foreign: number }> {
    const rows = await readAs<{ webhook_id: string; secret: Buffer }>(
      this.#pool,
      null,
      'reading the secrets of webhooks',
      'SELECT webhook_id, secret FROM evident.webhooks WHERE removed_us IS NULL',
      [],
    );
    let [sealed, foreign] = [0, 0];
    for (const { webhook_id: id, secret } of rows) {
      if (this.#box.isSealed(secret)) {
        if (this.#box.open(id, secret) === null) foreign++;
        continue;
      }
      const [row] = await call<{ done: boolean }>(
        this.#pool,
        `sealing the secret of the webhook ${id}`,
        'SELECT evident.webhook_reseal($1, $2, $3) AS done',
        [id, secret, Buffer.from(this.#box.seal(id, secret))],
      );
      if (row.done) sealed++;
    }
    return { sealed, foreign };
  }

  async list(tenant: string | null): Promise<readonly (Webhook & WebhookCounts)[]> {
    const rows = await readAs<WebhookRow & CountsRow>(this.#pool, tenant, 'listing webhooks', LIST, [tenant]);
    return rows.map((row) => ({
      ...webhookOf(row),
      pending: Number(row.pending),
      delivered: Number(row.delivered),
      failed: Number(row.failed),
      lastError: row.last_error,
    }));
  }

  async add(
    { id, tenant, name, url, payload, madeBy }: Omit<Webhook, 'madeAt'>,
    secret: Uint8Array,
  ): Promise<'done' | 'exists' | 'full'> {
    try {
      const [row] = await call<{ outcome: 'done' | 'full' }>(
        this.#pool,
        `storing the webhook ${name}`,
        'SELECT evident.webhook_add($1, $2, $3, $4, $5, $6, $7, $8) AS outcome',
        [
          id,
          storedTenant(tenant),
          name,
          url,
          payload,
          Buffer.from(this.#box.seal(id, secret)),
          madeBy,
          WEBHOOKS_MAX,
        ],
      );
      return row.outcome;
    } catch (error) {
      if (isEvidentError(error) && (error.cause as { code?: string } | undefined)?.code === '23505')
        return 'exists';
      throw error;
    }
  }

  async remove(id: string, tenant: string | null): Promise<boolean> {
    const [row] = await call<{ removed: boolean }>(
      this.#pool,
      `removing the webhook ${id}`,
      'SELECT evident.webhook_remove($1, $2) AS removed',
      [id, tenant],
    );
    return row.removed;
  }

  async retry(id: string, tenant: string | null): Promise<number> {
    const [row] = await call<{ again: string }>(
      this.#pool,
      `sending to the webhook ${id} again`,
      'SELECT evident.delivery_retry($1, $2) AS again',
      [id, tenant],
    );
    return Number(row.again);
  }

  async claim(busy: readonly string[], leaseUs: bigint): Promise<Delivery | null> {
    const [row] = await call<DeliveryRow>(
      this.#pool,
      'looking for a delivery that is due',
      'SELECT * FROM evident.delivery_claim($1, $2)',
      [busy, leaseUs.toString()],
    );
    if (row === undefined) return null;
    const [webhook] = await readAs<WebhookRow & { secret: Buffer }>(
      this.#pool,
      null,
      `reading the webhook ${row.webhook_id}`,
      'SELECT * FROM evident.webhooks WHERE webhook_id = $1',
      [row.webhook_id],
    );
    const [alert] = await readAs<AlertRow>(
      this.#pool,
      null,
      `reading the alert ${row.alert_id}`,
      'SELECT * FROM evident.alerts WHERE alert_id = $1',
      [row.alert_id],
    );
    return {
      id: row.delivery_id,
      attempt: row.attempts,
      webhook: webhookOf(webhook),
      secret: this.#box.open(row.webhook_id, new Uint8Array(webhook.secret)),
      alert: { ...alertOf(alert), count: BigInt(row.count), places: row.places },
    };
  }

  async mark({ id, attempt }: Delivery, mark: DeliveryMark): Promise<void> {
    const [state, after, error] =
      mark.kind === 'delivered'
        ? ['delivered', 0n, null]
        : mark.kind === 'again'
          ? ['pending', mark.afterUs, mark.error]
          : ['failed', 0n, mark.error];
    await call(this.#pool, `marking the delivery ${id}`, 'SELECT evident.delivery_mark($1, $2, $3, $4, $5)', [
      id,
      attempt,
      state,
      after.toString(),
      error,
    ]);
  }

  async backlog(): Promise<{ readonly pending: number; readonly failed: number }> {
    const [row] = await readAs<{ pending: string; failed: string }>(
      this.#pool,
      null,
      'counting deliveries',
      `SELECT count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'failed') AS failed
         FROM evident.webhook_deliveries WHERE state <> 'delivered'`,
      [],
    );
    return { pending: Number(row.pending), failed: Number(row.failed) };
  }
}
