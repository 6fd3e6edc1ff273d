-- Projection: all that writes views, as functions that belong to the owner of the schema (design §4 Project, §8). The
-- server's role may call them, and has no other way.

-- Checkpoints of partitions that have none yet. Views read every log but those that Evident alone writes.
CREATE FUNCTION evident.ready_checkpoints(p_view text, p_generation int) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.checkpoints (view, generation, tree)
    SELECT p_view, p_generation, p.tree FROM evident.partitions p JOIN evident.logs l USING (log_id)
     WHERE l.log NOT IN ('heads', 'windows') ORDER BY p.tree
    ON CONFLICT DO NOTHING
$$;

-- The generation that is shown; a view that does not exist begins with generation 1.
CREATE FUNCTION evident.open_view(p_view text, p_definition text, OUT generation int, OUT definition text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO evident.views (view, live) VALUES (p_view, 1) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    INSERT INTO evident.generations (view, generation, definition, state) VALUES (p_view, 1, p_definition, 'live');
  END IF;
  SELECT g.generation, g.definition INTO STRICT generation, definition
    FROM evident.views v JOIN evident.generations g ON g.view = v.view AND g.generation = v.live
   WHERE v.view = p_view;
  PERFORM evident.ready_checkpoints(p_view, generation);
END $$;

-- Begins a generation beside the one that is shown.
CREATE FUNCTION evident.begin_generation(p_view text, p_definition text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made int;
BEGIN
  PERFORM FROM evident.views v WHERE v.view = p_view FOR UPDATE;
  INSERT INTO evident.generations (view, generation, definition, state)
    SELECT p_view, max(g.generation) + 1, p_definition, 'building' FROM evident.generations g WHERE g.view = p_view
    RETURNING generation INTO made;
  PERFORM evident.ready_checkpoints(p_view, made);
  RETURN made;
END $$;

-- Rows will be made by another definition from here on: the generation is no longer a function of one. Said, so that
-- comparing it and verifying it can say so; a rebuild ends it.
CREATE FUNCTION evident.continue_generation(p_view text, p_generation int, p_definition text) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.generations g SET definition = g.definition || ' then ' || p_definition
   WHERE g.view = p_view AND g.generation = p_generation
     AND g.definition <> p_definition AND right(g.definition, length(p_definition) + 6) <> ' then ' || p_definition
  RETURNING definition
$$;

-- A reader is about to begin at these checkpoints: counted durably before it reads.
CREATE FUNCTION evident.count_attempt(p_view text, p_generation int, p_trees int[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM evident.checkpoints c WHERE c.view = p_view AND c.generation = p_generation AND c.tree = ANY (p_trees)
    ORDER BY c.tree FOR UPDATE;
  UPDATE evident.checkpoints c SET attempts = c.attempts + 1
   WHERE c.view = p_view AND c.generation = p_generation AND c.tree = ANY (p_trees);
END $$;

-- A reader ended in good order: whoever begins next need not be careful.
CREATE FUNCTION evident.rest_view(p_view text, p_generation int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM evident.checkpoints c WHERE c.view = p_view AND c.generation = p_generation ORDER BY c.tree FOR UPDATE;
  UPDATE evident.checkpoints c SET attempts = 0 WHERE c.view = p_view AND c.generation = p_generation AND c.attempts <> 0;
END $$;

-- A record is about to be touched that may end the process, or did: counted before it is touched.
CREATE FUNCTION evident.note_suspect(p_view text, p_generation int, p_tree int, p_position bigint, p_error text) RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.suspects AS s (view, generation, tree, position, attempts, first_at, last_at, error)
  VALUES (p_view, p_generation, p_tree, p_position, 1, clock_timestamp(), clock_timestamp(), left(p_error, 2000))
  ON CONFLICT (view, generation, tree, position)
    DO UPDATE SET attempts = s.attempts + 1, last_at = clock_timestamp(), error = excluded.error
  RETURNING attempts
$$;

-- Makes sure that the days of p_days (days since 1970) have children. As evident.add_child: ATTACH takes SHARE UPDATE
-- EXCLUSIVE on a parent, for which neither readers nor writers wait. Called under locks of checkpoints; the right to make
-- children is the last lock that anybody takes. A crash leaves none.
CREATE FUNCTION evident.make_event_children(p_generation int, p_days bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parent text := format('events_g%s', p_generation);
  ids    text := format('event_ids_g%s', p_generation);
  child  text;
  begins timestamptz;
  d      bigint;
BEGIN
  -- 0x65766964 is "evid".
  PERFORM pg_advisory_xact_lock(1702259044, p_generation);
  IF to_regclass(format('evident.%I', ids)) IS NULL THEN
    EXECUTE format('CREATE TABLE evident.%I (LIKE evident.event_ids INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', ids);
    EXECUTE format('ALTER TABLE evident.%I ADD PRIMARY KEY (generation, tenant, id, log_id)', ids);
    EXECUTE format('ALTER TABLE evident.event_ids ATTACH PARTITION evident.%I FOR VALUES IN (%s)', ids, p_generation);
  END IF;
  IF to_regclass(format('evident.%I', parent)) IS NULL THEN
    EXECUTE format('CREATE TABLE evident.%I (LIKE evident.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) PARTITION BY RANGE (appended_at)', parent);
    EXECUTE format('ALTER TABLE evident.events ATTACH PARTITION evident.%I FOR VALUES IN (%s)', parent, p_generation);
  END IF;
  FOREACH d IN ARRAY p_days LOOP
    begins := to_timestamp(d * 86400);
    child := format('%s_%s', parent, to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD'));
    CONTINUE WHEN to_regclass(format('evident.%I', child)) IS NOT NULL;
    EXECUTE format('CREATE TABLE evident.%I (LIKE evident.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', child);
    EXECUTE format('ALTER TABLE evident.%I ATTACH PARTITION evident.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, to_char(begins AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                   to_char(begins AT TIME ZONE 'UTC' + interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
  END LOOP;
END $$;

-- What two records of one identity are compared by: null when the log no longer holds the record.
CREATE FUNCTION evident.body_hash(p_tree int, p_position bigint) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(r.body_sha256, sha256(r.body)) FROM evident.records r WHERE r.tree = p_tree AND r.position = p_position
$$;

-- Whether the record at a position is this one. Of two histories of a log that hold it there, all before it is the same.
CREATE FUNCTION evident.record_is(p_tree int, p_position bigint, p_id uuid, p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.id = p_id AND r.appended_at = p_at FROM evident.records r WHERE r.tree = p_tree AND r.position = p_position
$$;

CREATE FUNCTION evident.partition_of(p_tree int) RETURNS int
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT p.partition FROM evident.partitions p WHERE p.tree = p_tree
$$;

-- The dead letter of a record whose identity stands elsewhere with another body.
CREATE FUNCTION evident.put_reused(
  p_view text, p_generation int, p_tree int, p_position bigint, p_other_tree int, p_other bigint
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.dead_letters (view, generation, tree, position, tenant, id, type, class, error, attempts, first_at, last_at)
    SELECT p_view, p_generation, p_tree, p_position, r.tenant, r.id, r.type, 'validation',
           format('id-reused: %s/%s/%s has this identity with another body', l.log, p.partition, p_other), 1, clock_timestamp(), clock_timestamp()
      FROM evident.records r, evident.partitions p JOIN evident.logs l USING (log_id)
     WHERE r.tree = p_tree AND r.position = p_position AND p.tree = p_other_tree
  ON CONFLICT DO NOTHING
$$;

-- Some identities of a batch were known, or come twice in it. Of each identity, the body whose first record stands
-- first (appended_at, partition, position) is shown there; the first record of every other body is a dead letter; all
-- further records are repeats and are dropped. That is a function of the set of records, not of the order in which
-- partitions were read: what was shown is replaced when an earlier one comes.
-- Answers p_slot with null for rows that are not to be stored. Part of evident.put_events, under its locks.
CREATE FUNCTION evident.settle_identities(
  p_view text, p_generation int, p_trees int[], p_logs smallint[], p_slot int[], p_position bigint[],
  p_appended timestamptz[], p_time timestamptz[], p_id uuid[], p_tenant text[], p_type text[],
  OUT slots int[], OUT repeats int, OUT reused int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n         record;
  shown     record;
  letter    record;
  hash      bytea;
  is_first  boolean;
  in_batch  int;
BEGIN
  slots := p_slot;
  repeats := 0;
  reused := 0;
  FOR n IN
    SELECT u.ordinal::int AS ordinal, p_trees[u.slot] AS tree, p_logs[u.slot] AS log_id, u.position, u.appended, u.time, u.id,
           u.tenant, u.type
      FROM unnest(p_slot, p_position, p_appended, p_time, p_id, p_tenant, p_type) WITH ORDINALITY
           u(slot, position, appended, time, id, tenant, type, ordinal)
      JOIN evident.event_ids e ON e.generation = p_generation AND e.tenant = u.tenant AND e.id = u.id AND e.log_id = p_logs[u.slot]
     WHERE e.tree <> p_trees[u.slot] OR e.position <> u.position
     ORDER BY u.ordinal
  LOOP
    slots[n.ordinal] := NULL;
    -- Read again: this loop may have moved it.
    SELECT e.* INTO STRICT shown FROM evident.event_ids e
     WHERE e.generation = p_generation AND e.tenant = n.tenant AND e.id = n.id AND e.log_id = n.log_id FOR UPDATE;
    is_first := (n.appended, evident.partition_of(n.tree), n.position)
              < (shown.appended_at, evident.partition_of(shown.tree), shown.position);
    hash := evident.body_hash(n.tree, n.position);
    IF hash = evident.body_hash(shown.tree, shown.position) THEN
      repeats := repeats + 1;
    ELSE
      SELECT d.tree, d.position, r.appended_at INTO letter
        FROM evident.dead_letters d
        JOIN evident.partitions p ON p.tree = d.tree AND p.log_id = n.log_id
        JOIN evident.records r ON r.tree = d.tree AND r.position = d.position
       WHERE d.view = p_view AND d.generation = p_generation AND d.tenant = n.tenant AND d.id = n.id
         AND d.error LIKE 'id-reused: %' AND evident.body_hash(d.tree, d.position) = hash
       LIMIT 1;
      IF NOT FOUND THEN
        reused := reused + 1;
        IF NOT is_first THEN
          PERFORM evident.put_reused(p_view, p_generation, n.tree, n.position, shown.tree, shown.position);
        END IF;
      ELSE
        repeats := repeats + 1;
        IF is_first THEN
          DELETE FROM evident.dead_letters d
           WHERE d.view = p_view AND d.generation = p_generation AND d.tree = letter.tree AND d.position = letter.position;
        ELSIF (n.appended, evident.partition_of(n.tree), n.position)
            < (letter.appended_at, evident.partition_of(letter.tree), letter.position) THEN
          UPDATE evident.dead_letters d SET tree = n.tree, position = n.position, type = n.type
           WHERE d.view = p_view AND d.generation = p_generation AND d.tree = letter.tree AND d.position = letter.position;
        END IF;
      END IF;
      IF is_first THEN
        PERFORM evident.put_reused(p_view, p_generation, shown.tree, shown.position, n.tree, n.position);
      END IF;
    END IF;
    CONTINUE WHEN NOT is_first;

    -- This one is shown instead. The other's row is stored, or is to be stored by this batch.
    DELETE FROM evident.events e
     WHERE e.generation = p_generation AND e.appended_at = shown.appended_at AND e.tenant = n.tenant
       AND e.event_time = shown.event_time AND e.tree = shown.tree AND e.position = shown.position;
    IF NOT FOUND THEN
      SELECT u.ordinal INTO in_batch FROM unnest(p_slot, p_position) WITH ORDINALITY u(slot, position, ordinal)
       WHERE p_trees[u.slot] = shown.tree AND u.position = shown.position;
      IF FOUND THEN
        slots[in_batch] := NULL;
      END IF;
    END IF;
    UPDATE evident.event_ids e SET tree = n.tree, position = n.position, appended_at = n.appended, event_time = n.time
     WHERE e.generation = p_generation AND e.tenant = n.tenant AND e.id = n.id AND e.log_id = n.log_id;
    slots[n.ordinal] := p_slot[n.ordinal];
  END LOOP;
END $$;

-- Stores rows of the hot view. The arrays run in parallel, one element a row; p_slot is the place of the row's tree in
-- p_trees, counted from 1. The caller holds the locks of the checkpoints of p_trees (of all trees of a log, if the rows
-- are not those of the next positions: a row may move one of another partition).
CREATE FUNCTION evident.put_events(
  p_view text, p_generation int, p_trees int[],
  p_slot int[], p_position bigint[], p_appended timestamptz[], p_time timestamptz[], p_timed boolean[], p_id uuid[],
  p_tenant text[], p_type text[], p_mapper text[], p_actor text[], p_actor_type text[], p_action text[],
  p_resource_type text[], p_resource text[], p_result text[], p_correlation text[], p_ip text[], p_corrects uuid[],
  OUT shown int, OUT repeats int, OUT reused int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  logs  smallint[];
  slots int[] := p_slot;
  days  bigint[];
BEGIN
  repeats := 0;
  reused := 0;
  SELECT array_agg(p.log_id ORDER BY u.ordinal) INTO logs
    FROM unnest(p_trees) WITH ORDINALITY u(tree, ordinal) JOIN evident.partitions p USING (tree);

  -- step: children
  SELECT array_agg(DISTINCT floor(extract(epoch FROM date_trunc('day', a, 'UTC')) / 86400)::bigint) INTO days
    FROM (SELECT DISTINCT date_bin('1 hour', u, 'epoch') FROM unnest(p_appended) u) h(a);
  IF EXISTS (SELECT FROM unnest(days) d
              WHERE to_regclass(format('evident.events_g%s_%s', p_generation, to_char(to_timestamp(d * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD'))) IS NULL) THEN
    PERFORM evident.make_event_children(p_generation, days);
  END IF;

  -- step: identities
  -- Without ON CONFLICT first: it looks each one up before it inserts it, and repeats are rare (2.5 of 35 µs a row,
  -- 2026-11-21, 2 cores AMD EPYC, PostgreSQL 18.4).
  BEGIN
    INSERT INTO evident.event_ids (generation, log_id, tenant, id, appended_at, event_time, tree, position)
      SELECT p_generation, logs[u.slot], u.tenant, u.id, u.appended, u.time, p_trees[u.slot], u.position
        FROM unnest(p_slot, p_position, p_appended, p_time, p_id, p_tenant) u(slot, position, appended, time, id, tenant);
    shown := cardinality(p_slot);
  EXCEPTION WHEN unique_violation THEN
    INSERT INTO evident.event_ids (generation, log_id, tenant, id, appended_at, event_time, tree, position)
      SELECT p_generation, logs[u.slot], u.tenant, u.id, u.appended, u.time, p_trees[u.slot], u.position
        FROM unnest(p_slot, p_position, p_appended, p_time, p_id, p_tenant) u(slot, position, appended, time, id, tenant)
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS shown = ROW_COUNT;
  END;
  IF shown < cardinality(p_slot) THEN
    SELECT s.slots, s.repeats, s.reused INTO slots, repeats, reused
      FROM evident.settle_identities(p_view, p_generation, p_trees, logs, p_slot, p_position, p_appended, p_time, p_id, p_tenant, p_type) s;
  END IF;

  -- step: rows
  INSERT INTO evident.events (generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper, actor_id,
                              actor_type, action, resource_type, resource_id, result, correlation_id, ip, corrects)
    SELECT p_generation, u.appended, p_trees[u.slot], u.position, u.time, u.timed, u.id, u.tenant, u.type, u.mapper, u.actor,
           u.actor_type, u.action, u.resource_type, u.resource, u.result, u.correlation, u.ip, u.corrects
      FROM unnest(slots, p_position, p_appended, p_time, p_timed, p_id, p_tenant, p_type, p_mapper, p_actor, p_actor_type,
                  p_action, p_resource_type, p_resource, p_result, p_correlation, p_ip, p_corrects)
           u(slot, position, appended, time, timed, id, tenant, type, mapper, actor, actor_type, action, resource_type,
             resource, result, correlation, ip, corrects)
     WHERE u.slot IS NOT NULL;
  GET DIAGNOSTICS shown = ROW_COUNT;
END $$;

-- Commits a batch: rows, dead letters and progress, all or nothing. p_trees ascending; p_from[i] is where the tree's
-- checkpoint must stand, p_to[i] where it goes, and p_last_id[i] and p_last_at[i] are of the record before that, as it
-- was read. Outcome: committed; overtaken: another reader has moved a checkpoint, or an older copy of the database has
-- taken the place of the one that was read, and nothing was done; retired: the generation is no longer fed.
-- p_attempts: what the checkpoints that move count from here on. d_first null: now.
CREATE FUNCTION evident.project_batch(
  p_view text, p_generation int, p_trees int[], p_from bigint[], p_to bigint[], p_last_id uuid[], p_last_at timestamptz[],
  p_attempts int,
  p_slot int[], p_position bigint[], p_appended timestamptz[], p_time timestamptz[], p_timed boolean[], p_id uuid[],
  p_tenant text[], p_type text[], p_mapper text[], p_actor text[], p_actor_type text[], p_action text[],
  p_resource_type text[], p_resource text[], p_result text[], p_correlation text[], p_ip text[], p_corrects uuid[],
  d_slot int[], d_position bigint[], d_id uuid[], d_tenant text[], d_type text[], d_class text[], d_error text[],
  d_stack text[], d_attempts int[], d_first timestamptz[], d_last timestamptz[],
  OUT outcome text, OUT shown int, OUT repeats int, OUT reused int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  trees int[];
  nexts bigint[];
BEGIN
  shown := 0;
  repeats := 0;
  reused := 0;

  -- step: lock the checkpoints
  SELECT array_agg(c.tree), array_agg(c.next_position) INTO trees, nexts
    FROM (SELECT k.tree, k.next_position FROM evident.checkpoints k
           WHERE k.view = p_view AND k.generation = p_generation AND k.tree = ANY (p_trees)
           ORDER BY k.tree FOR UPDATE) c;
  IF EXISTS (SELECT FROM evident.generations g WHERE g.view = p_view AND g.generation = p_generation AND g.state = 'retired') THEN
    outcome := 'retired';
    RETURN;
  END IF;
  IF trees IS DISTINCT FROM p_trees OR nexts IS DISTINCT FROM p_from
     OR EXISTS (SELECT FROM unnest(p_trees, p_to, p_last_id, p_last_at) u(tree, next, id, at)
                 WHERE u.id IS NOT NULL AND evident.record_is(u.tree, u.next - 1, u.id, u.at) IS NOT TRUE) THEN
    outcome := 'overtaken';
    RETURN;
  END IF;

  IF cardinality(p_slot) > 0 THEN
    SELECT e.shown, e.repeats, e.reused INTO shown, repeats, reused
      FROM evident.put_events(p_view, p_generation, p_trees, p_slot, p_position, p_appended, p_time, p_timed, p_id, p_tenant,
             p_type, p_mapper, p_actor, p_actor_type, p_action, p_resource_type, p_resource, p_result, p_correlation, p_ip, p_corrects) e;
  END IF;

  -- step: dead letters
  IF cardinality(d_slot) > 0 THEN
    INSERT INTO evident.dead_letters (view, generation, tree, position, tenant, id, type, class, error, stack, attempts, first_at, last_at)
      SELECT p_view, p_generation, p_trees[u.slot], u.position, u.tenant, u.id, u.type, u.class, left(u.error, 2000), left(u.stack, 8000),
             u.attempts, coalesce(u.first, clock_timestamp()), coalesce(u.last, clock_timestamp())
        FROM unnest(d_slot, d_position, d_id, d_tenant, d_type, d_class, d_error, d_stack, d_attempts, d_first, d_last)
             u(slot, position, id, tenant, type, class, error, stack, attempts, first, last)
      ON CONFLICT DO NOTHING;
  END IF;

  -- step: move the checkpoints
  DELETE FROM evident.suspects s USING unnest(p_trees, p_to) u(tree, next)
   WHERE s.view = p_view AND s.generation = p_generation AND s.tree = u.tree AND s.position < u.next;
  UPDATE evident.checkpoints c SET next_position = u.next, attempts = p_attempts
    FROM unnest(p_trees, p_to) u(tree, next)
   WHERE c.view = p_view AND c.generation = p_generation AND c.tree = u.tree;
  outcome := 'committed';
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evident FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  evident.ready_checkpoints(text, int), evident.open_view(text, text), evident.begin_generation(text, text),
  evident.continue_generation(text, int, text), evident.count_attempt(text, int, int[]), evident.rest_view(text, int),
  evident.note_suspect(text, int, int, bigint, text),
  evident.project_batch(text, int, int[], bigint[], bigint[], uuid[], timestamptz[], int, int[], bigint[], timestamptz[], timestamptz[], boolean[],
    uuid[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], uuid[],
    int[], bigint[], uuid[], text[], text[], text[], text[], text[], int[], timestamptz[], timestamptz[])
  TO evident_server;
