-- A relay whose outbox lies in the log's own database: rows go over inside PostgreSQL. What is taken, and what is
-- left to the relay's own code, follows core/record.ts and relay/propose-row.ts; a test holds both ways equal.

-- Polls as the relay would (settled transactions only, in (xid, id) order), takes rows up to the first that needs the
-- relay's own code, appends them and moves the cursor, in one transaction.
--
-- p_metas: texts of meta that the relay has found to stand in their one serialised form.
-- Answers how many rows were taken, how many of them were in the log already, and the cursor's new state. A row is left
-- to the relay when its tenant, type, key or schema may have to be rejected, its meta is not known, or its body is not
-- plainly JSON that stands in the leaf: long, with a line break or tab between its tokens, or with so many brackets
-- that it may be nested too deep. The alphabets of tenant, type and key are those of the outbox's own checks, which
-- PostgreSQL has applied to every row: without them nothing is taken here. (Matching three regular expressions a row
-- again took a tenth of the whole, and window functions, which copy bodies, more.)
CREATE FUNCTION evident.relay_local(
  p_source_name text, p_version bigint, p_state jsonb, p_rows int, p_metas text[],
  OUT taken int, OUT repeats int, OUT state jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  source   evident.sources;
  trees    int[];
  parts    int;
  epoch    text := p_state ->> 'epoch';
  after_x  xid8 := (p_state #>> '{done,xid}')::xid8;
  after_id bigint := (p_state #>> '{done,id}')::bigint;
  batch    record;
  counts   int[];
  slots    int[];
  offsets  int[];
  old      int[];
  last     text;
  slot     int;
  hash     bigint;
BEGIN
  taken := 0;
  repeats := 0;
  state := p_state;
  SELECT * INTO STRICT source FROM evident.sources s WHERE s.source = p_source_name;
  SELECT array_agg(p.tree ORDER BY p.partition) INTO trees FROM evident.partitions p WHERE p.log_id = source.log_id;
  parts := cardinality(trees);
  IF (SELECT count(*) FROM pg_constraint c
       WHERE c.conrelid = 'evident_outbox.events'::regclass AND c.contype = 'c' AND c.convalidated
         AND c.conname IN ('tenant', 'type', 'key')) <> 3 THEN
    RETURN;
  END IF;

  -- step: read
  -- One statement, one snapshot: its horizon is that of the rows that it sees.
  SELECT count(*)::int AS rows, array_agg(f.fits) AS fits,
         array_agg(f.xid) AS xid, array_agg(f.id) AS id, array_agg(f.event_id) AS event_id, array_agg(f.tenant) AS tenant,
         array_agg(epoch || '.' || f.id) AS seq, array_agg(f.type) AS type, array_agg(f.schema) AS schema,
         array_agg(f.key) AS key, array_agg(f.meta) AS meta, array_agg(f.bytes) AS body, array_agg(sha256(f.bytes)) AS hash,
         array_agg(('x' || left(encode(sha256(convert_to(f.key, 'UTF8')), 'hex'), 16))::bit(64)::bigint) AS key_hash
    INTO batch
    FROM (
      SELECT e.*, CASE WHEN octet_length(e.body) <= 8192 THEN convert_to(e.body, 'UTF8') END AS bytes,
             (octet_length(e.body) <= 8192
              AND (source.tenants IS NULL OR e.tenant = ANY (source.tenants)) AND left(e.tenant, 1) <> '_'
              AND CASE WHEN e.type = 'audit.event' THEN e.schema = 1
                       ELSE e.schema = 0 AND e.type NOT IN ('head', 'window')
                            AND NOT (starts_with(e.type, 'log.') OR starts_with(e.type, 'seal.')
                                     OR starts_with(e.type, 'key.') OR starts_with(e.type, 'relay.')) END
              AND starts_with(e.key, e.tenant || '/') AND octet_length(e.key) > octet_length(e.tenant) + 1
              AND strpos(e.key, '/.') = 0 AND strpos(e.key, E'\\') = 0
              AND (e.meta IS NULL OR e.meta = ANY (p_metas))
              AND strpos(e.body, E'\n') = 0 AND strpos(e.body, E'\r') = 0 AND strpos(e.body, E'\t') = 0
              AND 2 * octet_length(e.body) - octet_length(replace(e.body, '{', ''))
                  - octet_length(replace(e.body, '[', '')) <= 120
              AND e.body IS JSON) IS TRUE AS fits
        FROM evident_outbox.events e
       WHERE (e.xid, e.id) > (after_x, after_id) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
       ORDER BY e.xid, e.id LIMIT p_rows) f;
  taken := coalesce(array_position(batch.fits, false) - 1, batch.rows);
  IF taken = 0 THEN RETURN; END IF;

  counts := array_fill(0, ARRAY[parts]);
  slots := array_fill(0, ARRAY[taken]);
  offsets := slots;
  FOR i IN 1 .. taken LOOP
    -- Partition of a key: the first eight bytes of its SHA-256, as an unsigned number, modulo n (design §1).
    hash := batch.key_hash[i];
    slot := (((hash >> 32) & 4294967295) % parts * (4294967296 % parts) + (hash & 4294967295)) % parts + 1;
    slots[i] := slot;
    offsets[i] := counts[slot];
    counts[slot] := offsets[i] + 1;
  END LOOP;

  last := encode(sha256(convert_to(concat(batch.event_id[taken], E'\n', batch.tenant[taken], E'\n', batch.type[taken], E'\n',
            batch.key[taken], E'\n', batch.meta[taken], E'\n'), 'UTF8') || batch.body[taken]), 'hex');
  state := state || jsonb_build_object(
    'done', jsonb_build_object('xid', batch.xid[taken]::text, 'id', batch.id[taken]::text),
    'row', jsonb_build_object('xid', batch.xid[taken]::text, 'id', batch.id[taken]::text, 'hash', last));

  -- step: append
  PERFORM evident.move_cursor(p_source_name, p_version, p_state, state);
  IF taken = batch.rows THEN
    SELECT a.old_ordinal INTO old
      FROM evident.append(trees, slots, offsets, batch.event_id, batch.tenant, array_fill('outbox:' || p_source_name, ARRAY[taken]),
                          batch.seq, batch.type, batch.schema, batch.key, batch.meta, array_fill(0::smallint, ARRAY[taken]),
                          batch.body, array_fill(NULL::bytea, ARRAY[taken]), array_fill(NULL::bigint, ARRAY[taken]),
                          batch.hash, array_fill(true, ARRAY[taken]), counts) a;
  ELSE
    SELECT a.old_ordinal INTO old
      FROM evident.append(trees, slots, offsets, batch.event_id[:taken], batch.tenant[:taken],
                          array_fill('outbox:' || p_source_name, ARRAY[taken]), batch.seq[:taken], batch.type[:taken],
                          batch.schema[:taken], batch.key[:taken], batch.meta[:taken],
                          array_fill(0::smallint, ARRAY[taken]), batch.body[:taken], array_fill(NULL::bytea, ARRAY[taken]),
                          array_fill(NULL::bigint, ARRAY[taken]), batch.hash[:taken], array_fill(true, ARRAY[taken]), counts) a;
  END IF;
  repeats := coalesce(cardinality(old), 0);
END $$;

-- Whether the outbox of this very database holds a token, and the owner of the log may read it.
CREATE FUNCTION evident.is_local(p_token uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found boolean;
BEGIN
  SELECT EXISTS (SELECT FROM evident_outbox.heartbeat h WHERE p_token = ANY (h.tokens))
         AND has_table_privilege('evident_outbox.events', 'SELECT')
    INTO found;
  RETURN found;
EXCEPTION WHEN undefined_table OR invalid_schema_name OR insufficient_privilege THEN
  RETURN false;
END $$;

REVOKE ALL ON FUNCTION evident.is_local(uuid),
  evident.relay_local(text, bigint, jsonb, int, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evident.is_local(uuid), evident.relay_local(text, bigint, jsonb, int, text[]) TO evident_server;
