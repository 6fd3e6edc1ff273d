-- Who may look (design §8): five roles, keys that end, and the rows of one tenant for a connection that names one.

ALTER TABLE evident.api_keys DROP CONSTRAINT api_keys_role_check;
-- expires_at: from then on the key is refused. rotated_to: the key that takes its place.
ALTER TABLE evident.api_keys
  ADD CONSTRAINT api_keys_role_check CHECK (role IN ('writer', 'investigator', 'auditor', 'compliance', 'admin')),
  ADD COLUMN expires_at timestamptz,
  ADD COLUMN rotated_to text COLLATE "C";
GRANT UPDATE (expires_at, rotated_to) ON evident.api_keys TO evident_server;

-- Row-level security. Setting evident.tenant: none or '' sees nothing, a tenant sees its rows, '*' is the server itself.
-- Each setting is a sub-select, so that it is read once a statement and not once a row. Policies stand on parents alone:
-- children (LIKE-made) have neither policy nor grant, so that the server's role can't reach them past their parent.
ALTER TABLE evident.records ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.records FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.identities FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.identities_reused ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.identities_reused FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON evident.records FOR SELECT TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY tenant_rows ON evident.identities FOR SELECT TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY tenant_rows ON evident.identities_reused FOR SELECT TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');

-- No tenant's question is ever answered from these: hashes of keys, the secrets that ids of imported records derive
-- from, for whom each outbox may write, and errors that may quote a record. The server needs all of their rows, before it knows for whom a key speaks;
-- a connection that acts for a tenant gets none.
ALTER TABLE evident.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.api_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.tenant_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.tenant_secrets FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.sources FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.suspects ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.suspects FORCE ROW LEVEL SECURITY;
CREATE POLICY server_rows ON evident.api_keys TO evident_server
  USING ((SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY server_rows ON evident.tenant_secrets TO evident_server
  USING ((SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY server_rows ON evident.sources FOR SELECT TO evident_server
  USING ((SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY server_rows ON evident.suspects FOR SELECT TO evident_server
  USING ((SELECT current_setting('evident.tenant', true)) = '*');

-- FORCE binds the owner, too, unless it is a superuser; the functions that write what is recorded run as the owner.
-- USING (true) folds away when a statement is planned.
DO $$
DECLARE
  guarded name;
BEGIN
  FOREACH guarded IN ARRAY ARRAY['records', 'identities', 'identities_reused', 'api_keys', 'tenant_secrets', 'sources', 'suspects'] LOOP
    EXECUTE format('CREATE POLICY owner_rows ON evident.%I TO %I USING (true) WITH CHECK (true)', guarded, current_user);
  END LOOP;
END $$;
