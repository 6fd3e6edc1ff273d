/** The loop that has heads vouched for, with its metrics and the alerts that somebody does not. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { readRoots, verifyTimestamp } from '@evident/sdk/verify/timestamp';
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import { AnchorAlerts } from './anchor/alerts.ts';
import { AnchorLoop } from './anchor/anchor-loop.ts';
import type { Anchorer, AnchorKind, NewestHead } from './anchor/ports.ts';
import type { TimestampPolicy } from './anchor/timestamp-policy.ts';
import { timestampAnchorer } from './anchor/timestamp-request.ts';
import type { Storage } from './compose.ts';
import type { Config } from './config.ts';
import type { OnRelayAlert } from './relays.ts';
import { HEADS_LOG } from './seal/seal-loop.ts';
import { PostgresAnchorStore } from './stores/postgres/anchor-store.ts';
import { PostgresSignedHeads } from './stores/postgres/signed-heads.ts';
import { askTsa } from './stores/tsa/ask.ts';
import { witnessAnchorers } from './witnessing.ts';

/** Bytes of a file of root certificates. */
const ROOTS_BYTES_MAX = 1024 * 1024;

/** Authorities of the setting `timestamps`. @throws usage-invalid for a file of roots that can't be read, or holds none */
export function timestampAnchorers({ authorities, everySeconds }: TimestampPolicy): Anchorer[] {
  return authorities.map(({ name, url, roots }) => {
    const certificates = readRootsOf(name, roots);
    return timestampAnchorer(
      { ask: askTsa, randomBytes },
      {
        name,
        url,
        everySeconds,
        check: (reply, data, request) => verifyTimestamp(reply, data, { certificates, request }),
      },
    );
  });
}

function readRootsOf(name: string, file: string): ReturnType<typeof readRoots> {
  const field = 'timestamps.authorities';
  try {
    const bytes = readFileSync(file);
    if (bytes.length > ROOTS_BYTES_MAX) throw new RangeError(`it has more than ${ROOTS_BYTES_MAX} bytes`);
    return readRoots(new Uint8Array(bytes));
  } catch (cause) {
    throw new EvidentError(
      'usage-invalid',
      `${field}: the roots of ${name} (${file}): ${(cause as Error).message}`,
      { cause, context: { field } },
    );
  }
}

/** The newest stored head of heads/0. */
export function newestHeadOf({ pool, treeOf, name }: Storage): NewestHead {
  const heads = new PostgresSignedHeads(pool, treeOf);
  return async () => {
    const head = await heads.newest(HEADS_LOG, 0, null);
    return head === null ? null : { ...head, origin: epochOrigin(name, HEADS_LOG, 0, head.epoch) };
  };
}

function anchorMetrics(metrics: Registry, clock: () => bigint) {
  const labelNames = ['kind', 'by'] as const;
  /** By kind and name the time of its newest anchor. */
  const newest = new Map<string, { kind: AnchorKind; by: string; at: bigint }>();
  const counter = (name: string, help: string) =>
    new Counter({ name, help, labelNames, registers: [metrics] });
  const age = new Gauge({
    name: 'evident_anchor_age_seconds',
    help: 'Seconds since the time that the newest anchor vouches for, by who does; none while there is no anchor',
    labelNames,
    registers: [metrics],
    collect() {
      for (const { kind, by, at } of newest.values())
        this.set({ kind, by }, Number((clock() - at) / 1_000n) / 1_000);
    },
  });
  return {
    age,
    newest,
    stored: counter('evident_anchors_total', 'Heads of heads/0 that somebody vouched for, by who did'),
    failures: counter(
      'evident_anchor_failures_total',
      'Requests to vouch for a head that failed, by who was asked',
    ),
  };
}

/** @returns null when nobody is to be asked. @throws usage-invalid */
export function makeAnchorLoop(
  config: Config,
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  report: OnRelayAlert,
  clock: () => bigint,
): AnchorLoop | null {
  const store = new PostgresAnchorStore(storage.pool);
  const newestHead = newestHeadOf(storage);
  const asked = { tiles: storage.tiles, newestHead, store, clock };
  const anchorers = [
    ...(config.timestamps === null ? [] : timestampAnchorers(config.timestamps)),
    ...(config.witnesses === null ? [] : witnessAnchorers(asked, config.witnesses)),
  ];
  const heads = storage.logs.get(HEADS_LOG);
  if (heads === undefined) throw new Error('there is no log heads, which every start makes');
  if (anchorers.length === 0) return null;
  const { newest, stored, failures } = anchorMetrics(metrics, clock);
  for (const { kind, name } of anchorers) failures.inc({ kind, by: name }, 0);
  const alerts = new AnchorAlerts();
  return new AnchorLoop(
    {
      name: storage.name,
      store,
      heads,
      newestHead,
      now: () => performance.now(),
      clock,
      random: Math.random,
      onAnchored: ({ kind, name }, { size }, at) => {
        stored.inc({ kind, by: name });
        logger.info({ kind, by: name, size: size.toString(), at: at.toString() }, 'a head was anchored');
      },
      onFailure: ({ kind, name }, answer) => {
        failures.inc({ kind, by: name });
        logger.warn({ by: name, anchor: kind, ...answer }, 'a head was not anchored; it is tried again');
      },
      onState: (state) => {
        const { kind, name } = state.anchorer;
        const key = `${kind}:${name}`;
        if (state.at !== null) newest.set(key, { kind, by: name, at: state.at });
        for (const { condition, holds } of alerts.look(state)) report(condition, holds);
      },
      onError: (error) => logger.error({ err: error }, 'anchoring failed; it is tried again'),
    },
    anchorers,
  );
}
