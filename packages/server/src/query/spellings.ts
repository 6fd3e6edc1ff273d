/** How one text may stand in a body. */

import { encodeUtf8 } from '@evident/core/bytes.ts';

/** Every UTF-16 unit beyond ASCII as JSON escapes it. */
function escapeUnits(text: string): string {
  return text.replaceAll(/[^ -~]/g, (unit) =>
    [...Array(unit.length).keys()]
      .map((at) => `\\u${unit.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** ASCII letters in lower case; others stay: a search without case beyond ASCII would need a table of every language. */
function lowerAscii(text: string): string {
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/**
 * The spellings of a text, ASCII in lower case: as it stands; as JSON writes it (quotes and backslashes escaped); the
 * same with everything beyond ASCII as `\uXXXX`; and both with `/` as `\/`, as some writers of JSON do. A body that
 * escapes one letter and not another of the same text is not found.
 */
export function spellingsOf(text: string): readonly string[] {
  const json = JSON.stringify(text).slice(1, -1);
  const forms = [text, json, escapeUnits(json)];
  const all = forms.flatMap((form) => [form, form.replaceAll('/', '\\/')]);
  return [...new Set(all.map(lowerAscii))];
}

/** Whether bytes hold one of the spellings, ASCII letters of either case alike: what the stores' searches mean. */
export function holdsSpelling(body: Uint8Array, spellings: readonly string[]): boolean {
  const lowered = Buffer.from(body);
  for (let at = 0; at < lowered.length; at++)
    if (lowered[at] >= 0x41 && lowered[at] <= 0x5a) lowered[at] += 0x20;
  return spellings.some((spelling) => lowered.indexOf(encodeUtf8(spelling)) >= 0);
}
