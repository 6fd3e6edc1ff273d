/** The ways in which a request of Node comes back from waiting; each test walks them and asks who acts there. */

import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns';
import { EventEmitter, once } from 'node:events';
import { readFile } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { isEvidentError } from '@evident/core/errors.ts';
import { bindContext, currentContext, runWithContext } from './context.ts';

/** What is put to the test: this package, or a mutant of it that must fail. */
export interface ContextUnderTest {
  run<T>(actorId: string, fn: () => T): T;
  /** Who acts; may throw. */
  read(): string | null;
  bind<F extends (...args: never[]) => unknown>(fn: F): F;
}

export const evident: ContextUnderTest = {
  run: (actorId, fn) => runWithContext({ tenant: 'acme', actor: { id: actorId, type: 'user' } }, fn),
  read: () => currentContext()?.actor?.id ?? null,
  bind: bindContext,
};

/** A seeded sequence in [0, 1), so that an order that fails can be had again. */
export function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Things that all requests share and that the first to need them opens, within its own context. */
export class SharedThings {
  readonly emitter = new EventEmitter().setMaxListeners(0);
  readonly #free = [1, 2, 3];
  readonly #waiting: ((resource: number) => void)[] = [];
  readonly #replies = new Map<number, () => void>();
  readonly #batch: (() => void)[] = [];
  #calls = 0;
  #server: Server | null = null;
  #socket: Promise<Socket> | null = null;
  #worker: Worker | null = null;
  #interval: NodeJS.Timeout | null = null;

  /** A generic pool: three resources, and waiters that are woken by whoever gives one back. */
  async withResource<T>(fn: () => Promise<T>): Promise<T> {
    const resource =
      this.#free.pop() ?? (await new Promise<number>((resolve) => this.#waiting.push(resolve)));
    try {
      return await fn();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(resource);
      else next(resource);
    }
  }

  /** One connection for all, with callbacks, as a driver with a pool of size one has it. */
  async query(callback: () => void): Promise<void> {
    this.#socket ??= this.#connect();
    const socket = await this.#socket;
    const id = this.#register(callback);
    socket.write(`${id}\n`);
  }

  async #connect(): Promise<Socket> {
    this.#server = createServer((peer) => peer.pipe(peer)).listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const socket = connect((this.#server.address() as { port: number }).port, '127.0.0.1');
    await once(socket, 'connect');
    let rest = '';
    socket.on('data', (bytes) => {
      const lines = (rest + bytes.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#reply(Number(line));
    });
    return socket;
  }

  /** One worker thread for all. */
  work(callback: () => void): void {
    if (this.#worker === null) {
      this.#worker = new Worker(
        'const { parentPort } = require("node:worker_threads"); parentPort.on("message", (id) => parentPort.postMessage(id));',
        { eval: true },
      );
      this.#worker.on('message', (id: number) => this.#reply(id));
    }
    this.#worker.postMessage(this.#register(callback));
  }

  /** Flushes what was put in, every other millisecond. */
  later(callback: () => void): void {
    this.#batch.push(callback);
    this.#interval ??= setInterval(() => {
      for (const each of this.#batch.splice(0)) each();
    }, 2);
  }

  #register(callback: () => void): number {
    this.#calls += 1;
    this.#replies.set(this.#calls, callback);
    return this.#calls;
  }

  #reply(id: number): void {
    const callback = this.#replies.get(id);
    this.#replies.delete(id);
    callback?.();
  }

  async close(): Promise<void> {
    if (this.#interval !== null) clearInterval(this.#interval);
    (await this.#socket)?.destroy();
    this.#server?.close();
    await this.#worker?.terminate();
  }
}

export interface Sighting {
  readonly path: string;
  /** The id of the actor, `null` for none, or `error: <code>`. */
  readonly seen: string | null;
}

type Walk = (context: ContextUnderTest, shared: SharedThings, look: () => void) => Promise<unknown>;

const called = (start: (done: () => void) => void): Promise<void> => new Promise((resolve) => start(resolve));
/** Looks within the callback itself, then lets the request go on. */
const within = (look: () => void, start: (callback: () => void) => unknown): Promise<void> =>
  called((done) => {
    start(() => {
      look();
      done();
    });
  });

const passing = (look: () => void): Transform =>
  new Transform({
    transform(chunk, _encoding, done) {
      look();
      done(null, chunk);
    },
  });
const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/** Ways on which everybody must see himself. */
export const OWN_PATHS: Readonly<Record<string, Walk>> = {
  await: (_context, _shared, look) => Promise.resolve().then(look),
  'timers/promises': (_context, _shared, look) => sleep(1).then(look),
  setTimeout: (_context, _shared, look) => within(look, (callback) => setTimeout(callback, 1)),
  setImmediate: (_context, _shared, look) => within(look, setImmediate),
  nextTick: (_context, _shared, look) => within(look, (callback) => process.nextTick(callback)),
  queueMicrotask: (_context, _shared, look) => within(look, queueMicrotask),
  'fs callback': (_context, _shared, look) =>
    within(look, (callback) => readFile(import.meta.filename, callback)),
  'dns callback': (_context, _shared, look) => within(look, (callback) => lookup('127.0.0.1', callback)),
  'crypto callback': (_context, _shared, look) => within(look, (callback) => randomBytes(8, callback)),
  'fs stream in a pipeline': async (_context, _shared, look) => {
    const file = await open(import.meta.filename);
    await pipeline(file.createReadStream({ highWaterMark: 4_096 }), passing(look), nowhere());
  },
  'stream of a generator': (_context, _shared, look) =>
    pipeline(Readable.from(['a', 'b', 'c']), passing(look), nowhere()),
  'own listener of a shared emitter': (_context, shared, look) =>
    within(look, (callback) => {
      const event = Symbol('own');
      shared.emitter.once(event, callback);
      setImmediate(() => shared.emitter.emit(event));
    }),
  'resource of a pool': (_context, shared, look) =>
    shared.withResource(async () => {
      await sleep(1);
      look();
    }),
  'promise of a shared connection': (_context, shared, look) =>
    called((done) => void shared.query(done)).then(look),
  'promise of a worker thread': (_context, shared, look) => called((done) => shared.work(done)).then(look),
  'promise of a batch': (_context, shared, look) => called((done) => shared.later(done)).then(look),
  'bound callback of a shared connection': (context, shared, look) =>
    within(look, (callback) => shared.query(context.bind(callback))),
  'bound callback of a worker thread': (context, shared, look) =>
    within(look, (callback) => shared.work(context.bind(callback))),
  'bound callback of a batch': (context, shared, look) =>
    within(look, (callback) => shared.later(context.bind(callback))),
};

/** Ways on which Node hands everybody the context of whoever opened the thing: an error is expected there. */
export const GUARDED_PATHS: Readonly<Record<string, Walk>> = {
  'callback of a shared connection': (_context, shared, look) =>
    within(look, (callback) => shared.query(callback)),
  'callback of a worker thread': (_context, shared, look) =>
    within(look, (callback) => shared.work(callback)),
  'callback of a batch': (_context, shared, look) => within(look, (callback) => shared.later(callback)),
};

/** Walks the paths in an order of its own, and says who was seen on each. */
export async function walk(
  paths: Readonly<Record<string, Walk>>,
  context: ContextUnderTest,
  shared: SharedThings,
  random: () => number,
): Promise<Sighting[]> {
  const sightings: Sighting[] = [];
  const shuffled = Object.entries(paths)
    .map(([path, go]) => ({ path, go, rank: random() }))
    .sort((a, b) => a.rank - b.rank);
  for (const { path, go } of shuffled) {
    await go(context, shared, () => {
      let seen: string | null;
      try {
        seen = context.read();
      } catch (error) {
        if (!isEvidentError(error)) throw error;
        seen = `error: ${error.code}`;
      }
      sightings.push({ path, seen });
    });
    if (random() < 0.3) await sleep(random() * 3);
  }
  return sightings;
}
