/** The bank: DATABASE_URL says where its database is, as the role `bank`; PORT where it listens (3000). */

import { createBankAudit } from './audit.ts';
import { openPool, reportProblem, serveBank } from './serve.ts';

const { DATABASE_URL, PORT } = process.env;
if (DATABASE_URL === undefined) {
  process.stderr.write("DATABASE_URL is missing: the bank's database, as the role bank\n");
  process.exitCode = 64;
} else {
  const pool = openPool({ connectionString: DATABASE_URL });
  await serveBank(pool, createBankAudit(pool, reportProblem), PORT === undefined ? undefined : Number(PORT));
}
