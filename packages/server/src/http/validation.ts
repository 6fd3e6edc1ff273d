import { Readable } from 'node:stream';
import { EvidentError } from '@evident/core/errors.ts';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import Value from 'typebox/value';

type Validated = { value: unknown } | { error: Error };

/**
 * Makes the check of one part of a request, so that what the document says is what is checked. Query parameters are
 * text, and are converted to the type that the schema names. A body that goes on unparsed is checked by its stage.
 */
export function compileValidator({
  schema,
  httpPart,
}: {
  schema: unknown;
  httpPart?: string;
}): (data: unknown) => Validated {
  const declared = schema as TSchema;
  const compiled = Compile(declared);
  return (data) => {
    if (data instanceof Uint8Array || data instanceof Readable) return { value: data };
    const value = httpPart === 'body' ? data : Value.Convert(declared, copyOf(data));
    return compiled.Check(value) ? { value } : { error: firstError(compiled.Errors(value)) };
  };
}

/**
 * The members of a request's part, every one: the schema library's own copy leaves out those that are called like what
 * objects inherit (`constructor`, `__proto__`), which then were never refused as unknown. Without a prototype, so that
 * nothing that was not sent can be read.
 */
function copyOf(data: unknown): unknown {
  return typeof data === 'object' && data !== null && !Array.isArray(data)
    ? Object.assign(Object.create(null), data)
    : data;
}

interface SchemaError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly params: object;
  readonly message: string;
}

function firstError(errors: readonly SchemaError[]): EvidentError {
  const unknown = errors.find(({ keyword }) => keyword === 'additionalProperties');
  if (unknown !== undefined) {
    const field = (unknown.params as { additionalProperties: string[] }).additionalProperties[0];
    return new EvidentError('field-unknown', `${field}: there is no such field here`, { context: { field } });
  }
  const first = errors.find(({ keyword }) => keyword === 'required') ?? errors[0];
  const missing = (first.params as { requiredProperties?: string[] }).requiredProperties?.[0];
  const field =
    [...first.instancePath.split('/').slice(1), ...(missing === undefined ? [] : [missing])].join('.') ||
    'body';
  return new EvidentError(
    'field-invalid',
    `${field}: ${missing === undefined ? first.message : 'it is missing'}`,
    {
      context: { field },
    },
  );
}
