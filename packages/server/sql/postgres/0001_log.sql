-- The log on PostgreSQL (design §3, §4). Everything that is recorded is written through the functions of this
-- file, which belong to the owner of the schema; the server's role may read, and call them, and no more.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'evident_server') THEN
    -- Roles belong to the cluster, the lock of a migration to one database: another may make it now.
    BEGIN
      CREATE ROLE evident_server NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END IF;
  EXECUTE format('GRANT evident_server TO %I', current_user);
END $$;

GRANT USAGE ON SCHEMA evident TO evident_server;

-- What this database was begun as. A data directory with another signer must not go on here under the same
-- name: its heads would contradict those that were published.
CREATE TABLE evident.inception (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  name       text NOT NULL,
  vkey       text NOT NULL,
  begun_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE evident.logs (
  log_id     smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log        text COLLATE "C" NOT NULL UNIQUE CHECK (log ~ '^[a-z0-9-]{1,32}$'),
  partitions int NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
  made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row a partition: its counter. Owner: evident.append, under FOR UPDATE, trees ascending.
-- A row lock is held to the end of the transaction, and PostgreSQL makes a commit visible before it lets the
-- lock go: whoever sees position N sees every position below it.
CREATE TABLE evident.partitions (
  tree             int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_id           smallint NOT NULL REFERENCES evident.logs,
  partition        int NOT NULL CHECK (partition >= 0),
  next_position    bigint NOT NULL DEFAULT 0,
  first_position   bigint NOT NULL DEFAULT 0,
  last_appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  child_end        bigint NOT NULL DEFAULT 0,
  stopped          text,
  UNIQUE (log_id, partition)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The log. Children hold 2^20 positions of one partition each, so that removal is a drop.
-- body_form: 0 = JSON verbatim, 1 = base64 in the leaf, 2 = in the object store (body_sha256, body_size).
-- No CHECK on the forms: PostgreSQL parses its expression anew for every child in every statement, a visible part
-- of an append's profile; evident.append is the only writer.
CREATE TABLE evident.records (
  tree        int NOT NULL,
  position    bigint NOT NULL,
  appended_at timestamptz NOT NULL,
  id          uuid NOT NULL,
  tenant      text COLLATE "C" NOT NULL,
  source      text COLLATE "C" NOT NULL,
  source_seq  text COLLATE "C",
  type        text COLLATE "C" NOT NULL,
  schema      int NOT NULL,
  key         text COLLATE "C" NOT NULL,
  meta        text COLLATE "C",
  body_form   smallint NOT NULL,
  body        bytea,
  body_sha256 bytea,
  body_size   bigint,
  PRIMARY KEY (tree, position)
) PARTITION BY RANGE (tree, position);

-- What has been taken already, so that a retry is a repeat. Rows are kept at least 30 days.
-- reused: a second body under one identity that was captured all the same (importers, relay).
CREATE TABLE evident.identities (
  log_id    smallint NOT NULL,
  tenant    text COLLATE "C" NOT NULL,
  id        uuid NOT NULL,
  body_hash bytea NOT NULL,
  tree      int NOT NULL,
  position  bigint NOT NULL,
  PRIMARY KEY (log_id, tenant, id)
);

CREATE TABLE evident.identities_reused (
  log_id    smallint NOT NULL,
  tenant    text COLLATE "C" NOT NULL,
  id        uuid NOT NULL,
  body_hash bytea NOT NULL,
  tree      int NOT NULL,
  position  bigint NOT NULL,
  PRIMARY KEY (log_id, tenant, id, body_hash)
);

-- The id of a record that Evident writes itself; core/derived-id.ts computes the same.
CREATE FUNCTION evident.derived_id(what text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT encode(
    set_byte(
      set_byte(h, 6, (get_byte(h, 6) & 15) | 128),
      8, (get_byte(h, 8) & 63) | 128), 'hex')::uuid
  FROM (SELECT substring(sha256(convert_to('evident:' || what, 'UTF8')) FOR 16) AS h) x
$$;

-- Makes the next child of a partition. ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which neither
-- readers nor writers wait for; CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE.
-- Called under the counter's lock, in the append transaction: a crash leaves neither child nor records.
CREATE FUNCTION evident.add_child(p_tree int, p_from bigint, p_to bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  child text := format('records_%s_%s', p_tree, p_from);
BEGIN
  EXECUTE format('CREATE TABLE evident.%I (LIKE evident.records INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', child);
  EXECUTE format('ALTER TABLE evident.%I ADD PRIMARY KEY (tree, position)', child);
  EXECUTE format('ALTER TABLE evident.records ATTACH PARTITION evident.%I FOR VALUES FROM (%s, %s) TO (%s, %s)',
                 child, p_tree, p_from, p_tree, p_to);
END $$;

-- Makes a log with its partitions; answers the number of partitions it has. The number is frozen at first use.
CREATE FUNCTION evident.make_log(p_log text, p_partitions int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made evident.logs;
BEGIN
  INSERT INTO evident.logs (log, partitions) VALUES (p_log, p_partitions) ON CONFLICT (log) DO NOTHING;
  SELECT * INTO STRICT made FROM evident.logs WHERE log = p_log;
  INSERT INTO evident.partitions (log_id, partition)
    SELECT made.log_id, g FROM generate_series(0, made.partitions - 1) g
    ON CONFLICT (log_id, partition) DO NOTHING;
  RETURN made.partitions;
END $$;

-- Appends a batch. p_trees: the partitions concerned, ascending. The other arrays run in parallel, one element
-- a record, in the order in which the records of one tree shall stand: p_slot is the place of the record's tree
-- in p_trees, counted from 1, p_offset the record's number among those of its tree, counted from 0.
-- p_hash null: the identity is not looked for (Evident's own records). p_keep: a known identity with another
-- body is taken all the same, once (importers, relay); otherwise it is left out and reported.
--
-- Answers one row: the position of each tree's first new record, the time that the records of each tree got
-- (microseconds since the Unix epoch), and for
-- records that were not appended as new their ordinal (from 1), tree, position and whether the body is the same.
-- Generic plans: for short arrays PostgreSQL would plan every statement anew, which took 490 µs of CPU for one
-- record and 1,950 for a hundred instead of 305 and 1,250 (2026-11-21, 2 cores AMD EPYC, PostgreSQL 18.4).
CREATE FUNCTION evident.append(
  p_trees      int[],
  p_slot       int[],
  p_offset     int[],
  p_id         uuid[],
  p_tenant     text[],
  p_source     text[],
  p_source_seq text[],
  p_type       text[],
  p_schema     int[],
  p_key        text[],
  p_meta       text[],
  p_form       smallint[],
  p_body       bytea[],
  p_sha256     bytea[],
  p_size       bigint[],
  p_hash       bytea[],
  p_keep       boolean[],
  p_counts     int[],
  OUT bases bigint[], OUT times bigint[],
  OUT old_ordinal int[], OUT old_tree int[], OUT old_position bigint[], OUT old_same boolean[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  trees   int[];
  logs    smallint[];
  lasts   timestamptz[];
  ends    bigint[];
  halted  int[];
  now_at  timestamptz;
  moments timestamptz[];
  offsets int[] := p_offset;
  counts  int[] := p_counts;
  wanted  int := cardinality(p_hash) - cardinality(array_positions(p_hash, NULL));
  taken   int;
  added   int;
  i       int;
BEGIN
  -- step: lock the counters
  SELECT array_agg(c.tree), array_agg(c.next_position), array_agg(c.last_appended_at), array_agg(c.child_end),
         array_agg(c.log_id), array_agg(c.tree) FILTER (WHERE c.stopped IS NOT NULL)
    INTO trees, bases, lasts, ends, logs, halted
    FROM (SELECT p.tree, p.next_position, p.last_appended_at, p.child_end, p.log_id, p.stopped
            FROM evident.partitions p WHERE p.tree = ANY (p_trees)
            ORDER BY p.tree FOR UPDATE) c;
  IF trees IS DISTINCT FROM p_trees THEN
    RAISE EXCEPTION 'the partitions % are not known, or not in ascending order', p_trees USING ERRCODE = 'data_exception';
  END IF;
  IF halted IS NOT NULL THEN
    -- The whole call: half of it in the log would be neither taken nor refused.
    RAISE EXCEPTION 'stopped: %', array_to_string(halted, ',') USING ERRCODE = 'EV008';
  END IF;

  -- step: read the clock
  -- After the locks: a time read before them could be earlier than that of a writer who went first.
  now_at := clock_timestamp();
  FOR i IN 1 .. cardinality(trees) LOOP
    moments[i] := greatest(now_at, lasts[i]);
    times[i] := extract(epoch FROM moments[i]) * 1000000;
  END LOOP;

  -- step: children
  -- Before the identities: making a child and waiting for another's identity must not cross, so every writer
  -- takes counters, then the right to make children, then identities. Repeats found later leave room unused.
  FOR i IN 1 .. cardinality(trees) LOOP
    IF bases[i] + counts[i] + 1 > ends[i] THEN
      ends[i] := evident.make_room(trees[i], ends[i], bases[i] + counts[i] + 1);
    END IF;
  END LOOP;

  -- step: close the hours
  FOR i IN 1 .. cardinality(trees) LOOP
    IF date_trunc('hour', moments[i], 'UTC') > date_trunc('hour', lasts[i], 'UTC') THEN
      PERFORM evident.put_hour(trees[i], bases[i], moments[i]);
      bases[i] := bases[i] + 1;
    END IF;
  END LOOP;

  -- step: identities
  -- Taken after the counters by every writer, in one order: no two writers can wait for each other.
  IF wanted > 0 THEN
    INSERT INTO evident.identities (log_id, tenant, id, body_hash, tree, position)
      SELECT logs[u.slot], u.tenant, u.id, u.hash, trees[u.slot], bases[u.slot] + u.off
        FROM unnest(p_slot, p_tenant, p_id, p_hash, offsets) u(slot, tenant, id, hash, off)
       WHERE u.hash IS NOT NULL AND u.off IS NOT NULL
       ORDER BY 1, 2, 3, u.off
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken < wanted THEN
      SELECT s.offsets, s.old_ordinal, s.old_tree, s.old_position, s.old_same
        INTO offsets, old_ordinal, old_tree, old_position, old_same
        FROM evident.settle_repeats(trees, bases, logs, p_slot, p_tenant, p_id, p_hash, p_keep, offsets) s;
      counts := evident.count_slots(cardinality(trees), p_slot, offsets);
    END IF;
  END IF;

  -- step: records
  INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, source_seq, type, schema, key, meta,
                               body_form, body, body_sha256, body_size)
    SELECT trees[u.slot], bases[u.slot] + u.off, moments[u.slot],
           u.id, u.tenant, u.source, u.source_seq, u.type, u.schema, u.key, u.meta, u.form, u.body, u.sha256, u.size
      FROM unnest(p_slot, offsets, p_id, p_tenant, p_source, p_source_seq, p_type, p_schema, p_key, p_meta,
                  p_form, p_body, p_sha256, p_size)
           u(slot, off, id, tenant, source, source_seq, type, schema, key, meta, form, body, sha256, size)
     WHERE u.off IS NOT NULL;
  GET DIAGNOSTICS added = ROW_COUNT;
  IF added <> (SELECT coalesce(sum(c), 0) FROM unnest(counts) c) THEN
    RAISE EXCEPTION 'the batch says % records, but holds %', counts, added USING ERRCODE = 'data_exception';
  END IF;

  -- step: advance the counters
  UPDATE evident.partitions p
     SET next_position = u.base + u.count, child_end = u.child_end,
         -- A partition that got nothing keeps its time: its last record decides which hours are closed.
         last_appended_at = CASE WHEN u.base + u.count > p.next_position THEN u.moment ELSE p.last_appended_at END
    FROM unnest(trees, bases, counts, moments, ends) u(tree, base, count, moment, child_end)
   WHERE p.tree = u.tree;
END $$;

-- How many records each slot of a batch has, those left out not counted.
CREATE FUNCTION evident.count_slots(p_slots int, p_slot int[], p_offset int[]) RETURNS int[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(coalesce(n.count, 0) ORDER BY s.slot)
    FROM generate_series(1, p_slots) s(slot)
    LEFT JOIN (SELECT u.slot, count(*)::int AS count FROM unnest(p_slot, p_offset) u(slot, off)
                WHERE u.off IS NOT NULL GROUP BY u.slot) n USING (slot)
$$;

-- Makes sure that positions below p_until have a child table; answers up to where there is one now.
CREATE FUNCTION evident.make_room(p_tree int, p_end bigint, p_until bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  WHILE p_until > p_end LOOP
    PERFORM evident.add_child(p_tree, p_end, p_end + 1048576);
    p_end := p_end + 1048576;
  END LOOP;
  RETURN p_end;
END $$;

-- The record that closes every hour before the one of p_at. Evident's own, therefore without identity.
CREATE FUNCTION evident.put_hour(p_tree int, p_position bigint, p_at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  place  text;
  closes text := to_char((p_at AT TIME ZONE 'UTC') - interval '1 hour', 'YYYY-MM-DD"T"HH24');
BEGIN
  SELECT l.log || '/' || p.partition INTO STRICT place
    FROM evident.partitions p JOIN evident.logs l USING (log_id) WHERE p.tree = p_tree;
  INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, source_seq, type, schema, key, meta, body_form, body)
  VALUES (p_tree, p_position, p_at, evident.derived_id('log.hour:' || place || ':' || closes), '_system', 'evident', NULL,
          'log.hour', 0, '_system', NULL, 0, convert_to('{"closes":"' || closes || '"}', 'UTF8'));
END $$;

-- Some identities of a batch were known. Says which, renumbers the others without gaps, and corrects the
-- positions that the identities of this batch were inserted with. Part of evident.append, under its locks.
-- It works on arrays, not on a temporary table: in a SECURITY DEFINER function a caller could have put a table
-- of that name, with triggers, into its own temporary schema.
CREATE FUNCTION evident.settle_repeats(
  p_trees int[], p_bases bigint[], p_logs smallint[], p_slot int[], p_tenant text[], p_id uuid[], p_hash bytea[],
  p_keep boolean[], p_offset int[],
  OUT offsets int[], OUT old_ordinal int[], OUT old_tree int[], OUT old_position bigint[], OUT old_same boolean[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  is_fresh boolean[];
  is_same  boolean[];
BEGIN
  -- New: without identity, or the identity's row is the one inserted for this very place of the batch.
  SELECT array_agg(u.off IS NOT NULL AND (u.hash IS NULL OR (i.tree = p_trees[u.slot] AND i.position = p_bases[u.slot] + u.off)) ORDER BY u.ordinal),
         array_agg(coalesce(i.body_hash = u.hash, false) ORDER BY u.ordinal)
    INTO is_fresh, is_same
    FROM unnest(p_slot, p_tenant, p_id, p_hash, p_offset) WITH ORDINALITY u(slot, tenant, id, hash, off, ordinal)
    LEFT JOIN evident.identities i ON i.log_id = p_logs[u.slot] AND i.tenant = u.tenant AND i.id = u.id;

  -- Another body under a known identity, from a writer whose capture is never refused: taken once.
  INSERT INTO evident.identities_reused (log_id, tenant, id, body_hash, tree, position)
    SELECT p_logs[u.slot], u.tenant, u.id, u.hash, p_trees[u.slot], p_bases[u.slot] + u.off
      FROM unnest(p_slot, p_tenant, p_id, p_hash, p_keep, p_offset, is_fresh, is_same)
           u(slot, tenant, id, hash, keep, off, fresh, same)
     WHERE u.off IS NOT NULL AND NOT u.fresh AND NOT u.same AND u.keep
     ORDER BY 1, 2, 3, 4, u.off
    ON CONFLICT DO NOTHING;
  SELECT array_agg(u.fresh OR coalesce(r.tree = p_trees[u.slot] AND r.position = p_bases[u.slot] + u.off, false) ORDER BY u.ordinal)
    INTO is_fresh
    FROM unnest(p_slot, p_tenant, p_id, p_hash, p_offset, p_keep, is_fresh, is_same) WITH ORDINALITY
         u(slot, tenant, id, hash, off, keep, fresh, same, ordinal)
    LEFT JOIN evident.identities_reused r
      ON u.keep AND NOT u.fresh AND NOT u.same AND u.off IS NOT NULL
     AND r.log_id = p_logs[u.slot] AND r.tenant = u.tenant AND r.id = u.id AND r.body_hash = u.hash;

  SELECT array_agg(CASE WHEN u.fresh THEN u.place - 1 END ORDER BY u.ordinal) INTO offsets
    FROM (SELECT f.fresh, f.ordinal,
                 (row_number() OVER (PARTITION BY f.slot, f.fresh ORDER BY f.off))::int AS place
            FROM unnest(p_slot, p_offset, is_fresh) WITH ORDINALITY f(slot, off, fresh, ordinal)) u;

  UPDATE evident.identities i SET position = p_bases[u.slot] + u.now
    FROM unnest(p_slot, p_tenant, p_id, p_hash, p_offset, offsets) u(slot, tenant, id, hash, was, now)
   WHERE u.now <> u.was AND u.hash IS NOT NULL
     AND i.log_id = p_logs[u.slot] AND i.tenant = u.tenant AND i.id = u.id
     AND i.tree = p_trees[u.slot] AND i.position = p_bases[u.slot] + u.was;
  UPDATE evident.identities_reused r SET position = p_bases[u.slot] + u.now
    FROM unnest(p_slot, p_tenant, p_id, p_hash, p_offset, offsets) u(slot, tenant, id, hash, was, now)
   WHERE u.now <> u.was AND u.hash IS NOT NULL
     AND r.log_id = p_logs[u.slot] AND r.tenant = u.tenant AND r.id = u.id AND r.body_hash = u.hash
     AND r.tree = p_trees[u.slot] AND r.position = p_bases[u.slot] + u.was;

  SELECT array_agg(u.ordinal::int ORDER BY u.ordinal), array_agg(coalesce(r.tree, i.tree) ORDER BY u.ordinal),
         array_agg(coalesce(r.position, i.position) ORDER BY u.ordinal),
         array_agg((r.tree IS NOT NULL OR i.body_hash = u.hash) ORDER BY u.ordinal)
    INTO old_ordinal, old_tree, old_position, old_same
    FROM unnest(p_slot, p_tenant, p_id, p_hash, p_keep, p_offset, is_fresh) WITH ORDINALITY
         u(slot, tenant, id, hash, keep, off, fresh, ordinal)
    JOIN evident.identities i ON i.log_id = p_logs[u.slot] AND i.tenant = u.tenant AND i.id = u.id
    LEFT JOIN evident.identities_reused r
      ON u.keep AND i.body_hash <> u.hash
     AND r.log_id = p_logs[u.slot] AND r.tenant = u.tenant AND r.id = u.id AND r.body_hash = u.hash
   WHERE NOT u.fresh AND u.off IS NOT NULL;
END $$;

-- Closes the hours of partitions in which nothing happens. The same records as append would write.
CREATE FUNCTION evident.close_hours(p_trees int[]) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c       evident.partitions;
  moment  timestamptz;
  closed  int := 0;
BEGIN
  -- All counters before the first child: a writer that holds a counter may be waiting to make one.
  PERFORM FROM evident.partitions WHERE tree = ANY (p_trees) AND stopped IS NULL ORDER BY tree FOR UPDATE;
  FOR c IN SELECT * FROM evident.partitions WHERE tree = ANY (p_trees) AND stopped IS NULL ORDER BY tree FOR UPDATE LOOP
    moment := greatest(clock_timestamp(), c.last_appended_at);
    CONTINUE WHEN date_trunc('hour', moment, 'UTC') <= date_trunc('hour', c.last_appended_at, 'UTC');
    c.child_end := evident.make_room(c.tree, c.child_end, c.next_position + 1);
    PERFORM evident.put_hour(c.tree, c.next_position, moment);
    UPDATE evident.partitions
       SET next_position = c.next_position + 1, last_appended_at = moment, child_end = c.child_end
     WHERE tree = c.tree;
    closed := closed + 1;
  END LOOP;
  RETURN closed;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evident FROM PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA evident TO evident_server;
GRANT EXECUTE ON FUNCTION evident.derived_id(text), evident.make_log(text, int), evident.close_hours(int[]) TO evident_server;
GRANT EXECUTE ON FUNCTION evident.append(int[], int[], int[], uuid[], text[], text[], text[], text[], int[], text[],
  text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]) TO evident_server;
