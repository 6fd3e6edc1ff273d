-- Removal and recovery: what an operator may do, re-checked here whoever calls.

-- How far the archive is verified to hold each tree. Written by the archive stage; while it has no row for a
-- tree, nothing of that tree can be removed (I9).
CREATE TABLE evident.archived (
  tree          int PRIMARY KEY REFERENCES evident.partitions,
  next_position bigint NOT NULL
);

-- Drops the children that lie wholly below p_before; answers the first position that is still held.
CREATE FUNCTION evident.trim(p_tree int, p_before bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held  evident.partitions;
  safe  bigint;
BEGIN
  SELECT * INTO STRICT held FROM evident.partitions WHERE tree = p_tree FOR UPDATE;
  safe := least(coalesce((SELECT s.size FROM evident.seals s WHERE s.tree = p_tree), 0),
                coalesce((SELECT a.next_position FROM evident.archived a WHERE a.tree = p_tree), 0));
  IF p_before > safe THEN
    RAISE EXCEPTION 'positions below % are asked for, but only those below % are sealed and archived', p_before, safe
      USING ERRCODE = 'EV009';
  END IF;
  WHILE held.first_position + 1048576 <= p_before LOOP
    EXECUTE format('DROP TABLE evident.%I', format('records_%s_%s', p_tree, held.first_position));
    held.first_position := held.first_position + 1048576;
  END LOOP;
  UPDATE evident.partitions SET first_position = held.first_position WHERE tree = p_tree;
  RETURN held.first_position;
END $$;

-- After a break: sealing goes on from p_size, in the tree of p_epoch. Positions p_lost_from[i] to p_lost_to[i] - 1
-- hold no record any more; records that were appended at positions whose leaf is already sealed to be another
-- one (p_misplaced) move behind p_position, where the record seal.recovery stands that says all this.
-- p_note: the head of p_size, signed again, or null when the tree begins anew.
-- One transaction: a crash leaves the partition stopped as it was.
CREATE FUNCTION evident.recover_partition(
  p_tree int, p_epoch int, p_size bigint, p_root bytea, p_chain bytea, p_edge bytea, p_note bytea,
  p_position bigint, p_id uuid, p_body bytea, p_misplaced bigint[], p_lost_from bigint[], p_lost_to bigint[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c      evident.partitions;
  moment timestamptz;
BEGIN
  SELECT * INTO STRICT c FROM evident.partitions WHERE tree = p_tree FOR UPDATE;
  IF c.stopped IS NULL THEN
    RAISE EXCEPTION 'the partition is not stopped' USING ERRCODE = 'EV010';
  END IF;
  IF p_position < c.next_position THEN
    RAISE EXCEPTION 'the counter has passed position %', p_position USING ERRCODE = 'EV010';
  END IF;
  PERFORM FROM evident.seals WHERE tree = p_tree FOR UPDATE;
  moment := greatest(clock_timestamp(), c.last_appended_at);
  c.child_end := evident.make_room(p_tree, c.child_end, p_position + 1 + cardinality(p_misplaced));
  INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, source_seq, type, schema, key, meta, body_form, body)
  VALUES (p_tree, p_position, moment, p_id, '_system', 'evident', NULL, 'seal.recovery', 0, '_system', NULL, 0, p_body);
  INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, source_seq, type, schema, key, meta,
                               body_form, body, body_sha256, body_size)
    SELECT r.tree, p_position + m.ordinal, moment, r.id, r.tenant, r.source, r.source_seq, r.type, r.schema, r.key, r.meta,
           r.body_form, r.body, r.body_sha256, r.body_size
      FROM unnest(p_misplaced) WITH ORDINALITY m(position, ordinal)
      JOIN evident.records r ON r.tree = p_tree AND r.position = m.position;
  UPDATE evident.identities i SET position = p_position + m.ordinal
    FROM unnest(p_misplaced) WITH ORDINALITY m(position, ordinal)
   WHERE i.tree = p_tree AND i.position = m.position;
  DELETE FROM evident.records WHERE tree = p_tree AND position = ANY (p_misplaced);
  IF EXISTS (SELECT FROM unnest(p_lost_from, p_lost_to) l(f, t)
              JOIN evident.records r ON r.tree = p_tree AND r.position >= l.f AND r.position < l.t) THEN
    RAISE EXCEPTION 'a position that is said to be lost holds a record' USING ERRCODE = 'EV010';
  END IF;
  INSERT INTO evident.lost (tree, from_position, to_position, recovery, record_at)
    SELECT p_tree, l.f, l.t, p_id, p_position FROM unnest(p_lost_from, p_lost_to) l(f, t);
  UPDATE evident.seals SET epoch = p_epoch, size = p_size, root = p_root, chain = p_chain, edge = p_edge WHERE tree = p_tree;
  IF p_note IS NOT NULL THEN
    INSERT INTO evident.heads (tree, epoch, size, root, chain, note)
    VALUES (p_tree, p_epoch, p_size, p_root, p_chain, p_note) ON CONFLICT DO NOTHING;
  END IF;
  UPDATE evident.partitions
     SET next_position = p_position + 1 + cardinality(p_misplaced), child_end = c.child_end, last_appended_at = moment, stopped = NULL
   WHERE tree = p_tree;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evident FROM PUBLIC;
GRANT SELECT ON evident.archived TO evident_server;
GRANT EXECUTE ON FUNCTION evident.trim(int, bigint),
  evident.recover_partition(int, int, bigint, bytea, bytea, bytea, bytea, bigint, uuid, bytea, bigint[], bigint[], bigint[]) TO evident_server;
