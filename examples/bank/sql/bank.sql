-- The bank's own tables. Nothing here knows of the audit trail: its outbox is made beside them, by
-- `evident outbox init`. Amounts are in minor units, with the currency beside them.

-- Who holds a token may act as that user. Good enough for an example alone: real services check a signed token of
-- their identity provider, and never keep a secret in plain text.
CREATE TABLE IF NOT EXISTS tokens (
  token        text PRIMARY KEY,
  user_id      text NOT NULL,
  organisation text NOT NULL,
  role         text NOT NULL CHECK (role IN ('customer', 'clerk', 'admin'))
);

CREATE TABLE IF NOT EXISTS accounts (
  id           uuid PRIMARY KEY,
  organisation text NOT NULL,
  owner        text NOT NULL,
  holder       text NOT NULL,
  currency     text NOT NULL,
  opened_with  bigint NOT NULL CHECK (opened_with >= 0),
  balance      bigint NOT NULL CHECK (balance >= 0)
);

CREATE TABLE IF NOT EXISTS payouts (
  id           uuid PRIMARY KEY,
  organisation text NOT NULL,
  from_account uuid NOT NULL REFERENCES accounts,
  total        bigint NOT NULL CHECK (total > 0),
  currency     text NOT NULL,
  payments     int NOT NULL CHECK (payments > 0),
  ordered_by   text NOT NULL
);

CREATE TABLE IF NOT EXISTS transfers (
  id           uuid PRIMARY KEY,
  organisation text NOT NULL,
  from_account uuid NOT NULL REFERENCES accounts,
  to_account   uuid NOT NULL REFERENCES accounts,
  amount       bigint NOT NULL CHECK (amount > 0),
  currency     text NOT NULL,
  purpose      text,
  ordered_by   text NOT NULL,
  payout       uuid REFERENCES payouts
);

CREATE TABLE IF NOT EXISTS plans (
  organisation text PRIMARY KEY,
  name         text NOT NULL,
  monthly_fee  bigint NOT NULL,
  revision     int NOT NULL
);

CREATE TABLE IF NOT EXISTS plan_changes (
  organisation text NOT NULL REFERENCES plans,
  revision     int NOT NULL,
  old_name     text NOT NULL,
  new_name     text NOT NULL,
  changed_by   text NOT NULL,
  PRIMARY KEY (organisation, revision)
);

-- The service connects as this role, which an administrator has made: it owns nothing.
GRANT SELECT ON tokens TO bank;
GRANT SELECT, INSERT, UPDATE ON accounts, plans TO bank;
GRANT SELECT, INSERT ON payouts, transfers, plan_changes TO bank;
