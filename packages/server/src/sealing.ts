/** The loop that seals, with its metrics and what is told of a break and of a signer that does not answer. */

import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Condition } from './alerts/ports.ts';
import { type Storage, sealDepsOf } from './compose.ts';
import type { Config } from './config.ts';
import type { SealBreak } from './seal/seal.ts';
import { SealLoop } from './seal/seal-loop.ts';
import { formatSignerAddress } from './signer/address.ts';

export function breakCondition(found: SealBreak): Condition {
  const subject = `${found.log}/${found.partition}`;
  return {
    key: `seal-break:${subject}`,
    tenant: null,
    name: 'seal break',
    severity: 'critical',
    subject,
    detail:
      'what is stored contradicts a signed head; the partition is stopped: evident verify, then evident recover',
  };
}

export function signerCondition({ signer }: Config): Condition {
  const subject = signer === null ? 'the data directory' : formatSignerAddress(signer.address);
  return {
    key: 'signer-unreachable',
    tenant: null,
    name: 'signer unreachable',
    severity: 'critical',
    subject,
    detail:
      'no head is signed until the signer answers; capture and search go on, and sealing catches up. /metrics counts evident_seal_failures_total, the server log has the reason',
  };
}

export function makeSealLoop(
  storage: Storage,
  metrics: Registry,
  logger: Logger,
  onBreak: (found: SealBreak) => void,
  onSignerUnreachable: (holds: boolean) => void,
  clock: () => bigint,
): SealLoop {
  const sealed = new Counter({
    name: 'evident_sealed_records_total',
    help: 'Records whose leaf is below a signed head',
    registers: [metrics],
  });
  const heads = new Counter({
    name: 'evident_signed_heads_total',
    help: 'Tree heads that were signed and stored',
    registers: [metrics],
  });
  const broken = new Gauge({
    name: 'evident_seal_breaks',
    help: 'Partitions that stopped because storage contradicts a signed head',
    registers: [metrics],
  });
  const failures = new Counter({
    name: 'evident_seal_failures_total',
    help: 'Sealing rounds that failed and were tried again',
    registers: [metrics],
  });
  const unreached = new Gauge({
    name: 'evident_signer_unreachable',
    help: '1 while the signer does not answer, so that nothing is sealed',
    registers: [metrics],
  });
  return new SealLoop(
    {
      ...sealDepsOf(storage),
      rotation: {
        signer: storage.signer,
        rotations: storage.rotations,
        onRotated: async ({ number, position }) => {
          await storage.keys.read();
          logger.info({ number, position: position.toString() }, 'the signing key was replaced');
        },
      },
      now: () => performance.now(),
      clock,
      onSealed: (list, leaves) => {
        sealed.inc(leaves);
        heads.inc(list.length);
      },
      onBreak: (found) => {
        broken.inc();
        onBreak(found);
        logger.error(
          { ...found },
          'a break: the partition is stopped; run evident verify, then evident recover',
        );
      },
      onSigner: (isReached) => {
        unreached.set(isReached ? 0 : 1);
        onSignerUnreachable(!isReached);
        if (isReached) logger.info({}, 'the signer answers again');
      },
      onError: (error) => {
        failures.inc();
        logger.error({ err: error }, 'sealing failed; it is tried again');
      },
    },
    [...storage.logs.values()],
  );
}
