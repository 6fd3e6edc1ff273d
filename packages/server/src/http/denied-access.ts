import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';
import type { Principal, Suspect } from '../access/authorise.ts';
import type { OwnActor } from '../audit/own-event.ts';
import type { HttpContext } from './context.ts';

/** Has a refusal recorded. The route as it is declared: what the caller wrote may hold anything, a key even. */
export function noteDenied(
  { denied }: HttpContext,
  request: FastifyRequest,
  code: string,
  suspect: Suspect,
): void {
  const route = `${request.method} ${request.routeOptions.url ?? 'unknown'}`;
  denied.note({ route, code, suspect, address: addressOf(request), requestId: request.id });
}

/** Of a caller whose credential is good, and who asked for what is another's. */
export function suspectOf({ subject, role, tenant }: Principal): Suspect {
  return { subject, isProven: true, role, tenant };
}

/** Who acts, for what is recorded of it. */
export function actorOf(request: FastifyRequest): OwnActor {
  const { subject, role } = request.principal as Principal;
  return { id: subject, role, ip: addressOf(request) };
}

/** Longest address: an IPv6 one with the name of an interface. */
const ADDRESS_LENGTH_MAX = 64;

/**
 * A trusted proxy may hand on whatever a client wrote for its address; what is none is not recorded as one. Nor is one
 * whose zone has no end: it would stand in a record's key.
 */
function addressOf({ ip, socket }: FastifyRequest): string {
  const isAddress = isIP(ip) !== 0 && ip.length <= ADDRESS_LENGTH_MAX;
  return isAddress ? ip : (socket.remoteAddress ?? 'unknown');
}
