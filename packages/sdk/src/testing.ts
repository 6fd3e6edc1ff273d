/**
 * The testing kit: the real SDK over a driver in memory, without database and server.
 *
 *     const kit = createTestAudit({ tenant: 'acme' });
 *     await transfer(kit.audit, …);
 *     kit.assertCaptured({ action: 'transfer.create', result: 'success' });
 *
 * Two kinds of transactions are understood. Of the kit's own (`kit.transaction`, and those of `capture`) the events
 * count when it commits, and never when it throws. Of any other object, such as the test's own client, they count at
 * once, because the kit cannot see its end; a test that rolls such a one back says so with `kit.rollBack(tx)`.
 */

import { AssertionError } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import type { AuditEvent } from '@evident/core/audit-event.ts';
import { type Audit, type AuditOptions, createAudit } from './audit.ts';
import type { Actions, Undeclared } from './events/event-input.ts';
import type { OutboxDriver, OutboxRow } from './outbox/driver.ts';

/** Events that a failure message shows. */
const SHOWN_MAX = 10;

export type TestAuditOptions<A extends Actions, U extends Undeclared> = Partial<
  Omit<AuditOptions<unknown, A, U>, 'driver'>
>;

/** The members that count; of a list, all elements. */
export type DeepPartial<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: DeepPartial<T[K]> }
    : T;

/** A transaction of the kit. */
export interface TestTransaction {
  readonly rows: OutboxRow[];
}

export interface TestAudit<A extends Actions, U extends Undeclared> {
  /** Goes wherever the application expects its audit. */
  readonly audit: Audit<unknown, A, U>;
  /** What was captured and committed, in order of commit. */
  captured(): AuditEvent[];
  /** The intents of critical actions. */
  intents(): Record<string, unknown>[];
  /** The first event with these members. @throws AssertionError that shows what was captured instead */
  assertCaptured(partial: DeepPartial<AuditEvent>): AuditEvent;
  /** @throws AssertionError that shows the event which has these members */
  assertNotCaptured(partial: DeepPartial<AuditEvent>): void;
  /** A transaction of the kit: commits when `fn` resolves, rolls back when it rejects. */
  transaction<T>(fn: (tx: TestTransaction) => Promise<T>): Promise<T>;
  /** Takes back what was captured in a transaction that is not the kit's. */
  rollBack(tx: unknown): void;
  clear(): void;
}

export function createTestAudit<
  const A extends Actions = Record<never, never>,
  U extends Undeclared = 'allow',
>(options: TestAuditOptions<A, U> = {}): TestAudit<A, U> {
  let committed: { row: OutboxRow; tx: unknown }[] = [];
  const open = new Set<unknown>();
  const ended = new WeakSet<object>();

  async function transaction<T>(fn: (tx: TestTransaction) => Promise<T>): Promise<T> {
    const tx: TestTransaction = { rows: [] };
    open.add(tx);
    try {
      const value = await fn(tx);
      committed.push(...tx.rows.map((row) => ({ row, tx })));
      return value;
    } finally {
      open.delete(tx);
      ended.add(tx);
    }
  }

  const driver: OutboxDriver<unknown> = {
    async query(tx, { rows }) {
      if (typeof tx === 'object' && tx !== null && ended.has(tx)) {
        throw new Error('the transaction of the kit has ended: is an await missing?');
      }
      if (open.has(tx)) (tx as TestTransaction).rows.push(...rows);
      else committed.push(...rows.map((row) => ({ row, tx })));
    },
    transaction,
  };
  const bodies = <T>(type: OutboxRow['type']): T[] =>
    committed.filter(({ row }) => row.type === type).map(({ row }) => JSON.parse(row.body) as T);
  const captured = () => bodies<AuditEvent>('audit.event');
  const find = (partial: object) => captured().find((event) => hasMembers(event, partial));

  return {
    audit: createAudit<unknown, A, U>({ service: 'test', ...options, driver }),
    captured,
    intents: () => bodies('audit.intent'),
    assertCaptured: function assertCaptured(partial) {
      const found = find(partial);
      if (found !== undefined) return found;
      const message = `no event was captured with ${JSON.stringify(partial)}\n${shown(captured())}`;
      throw new AssertionError({ message, expected: partial, stackStartFn: assertCaptured });
    },
    assertNotCaptured: function assertNotCaptured(partial) {
      const found = find(partial);
      if (found === undefined) return;
      const message = `an event was captured with ${JSON.stringify(partial)}:\n${JSON.stringify(found, null, 2)}`;
      throw new AssertionError({ message, actual: found, stackStartFn: assertNotCaptured });
    },
    transaction,
    rollBack(tx) {
      committed = committed.filter((one) => one.tx !== tx);
    },
    clear() {
      committed = [];
    },
  };
}

function hasMembers(value: unknown, partial: unknown): boolean {
  if (typeof partial !== 'object' || partial === null || Array.isArray(partial)) {
    return isDeepStrictEqual(value, partial);
  }
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(partial).every(([name, member]) =>
    member === undefined
      ? !Object.hasOwn(value, name)
      : hasMembers((value as Record<string, unknown>)[name], member),
  );
}

function shown(events: readonly AuditEvent[]): string {
  if (events.length === 0) return 'nothing was captured at all; was the transaction rolled back?';
  const lines = events.slice(0, SHOWN_MAX).map((event) => `  ${JSON.stringify(event)}`);
  const more = events.length > SHOWN_MAX ? `\n  … and ${events.length - SHOWN_MAX} more` : '';
  return `captured were ${events.length}:\n${lines.join('\n')}${more}`;
}
