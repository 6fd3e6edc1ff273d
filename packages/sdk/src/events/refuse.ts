import { EvidentError } from '@evident/core/errors.ts';

/** A bad field is refused before anything is sent, and by its name. */
export function refuseField(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}
