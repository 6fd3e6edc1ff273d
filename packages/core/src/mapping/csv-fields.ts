/** The fields of one record of CSV (RFC 4180): separated by commas, quoted where they hold commas, quotes or line breaks. */

const QUOTE = '"';
const COMMA = ',';
/** Most fields of a record that are read. */
export const CSV_FIELDS_MAX = 4_096;

/**
 * @param text one record without the LF that ends it; a CR at its end is passed over, and a byte order mark before it
 * @returns the fields, or in words why it is no record of CSV
 */
export function csvFields(text: string): readonly string[] | string {
  const end = text.endsWith('\r') ? text.length - 1 : text.length;
  const fields: string[] = [];
  let at = text.startsWith('\ufeff') ? 1 : 0;
  for (;;) {
    if (fields.length >= CSV_FIELDS_MAX) return `it has more than ${CSV_FIELDS_MAX} fields`;
    const next =
      text[at] === QUOTE && at < end ? quotedField(text, at, end, fields) : plainField(text, at, end, fields);
    if (typeof next === 'string') return next;
    if (next >= end) return fields;
    at = next + 1;
  }
}

/** Reads the field at `at` into `fields`; where the comma after it stands, or `end`. */
function plainField(text: string, at: number, end: number, fields: string[]): number | string {
  const comma = text.indexOf(COMMA, at);
  const stop = comma < 0 || comma > end ? end : comma;
  const field = text.slice(at, stop);
  if (field.includes(QUOTE)) return `field ${fields.length + 1} holds a quote and is not quoted`;
  if (field.includes('\n')) return `field ${fields.length + 1} holds a line break and is not quoted`;
  fields.push(field);
  return stop;
}

function quotedField(text: string, at: number, end: number, fields: string[]): number | string {
  let from = at + 1;
  let escaped = false;
  for (;;) {
    const quote = text.indexOf(QUOTE, from);
    if (quote < 0 || quote >= end) return `the quote that opens field ${fields.length + 1} is not closed`;
    if (text[quote + 1] !== QUOTE) {
      if (quote + 1 < end && text[quote + 1] !== COMMA)
        return `something follows the quote that closes field ${fields.length + 1}`;
      const field = text.slice(at + 1, quote);
      fields.push(escaped ? field.replaceAll('""', QUOTE) : field);
      return quote + 1;
    }
    escaped = true;
    from = quote + 2;
  }
}
