/** Refusals of the bank. `statusCode` is what Fastify answers with; denial is the SDK's AccessDenied, with 403. */

class Refusal extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    // The name stands in the `error` of the audit event, before the message.
    this.name = new.target.name;
    this.statusCode = statusCode;
  }
}

export class Unauthenticated extends Refusal {
  constructor() {
    super(401, 'a bearer token that the bank knows is needed');
  }
}

export class NotFound extends Refusal {
  constructor(what: string) {
    super(404, `there is no ${what}`);
  }
}

export class Conflict extends Refusal {
  constructor(message: string) {
    super(409, message);
  }
}

/** Neither message nor event says how much there is: whoever reads the trail need not know. */
export class InsufficientFunds extends Refusal {
  constructor() {
    super(422, 'the balance is smaller than the amount');
  }
}

export class CurrencyMismatch extends Refusal {
  constructor() {
    super(422, 'the accounts have different currencies');
  }
}

/** A transfer or payout of this id is in the books already: the order was sent twice at once. */
export class AlreadyBooked extends Conflict {
  constructor() {
    super('an order of this id is being booked');
  }
}
