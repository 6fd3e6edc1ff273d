-- What others say of heads of heads/0: tokens of time stamp authorities and cosignatures of witnesses (design §5, T3, T4).

-- by: name of the authority, or of the witness's key. at: the time that it vouches for, in microseconds since the Unix
-- epoch by its own clock, which may be anywhere. logged_at: position in heads/0 of the record that says so; null: none
-- is known yet. Owner of all rows: evident.put_anchor; nothing is ever changed but logged_at, once.
CREATE TABLE evident.anchors (
  epoch     int NOT NULL,
  size      bigint NOT NULL,
  kind      text COLLATE "C" NOT NULL CHECK (kind IN ('timestamp', 'cosignature')),
  by        text COLLATE "C" NOT NULL CHECK (length(by) BETWEEN 1 AND 128),
  bytes     bytea NOT NULL CHECK (length(bytes) BETWEEN 1 AND 65536),
  at        bigint NOT NULL,
  logged_at bigint,
  PRIMARY KEY (epoch, size, kind, by)
);
CREATE INDEX anchors_newest ON evident.anchors (epoch, kind, by, size);
CREATE INDEX anchors_unlogged ON evident.anchors (epoch, size) WHERE logged_at IS NULL;

-- Stores an anchor of a head that heads/0 has; the first of its name stays. Null: there is no such head.
CREATE FUNCTION evident.put_anchor(p_epoch int, p_size bigint, p_kind text, p_by text, p_bytes bytea, p_at bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- FOR SHARE: the head must not be thinned between this look and the insert.
  PERFORM FROM evident.heads h JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
    WHERE l.log = 'heads' AND p.partition = 0 AND h.epoch = p_epoch AND h.size = p_size FOR SHARE OF h;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO evident.anchors (epoch, size, kind, by, bytes, at) VALUES (p_epoch, p_size, p_kind, p_by, p_bytes, p_at)
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

CREATE FUNCTION evident.mark_anchor_logged(p_epoch int, p_size bigint, p_kind text, p_by text, p_position bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.anchors SET logged_at = p_position
   WHERE epoch = p_epoch AND size = p_size AND kind = p_kind AND by = p_by AND logged_at IS NULL
$$;

-- As in 0002_seal.sql, and keeps every head that somebody vouches for: evidence ends in it.
CREATE OR REPLACE FUNCTION evident.thin_heads() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  thinned bigint;
BEGIN
  DELETE FROM evident.heads h
   WHERE NOT h.listed AND h.signed_at < clock_timestamp() - interval '24 hours'
     AND (h.epoch, h.size) < (SELECT s.epoch, s.size FROM evident.seals s WHERE s.tree = h.tree)
     AND NOT EXISTS (SELECT FROM evident.anchors a
                       JOIN evident.logs l ON l.log = 'heads' JOIN evident.partitions p ON p.log_id = l.log_id AND p.partition = 0
                      WHERE p.tree = h.tree AND a.epoch = h.epoch AND a.size = h.size);
  GET DIAGNOSTICS thinned = ROW_COUNT;
  RETURN thinned;
END $$;

REVOKE ALL ON FUNCTION evident.put_anchor(int, bigint, text, text, bytea, bigint),
  evident.mark_anchor_logged(int, bigint, text, text, bigint), evident.thin_heads() FROM PUBLIC;
GRANT SELECT ON evident.anchors TO evident_server;
GRANT EXECUTE ON FUNCTION evident.put_anchor(int, bigint, text, text, bytea, bigint),
  evident.mark_anchor_logged(int, bigint, text, text, bigint), evident.thin_heads() TO evident_server;
