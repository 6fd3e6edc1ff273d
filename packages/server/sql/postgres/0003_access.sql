-- Who may call, and the secrets from which importers derive ids.

-- API keys: only the SHA-256 of the secret part is kept.
CREATE TABLE evident.api_keys (
  key_id     text COLLATE "C" PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]{1,32}$'),
  hash       bytea NOT NULL CHECK (length(hash) = 32),
  role       text NOT NULL CHECK (role IN ('writer', 'auditor', 'admin')),
  tenant     text COLLATE "C",
  note       text,
  made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  revoked_at timestamptz
);

-- Ids of imported records are HMACs under these, so that a hash shown to others can't be guessed (design §3).
CREATE TABLE evident.tenant_secrets (
  tenant text COLLATE "C" PRIMARY KEY,
  secret bytea NOT NULL CHECK (length(secret) = 32)
);

GRANT SELECT, INSERT ON evident.api_keys, evident.tenant_secrets TO evident_server;
GRANT UPDATE (revoked_at) ON evident.api_keys TO evident_server;
GRANT INSERT ON evident.inception TO evident_server;
