/** Texts of a mapping file: `{/event/service}:{/event/name}` is made of fields of the record and of what stands between. */

/** What stands between braces: a path in JSON, a column of CSV, or a fact of capture. */
export type Field =
  | { readonly kind: 'path'; readonly steps: readonly string[] }
  | { readonly kind: 'column'; readonly name: string }
  | { readonly kind: 'meta'; readonly name: string };

export type Template = readonly (string | Field)[];

const TEMPLATE_LENGTH_MAX = 1_024;
const FIELDS_MAX = 16;
const STEPS_MAX = 32;
const META = 'meta:';

/**
 * Reads a template: `{…}` is a field, `{{` and `}}` are braces. A field is a JSON Pointer (RFC 6901) in NDJSON and the
 * name of a column in CSV; `{meta:file}` is a fact of capture in both.
 * @returns in words what is wrong, if something is
 */
export function parseTemplate(text: string, format: 'ndjson' | 'csv'): Template | string {
  if (text.length > TEMPLATE_LENGTH_MAX) return `it is longer than ${TEMPLATE_LENGTH_MAX} characters`;
  const parts: (string | Field)[] = [];
  let literal = '';
  for (let at = 0; at < text.length; ) {
    const char = text[at]!;
    if ((char === '{' || char === '}') && text[at + 1] === char) {
      literal += char;
      at += 2;
    } else if (char === '{') {
      const end = text.indexOf('}', at);
      if (end < 0) return 'a brace is opened and not closed; {{ stands for a brace';
      const field = parseField(text.slice(at + 1, end), format);
      if (typeof field === 'string') return field;
      if (literal !== '') parts.push(literal);
      parts.push(field);
      literal = '';
      at = end + 1;
    } else if (char === '}') return 'a brace is closed that is not open; }} stands for a brace';
    else {
      literal += char;
      at++;
    }
  }
  if (literal !== '') parts.push(literal);
  if (parts.length === 0) return 'it is empty';
  if (parts.length > FIELDS_MAX) return `it has more than ${FIELDS_MAX} parts`;
  return parts;
}

function parseField(name: string, format: 'ndjson' | 'csv'): Field | string {
  if (name.startsWith(META)) return { kind: 'meta', name: name.slice(META.length) };
  if (format === 'csv') return name === '' ? 'a column has a name' : { kind: 'column', name };
  if (!name.startsWith('/')) return `a path begins with a slash, such as {/event/time}; {${name}} does not`;
  const steps = name.slice(1).split('/');
  if (steps.length > STEPS_MAX) return `a path has at most ${STEPS_MAX} steps`;
  return { kind: 'path', steps: steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~')) };
}

/** The text that a record gives a template, or null if one of its fields is missing or empty. */
export function templateText(template: Template, textOf: (field: Field) => string | null): string | null {
  let text = '';
  for (const part of template) {
    const piece = typeof part === 'string' ? part : textOf(part);
    if (piece === null || piece === '') return null;
    text += piece;
  }
  return text;
}
