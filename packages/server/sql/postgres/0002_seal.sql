-- Tree heads, and what an operator may do after a break (design §4 Seal).

-- The head that sealing goes on from. Owner: evident.store_heads, by compare-and-set on (size, root):
-- of two sealers one wins, the other reads again.
-- edge: the hashes of the partial level-0 tile at this size.
-- epoch: 0, and one more each time the tree had to begin anew under another origin (seal.recovery).
CREATE TABLE evident.seals (
  tree  int PRIMARY KEY REFERENCES evident.partitions,
  epoch int NOT NULL DEFAULT 0,
  size  bigint NOT NULL,
  root  bytea NOT NULL CHECK (length(root) = 32),
  chain bytea NOT NULL CHECK (length(chain) = 32),
  edge  bytea NOT NULL
) WITH (fillfactor = 40);
ALTER TABLE evident.seals ALTER COLUMN edge SET STORAGE EXTERNAL;

-- Every head that was stored, as signed. listed: it stands in the log `heads`.
CREATE TABLE evident.heads (
  tree      int NOT NULL REFERENCES evident.partitions,
  epoch     int NOT NULL DEFAULT 0,
  size      bigint NOT NULL,
  root      bytea NOT NULL CHECK (length(root) = 32),
  chain     bytea NOT NULL CHECK (length(chain) = 32),
  note      bytea NOT NULL,
  listed    boolean NOT NULL DEFAULT false,
  signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tree, epoch, size)
);

-- Positions that were sealed and are gone. Readers pass over them; verify asks the record seal.recovery instead.
CREATE TABLE evident.lost (
  tree          int NOT NULL REFERENCES evident.partitions,
  from_position bigint NOT NULL,
  to_position   bigint NOT NULL,
  recovery      uuid NOT NULL,
  record_at     bigint NOT NULL,
  CHECK (from_position < to_position),
  PRIMARY KEY (tree, from_position)
);

-- Stores heads whose predecessor is still the stored one; answers the trees for which it was.
CREATE FUNCTION evident.store_heads(
  p_tree int[], p_old_size bigint[], p_old_root bytea[], p_size bigint[], p_root bytea[], p_chain bytea[], p_edge bytea[],
  p_note bytea[]
) RETURNS SETOF int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM evident.seals s WHERE s.tree = ANY (p_tree) ORDER BY s.tree FOR UPDATE;
  RETURN QUERY
  WITH stored AS (
    UPDATE evident.seals s SET size = u.size, root = u.root, chain = u.chain, edge = u.edge
      FROM unnest(p_tree, p_old_size, p_old_root, p_size, p_root, p_chain, p_edge)
           u(tree, old_size, old_root, size, root, chain, edge)
     WHERE s.tree = u.tree AND s.size = u.old_size AND s.root = u.old_root AND u.size > s.size
    RETURNING s.tree, s.epoch
  ), kept AS (
    INSERT INTO evident.heads (tree, epoch, size, root, chain, note)
      SELECT u.tree, stored.epoch, u.size, u.root, u.chain, u.note
        FROM unnest(p_tree, p_size, p_root, p_chain, p_note) u(tree, size, root, chain, note)
        JOIN stored USING (tree)
    RETURNING tree
  ) SELECT tree FROM kept;
END $$;

-- Begins the tree of a partition: size 0, the root of nothing, the chain's start.
CREATE FUNCTION evident.begin_seal(p_tree int, p_chain bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.seals (tree, size, root, chain, edge)
  VALUES (p_tree, 0, sha256(''::bytea), p_chain, ''::bytea) ON CONFLICT (tree) DO NOTHING
$$;

CREATE FUNCTION evident.mark_listed(p_tree int[], p_size bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.heads h SET listed = true FROM unnest(p_tree, p_size) u(tree, size)
   WHERE h.tree = u.tree AND h.size = u.size AND NOT h.listed
     AND h.epoch = (SELECT s.epoch FROM evident.seals s WHERE s.tree = u.tree)
$$;

-- Drops heads older than 24 hours that neither the log `heads` lists nor sealing goes on from.
CREATE FUNCTION evident.thin_heads() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  thinned bigint;
BEGIN
  DELETE FROM evident.heads h
   WHERE NOT h.listed AND h.signed_at < clock_timestamp() - interval '24 hours'
     AND (h.epoch, h.size) < (SELECT s.epoch, s.size FROM evident.seals s WHERE s.tree = h.tree);
  GET DIAGNOSTICS thinned = ROW_COUNT;
  RETURN thinned;
END $$;

-- A break: nothing more is appended or sealed until an operator recovers the partition.
CREATE FUNCTION evident.stop_partition(p_tree int, p_reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.partitions SET stopped = left(p_reason, 1000) WHERE tree = p_tree AND stopped IS NULL
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evident FROM PUBLIC;
GRANT SELECT ON evident.seals, evident.heads, evident.lost TO evident_server;
GRANT EXECUTE ON FUNCTION
  evident.store_heads(int[], bigint[], bytea[], bigint[], bytea[], bytea[], bytea[], bytea[]),
  evident.begin_seal(int, bytea), evident.mark_listed(int[], bigint[]), evident.thin_heads(),
  evident.stop_partition(int, text)
  TO evident_server;
