/**
 * What a relay promises (I2, I4), held against the application's transactions. Written down from the design, and
 * not taken from the relay's code.
 *
 * At every moment: a record from the outbox is of a row that is committed, as it was written; each identity with
 * its body is in the log once; a slot is emptied only of rows that are in the log below a stored head. At the end:
 * every row that committed in the present history of the application's database is in the log. What that database
 * has lost itself, after a copy was put back, may be there or not.
 *
 * When the log's own database was put back, the cursor went back with it: what still stands in the outbox comes
 * again. What had been emptied had been sealed; either the copy holds it, or the sealer names the break.
 */

import { decodeUtf8 } from '@evident/core/bytes.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { comparePlaces, parseState, type RelayState } from '../../src/relay/state.ts';
import type { HeldRow } from '../../src/stores/memory/application-database.ts';
import { demand } from '../violation.ts';
import { NAME, type World } from '../world.ts';
import { type CaptureStage, isRejected } from './capture.ts';

/** By which call rows were read: each has an order of its own. */
export type Way = 'polling' | 'sweep' | 'handover' | 'wal' | 'restored';

interface Relayed {
  readonly record: LogRecord;
  readonly row: HeldRow;
  readonly way: Way | null;
  /** Between two changes of the way, or of the cursor's mode or epoch. */
  readonly segment: number;
}

const textOf = (bytes: Uint8Array): string => decodeUtf8(bytes) as string;

/** What the log holds once. */
function identityOf(row: HeldRow): string {
  const { tenant, eventId, type, key, meta } = row;
  const identity = `${tenant} ${eventId} ${textOf(row.body)}`;
  return isRejected(row) ? `rejected ${identity} ${type} ${key} ${meta}` : identity;
}

export class RelayCheck {
  readonly #capture: CaptureStage;
  readonly #source: string;
  readonly #written = new Map<string, HeldRow[]>();
  #known = 0;
  #inLog = new Map<string, LogRecord>();
  /** What was in the log before its database was put back. */
  readonly #past = new Map<string, LogRecord>();
  #byKey = new Map<string, Relayed[]>();
  #way: Way | null = null;
  #segment = 0;
  #segmentName = '';

  constructor(capture: CaptureStage, source: string) {
    this.#capture = capture;
    this.#source = source;
  }

  /** A cursor was stored, with what was read in this way; null when nothing was. */
  noteStored(world: World, way: Way | null, { mode, epoch }: RelayState): void {
    const name = `${way ?? this.#way}/${mode}/${epoch}/${world.durable.application.run}`;
    if (name !== this.#segmentName) this.#segment++;
    this.#segmentName = name;
    this.#way = way ?? this.#way;
  }

  #rowsOf(tenant: string, id: string): readonly HeldRow[] {
    const { written } = this.#capture;
    for (; this.#known < written.length; this.#known++) {
      const row = written[this.#known];
      const name = `${row.tenant} ${row.eventId}`;
      this.#written.set(name, [...(this.#written.get(name) ?? []), row]);
    }
    return this.#written.get(`${tenant} ${id}`) ?? [];
  }

  /** A record that came from a relay. */
  takeUp(world: World, record: LogRecord): void {
    const place = `${record.log}/${record.partition}/${record.position}`;
    if (record.type === 'relay.epoch') {
      demand(
        record.source === 'evident' && record.tenant === '_system',
        'relay',
        () => `${place} is not Evident's own`,
      );
      return;
    }
    const rows = record.type === 'relay.rejected' ? this.#rejectedRows(record) : this.#takenRows(record);
    const committed = rows.filter(
      (row) => row.transaction.commitLsn !== null && row.transaction.rows.includes(row),
    );
    demand(
      committed.length > 0,
      'I2',
      () => `${place} is an orphan: no row of the outbox that committed says ${record.id}`,
    );
    const [row] = committed;
    const identity = identityOf(row);
    demand(!this.#inLog.has(identity), 'I2', () => `${place} is ${record.id} for the second time`);
    this.#inLog.set(identity, record);
    world.coverage.note(`relay: ${isRejected(row) ? 'rejected' : 'taken'} by ${this.#way}`);
    const isOnce = this.#rowsOf(row.tenant, row.eventId).length === 1;
    if (isOnce && !isRejected(row)) this.#checkOrder(world, record, row);
  }

  #takenRows(record: LogRecord): readonly HeldRow[] {
    demand(
      record.source === `outbox:${this.#source}`,
      'relay',
      () => `${record.id} is from ${record.source}`,
    );
    const { body, type, key, meta, schema, sourceSeq } = record;
    if (body.form !== 'json') return [];
    const text = textOf(body.bytes);
    return this.#rowsOf(record.tenant, record.id).filter(
      (row) =>
        !isRejected(row) &&
        row.type === type &&
        row.key === key &&
        row.meta === meta &&
        row.schema === schema &&
        sourceSeq?.split('.')[1] === row.id.toString() &&
        textOf(row.body) === text,
    );
  }

  #rejectedRows(record: LogRecord): readonly HeldRow[] {
    demand(
      record.source === 'evident' && record.tenant === '_system' && record.body.form === 'json',
      'relay',
      () => `a rejected row is not recorded as Evident's own`,
    );
    const { row: said } = JSON.parse(textOf(record.body.bytes));
    return this.#rowsOf(said.tenant, said.event_id).filter(
      (row) =>
        isRejected(row) &&
        row.type === said.type &&
        row.key === said.key &&
        row.meta === said.meta &&
        textOf(row.body) === said.body,
    );
  }

  #checkOrder(world: World, record: LogRecord, row: HeldRow): void {
    const earlier = this.#byKey.get(row.key) ?? [];
    const { application } = world.durable;
    const isOfNow = ({ transaction }: HeldRow): boolean =>
      application.committed.indexOf(transaction) >= application.walFirst;
    // Rows that a dump brought keep xids that say nothing here: they come in the order of these.
    if (isOfNow(row)) {
      const overtaken = earlier.find(
        ({ row: other }) => row.transaction.ended < other.transaction.begun && isOfNow(other),
      );
      demand(
        overtaken === undefined,
        'I4',
        () =>
          `${row.key}: row ${row.id} stands behind row ${overtaken?.row.id}, whose transaction began after its own had ended`,
      );
    }
    const relayed = { record, row, way: this.#way, segment: this.#segment };
    const last = earlier.at(-1);
    if (application.walFirst === 0 && last?.segment === this.#segment) checkStrictOrder(last, relayed);
    this.#byKey.set(row.key, [...earlier, relayed]);
  }

  /** Nothing leaves the outbox before it is in the log and sealed. */
  checkTruncated(world: World, rows: readonly HeldRow[]): void {
    for (const row of rows) {
      const identity = identityOf(row);
      const now = this.#inLog.get(identity);
      const record = now ?? this.#past.get(identity);
      demand(
        record !== undefined,
        'I2',
        () => `slot ${row.slot} is emptied of row ${row.id}, which is not in the log`,
      );
      const { log, partition, position } = record;
      const tree = `${log}/${partition}`;
      const sealed = world.durable.heads.stored.get(tree)?.size ?? 0n;
      const signed = world.durable.signer.get(treeOrigin(NAME, log, partition))?.size ?? 0n;
      demand(
        position < (world.copies > 0 ? signed : sealed),
        'sealed before emptied',
        () =>
          `slot ${row.slot} is emptied of row ${row.id}, which stands at ${tree}/${position}; ${sealed} are sealed`,
      );
      world.coverage.note('ring: row given up');
    }
  }

  putBack(world: World): void {
    for (const [identity, record] of this.#inLog) this.#past.set(identity, record);
    const isHeld = (record: LogRecord): boolean =>
      world.history(record.log, record.partition).records[Number(record.position)] === record;
    this.#inLog = new Map([...this.#inLog].filter(([, record]) => isHeld(record)));
    this.#byKey = new Map(
      [...this.#byKey].map(([key, all]) => [key, all.filter(({ record }) => isHeld(record))]),
    );
    this.#segment++;
  }

  /** @returns a row that is not in the log, or null */
  waitsForRow({ durable: { application, logs } }: World): string | null {
    // A partition that is stopped holds the relay up: somebody has to look at it.
    if (isStopped(logs)) return null;
    for (const { rows } of application.committed) {
      const missing = rows.find((row) => !this.#inLog.has(identityOf(row)));
      if (missing !== undefined) return `row ${missing.xid}/${missing.id} of the outbox is not in the log`;
    }
    return null;
  }

  /** @returns what is not yet as it must once have been without faults, or null */
  waitsFor(world: World): string | null {
    const { application, logs, sources } = world.durable;
    if (isStopped(logs)) return null;
    const row = this.waitsForRow(world);
    if (row !== null) return row;
    const { state: text, wantedMode } = sources.get(this.#source) ?? {};
    if (text === undefined || text === null) return 'the relay has never begun';
    const state = parseState(text);
    if (state.mode !== wantedMode) return `the cursor stands in ${state.mode} and not in ${wantedMode}`;
    const { system, timeline } = application.identity;
    if (state.identity.system !== system || state.identity.timeline !== timeline)
      return 'the cursor names another database';
    for (const [slot, rows] of application.heldRows().entries()) {
      const isKept = rows.some((row) => state.row !== null && comparePlaces(row, state.row) === 0);
      if (rows.length > 0 && !isKept) return `slot ${slot} is not emptied of ${rows.length} rows`;
    }
    return null;
  }
}

function isStopped(logs: World['durable']['logs']): boolean {
  return logs.get('audit')?.partitions.some(({ stopped }) => stopped !== null) ?? false;
}

/** Within a segment: by polling (xid, id), from the write-ahead log that of the commits. */
function checkStrictOrder(last: Relayed, next: Relayed): void {
  const { row, way } = next;
  const isBehind =
    way === 'wal' && row.transaction !== last.row.transaction
      ? (row.transaction.commitLsn as bigint) > (last.row.transaction.commitLsn as bigint)
      : comparePlaces(row, last.row) > 0;
  demand(
    isBehind || way === 'restored',
    'I4',
    () => `${row.key}: by ${way}, row ${row.xid}/${row.id} stands behind row ${last.row.xid}/${last.row.id}`,
  );
}
