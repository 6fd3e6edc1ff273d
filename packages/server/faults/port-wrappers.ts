/** Ports of the relay with one method changed, for tests that take a guard away or stand in the way. */

/** The same object, but for the methods given; `this` of all others stays the object. */
export function wrapPort<Port extends object>(port: Port, changed: Partial<Port>): Port {
  return new Proxy(port, {
    get(target, name) {
      if (Object.hasOwn(changed, name)) return Reflect.get(changed, name);
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** A place at which callers wait until it is opened. */
export class Gate {
  #isOpen = false;
  #open: () => void = () => undefined;
  readonly #opened: Promise<void>;
  /** Callers that have come so far. */
  arrived = 0;

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#isOpen = true;
    this.#open();
  }

  async pass(): Promise<void> {
    this.arrived++;
    if (!this.#isOpen) await this.#opened;
  }
}
