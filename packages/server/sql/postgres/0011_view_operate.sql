-- Operating views: dead letters resolved, generations shown, retired and dropped (design §4 Project). Functions belong to
-- the owner of the schema; the server's role may call them, and has no other way.
--
-- Locks are taken in one order by all: the view, the checkpoints by tree, dead letters, then the counters of the log
-- (evident.append). The projection takes checkpoints and dead letters in the same order.

-- The audit event that records the resolution: written in the same transaction, so that neither is there alone.
ALTER TABLE evident.dead_letters ADD COLUMN event_id uuid;
-- Since when a generation is no longer shown nor built, and since when its tables are gone. Its row stays: numbers are
-- never used again, so that a builder that was forgotten can't write into another generation.
ALTER TABLE evident.generations ADD COLUMN retired_at timestamptz, ADD COLUMN dropped_at timestamptz;

-- As in 0007_view_project.sql, and: a record that was replayed may come to stand behind another body of its identity
-- that is read later. Its letter is open again then, or the view would lack it without saying so.
CREATE OR REPLACE FUNCTION evident.put_reused(
  p_view text, p_generation int, p_tree int, p_position bigint, p_other_tree int, p_other bigint
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.dead_letters AS d (view, generation, tree, position, tenant, id, type, class, error, attempts, first_at, last_at)
    SELECT p_view, p_generation, p_tree, p_position, r.tenant, r.id, r.type, 'validation',
           format('id-reused: %s/%s/%s has this identity with another body', l.log, p.partition, p_other), 1, clock_timestamp(), clock_timestamp()
      FROM evident.records r, evident.partitions p JOIN evident.logs l USING (log_id)
     WHERE r.tree = p_tree AND r.position = p_position AND p.tree = p_other_tree
  ON CONFLICT (view, generation, tree, position) DO UPDATE
    SET class = 'validation', error = excluded.error, stack = NULL, last_at = excluded.last_at, resolution = NULL,
        resolved_at = NULL, resolved_by = NULL, reason = NULL, event_id = NULL
    WHERE d.resolution = 'replayed'
$$;

-- Locks an open letter of the generation that is shown. Answers false when there is none: it was resolved, or another
-- generation is shown by now.
CREATE FUNCTION evident.lock_dead_letter(p_view text, p_generation int, p_tree int, p_position bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM evident.views v WHERE v.view = p_view AND v.live = p_generation FOR SHARE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM FROM evident.dead_letters d
    WHERE d.view = p_view AND d.generation = p_generation AND d.tree = p_tree AND d.position = p_position AND d.resolution IS NULL
    FOR UPDATE;
  RETURN FOUND;
END $$;

-- Resolves a letter and appends the event that says so, both or neither. The arguments from p_trees on are those of
-- evident.append, for one record. Answers whether it did.
CREATE FUNCTION evident.resolve_dead_letter(
  p_view text, p_generation int, p_tree int, p_position bigint, p_resolution text, p_by text, p_reason text,
  p_trees int[], p_slot int[], p_offset int[], p_id uuid[], p_tenant text[], p_source text[], p_source_seq text[],
  p_type text[], p_schema int[], p_key text[], p_meta text[], p_form smallint[], p_body bytea[], p_sha256 bytea[],
  p_size bigint[], p_hash bytea[], p_keep boolean[], p_counts int[]
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- step: lock the letter
  IF NOT evident.lock_dead_letter(p_view, p_generation, p_tree, p_position) THEN
    RETURN false;
  END IF;
  IF p_resolution NOT IN ('discarded', 'manual') OR coalesce(p_reason, '') = '' THEN
    RAISE EXCEPTION 'a letter is discarded, or resolved by hand, for a reason' USING ERRCODE = 'check_violation';
  END IF;

  -- step: resolve it
  UPDATE evident.dead_letters d
     SET resolution = p_resolution, resolved_at = clock_timestamp(), resolved_by = p_by, reason = p_reason, event_id = p_id[1]
   WHERE d.view = p_view AND d.generation = p_generation AND d.tree = p_tree AND d.position = p_position;
  -- step: append the event
  PERFORM evident.append(p_trees, p_slot, p_offset, p_id, p_tenant, p_source, p_source_seq, p_type, p_schema, p_key,
                         p_meta, p_form, p_body, p_sha256, p_size, p_hash, p_keep, p_counts);
  RETURN true;
END $$;

-- Replays a letter: its record's row goes into the view by the rules of identities, the letter is resolved, and the
-- event appended, all or nothing. The arrays from r_slot on are those of evident.put_events, for one row or none.
--
-- Outcome: shown: the row stands in the view; repeat: it needs none, because an earlier record says the same, or
-- because it has none by rule; reused: another body is shown under its identity, so the letter stays, with that error;
-- changed: it is no open letter of the generation that is shown, and nothing was done.
CREATE FUNCTION evident.replay_dead_letter(
  p_view text, p_generation int, p_tree int, p_position bigint, p_by text,
  r_slot int[], r_position bigint[], r_appended timestamptz[], r_time timestamptz[], r_timed boolean[], r_id uuid[],
  r_tenant text[], r_type text[], r_mapper text[], r_actor text[], r_actor_type text[], r_action text[],
  r_resource_type text[], r_resource text[], r_result text[], r_correlation text[], r_ip text[], r_corrects uuid[],
  p_trees int[], p_slot int[], p_offset int[], p_id uuid[], p_tenant text[], p_source text[], p_source_seq text[],
  p_type text[], p_schema int[], p_key text[], p_meta text[], p_form smallint[], p_body bytea[], p_sha256 bytea[],
  p_size bigint[], p_hash bytea[], p_keep boolean[], p_counts int[]
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  letter evident.dead_letters;
  shown  int := 0;
BEGIN
  -- step: lock the view, the checkpoints of the log, and the letter
  PERFORM FROM evident.views v WHERE v.view = p_view AND v.live = p_generation FOR SHARE;
  IF NOT FOUND THEN
    RETURN 'changed';
  END IF;
  -- Of the whole log: the row may take the place of one of another partition (evident.put_events).
  PERFORM FROM evident.checkpoints c
    WHERE c.view = p_view AND c.generation = p_generation
      AND c.tree IN (SELECT p.tree FROM evident.partitions p
                      WHERE p.log_id = (SELECT o.log_id FROM evident.partitions o WHERE o.tree = p_tree))
    ORDER BY c.tree FOR UPDATE;
  IF NOT evident.lock_dead_letter(p_view, p_generation, p_tree, p_position) THEN
    RETURN 'changed';
  END IF;

  -- step: store the row
  -- The letter gives way first: the rules of identities may want its place for one of another kind.
  DELETE FROM evident.dead_letters d
   WHERE d.view = p_view AND d.generation = p_generation AND d.tree = p_tree AND d.position = p_position
  RETURNING d.* INTO letter;
  IF cardinality(r_slot) > 0 THEN
    SELECT e.shown INTO shown
      FROM evident.put_events(p_view, p_generation, ARRAY[p_tree], r_slot, r_position, r_appended, r_time, r_timed, r_id, r_tenant,
             r_type, r_mapper, r_actor, r_actor_type, r_action, r_resource_type, r_resource, r_result, r_correlation, r_ip, r_corrects) e;
    IF shown = 0 THEN
      UPDATE evident.dead_letters d SET attempts = letter.attempts + 1, first_at = letter.first_at
       WHERE d.view = p_view AND d.generation = p_generation AND d.tree = p_tree AND d.position = p_position;
      IF FOUND THEN
        RETURN 'reused';
      END IF;
    END IF;
  END IF;

  -- step: resolve the letter
  letter.attempts := letter.attempts + 1;
  letter.resolution := 'replayed';
  letter.resolved_at := clock_timestamp();
  letter.resolved_by := p_by;
  letter.event_id := p_id[1];
  INSERT INTO evident.dead_letters SELECT letter.*;
  -- step: append the event
  PERFORM evident.append(p_trees, p_slot, p_offset, p_id, p_tenant, p_source, p_source_seq, p_type, p_schema, p_key,
                         p_meta, p_form, p_body, p_sha256, p_size, p_hash, p_keep, p_counts);
  RETURN CASE shown WHEN 0 THEN 'repeat' ELSE 'shown' END;
END $$;

-- A replay failed again: the letter keeps the newest error. Answers whether it was still open.
CREATE FUNCTION evident.fail_dead_letter(
  p_view text, p_generation int, p_tree int, p_position bigint, p_error text, p_stack text
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT evident.lock_dead_letter(p_view, p_generation, p_tree, p_position) THEN
    RETURN false;
  END IF;
  UPDATE evident.dead_letters d
     SET error = left(p_error, 2000), stack = left(p_stack, 8000), attempts = d.attempts + 1, last_at = clock_timestamp()
   WHERE d.view = p_view AND d.generation = p_generation AND d.tree = p_tree AND d.position = p_position;
  RETURN true;
END $$;

-- The generation to build on with a definition: the one that is being built by it, or a new one. Those that were being
-- built by other definitions are given up. Answers the generation, and whether it was begun before.
CREATE FUNCTION evident.build_generation(p_view text, p_definition text, p_anew boolean, OUT generation int, OUT resumed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM evident.views v WHERE v.view = p_view FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no view %', p_view USING ERRCODE = 'no_data_found';
  END IF;
  UPDATE evident.generations g SET state = 'retired', retired_at = clock_timestamp()
   WHERE g.view = p_view AND g.state = 'building' AND (p_anew OR g.definition <> p_definition);
  SELECT max(g.generation) INTO generation FROM evident.generations g WHERE g.view = p_view AND g.state = 'building';
  resumed := generation IS NOT NULL;
  IF NOT resumed THEN
    generation := evident.begin_generation(p_view, p_definition);
  END IF;
END $$;

-- Shows another generation, if it has read at least as far as the one that is shown, give or take p_lag records in all.
-- Discarded and manual letters keep their resolution where the new generation has a letter of the same record and class.
-- The event is appended in the same transaction.
--
-- Outcome: promoted; behind: it has not read far enough; gone: it is not being built (any more), and nothing was done.
CREATE FUNCTION evident.promote_generation(
  p_view text, p_generation int, p_lag bigint,
  p_trees int[], p_slot int[], p_offset int[], p_id uuid[], p_tenant text[], p_source text[], p_source_seq text[],
  p_type text[], p_schema int[], p_key text[], p_meta text[], p_form smallint[], p_body bytea[], p_sha256 bytea[],
  p_size bigint[], p_hash bytea[], p_keep boolean[], p_counts int[]
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  shown  int;
  behind bigint;
BEGIN
  -- step: lock the view and what the projection moves
  SELECT v.live INTO shown FROM evident.views v WHERE v.view = p_view FOR UPDATE;
  PERFORM FROM evident.generations g
    WHERE g.view = p_view AND g.generation = p_generation AND g.state = 'building' AND g.generation <> shown FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN 'gone';
  END IF;
  PERFORM FROM evident.checkpoints c
    WHERE c.view = p_view AND c.generation IN (shown, p_generation) ORDER BY c.generation, c.tree FOR UPDATE;
  SELECT coalesce(sum(greatest(0, o.next_position - coalesce(n.next_position, 0))), 0) INTO behind
    FROM evident.checkpoints o
    LEFT JOIN evident.checkpoints n ON n.view = o.view AND n.generation = p_generation AND n.tree = o.tree
   WHERE o.view = p_view AND o.generation = shown;
  IF behind > p_lag THEN
    RETURN 'behind';
  END IF;

  -- step: carry resolutions over
  UPDATE evident.dead_letters n
     SET resolution = o.resolution, resolved_at = o.resolved_at, resolved_by = o.resolved_by, reason = o.reason, event_id = o.event_id
    FROM evident.dead_letters o
   WHERE o.view = p_view AND o.generation = shown AND o.resolution IN ('discarded', 'manual')
     AND n.view = p_view AND n.generation = p_generation AND n.tree = o.tree AND n.position = o.position
     AND n.class = o.class AND n.resolution IS NULL;
  -- step: switch
  UPDATE evident.views v SET live = p_generation WHERE v.view = p_view;
  UPDATE evident.generations g SET state = 'retired', retired_at = clock_timestamp() WHERE g.view = p_view AND g.generation = shown;
  UPDATE evident.generations g SET state = 'live' WHERE g.view = p_view AND g.generation = p_generation;
  -- step: append the event
  PERFORM evident.append(p_trees, p_slot, p_offset, p_id, p_tenant, p_source, p_source_seq, p_type, p_schema, p_key,
                         p_meta, p_form, p_body, p_sha256, p_size, p_hash, p_keep, p_counts);
  RETURN 'promoted';
END $$;

-- Drops what is left of a generation that was retired at least p_seconds ago; answers whether it did. Readers that hold
-- its tables are waited for, for a moment: then it fails with 55P03, and is tried again later.
-- A crash in between leaves it as it was: one transaction.
CREATE FUNCTION evident.drop_generation(p_view text, p_generation int, p_seconds int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
BEGIN
  PERFORM FROM evident.generations g
    WHERE g.view = p_view AND g.generation = p_generation AND g.state = 'retired' AND g.dropped_at IS NULL
      AND g.retired_at <= clock_timestamp() - p_seconds * interval '1 second' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM evident.checkpoints c WHERE c.view = p_view AND c.generation = p_generation;
  DELETE FROM evident.suspects s WHERE s.view = p_view AND s.generation = p_generation;
  DELETE FROM evident.dead_letters d WHERE d.view = p_view AND d.generation = p_generation;
  -- A drop locks the parent, too. Identities first, as evident.put_events takes them: in the other order a projection at
  -- work would hold the one that is waited for, and this would never come to its end.
  EXECUTE format('DROP TABLE IF EXISTS evident.%I', format('event_ids_g%s', p_generation));
  EXECUTE format('DROP TABLE IF EXISTS evident.%I', format('events_g%s', p_generation));
  UPDATE evident.generations g SET dropped_at = clock_timestamp() WHERE g.view = p_view AND g.generation = p_generation;
  RETURN true;
END $$;

-- Functions of this file are nobody's but the server's; lock_dead_letter is theirs alone.
REVOKE ALL ON FUNCTION
  evident.lock_dead_letter(text, int, int, bigint),
  evident.resolve_dead_letter(text, int, int, bigint, text, text, text, int[], int[], int[], uuid[], text[], text[], text[], text[],
    int[], text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.replay_dead_letter(text, int, int, bigint, text, int[], bigint[], timestamptz[], timestamptz[], boolean[], uuid[], text[],
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], uuid[], int[], int[], int[], uuid[], text[], text[],
    text[], text[], int[], text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.fail_dead_letter(text, int, int, bigint, text, text),
  evident.build_generation(text, text, boolean),
  evident.promote_generation(text, int, bigint, int[], int[], int[], uuid[], text[], text[], text[], text[], int[], text[], text[],
    smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.drop_generation(text, int, int)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  evident.resolve_dead_letter(text, int, int, bigint, text, text, text, int[], int[], int[], uuid[], text[], text[], text[], text[],
    int[], text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.replay_dead_letter(text, int, int, bigint, text, int[], bigint[], timestamptz[], timestamptz[], boolean[], uuid[], text[],
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], uuid[], int[], int[], int[], uuid[], text[], text[],
    text[], text[], int[], text[], text[], smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.fail_dead_letter(text, int, int, bigint, text, text),
  evident.build_generation(text, text, boolean),
  evident.promote_generation(text, int, bigint, int[], int[], int[], uuid[], text[], text[], text[], text[], int[], text[], text[],
    smallint[], bytea[], bytea[], bigint[], bytea[], boolean[], int[]),
  evident.drop_generation(text, int, int)
  TO evident_server;
