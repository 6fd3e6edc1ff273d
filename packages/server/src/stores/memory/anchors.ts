/** The port `AnchorStore` in memory. State and store are apart, as in `log.ts`: the state is what a crash leaves. */

import { EvidentError } from '@evident/core/errors.ts';
import type { AnchorKind, AnchorStore, StoredAnchor } from '../../anchor/ports.ts';
import type { HeadAnchor } from '../../evidence/ports.ts';
import type { MemoryLogHooks } from './log.ts';

interface KeptAnchor extends StoredAnchor {
  position: bigint | null;
}

/** What is durable of anchors. */
export interface MemoryAnchorState {
  readonly anchors: KeptAnchor[];
  /** Whether heads/0 has a stored head of this size. */
  readonly hasHead: (epoch: number, size: bigint) => boolean;
}

export function makeMemoryAnchorState(hasHead: MemoryAnchorState['hasHead']): MemoryAnchorState {
  return { anchors: [], hasHead };
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** By head, kind and name. */
function compare(a: KeptAnchor, b: KeptAnchor): number {
  return (
    a.epoch - b.epoch || Number(a.size - b.size) || compareText(a.kind, b.kind) || compareText(a.by, b.by)
  );
}

export class MemoryAnchorStore implements AnchorStore {
  readonly #state: MemoryAnchorState;
  readonly #hooks: MemoryLogHooks;

  constructor(state: MemoryAnchorState, hooks: MemoryLogHooks = {}) {
    this.#state = state;
    this.#hooks = hooks;
  }

  newest(epoch: number, kind: AnchorKind, by: string): Promise<{ size: bigint; at: bigint } | null> {
    return this.#step('anchors.newest', () => {
      const found = this.#sorted().findLast(
        (one) => one.epoch === epoch && one.kind === kind && one.by === by,
      );
      return found === undefined ? null : { size: found.size, at: found.at };
    });
  }

  put(anchor: StoredAnchor): Promise<boolean> {
    return this.#step('anchors.put', () => {
      const { epoch, size } = anchor;
      if (!this.#state.hasHead(epoch, size))
        throw new EvidentError(
          'not-found',
          `heads/0 has no stored head of size ${size} in its tree ${epoch}`,
        );
      const kept = { ...anchor, bytes: anchor.bytes.slice(), position: null };
      if (this.#state.anchors.some((one) => compare(one, kept) === 0)) return false;
      this.#state.anchors.push(kept);
      return true;
    });
  }

  of(epoch: number, size: bigint): Promise<readonly HeadAnchor[]> {
    return this.#step('anchors.of', () =>
      this.#sorted()
        .filter((one) => one.epoch === epoch && one.size === size)
        .map(({ kind, by, bytes }) => ({ kind, by, bytes: bytes.slice() })),
    );
  }

  newestWith(
    epoch: number,
    wanted: readonly { readonly kind: AnchorKind; readonly by: string }[],
    atLeast: number,
  ): Promise<bigint | null> {
    return this.#step('anchors.newestWith', () => {
      if (atLeast < 1) throw new RangeError('at least one anchor is asked for');
      const counts = new Map<bigint, number>();
      for (const one of this.#sorted())
        if (one.epoch === epoch && wanted.some(({ kind, by }) => kind === one.kind && by === one.by))
          counts.set(one.size, (counts.get(one.size) ?? 0) + 1);
      return [...counts].findLast(([, count]) => count >= atLeast)?.[0] ?? null;
    });
  }

  unlogged(limit: number): Promise<readonly StoredAnchor[]> {
    return this.#step('anchors.unlogged', () =>
      this.#sorted()
        .filter(({ position }) => position === null)
        .slice(0, limit)
        .map(({ position: _, ...anchor }) => anchor),
    );
  }

  markLogged(
    { epoch, size, kind, by }: Pick<StoredAnchor, 'epoch' | 'size' | 'kind' | 'by'>,
    position: bigint,
  ): Promise<void> {
    return this.#step('anchors.markLogged', () => {
      const found = this.#state.anchors.find(
        (one) => one.epoch === epoch && one.size === size && one.kind === kind && one.by === by,
      );
      if (found !== undefined) found.position ??= position;
    });
  }

  #sorted(): KeptAnchor[] {
    return this.#state.anchors.toSorted(compare);
  }

  async #step<T>(operation: string, effect: () => T): Promise<T> {
    await this.#hooks.before?.(operation);
    const result = effect();
    await this.#hooks.after?.(operation);
    return result;
  }
}
