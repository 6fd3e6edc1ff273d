/** Makes the bank's tables and its example users, as the owner of the database: BANK_OWNER_URL. */

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import pg from 'pg';

const FILES = ['bank.sql', 'example-users.sql'];

/** May be run again: what is there stays. @param owner of a database in which the role `bank` exists */
export async function setUpBank(owner: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(owner);
  await client.connect();
  try {
    for (const file of FILES)
      await client.query(readFileSync(new URL(`../sql/${file}`, import.meta.url), 'utf8'));
  } finally {
    await client.end();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const url = process.env.BANK_OWNER_URL;
  if (url === undefined) {
    process.stderr.write("BANK_OWNER_URL is missing: the bank's database, as its owner\n");
    process.exitCode = 64;
  } else {
    await setUpBank({ connectionString: url });
    process.stdout.write(
      'The tables of the bank are there; tokens such as acme-1 and acme-admin are known.\n',
    );
  }
}
