/**
 * A PostgreSQL for the example bank, to run it by hand: prints where it is, and runs until it is interrupted.
 *
 *   node demo/bank-database.ts [FOLDER]      default ./.cache/bank; what is in it stays
 */

import { BankPostgres } from './bank/bank-postgres.ts';

const [folder = './.cache/bank', ...rest] = process.argv.slice(2);
if (rest.length > 0) {
  process.stderr.write('usage: node demo/bank-database.ts [FOLDER]\n');
  process.exitCode = 64;
} else {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
  const postgres = new BankPostgres(folder);
  try {
    await postgres.start();
    process.stdout.write(`export BANK_OWNER_URL=${postgres.ownerUrl}\n`);
    process.stdout.write(`export BANK_RELAY_URL=${postgres.relayUrl}\n`);
    process.stdout.write(`export DATABASE_URL=${postgres.bankUrl}\n`);
    await stopped;
  } finally {
    await postgres.stop();
  }
}
