/** The actions that a service declares: checked once at start, asked for at every event. */

import { AuditEvent, personalPaths } from '@evident/core/audit-event.ts';
import { Compile } from 'typebox/compile';
import type { ActionDeclaration, Actions, Undeclared } from './event-input.ts';
import { refuseField } from './refuse.ts';

/** Together with service and version the personal paths stand in meta, which is bounded. */
export const PERSONAL_PATHS_BYTES_MAX = 1_500;

export interface DeclaredAction {
  readonly isCritical: boolean;
  readonly personal: readonly PersonalPath[];
  readonly changes: ActionDeclaration['changes'];
  /** @throws field-invalid naming the member of `details` that does not fit */
  checkDetails(details: unknown, path: string): void;
}

/** A personal field: its dotted path, and the path cut into its members. */
export interface PersonalPath {
  readonly path: string;
  readonly steps: readonly string[];
}

const CORE_PERSONAL = personalPaths(AuditEvent).map(personalPath);
const UNDECLARED: DeclaredAction = {
  isCritical: false,
  personal: CORE_PERSONAL,
  changes: undefined,
  checkDetails: () => undefined,
};

/**
 * @param actions by name; null means that nothing was declared
 * @throws field-invalid when a declaration contradicts itself
 */
export function declareActions(
  actions: Actions,
  undeclared: Undeclared,
): (action: unknown, path: string) => DeclaredAction {
  const declared = new Map(
    Object.entries(actions).map(([name, declaration]) => [name, declare(name, declaration)]),
  );
  return (action, path) => {
    const found = typeof action === 'string' ? declared.get(action) : undefined;
    if (found !== undefined) return found;
    // What is no text at all is named by the check of the schema.
    if (undeclared === 'refuse' && typeof action === 'string') {
      refuseField(`${path}.action`, `the action ${JSON.stringify(action)} is not declared`);
    }
    return UNDECLARED;
  };
}

function declare(name: string, declaration: ActionDeclaration): DeclaredAction {
  const schema = declaration.details;
  const fromSchema = schema === undefined ? [] : personalPaths(schema).map((path) => `details.${path}`);
  const own = [...new Set([...(declaration.personal ?? []), ...fromSchema])];
  for (const path of own) checkPersonalPath(path, `actions.${name}.personal`);
  const personal = [...CORE_PERSONAL, ...own.map(personalPath)];
  if (Buffer.byteLength(personal.map(({ path }) => path).join(',')) > PERSONAL_PATHS_BYTES_MAX) {
    refuseField(
      `actions.${name}.personal`,
      `together the paths are longer than ${PERSONAL_PATHS_BYTES_MAX} bytes; declare what contains them`,
    );
  }
  const compiled = schema === undefined ? null : Compile(schema);
  return {
    isCritical: declaration.critical === true,
    personal,
    changes: declaration.changes,
    checkDetails(details, path) {
      if (compiled === null || compiled.Check(details ?? {})) return;
      const error = compiled.Errors(details ?? {})[0];
      const missing = (error?.params as { requiredProperties?: string[] } | undefined)
        ?.requiredProperties?.[0];
      const place = `${error?.instancePath ?? ''}${missing === undefined ? '' : `/${missing}`}`;
      refuseField(
        `${path}${place.replaceAll('/', '.')}`,
        error?.message ?? 'it does not fit the declaration',
      );
    },
  };
}

const DECLARABLE = /^(?:actor|resource|changes|details|context|access)\.[^,]+$|^(?:reason|error)$/;

function checkPersonalPath(path: string, field: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: meta holds none
  if (!DECLARABLE.test(path) || /[\u0000-\u001f]/.test(path) || !path.isWellFormed()) {
    refuseField(field, `${JSON.stringify(path)} is no path such as details.iban, and a path holds no comma`);
  }
}

function personalPath(path: string): PersonalPath {
  return { path, steps: path.split('.') };
}

/**
 * Whether a body has the field. A member is found by its whole remaining path first: the fields of `changes` are
 * dotted paths themselves. Of a list every element is looked into.
 */
export function hasPersonalField(body: unknown, steps: readonly string[], from = 0): boolean {
  if (from === steps.length) return body !== undefined && body !== null;
  if (typeof body !== 'object' || body === null) return false;
  if (Array.isArray(body)) return body.some((element) => hasPersonalField(element, steps, from));
  const members = body as Record<string, unknown>;
  if (Object.hasOwn(members, steps[from]) && hasPersonalField(members[steps[from]], steps, from + 1))
    return true;
  if (from === 0 || steps[0] !== 'changes') return false;
  const rest = steps.slice(from).join('.');
  return Object.keys(members).some((name) => name === rest || name.startsWith(`${rest}.`));
}
