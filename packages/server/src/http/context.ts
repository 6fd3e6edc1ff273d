/** What the routes of one server share, and the marks that they put on requests. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkLogName } from '@evident/core/record.ts';
import type { Role } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { DeniedRecorder } from '../access/denied.ts';
import type { Log } from '../log/log.ts';
import type { Admission } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpLimits } from './limits.ts';

export interface HttpContext {
  readonly deps: HttpDeps;
  readonly limits: HttpLimits;
  /** Bytes of ingest requests. */
  readonly admission: Admission;
  /** Bytes of pages of records. */
  readonly pages: Admission;
  /** Imports that run; counted as one byte each. */
  readonly imports: Admission;
  /** Tails that are open; counted as one byte each. */
  readonly tails: Admission;
  /** Exports that run; counted as one byte each. */
  readonly exports: Admission;
  /** Requests that wait for an event; counted as one byte each. */
  readonly waits: Admission;
  /** Records refused access. */
  readonly denied: DeniedRecorder;
  readonly stopping: AbortSignal;
}

/**
 * Whom a route serves. A route that does not say so can't be registered. `scraper`: whoever has the metrics token, or a
 * credential that may `observe`; everybody where the settings say so.
 */
type Access = 'public' | 'scraper' | readonly Role[];

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    /** It writes records, or waits for one that was written: its requests are counted apart from reads. */
    isCapture?: boolean;
  }
  interface FastifyRequest {
    /** Set before any other hook of a route that is not public. */
    principal: Principal | null;
  }
}

/** @throws field-invalid for what is no name, log-unknown */
export function findLog(context: HttpContext, name: unknown): Log {
  const log = context.deps.logs.get(checkLogName(name));
  if (log === undefined) {
    throw new EvidentError('log-unknown', `log: there is no log ${name}`, {
      context: { field: 'log', log: String(name) },
    });
  }
  return log;
}

/** @throws not-found */
export function findPartition(log: Log, text: string): number {
  const partition = Number(text);
  if (partition < log.partitions) return partition;
  throw new EvidentError(
    'not-found',
    `partition: ${log.name} has ${log.partitions} partitions, counted from 0`,
    {
      context: { field: 'partition', log: log.name },
    },
  );
}

export function overloaded(what: string): EvidentError {
  return new EvidentError('overloaded', what);
}

export function shuttingDown(): EvidentError {
  return new EvidentError('shutting-down', 'The server is stopping and takes no new requests.');
}
