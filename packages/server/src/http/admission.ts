/**
 * Admission: decides before a body is read whether the server may hold it. So memory is bounded by the limit,
 * not by the number of clients (invariant I13), and what is refused was never begun.
 */

/** Bytes that were admitted. Owned by one request. */
export interface Ticket {
  /** Gives back what is not needed after all. */
  shrink(bytes: number): void;
  /** Gives back the rest; a second call does nothing. */
  release(): void;
}

/** How much of a bound one tenant may hold: what is left is room for the others. */
const TENANT_SHARE = 0.75;

export class Admission {
  readonly #bytesMax: number;
  readonly #waitingBytes: () => number;
  /** What each tenant holds that was named; as many as there are requests at most. */
  readonly #held = new Map<string, number>();
  #bytes = 0;

  /** @param waitingBytes what others hold of the same bound */
  constructor(bytesMax: number, waitingBytes: () => number = () => 0) {
    this.#bytesMax = bytesMax;
    this.#waitingBytes = waitingBytes;
  }

  /** Bytes of admitted requests. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @param tenant who is to leave room for others; null: nobody
   * @returns null when there is no room. One alone is always admitted, or a bound set too low would refuse it for ever.
   */
  admit(bytes: number, tenant: string | null = null): Ticket | null {
    const held = this.#bytes + this.#waitingBytes();
    if (held > 0 && held + bytes > this.#bytesMax) return null;
    const own = tenant === null ? 0 : (this.#held.get(tenant) ?? 0);
    if (own > 0 && own + bytes > Math.ceil(this.#bytesMax * TENANT_SHARE)) return null;
    this.#bytes += bytes;
    if (tenant !== null) this.#held.set(tenant, own + bytes);
    let mine = bytes;
    const shrink = (to: number) => {
      if (to >= mine) return;
      this.#bytes -= mine - to;
      if (tenant !== null) this.#giveBack(tenant, mine - to);
      mine = to;
    };
    return { shrink, release: () => shrink(0) };
  }

  #giveBack(tenant: string, bytes: number): void {
    const left = (this.#held.get(tenant) ?? 0) - bytes;
    if (left > 0) this.#held.set(tenant, left);
    else this.#held.delete(tenant);
  }
}

/** What is known of a response's end; `ServerResponse` in production. */
interface Ending {
  readonly destroyed: boolean;
  once(event: 'finish' | 'close', listener: () => void): Ending;
}

/** Holds a ticket for a request: to the end of its answer, and to the end of its work if that comes later. */
export class Hold {
  readonly ticket: Ticket;
  #isWorking = false;
  #isOver = false;

  /** @param onOver called when the answer is over, at once if it is already */
  constructor(ticket: Ticket, response: Ending, onOver: () => void = () => undefined) {
    this.ticket = ticket;
    const end = () => {
      this.#isOver = true;
      onOver();
      this.#settle();
    };
    // `close` alone comes when the client goes away, `finish` alone when the connection is kept for the next request.
    response.once('finish', end).once('close', end);
    // The client may have gone while its key was looked up: then neither comes any more.
    if (response.destroyed) end();
  }

  /** A client that goes away from now on does not free the bytes. */
  begin(): void {
    this.#isWorking = true;
  }

  end(): void {
    this.#isWorking = false;
    this.#settle();
  }

  #settle(): void {
    if (this.#isOver && !this.#isWorking) this.ticket.release();
  }
}
