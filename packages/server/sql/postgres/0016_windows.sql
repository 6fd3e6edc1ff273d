-- What stands where in the log `windows` (design §5): a view of that log, which may be emptied and filled again. Nothing
-- that is checked stands on it. It gives the window before a tenant's next one, and how far the hours of a log are done.

-- Hours are counted from 1970-01-01T00 UTC. log_id: the log that the window is about. Owner of all rows:
-- evident.put_windows, under the checkpoint's row.
CREATE TABLE evident.tenant_windows (
  log_id    smallint NOT NULL,
  tenant    text COLLATE "C" NOT NULL,
  hour      int NOT NULL,
  position  bigint NOT NULL,
  leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),
  PRIMARY KEY (log_id, tenant, hour)
);
-- An hour's windows in the order of the log, for its marker.
CREATE UNIQUE INDEX tenant_windows_hour ON evident.tenant_windows (log_id, hour, position);

-- Hours whose marker, the record log.windows, is there. ends: by partition the position behind the hour.
CREATE TABLE evident.window_hours (
  log_id   smallint NOT NULL,
  hour     int NOT NULL,
  position bigint NOT NULL,
  ends     bigint[] NOT NULL,
  PRIMARY KEY (log_id, hour)
);

-- Position in the log `windows` from which the view goes on.
CREATE TABLE evident.window_checkpoint (
  one           boolean PRIMARY KEY DEFAULT true CHECK (one),
  next_position bigint NOT NULL
);
INSERT INTO evident.window_checkpoint (next_position) VALUES (0);

-- Takes what stands in the log `windows` from p_from to p_next; answers false when the view does not go on from there.
-- p_ends: the ends of hour i are p_ends[p_ends_from[i] .. p_ends_from[i] + p_ends_count[i] - 1].
CREATE FUNCTION evident.put_windows(
  p_from bigint, p_next bigint, p_log text[], p_tenant text[], p_hour int[], p_position bigint[], p_leaf_hash bytea[],
  p_done_log text[], p_done_hour int[], p_done_position bigint[], p_ends bigint[], p_ends_from int[], p_ends_count int[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.window_checkpoint SET next_position = p_next WHERE next_position = p_from AND p_next > p_from;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO evident.tenant_windows (log_id, tenant, hour, position, leaf_hash)
    SELECT l.log_id, u.tenant, u.hour, u.position, u.leaf_hash
      FROM unnest(p_log, p_tenant, p_hour, p_position, p_leaf_hash) u(log, tenant, hour, position, leaf_hash)
      JOIN evident.logs l USING (log)
     ORDER BY u.position
    ON CONFLICT (log_id, tenant, hour) DO NOTHING;
  INSERT INTO evident.window_hours (log_id, hour, position, ends)
    SELECT l.log_id, u.hour, u.position, p_ends[u.ends_from : u.ends_from + u.ends_count - 1]
      FROM unnest(p_done_log, p_done_hour, p_done_position, p_ends_from, p_ends_count) u(log, hour, position, ends_from, ends_count)
      JOIN evident.logs l USING (log)
     ORDER BY u.position
    ON CONFLICT (log_id, hour) DO NOTHING;
  RETURN true;
END $$;

-- A recovery of the log `windows` (evident.recover_unsealed) gives positions up and moves their records: leaf hashes that
-- the view has of them are those of records that are no more. It reads them again, in the transaction of the recovery.
CREATE FUNCTION evident.forget_lost_windows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM evident.partitions p JOIN evident.logs l USING (log_id)
                  WHERE p.tree = NEW.tree AND l.log = 'windows') THEN
    RETURN NULL;
  END IF;
  UPDATE evident.window_checkpoint SET next_position = NEW.from_position WHERE next_position > NEW.from_position;
  DELETE FROM evident.tenant_windows WHERE position >= NEW.from_position;
  DELETE FROM evident.window_hours WHERE position >= NEW.from_position;
  RETURN NULL;
END $$;
CREATE TRIGGER forget_lost_windows AFTER INSERT ON evident.lost
  FOR EACH ROW EXECUTE FUNCTION evident.forget_lost_windows();

-- As 0009_access.sql: a tenant sees its windows, '*' is the server itself, and the functions above run as the owner.
ALTER TABLE evident.tenant_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.tenant_windows FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON evident.tenant_windows FOR SELECT TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
DO $$
BEGIN
  EXECUTE format('CREATE POLICY owner_rows ON evident.tenant_windows TO %I USING (true) WITH CHECK (true)', current_user);
END $$;

REVOKE ALL ON FUNCTION
  evident.put_windows(bigint, bigint, text[], text[], int[], bigint[], bytea[], text[], int[], bigint[], bigint[], int[], int[]),
  evident.forget_lost_windows() FROM PUBLIC;
GRANT SELECT ON evident.tenant_windows, evident.window_hours, evident.window_checkpoint TO evident_server;
GRANT EXECUTE ON FUNCTION
  evident.put_windows(bigint, bigint, text[], text[], int[], bigint[], bytea[], text[], int[], bigint[], bigint[], int[], int[])
  TO evident_server;
