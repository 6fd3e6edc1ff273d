/**
 * Callers of ingest. What a caller has to send outlives the process that serves it: a caller whose request has
 * an unknown outcome sends the same bytes again until it is told what became of them.
 */

import { isEvidentError } from '@evident/core/errors.ts';
import { partitionOf } from '@evident/core/partition.ts';
import { type ItemResult, ingest } from '../../src/ingest/ingest.ts';
import { objectName } from '../ports.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import { bodyHash, type Caller, drawItem, type Format, holds, type Item, requestBytes } from './items.ts';

interface Request {
  readonly format: Format;
  readonly items: readonly Item[];
  readonly bytes: Uint8Array;
  /** Items whose identity was never sent before, and once here. */
  readonly fresh: ReadonlySet<Item>;
  attempts: number;
}

/** One caller; durable beyond any process. */
interface CallerState extends Caller {
  readonly name: string;
  left: number;
  pending: Request | null;
  /** Where each key's last acknowledged record lies. */
  lastOfKey: Map<string, number>;
  readonly sent: Item[];
}

interface Acknowledged {
  readonly item: Item;
  readonly partition: number;
  readonly position: number;
}

const ATTEMPTS_MAX = 60;

export class IngestStage implements Stage {
  readonly name = 'ingest';
  #acknowledged: Acknowledged[] = [];
  readonly #callers: CallerState[] = [];
  /** Everything that was ever sent, by identity: the log may hold nothing else. */
  readonly #sent = new Map<string, Item[]>();
  #duplicates = 0;

  begin(world: World): void {
    for (let index = 0; index < world.profile.writers; index++) {
      const caller: CallerState = {
        name: `caller-${index}`,
        tenant: 'acme',
        source: `key-${index}`,
        keys: Array.from({ length: 3 }, (_, key) => `acme/${index}/${key}`),
        left: world.profile.requestsEach,
        pending: null,
        lastOfKey: new Map(),
        sent: [],
      };
      this.#callers.push(caller);
      if (index === 0 && world.profile.prefill > 0)
        caller.pending = this.#request(world, caller, world.profile.prefill);
      world.keep(caller.name, (process) => this.#serve(world, process, caller));
    }
  }

  get done(): boolean {
    return this.#callers.every(({ left, pending }) => left === 0 && pending === null);
  }

  /** What was sent under an identity; what the log holds must be one of these. */
  sentAs(tenant: string, id: string): readonly Item[] {
    return this.#sent.get(`${tenant} ${id}`) ?? [];
  }

  async #serve(world: World, process: Process, caller: CallerState): Promise<void> {
    while (caller.pending !== null || caller.left > 0) {
      if (caller.pending === null) {
        caller.left--;
        caller.pending = this.#request(world, caller, world.random.between(1, 5));
      }
      const request = caller.pending;
      if (world.random.chance(1, 12)) this.#sendTwice(world, caller, request);
      const results = await this.#send(world, process, caller, request);
      if (results === 'again' && ++request.attempts < ATTEMPTS_MAX) continue;
      if (results !== 'again' && results !== 'stopped')
        this.#acknowledge(world, caller, request, results, true);
      caller.pending = null;
      await process.step('think');
    }
  }

  #sendTwice(world: World, caller: CallerState, request: Request): void {
    if (world.phase !== 'storm') return;
    world.coverage.note('ingest: same request twice at once');
    world.spawn(`${caller.name}-again-${this.#duplicates++}`, async (process) => {
      const results = await this.#send(world, process, caller, request);
      if (typeof results !== 'string') this.#acknowledge(world, caller, request, results, false);
    });
  }

  async #send(
    world: World,
    process: Process,
    caller: CallerState,
    request: Request,
  ): Promise<ItemResult[] | 'again' | 'stopped'> {
    const { logs, objects } = world.portsOf(process);
    const log = logs.get('audit');
    if (log === undefined) throw new Error('there is no log audit');
    if (request.attempts > 0) world.coverage.note('ingest: retry after an unknown outcome');
    // A buffer of its own, wiped afterwards: what the log keeps must not lie in it.
    const bytes = request.bytes.slice();
    try {
      return await ingest(
        { log, objects },
        { format: request.format, bytes, tenant: caller.tenant, source: caller.source },
      );
    } catch (error) {
      if (!isEvidentError(error)) throw error;
      if (error.code === 'partition-stopped') {
        world.coverage.note('ingest: refused by a stopped partition');
        return 'stopped';
      }
      demand(
        error.retryable || error.code === 'data-unwritable',
        'I1',
        () => `a whole request was refused: ${error.code}: ${error.message}`,
      );
      return 'again';
    } finally {
      bytes.fill(0);
    }
  }

  #request(world: World, caller: CallerState, count: number): Request {
    const { random } = world;
    const format = random.pick<Format>(['json', 'ndjson']);
    const items: Item[] = [];
    for (let i = 0; i < count; i++) {
      const known = random.chance(1, 10) && caller.sent.length > 0 ? random.pick(caller.sent) : undefined;
      items.push(
        known !== undefined && random.chance(1, 2) && fits(known, format)
          ? known
          : drawItem(random, caller, format, known?.id),
      );
      if (i > 0 && random.chance(1, 40)) {
        items.push(drawItem(random, caller, format, items[0].id));
        world.coverage.note('ingest: same identity twice in a request');
      }
    }
    for (const item of items) {
      if (item.refusal !== null) continue;
      caller.sent.push(item);
      const name = `${item.tenant} ${item.id}`;
      this.#sent.set(name, [...(this.#sent.get(name) ?? []), item]);
    }
    const fresh = new Set(
      items.filter((item) => item.refusal === null && this.sentAs(item.tenant, item.id).length === 1),
    );
    return { format, items, bytes: requestBytes(random, format, items), fresh, attempts: 0 };
  }

  #acknowledge(
    world: World,
    caller: CallerState,
    request: Request,
    results: readonly ItemResult[],
    inOrder: boolean,
  ): void {
    const { items } = request;
    demand(results.length === items.length, 'I1', () => `${items.length} items, ${results.length} results`);
    for (const [index, result] of results.entries()) {
      const item = items[index];
      if (result.status === 'refused') {
        this.#checkRefusal(world, item, result);
        continue;
      }
      demand(item.refusal === null, 'ingest', () => `an item to be refused with ${item.refusal} was taken`);
      const { partition } = result;
      const position = Number(result.position);
      this.#acknowledged.push({ item, partition, position });
      this.#checkHeld(world, item, partition, position);
      noteKind(world, request, item, result.status);
      if (inOrder && request.fresh.has(item)) checkOrder(caller, item, position);
    }
  }

  #checkRefusal(world: World, item: Item, result: ItemResult & { status: 'refused' }): void {
    if (item.refusal !== null) {
      demand(
        result.code === item.refusal,
        'ingest',
        () => `refused with ${result.code} instead of ${item.refusal}: ${result.detail}`,
      );
      world.coverage.note('ingest: item refused');
      return;
    }
    demand(
      result.code === 'id-reused',
      'I1',
      () => `an item was refused with ${result.code}: ${result.detail}`,
    );
    demand(
      this.sentAs(item.tenant, item.id).length > 1,
      'I1',
      () => `${item.id} was refused as reused, but it never was`,
    );
    world.coverage.note('ingest: id-reused');
  }

  #checkHeld(world: World, item: Item, partition: number, position: number): void {
    const record = world.history('audit', partition).records[position];
    const place = `audit/${partition}/${position}`;
    // The history is read after the turn; an acknowledgement within the same turn looks at the log itself.
    const held = record ?? world.durable.logs.get('audit')?.partitions[partition].records[position];
    demand(
      held !== null && held !== undefined && holds(held, item),
      'I1',
      () => `${place} was acknowledged, and does not hold ${item.id} as it was given`,
    );
    demand(
      partitionOf(item.key, world.profile.partitions) === partition,
      'I4',
      () => `${place} is not where the key ${item.key} belongs`,
    );
    if (held.body.form === 'object') {
      const object = world.durable.objects.get(objectName(item.tenant, held.body.sha256));
      demand(
        object !== undefined && Buffer.compare(bodyHash(object), held.body.sha256) === 0,
        'I1',
        () => `${place} names an object that is not there`,
      );
    }
  }

  putBack(world: World): void {
    for (const caller of this.#callers) caller.lastOfKey.clear();
    // What the older copy does not hold is lost; the seal stage demands the break.
    this.#acknowledged = this.#acknowledged.filter(({ item, partition, position }) => {
      const record = world.history('audit', partition).records[position];
      return record !== undefined && holds(record, item);
    });
  }

  settled(world: World): void {
    for (const { item, partition, position } of this.#acknowledged) {
      if (world.attacked.has(`audit/${partition}`)) continue;
      this.#checkHeld(world, item, partition, position);
    }
  }
}

function fits(item: Item, format: Format): boolean {
  return format === 'json' || !item.body.includes(0x0a);
}

/** A caller that awaits each of its requests finds the records of one key in the order in which it sent them. */
function checkOrder(caller: CallerState, item: Item, position: number): void {
  const last = caller.lastOfKey.get(item.key) ?? -1;
  demand(position > last, 'I4', () => `${item.key}: position ${position} was acknowledged after ${last}`);
  caller.lastOfKey.set(item.key, position);
}

function noteKind(world: World, request: Request, item: Item, status: 'appended' | 'repeat'): void {
  world.coverage.note(`ingest: ${status}`);
  if (status === 'repeat' && request.attempts > 0) world.coverage.note('ingest: retry was a repeat');
  if (item.body.length > 60_000) world.coverage.note('ingest: body as object');
  else if (item.body.some((byte) => byte < 0x20)) world.coverage.note('ingest: body in base64');
}
