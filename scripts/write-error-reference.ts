/** Writes docs/reference/errors.md from the error catalogue and the table of statuses. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { formatErrorReference } from '../packages/server/src/http/error-reference.ts';

const page = new URL('../docs/reference/errors.md', import.meta.url);
mkdirSync(new URL('.', page), { recursive: true });
writeFileSync(page, formatErrorReference());
