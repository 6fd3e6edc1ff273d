-- Query: text search in bodies, and searches that are kept by name (design §4 Query, §8).

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evident_search') THEN
    -- Roles belong to the cluster, the lock of a migration to one database: another may make it now.
    BEGIN
      CREATE ROLE evident_search NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END IF;
  EXECUTE format('GRANT evident_search TO %I', current_user);
END $$;

-- Reads records of any tenant; who calls its one function gets those of the tenant that is set.
GRANT USAGE ON SCHEMA evident TO evident_search;
GRANT SELECT ON evident.records TO evident_search;
CREATE POLICY search_rows ON evident.records FOR SELECT TO evident_search USING (true);

-- Whether the bodies of these records hold one of the spellings; ASCII letters of either case are alike, so the
-- spellings come in lower case. One row a record, in order, until p_bytes_max bytes of bodies have been read; at least
-- one. The operators of a text search are not leakproof: under a policy PostgreSQL would have to apply them after
-- everything else, and a caller's function could see other tenants' bodies. Here the tenant is compared first, by hand.
-- A record of another tenant is as one that does not exist.
CREATE FUNCTION evident.match_text(p_trees int[], p_positions bigint[], p_spellings text[], p_bytes_max bigint)
RETURNS TABLE (ordinal int, matches boolean, bytes int, searched boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  seeing  text COLLATE "C" := current_setting('evident.tenant', true);
  total   bigint := 0;
  latin   text[];
  wanted  text[];
  found   record;
  content text COLLATE "C";
  one     text COLLATE "C";
BEGIN
  IF coalesce(seeing, '') = '' THEN
    RAISE EXCEPTION 'no tenant is set: whose records are to be searched?' USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF cardinality(p_trees) > 1000 OR cardinality(p_spellings) NOT BETWEEN 1 AND 16 THEN
    RAISE EXCEPTION 'at most 1000 records and 16 spellings a call' USING ERRCODE = 'program_limit_exceeded';
  END IF;
  -- Each byte as one character: such a body needs not be text at all.
  SELECT array_agg(convert_from(convert_to(s, 'UTF8'), 'LATIN1')) INTO latin FROM unnest(p_spellings) s;
  FOR found IN
    SELECT s.number, r.body, r.body_form, r.known
      FROM unnest(p_trees, p_positions) WITH ORDINALITY s(tree, place, number)
      -- OFFSET 0: one look into the primary key a record, whatever the planner thinks of the arrays.
      LEFT JOIN LATERAL (
        SELECT e.body, e.body_form, true AS known FROM evident.records e
         WHERE e.tree = s.tree AND e.position = s.place AND (e.tenant = seeing OR seeing = '*') OFFSET 0
      ) r ON true
     ORDER BY s.number
  LOOP
    ordinal := found.number;
    matches := false;
    bytes := 0;
    searched := found.known IS NULL OR found.body_form <> 2;
    IF found.known AND found.body_form <> 2 THEN
      bytes := octet_length(found.body);
      IF found.body_form = 0 THEN
        content := lower(convert_from(found.body, 'UTF8') COLLATE "C");
        wanted := p_spellings;
      ELSE
        content := lower(evident.bytes_as_text(found.body) COLLATE "C");
        wanted := latin;
      END IF;
      FOREACH one IN ARRAY wanted LOOP
        IF strpos(content, one) > 0 THEN
          matches := true;
          EXIT;
        END IF;
      END LOOP;
    END IF;
    RETURN NEXT;
    total := total + bytes;
    EXIT WHEN total >= p_bytes_max;
  END LOOP;
END $$;

-- Bytes as text, one character a byte. No text holds a zero byte: U+0001 stands for it, which nobody can seek.
CREATE FUNCTION evident.bytes_as_text(p_bytes bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF position('\x00'::bytea IN p_bytes) = 0 THEN
    RETURN convert_from(p_bytes, 'LATIN1');
  END IF;
  -- In one pass of the engine's own functions: byte by byte it took 28 ms for 44 kB, and a tenant that stores such bodies
  -- could keep the searches of all others waiting. Backslashes, which the form doubles, are written as octal first, so
  -- that no \000 that stands in the body is taken for a zero byte.
  RETURN convert_from(decode(replace(replace(encode(p_bytes, 'escape'), '\\', '\134'), '\000', '\001'), 'escape'), 'LATIN1');
END $$;

-- Changing the owner needs the right to make things in the schema, for that moment.
GRANT CREATE ON SCHEMA evident TO evident_search;
ALTER FUNCTION evident.match_text(int[], bigint[], text[], bigint) OWNER TO evident_search;
ALTER FUNCTION evident.bytes_as_text(bytea) OWNER TO evident_search;
REVOKE CREATE ON SCHEMA evident FROM evident_search;

-- Searches by name. tenant '_system': of those who read all tenants.
CREATE TABLE evident.saved_searches (
  tenant  text COLLATE "C" NOT NULL,
  name    text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
  filter  text NOT NULL CHECK (octet_length(filter) <= 16384),
  made_by text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, name)
);
ALTER TABLE evident.saved_searches ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.saved_searches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON evident.saved_searches TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
DO $$
BEGIN
  EXECUTE format('CREATE POLICY owner_rows ON evident.saved_searches TO %I USING (true) WITH CHECK (true)', current_user);
END $$;
GRANT SELECT ON evident.saved_searches TO evident_server;

-- Keeps a search, or replaces the one of that name; false: the tenant has p_most others.
CREATE FUNCTION evident.save_search(p_tenant text, p_name text, p_filter text, p_made_by text, p_most int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM evident.check_tenant_set(p_tenant);
  -- One at a time, so that the bound holds.
  LOCK TABLE evident.saved_searches IN SHARE ROW EXCLUSIVE MODE;
  IF (SELECT count(*) FROM evident.saved_searches s WHERE s.tenant = p_tenant AND s.name <> p_name) >= p_most THEN
    RETURN false;
  END IF;
  INSERT INTO evident.saved_searches AS s (tenant, name, filter, made_by) VALUES (p_tenant, p_name, p_filter, p_made_by)
    ON CONFLICT (tenant, name) DO UPDATE SET filter = excluded.filter, made_by = excluded.made_by, made_at = excluded.made_at;
  RETURN true;
END $$;

CREATE FUNCTION evident.drop_search(p_tenant text, p_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM evident.check_tenant_set(p_tenant);
  DELETE FROM evident.saved_searches s WHERE s.tenant = p_tenant AND s.name = p_name;
  RETURN FOUND;
END $$;

CREATE FUNCTION evident.check_tenant_set(p_tenant text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(current_setting('evident.tenant', true), '') NOT IN (p_tenant, '*') OR p_tenant = '' THEN
    RAISE EXCEPTION 'the tenant that is set is not %', p_tenant USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

REVOKE ALL ON FUNCTION evident.match_text(int[], bigint[], text[], bigint), evident.bytes_as_text(bytea),
  evident.save_search(text, text, text, text, int), evident.drop_search(text, text), evident.check_tenant_set(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evident.match_text(int[], bigint[], text[], bigint),
  evident.save_search(text, text, text, text, int), evident.drop_search(text, text) TO evident_server;
