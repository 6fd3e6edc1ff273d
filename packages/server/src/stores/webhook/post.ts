/** The port `Send`: one POST to an address that is not trusted. */

import { lookup } from 'node:dns/promises';
import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import type { Post, PostAnswer } from '../../alerts/ports.ts';
import { isPublicAddress } from './addresses.ts';

const ANSWER_BYTES_MAX = 64 * 1024;

interface Resolved {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Names to addresses; replaced in tests. */
export type Resolve = (hostname: string) => Promise<readonly { address: string; family: number }[]>;

const resolveName: Resolve = (hostname) => lookup(hostname, { all: true, order: 'verbatim' });

/** The address to connect to, or why there is none. */
async function pick(url: URL, allowPrivate: boolean, resolve: Resolve): Promise<Resolved | string> {
  const hostname = url.hostname.replace(/^\[|\]$/g, '');
  const family = isIP(hostname);
  const resolved = family === 0 ? resolve(hostname) : [{ address: hostname, family }];
  if (allowPrivate) {
    const [first] = await resolved;
    return first === undefined ? `${hostname} has no address` : asResolved(first.address);
  }
  const found = await Promise.resolve(resolved).catch(() => []);
  // All of them: a name that has one private address among public ones is meant to be caught at a second look. One
  // answer for a name that does not exist and one that leads inside: who may add a webhook is not thereby to learn which
  // names there are in here, or what they mean.
  if (found.length === 0 || found.some(({ address }) => !isPublicAddress(address)))
    return `${hostname} has no address, or one that is not of the public network`;
  return asResolved(found[0].address);
}

function asResolved(address: string): Resolved {
  return { address, family: isIP(address) as 4 | 6 };
}

/** Never throws: what went wrong is the answer. */
export async function sendPost(
  post: Post,
  signal: AbortSignal,
  resolve: Resolve = resolveName,
): Promise<PostAnswer> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(post.timeoutMs)]);
  try {
    const url = new URL(post.url);
    const picked = await untilAborted(pick(url, post.allowPrivate, resolve), bounded);
    if (typeof picked === 'string') return { kind: 'unreachable', reason: picked };
    return { kind: 'answered', status: await request(url, post, picked, bounded) };
  } catch (error) {
    if (bounded.aborted && !signal.aborted)
      return { kind: 'unreachable', reason: `no answer within ${post.timeoutMs} ms` };
    return { kind: 'unreachable', reason: (error as Error).message };
  }
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason as Error);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', onAbort));
}

function request(url: URL, post: Post, picked: Resolved, signal: AbortSignal): Promise<number> {
  const client = url.protocol === 'https:' ? https : http;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const sent = client.request(
    url,
    {
      method: 'POST',
      headers: { ...post.headers, 'content-length': post.body.length },
      // The address that was looked at; the name stays in the Host header and in the check of the certificate.
      lookup: (_hostname, options, done) => {
        if (options.all) done(null, [picked]);
        else done(null, picked.address, picked.family);
      },
      agent: false,
      signal,
    },
    (answer) => {
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        // The status has come; what else somebody has to say is of no use to us.
        if (bytes > ANSWER_BYTES_MAX) answer.destroy();
      });
      answer.on('close', () => resolve(answer.statusCode ?? 0));
      answer.on('error', () => resolve(answer.statusCode ?? 0));
    },
  );
  sent.on('error', reject);
  sent.end(post.body);
  return promise;
}
