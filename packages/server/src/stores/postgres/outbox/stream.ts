/**
 * The stream of a replication slot. The transport is pg-logical-replication's; what it says is read here, in the
 * order of arrival: its `heartbeat` events overtake messages that wait in its own queue, and a heartbeat that is
 * believed before the rows in front of it would acknowledge them unseen.
 */

import type pg from 'pg';
import { LogicalReplicationService } from 'pg-logical-replication';
import type { OutboxStream, ReadBounds, Streamed, StreamedRow } from '../../../relay/ports.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import { PgoutputReader } from './pgoutput.ts';
import { sourceFault } from './source-fault.ts';

/** Rows and bytes that wait here before the connection is read no further. */
const WAITING_ROWS_MAX = 20_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** Milliseconds without news after which the server is asked how far it has read. */
const NEWS_MS = 500;
const START_MS_MAX = 30_000;
/**
 * Milliseconds in which the database gets the acknowledgement that it asks for. It asks before it stops, and waits as
 * long as the connection lives: its stop must not hang on a log that is slow.
 */
const ANSWER_MS_MAX = 500;

/** Everything up to `lsn` came before the row with the number `after`, counted from the stream's begin. */
interface Mark {
  readonly after: number;
  readonly lsn: bigint;
}

/** What has come and is not taken yet. */
class Arrived {
  readonly #rows: StreamedRow[] = [];
  #first = 0;
  #bytes = 0;
  #taken = 0;
  #marks: Mark[] = [];
  #wake: (() => void) | null = null;
  #room: (() => void)[] = [];
  #failure: Error | null = null;

  push(row: StreamedRow): void {
    this.#rows.push(row);
    this.#bytes += row.body.length;
    this.#wake?.();
  }

  mark(lsn: bigint): void {
    const after = this.#taken + this.#rows.length - this.#first;
    const last = this.#marks.at(-1);
    if (last !== undefined && last.after === after) this.#marks.pop();
    this.#marks.push({ after, lsn });
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
    this.#letIn();
  }

  /** Resolves when there is something to take, or after the time. */
  async wait(milliseconds: number): Promise<boolean> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#first < this.#rows.length || this.#marks.length > 0) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
    if (this.#failure !== null) throw this.#failure;
    return this.#first < this.#rows.length || this.#marks.length > 0;
  }

  take({ rowsMax, bytesMax }: ReadBounds): Streamed {
    const rows: StreamedRow[] = [];
    let bytes = 0;
    while (
      this.#first < this.#rows.length &&
      rows.length < rowsMax &&
      (bytes < bytesMax || rows.length === 0)
    ) {
      const row = this.#rows[this.#first++];
      bytes += row.body.length;
      rows.push(row);
    }
    // Shifting the array once a row would cost its length each time.
    if (this.#first === this.#rows.length || this.#first > WAITING_ROWS_MAX) {
      this.#rows.splice(0, this.#first);
      this.#first = 0;
    }
    this.#bytes -= bytes;
    this.#taken += rows.length;
    let through = 0n;
    let passed = 0;
    for (const mark of this.#marks) {
      if (mark.after > this.#taken) break;
      through = mark.lsn;
      passed++;
    }
    this.#marks.splice(0, passed);
    this.#letIn();
    return { rows, through };
  }

  /** Undefined while there is room; otherwise resolves when there is. */
  room(): Promise<void> | undefined {
    const waiting = this.#rows.length - this.#first;
    if (this.#failure !== null || (waiting < WAITING_ROWS_MAX && this.#bytes < WAITING_BYTES_MAX))
      return undefined;
    return new Promise((resolve) => this.#room.push(resolve));
  }

  #letIn(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }
}

/** Reads each message as it arrives; the service gets nothing to hand on but the fact. */
class OutboxPlugin {
  readonly name = 'pgoutput';
  readonly options = {};
  readonly #arrived: Arrived;
  readonly #reader = new PgoutputReader();

  constructor(arrived: Arrived) {
    this.#arrived = arrived;
  }

  parse(bytes: Buffer): null {
    try {
      const message = this.#reader.read(bytes);
      if (message?.tag === 'row') this.#arrived.push(message.row);
      else if (message?.tag === 'commit') this.#arrived.mark(message.endLsn);
    } catch (error) {
      this.#arrived.fail(error as Error);
    }
    return null;
  }

  async start(client: pg.Client, slot: string): Promise<unknown> {
    // 0/0: from where the slot was acknowledged.
    return client.query(
      `START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (proto_version '1', publication_names 'evident_outbox')`,
    );
  }
}

/** @param from what may be acknowledged already */
export async function openOutboxStream(
  connection: pg.ClientConfig,
  slot: string,
  from: bigint,
): Promise<OutboxStream> {
  if (!/^[a-z0-9_]{1,63}$/.test(slot)) throw new RangeError(`no name of a slot: ${slot}`);
  const arrived = new Arrived();
  let acknowledged = from;
  const service = new LogicalReplicationService(connection, {
    acknowledge: { auto: false, timeoutSeconds: 0 },
    flowControl: { enabled: true },
  });
  const fail = (error: unknown) => arrived.fail(sourceFault(error, `streaming from the slot ${slot}`));
  service.on('error', fail);
  service.on('data', () => arrived.room());
  let awaited: { lsn: bigint; timer: NodeJS.Timeout } | null = null;
  const hang = () => {
    fail(
      new Error('the database waits for an acknowledgement that can not be given yet; it may be stopping'),
    );
    void service.destroy();
  };
  service.on('heartbeat', (text: string, _timestamp: number, mustAnswer: boolean) => {
    const lsn = parseLsn(text);
    arrived.mark(lsn);
    if (mustAnswer && lsn > acknowledged) awaited ??= { lsn, timer: setTimeout(hang, ANSWER_MS_MAX) };
  });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it does not start')), START_MS_MAX);
    service.on('start', () => {
      clearTimeout(timer);
      resolve();
    });
    service.subscribe(new OutboxPlugin(arrived), slot).then(
      () => fail(new Error('it has ended')),
      (error: unknown) => {
        fail(error);
        clearTimeout(timer);
        reject(error);
      },
    );
  }).catch(async (error: unknown) => {
    await service.destroy();
    throw sourceFault(error, `streaming from the slot ${slot}`);
  });
  // The service adds one to what it is given; a commit that begins at the very end of the last would be passed over.
  const tell = (ask: boolean) => void service.acknowledge(formatLsn(acknowledged - 1n), ask);
  const forget = () => {
    clearTimeout(awaited?.timer);
    awaited = null;
  };
  return {
    async next(bounds) {
      if (!(await arrived.wait(NEWS_MS))) tell(true);
      return arrived.take(bounds);
    },
    acknowledge(lsn) {
      if (lsn <= acknowledged) return;
      acknowledged = lsn;
      tell(false);
      if (awaited !== null && lsn >= awaited.lsn) forget();
    },
    async close() {
      forget();
      arrived.fail(new Error('it was closed'));
      await service.destroy();
    },
  };
}
