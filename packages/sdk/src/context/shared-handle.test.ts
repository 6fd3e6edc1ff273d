/** The guard for callbacks of handles that outlive a request: each kind is opened in a request and must be refused. */

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { unwatchFile, watch, watchFile } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { isEvidentError } from '@evident/core/errors.ts';
import { bindContext, currentContext, runWithContext } from './context.ts';
import { beginRequest } from './request-scope.ts';

interface Seen {
  readonly plain: string | null | undefined;
  readonly bound: string | null | undefined;
  readonly after: string | null | undefined;
}

function look(): string | null | undefined {
  try {
    return currentContext()?.actor?.id ?? null;
  } catch (error) {
    return isEvidentError(error) ? error.code : undefined;
  }
}

/** Opens a handle in a context, and looks in its first callback: plainly, bound, and in a promise that it settles. */
function lookFrom(open: (callback: () => void) => unknown): Promise<Seen> {
  return runWithContext({ actor: { id: 'usr_1', type: 'user' } }, async () => {
    const { promise, resolve } = Promise.withResolvers<Omit<Seen, 'after'>>();
    const bound = bindContext(look);
    open(() => resolve({ plain: look(), bound: bound() }));
    return { ...(await promise), after: look() };
  });
}

const GUARDED: Seen = { plain: 'context-missing', bound: 'usr_1', after: 'usr_1' };

describe('in a callback of a handle that lives on', () => {
  it('a TCP socket is refused', async () => {
    const server = createNetServer((peer) => peer.end('x')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    assert.deepEqual(
      await lookFrom((callback) => connect(port, '127.0.0.1').once('data', callback)),
      GUARDED,
    );
    server.close();
  });

  it('a socket of the file system, as of a local database, is refused', {
    skip: process.platform === 'win32',
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'evident-'));
    const server = createNetServer((peer) => peer.end('x')).listen(join(folder, 'socket'));
    await once(server, 'listening');
    assert.deepEqual(
      await lookFrom((callback) => connect(join(folder, 'socket')).once('data', callback)),
      GUARDED,
    );
    server.close();
    await rm(folder, { recursive: true });
  });

  it('a UDP socket is refused', async () => {
    const socket = createSocket('udp4');
    const seen = await lookFrom((callback) => {
      // Made in the request: the handle of a datagram socket is opened by its constructor.
      const own = createSocket('udp4').once('message', () => {
        callback();
        own.close();
      });
      own.bind(0, '127.0.0.1', () => socket.send('x', own.address().port, '127.0.0.1'));
    });
    assert.deepEqual(seen, GUARDED);
    socket.close();
  });

  it('a message port is refused', async () => {
    const seen = await lookFrom((callback) => {
      const { port1, port2 } = new MessageChannel();
      port1.once('message', () => {
        callback();
        port1.close();
      });
      port2.postMessage('x');
    });
    assert.deepEqual(seen, GUARDED);
  });

  it('an interval is refused, a timeout is not', async () => {
    const seen = await lookFrom((callback) => {
      const interval = setInterval(() => {
        callback();
        clearInterval(interval);
      }, 1);
    });
    assert.deepEqual(seen, GUARDED);
    assert.equal((await lookFrom((callback) => setTimeout(callback, 1))).plain, 'usr_1');
  });

  it('a signal shows nobody', { skip: process.platform === 'win32' }, async () => {
    const seen = await lookFrom((callback) => {
      process.once('SIGCONT', callback);
      process.kill(process.pid, 'SIGCONT');
    });
    // One handle for all listeners of a signal: opened here, or outside of any context by whoever runs the tests.
    assert.ok(seen.plain === 'context-missing' || seen.plain === null);
    assert.equal(seen.bound, 'usr_1');
  });

  it('a watched file is refused', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'evident-'));
    const file = join(folder, 'watched');
    const watched = await lookFrom((callback) => {
      const watcher = watch(folder, () => {
        callback();
        watcher.close();
      });
      void writeFile(file, 'x');
    });
    assert.deepEqual(watched, GUARDED);
    const polled = await lookFrom((callback) => {
      watchFile(file, { interval: 5 }, () => {
        callback();
        unwatchFile(file);
      });
      void writeFile(file, 'xx');
    });
    assert.deepEqual(polled, GUARDED);
    await rm(folder, { recursive: true });
  });

  it('a context that was entered in the same callback is believed', async () => {
    const seen = await lookFrom((callback) => {
      const interval = setInterval(() => {
        clearInterval(interval);
        runWithContext({ actor: { id: 'usr_2', type: 'user' } }, () => assert.equal(look(), 'usr_2'));
        callback();
      }, 1);
    });
    assert.equal(seen.plain, 'context-missing');
  });

  it('a request of http.Agent is its own, on a connection that another request opened', async () => {
    const server = createServer((_request, response) => response.end('x')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const fetched = (id: string) =>
      runWithContext({ actor: { id, type: 'user' } }, async () => {
        const seen: unknown[] = [];
        const [response] = await once(get({ host: '127.0.0.1', port }), 'response');
        response.on('data', () => seen.push(look()));
        await once(response, 'end');
        return seen;
      });
    assert.deepEqual(await fetched('usr_1'), ['usr_1']);
    assert.deepEqual(await fetched('usr_2'), ['usr_2']);
    server.closeAllConnections();
    server.close();
  });
});

describe('the events of an object that belongs to one request', () => {
  it('find its context where they are emitted outside of it, and are emitted once', () => {
    const scope = beginRequest({ actor: { id: 'usr_1', type: 'user' } });
    const emitter = new EventEmitter();
    const seen: unknown[] = [];
    emitter.on('event', (value) => seen.push(value, look()));
    emitter.emit('event', 1);
    scope.carry(emitter);
    assert.equal(emitter.emit('event', 2), true);
    runWithContext({ actor: { id: 'usr_2', type: 'user' } }, () => emitter.emit('event', 3));
    assert.equal(emitter.emit('nobody listens'), false);
    assert.deepEqual(seen, [1, null, 2, 'usr_1', 3, 'usr_1']);
  });

  it('keep an inner context of the same request', () => {
    const scope = beginRequest({ actor: { id: 'usr_1', type: 'user' } });
    const emitter = new EventEmitter();
    scope.carry(emitter);
    const seen: unknown[] = [];
    emitter.on('event', () => seen.push(look()));
    scope.run(() => runWithContext({ actor: { id: 'svc_1', type: 'service' } }, () => emitter.emit('event')));
    assert.deepEqual(seen, ['svc_1']);
  });
});
