import { scanDocument } from '@evident/core/json/scan.ts';
import type { FastifyInstance } from 'fastify';
import { SMALL_BODY_BYTES_MAX } from './limits.ts';

/** Lets the routes of a group take small JSON bodies. A member that stands twice is refused: readers would disagree on it. */
export function takeJson(app: FastifyInstance): void {
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: SMALL_BODY_BYTES_MAX },
    (_request, body, done) => {
      try {
        done(null, parseStrict(body as Buffer));
      } catch (error) {
        done(error as Error);
      }
    },
  );
}

function parseStrict(body: Buffer): unknown {
  scanDocument(body, 0, body.length, { duplicates: 'refuse' });
  return JSON.parse(body.toString());
}

/** What a route that takes JSON and changes something may answer. */
export const CHANGE_FAULTS = [
  'field-invalid',
  'field-reserved',
  'field-unknown',
  'json-invalid',
  'json-duplicate-member',
  'json-too-deep',
  'body-too-large',
  'media-type-unsupported',
  'tenant-forbidden',
  'outcome-unknown',
  'partition-stopped',
  'disk-full',
] as const;
