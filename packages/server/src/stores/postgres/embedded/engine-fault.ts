/** From what PostgreSQL wrote before it gave up to an error of the catalogue. */

import { EvidentError } from '@evident/core/errors.ts';

const QUOTED_LINES_MAX = 8;
const NO_SPACE = /No space left on device|Disk quota exceeded/;

/** @param lines what the program wrote, oldest first */
export function engineFault(
  attempted: string,
  directory: string,
  lines: string[],
  cause?: unknown,
): EvidentError {
  // Shared memory lies on a file system of its own: a full /dev/shm is not a full disk.
  const full = lines.some((line) => NO_SPACE.test(line) && !line.includes('shared memory'));
  const quoted = lines
    .filter((line) => line.trim() !== '')
    .slice(-QUOTED_LINES_MAX)
    .join('\n');
  const context = { directory };
  if (full) {
    const detail = `The file system of ${directory} has no space left: could not ${attempted}. Free space and start again.\n${quoted}`;
    return new EvidentError('disk-full', detail, { cause, context });
  }
  const detail = `Could not ${attempted} in ${directory}. ${quoted === '' ? 'It wrote nothing.' : `It wrote:\n${quoted}`}`;
  return new EvidentError('engine-failed', detail, { cause, context });
}
