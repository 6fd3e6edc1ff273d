-- Sources: outboxes that relays bring into the log (design §4 Relay).

-- state: the relay's cursor, as it wrote it; only the relay reads it. version: moved by every write, so that of two
-- relays one goes on and the other notices.
-- tenants: whom the source may write for; null means any.
CREATE TABLE evident.sources (
  source        text COLLATE "C" PRIMARY KEY CHECK (source ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  log_id        smallint NOT NULL REFERENCES evident.logs,
  tenants       text[] COLLATE "C",
  wanted_mode   text NOT NULL CHECK (wanted_mode IN ('polling', 'wal')),
  state         jsonb,
  version       bigint NOT NULL DEFAULT 0,
  moved_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Registers a source, or changes for whom it may write and how it is read. Its log is frozen: what was relayed
-- is recognised by identity in that log alone.
CREATE FUNCTION evident.register_source(p_source text, p_log text, p_tenants text[], p_mode text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target smallint;
  known  smallint;
BEGIN
  SELECT log_id INTO target FROM evident.logs WHERE log = p_log;
  IF target IS NULL THEN
    RAISE EXCEPTION 'there is no log %', p_log USING ERRCODE = 'EV013';
  END IF;
  SELECT log_id INTO known FROM evident.sources WHERE source = p_source;
  IF known IS NOT NULL AND known <> target THEN
    RAISE EXCEPTION 'the source % goes into another log and keeps it', p_source USING ERRCODE = 'EV013';
  END IF;
  INSERT INTO evident.sources (source, log_id, tenants, wanted_mode) VALUES (p_source, target, p_tenants, p_mode)
    ON CONFLICT (source) DO UPDATE SET tenants = excluded.tenants, wanted_mode = excluded.wanted_mode;
END $$;

-- Moves the cursor of a source, if nobody else has moved it since p_version and p_before were read. The number alone
-- would not say so: when an older copy of this database was put back it counts again, and a relay that lives on could
-- meet its own number over another cursor.
CREATE FUNCTION evident.move_cursor(p_source text, p_version bigint, p_before jsonb, p_state jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.sources SET state = p_state, version = version + 1, moved_at = clock_timestamp()
   WHERE source = p_source AND version = p_version AND state IS NOT DISTINCT FROM p_before;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the cursor of % has moved', p_source USING ERRCODE = 'EV011';
  END IF;
END $$;

-- A batch of a relay: the cursor and the records, both or neither. The row of the source is locked before the
-- counters; nothing locks them in the other order. What follows is evident.append, which says what the rest means.
CREATE FUNCTION evident.relay(
  p_source_name text,
  p_version     bigint,
  p_before      jsonb,
  p_state       jsonb,
  p_trees       int[],
  p_slot        int[],
  p_offset      int[],
  p_id          uuid[],
  p_tenant      text[],
  p_source      text[],
  p_source_seq  text[],
  p_type        text[],
  p_schema      int[],
  p_key         text[],
  p_meta        text[],
  p_form        smallint[],
  p_body        bytea[],
  p_sha256      bytea[],
  p_size        bigint[],
  p_hash        bytea[],
  p_keep        boolean[],
  p_counts      int[],
  OUT bases bigint[], OUT times bigint[],
  OUT old_ordinal int[], OUT old_tree int[], OUT old_position bigint[], OUT old_same boolean[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- step: move the cursor
  PERFORM evident.move_cursor(p_source_name, p_version, p_before, p_state);
  -- step: append
  SELECT a.bases, a.times, a.old_ordinal, a.old_tree, a.old_position, a.old_same
    INTO bases, times, old_ordinal, old_tree, old_position, old_same
    FROM evident.append(p_trees, p_slot, p_offset, p_id, p_tenant, p_source, p_source_seq, p_type, p_schema, p_key,
                        p_meta, p_form, p_body, p_sha256, p_size, p_hash, p_keep, p_counts) a;
END $$;

REVOKE ALL ON FUNCTION evident.register_source(text, text, text[], text), evident.move_cursor(text, bigint, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION evident.relay(text, bigint, jsonb, jsonb, int[], int[], int[], uuid[], text[], text[], text[], text[], int[],
  text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]) FROM PUBLIC;
GRANT SELECT ON evident.sources TO evident_server;
GRANT EXECUTE ON FUNCTION evident.register_source(text, text, text[], text), evident.move_cursor(text, bigint, jsonb, jsonb) TO evident_server;
GRANT EXECUTE ON FUNCTION evident.relay(text, bigint, jsonb, jsonb, int[], int[], int[], uuid[], text[], text[], text[], text[], int[],
  text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]) TO evident_server;
