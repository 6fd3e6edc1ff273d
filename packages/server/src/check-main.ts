/** The command line of `evident check` alone: it loads nothing that only a server, or another command, needs. */

import { Command } from 'commander';
import { checkDeps } from './check-deps.ts';
import { addCheckCommand } from './cli/check.ts';
import { EXIT } from './cli/command-deps.ts';
import { keepExitCode } from './cli/exit-code.ts';
import type { Options } from './cli/options.ts';
import { makeOutput } from './cli/output.ts';
import { reportFailure } from './cli/report-failure.ts';

/** Runs `check` and sets the exit code. Other commands are run by main.ts: bin/evident.js decides by the first word. */
export async function runCheckLine(args: readonly string[]): Promise<void> {
  const settle = keepExitCode();
  const isJson = args.includes('--json');
  const program = new Command('evident')
    .exitOverride()
    .configureOutput(isJson ? { writeErr: () => undefined } : {})
    .showHelpAfterError();
  let code: number = EXIT.success;
  addCheckCommand(checkDeps, program, (action) => async (...given) => {
    const command = given.at(-1) as Command;
    const options = command.opts<Options>();
    code = await action({}, makeOutput(options.json === true), options, command.args);
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    code = reportFailure(error, isJson, process.env.EVIDENT_DEBUG === '1');
  }
  settle(code);
}
