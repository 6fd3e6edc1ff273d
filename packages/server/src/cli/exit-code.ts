/** The exit code of a command whose reader may go away before its end, as head does. */

import { EXIT } from './command-deps.ts';

/**
 * Listens for a closed pipe. What was found stays found: a verification or check that found tampering says 1, though nobody
 * read its last line, and one that found nothing says 70. Without this Node would end with 1 itself, which says tampered.
 *
 * @param endsWhenCut the command has no end of its own, and nothing that it must close: it ends with its reader
 * @returns what takes the code of the command when it has ended
 */
export function keepExitCode(endsWhenCut = false): (code: number) => void {
  let isCut = false;
  let ended: number | undefined;
  // The error of the last write comes after the command has ended.
  const settle = (): void => {
    if (ended !== undefined) process.exitCode = isCut && ended === EXIT.success ? EXIT.failed : ended;
  };
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    isCut = true;
    if (endsWhenCut) process.exit(EXIT.failed);
    settle();
  });
  // Nowhere to say it: the exit code is what is left.
  process.stderr.on('error', () => undefined);
  return (code) => {
    ended = code;
    settle();
  };
}
