/**
 * A program with a disk buffer, for the test that kills it: sends events without end, and prints the id of each that
 * `send` has resolved. Arguments: address of the log, folder of the buffer.
 */

import { writeSync } from 'node:fs';
import { createHttpClient } from './client.ts';
import { makeEvent } from './fake-log-fixture.ts';

const WRITERS = 4;
const [url, folder] = process.argv.slice(2);
const client = createHttpClient({
  url,
  key: 'evident_key',
  batchMax: 9,
  buffer: { kind: 'disk', folder, bytesMax: 24 * 1024 },
  retry: { firstMs: 1, maxMs: 4 },
  onProblem: () => undefined,
});

async function write(): Promise<never> {
  for (let n = 0; ; n++) {
    const event = makeEvent(n);
    try {
      await client.send(event);
    } catch {
      // Full: the log is slower than we are.
      await new Promise((resolve) => setTimeout(resolve, 1));
      continue;
    }
    // Synchronous: what was printed was resolved, and what was resolved before the kill is printed, but for one.
    writeSync(1, `${event.id}\n`);
  }
}

await Promise.all(Array.from({ length: WRITERS }, write));
