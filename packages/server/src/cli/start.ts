import type { ConfigInput } from '../config.ts';
import { type CommandDeps, EXIT, type StartedServer } from './command-deps.ts';
import type { Output } from './output.ts';

/** Runs the server until a signal asks it to stop. */
export async function runStart(deps: CommandDeps, input: ConfigInput, output: Output): Promise<number> {
  const begun = performance.now();
  const stopped = untilSignal();
  const server = await deps.start(input);
  try {
    announce(server, (performance.now() - begun) / 1_000, output);
    await stopped;
    output.line('Stopping …');
  } finally {
    await server.stop();
  }
  return EXIT.success;
}

function announce(server: StartedServer, seconds: number, output: Output): void {
  const { url, vkey, keyFile, dataDir, breaks, tiers } = server;
  output.result({ ready: true, url, vkey, key_file: keyFile, data: dataDir, tier: tiers.join(', '), breaks });
  output.line(`Evident is ready after ${seconds.toFixed(1)} s.`);
  output.line();
  output.line(`  address     ${url}`);
  output.line(`  K           ${vkey}`);
  output.line(`  admin key   in ${keyFile} (readable by you alone)`);
  output.line();
  for (const { log, partition, reason } of breaks)
    output.line(`  BREAK       ${log}/${partition} is stopped: ${reason}`);
  if (breaks.length > 0) output.line();
  output.line('Give K to whoever shall check this log: everything that is signed here follows from it.');
  output.line();
  output.line('Next, in another terminal (the same folder):');
  output.line('  npx evident import apache access.log --tenant acme');
  output.line('  npx evident tail');
  output.line('  npx evident verify');
  output.line('  npx evident api-key create --role writer --tenant acme');
  output.line();
  output.line(
    tiers.some((tier) => tier !== 'T0')
      ? `Tiers in force: ${tiers.join(', ')}. npx evident status says what each stands on and covers.`
      : 'Tier T0: signing key and data lie on one machine. Its owner could rewrite both; SECURITY.md says what helps.',
  );
}

/**
 * Resolves at the first signal that asks to stop. Later ones are heard and change nothing: a terminal's Ctrl-C
 * reaches npm, the launcher and this process, and each passes it on. The stop has a bound of its own.
 */
export function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
}
