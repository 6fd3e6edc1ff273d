-- Evidence: where the log `heads` lists each tree head, so that the newest one below a size of heads/0 is one look into
-- an index (design §5).

-- listed_at: position in heads/0 of the record that lists this head.
ALTER TABLE evident.heads ADD COLUMN listed_at bigint;

-- Heads that were listed before this column was: their records have ids that follow from origin, size and root.
UPDATE evident.heads h
   SET listed_at = i.position
  FROM evident.partitions p
  JOIN evident.logs l USING (log_id)
  CROSS JOIN evident.inception n
  CROSS JOIN evident.logs hl
  JOIN evident.identities i ON i.log_id = hl.log_id AND i.tenant = '_system'
 WHERE hl.log = 'heads' AND h.listed AND p.tree = h.tree
   AND i.id = evident.derived_id('head:' || n.name || CASE WHEN h.epoch = 0 THEN '' ELSE '/r' || h.epoch END
                                 || '/' || l.log || '/' || p.partition || ':' || h.size || ':' || encode(h.root, 'base64'));

CREATE INDEX heads_listed ON evident.heads (tree, listed_at) WHERE listed_at IS NOT NULL;

-- As before, and keeps the place of the record. A place that is known stays: a repeat stands where the first does.
CREATE FUNCTION evident.mark_listed(p_tree int[], p_size bigint[], p_position bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.heads h SET listed = true, listed_at = coalesce(h.listed_at, u.position)
    FROM unnest(p_tree, p_size, p_position) u(tree, size, position)
   WHERE h.tree = u.tree AND h.size = u.size AND h.listed_at IS NULL
     AND h.epoch = (SELECT s.epoch FROM evident.seals s WHERE s.tree = u.tree)
$$;
DROP FUNCTION evident.mark_listed(int[], bigint[]);

REVOKE ALL ON FUNCTION evident.mark_listed(int[], bigint[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION evident.mark_listed(int[], bigint[], bigint[]) TO evident_server;
