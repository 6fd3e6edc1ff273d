-- Who may call what writes (design §8, I11). Functions that act as the owner pass every policy, so each asks whom its
-- caller acts for: `*` is the server itself, and the owner of the schema is who made them. A connection that acts for a
-- tenant, or for nobody, gets only those that are about one tenant, and those for its own alone.

-- For whom the caller acts; '' for nobody. The setting `role` is that of the caller also within a function that acts as
-- another. Who may become the owner of the schema, which the server's role may not, migrates and repairs without a tenant.
CREATE FUNCTION evident.acting_tenant() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant text := coalesce(current_setting('evident.tenant', true), '');
  caller name := session_user;
BEGIN
  IF current_setting('role') <> 'none' THEN
    caller := current_setting('role');
  END IF;
  IF tenant = '' AND pg_has_role(caller, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'evident'), 'MEMBER') THEN
    RETURN '*';
  END IF;
  RETURN tenant;
END $$;

-- The first thing that a function for the server alone does.
CREATE FUNCTION evident.check_server() RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  -- Without a look into the catalogue for the server: this stands before every append.
  IF current_setting('evident.tenant', true) IS DISTINCT FROM '*' AND evident.acting_tenant() <> '*' THEN
    RAISE EXCEPTION 'this is for the server alone, and the connection acts for %',
      coalesce(nullif(current_setting('evident.tenant', true), ''), 'nobody') USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

-- The first thing that a function about one tenant does. p_tenant null: about any, which the server alone may.
CREATE OR REPLACE FUNCTION evident.check_tenant_set(p_tenant text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  acting text COLLATE "C" := evident.acting_tenant();
BEGIN
  IF acting <> '*' AND (acting = '' OR p_tenant IS DISTINCT FROM acting) THEN
    RAISE EXCEPTION 'the tenant that is set is not %', coalesce(p_tenant, 'all') USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

-- Puts the check before the first statement of each function that the server's role may call, that acts as the owner, and
-- that has none. Runs in the transaction of every migration (stores/postgres/migrate.ts), so that one which makes or replaces
-- such a function needs not know of it. From what is stored, and not written out again: each copy of a long function is one
-- more to keep right.
CREATE FUNCTION evident.guard_functions() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one     record;
  -- About one tenant, which is their argument p_tenant. All others are for the server alone.
  tenants name[] := '{alert_acknowledge,alert_rule_put,webhook_add,webhook_remove,delivery_retry}';
  checked text;
  source  text;
BEGIN
  FOR one IN
    SELECT p.proname, p.prosrc, l.lanname, pg_get_functiondef(p.oid) AS definition
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = 'evident'::regnamespace AND p.prosecdef AND has_function_privilege('evident_server', p.oid, 'EXECUTE')
       -- It compares each record's tenant itself (0008_query.sql), and acts as another role.
       AND p.proname <> 'match_text' AND p.prosrc NOT LIKE '%evident.check\_%'
     ORDER BY p.proname
  LOOP
    checked := CASE WHEN one.proname = ANY (tenants) THEN 'evident.check_tenant_set(p_tenant)' ELSE 'evident.check_server()' END;
    IF one.lanname = 'sql' THEN
      source := E'\n  SELECT ' || checked || ';' || one.prosrc;
    ELSE
      source := regexp_replace(one.prosrc, E'\\nBEGIN\\n', E'\nBEGIN\n  PERFORM ' || checked || E';\n');
    END IF;
    IF source = one.prosrc OR position(one.prosrc IN one.definition) = 0 THEN
      RAISE EXCEPTION 'the check finds no place in %', one.proname;
    END IF;
    EXECUTE replace(one.definition, one.prosrc, source);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION evident.acting_tenant(), evident.check_server(), evident.guard_functions() FROM PUBLIC;
