-- What functions of the owner re-check, besides what they did: whose tables they read, and what a recovery may move.

-- An outbox that lies in this very database is read by functions that run as the owner of the log. Whoever owns a table
-- can have it run code in whoever reads it (a view, a policy, an index over an expression): so only tables of a role
-- that is the owner of the log anyway, or may become it, are read here. Others are relayed over a connection of their
-- own. Owners of the schema are asked for, too: they may drop a table and put another there.
CREATE FUNCTION evident.owns_outbox() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(bool_and(pg_has_role(n.nspowner, current_user, 'MEMBER') AND pg_has_role(c.relowner, current_user, 'MEMBER')), false)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
   WHERE n.nspname = 'evident_outbox'
$$;

-- As in 0006_relay_local.sql, of such an outbox alone.
CREATE OR REPLACE FUNCTION evident.is_local(p_token uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found boolean;
BEGIN
  IF NOT evident.owns_outbox() THEN
    RETURN false;
  END IF;
  SELECT EXISTS (SELECT FROM evident_outbox.heartbeat h WHERE p_token = ANY (h.tokens))
         AND has_table_privilege('evident_outbox.events', 'SELECT')
    INTO found;
  RETURN found;
EXCEPTION WHEN undefined_table OR invalid_schema_name OR insufficient_privilege THEN
  RETURN false;
END $$;

ALTER FUNCTION evident.relay_local(text, bigint, jsonb, int, text[]) RENAME TO relay_own_outbox;

-- evident.relay_own_outbox (0006_relay_local.sql) for an outbox of the log's owner; of any other it takes nothing, and
-- the relay's own code does.
CREATE FUNCTION evident.relay_local(
  p_source_name text, p_version bigint, p_state jsonb, p_rows int, p_metas text[],
  OUT taken int, OUT repeats int, OUT state jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  taken := 0;
  repeats := 0;
  state := p_state;
  IF evident.owns_outbox() THEN
    SELECT r.taken, r.repeats, r.state INTO taken, repeats, state
      FROM evident.relay_own_outbox(p_source_name, p_version, p_state, p_rows, p_metas) r;
  END IF;
END $$;

ALTER FUNCTION evident.recover_partition(int, int, bigint, bytea, bytea, bytea, bytea, bigint, uuid, bytea, bigint[], bigint[], bigint[])
  RENAME TO recover_unsealed;

-- evident.recover_unsealed (0004_operate.sql), after a look at what is sealed here: a recovery goes on from the stored
-- head or from a later one, or begins another tree; below the stored head it moves and gives up nothing.
CREATE FUNCTION evident.recover_partition(
  p_tree int, p_epoch int, p_size bigint, p_root bytea, p_chain bytea, p_edge bytea, p_note bytea,
  p_position bigint, p_id uuid, p_body bytea, p_misplaced bigint[], p_lost_from bigint[], p_lost_to bigint[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sealed evident.seals;
BEGIN
  -- The counter first, as every writer takes it.
  PERFORM FROM evident.partitions p WHERE p.tree = p_tree FOR UPDATE;
  SELECT * INTO sealed FROM evident.seals s WHERE s.tree = p_tree FOR UPDATE;
  IF FOUND AND (p_epoch < sealed.epoch OR (p_epoch = sealed.epoch AND p_size < sealed.size)
                OR EXISTS (SELECT FROM unnest(p_misplaced || p_lost_from) m(position) WHERE m.position < sealed.size)) THEN
    RAISE EXCEPTION 'what is sealed below % stays where it is', sealed.size USING ERRCODE = 'EV010';
  END IF;
  PERFORM evident.recover_unsealed(p_tree, p_epoch, p_size, p_root, p_chain, p_edge, p_note, p_position, p_id, p_body,
                                   p_misplaced, p_lost_from, p_lost_to);
END $$;

REVOKE ALL ON FUNCTION evident.owns_outbox(), evident.relay_own_outbox(text, bigint, jsonb, int, text[]),
  evident.relay_local(text, bigint, jsonb, int, text[]),
  evident.recover_unsealed(int, int, bigint, bytea, bytea, bytea, bytea, bigint, uuid, bytea, bigint[], bigint[], bigint[]),
  evident.recover_partition(int, int, bigint, bytea, bytea, bytea, bytea, bigint, uuid, bytea, bigint[], bigint[], bigint[])
  FROM PUBLIC, evident_server;
GRANT EXECUTE ON FUNCTION evident.relay_local(text, bigint, jsonb, int, text[]),
  evident.recover_partition(int, int, bigint, bytea, bytea, bytea, bytea, bigint, uuid, bytea, bigint[], bigint[], bigint[])
  TO evident_server;
