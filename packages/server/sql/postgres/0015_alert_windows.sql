-- Windows of alert rules that slide (src/alerts/rule.ts), removal of old alerts, and sealed secrets of webhooks.

-- From here on window_start is the start of a slice: a tenth of the rule's window. A window is eleven slices, and begins
-- with one that holds an event. period: the multiple of the whole window in which the slice begins; all slices of a
-- period are removed together, once none of their windows can get an event: window_end. opens: the row by which a
-- subject was told apart in its period, one for each.
ALTER TABLE evident.alert_windows ADD COLUMN period bigint, ADD COLUMN opens boolean NOT NULL DEFAULT false;
-- What was counted until now stood in windows of whole periods. It goes on as if it had come in the first slice: no
-- burst that would have been found is missed for that, and what is found lies within 1.1 windows, or, at the edge to a
-- period that began before this file was applied, within two.
UPDATE evident.alert_windows
   SET period = window_start, opens = NOT others, window_end = window_start + 2 * (window_end - window_start);
ALTER TABLE evident.alert_windows ALTER COLUMN period SET NOT NULL;
CREATE UNIQUE INDEX alert_windows_opens ON evident.alert_windows (rule_id, version, tenant, period, subject) WHERE opens;

-- As in 0010_alerts_functions.sql, over slices: p_window holds their starts. p_groups_max: subjects of one rule, tenant
-- and period that are told apart.
CREATE OR REPLACE FUNCTION evident.alerts_advance(
  p_rules_version bigint, p_trees int[], p_from bigint[], p_to bigint[], p_seen bigint[],
  p_rule uuid[], p_version int[], p_tenant text[], p_window bigint[], p_subject text[], p_count bigint[], p_places text[],
  p_groups_max int, p_places_max int,
  OUT outcome text, OUT raised uuid[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one uuid;
BEGIN
  outcome := 'advanced';
  raised := '{}';
  PERFORM FROM evident.alert_state s WHERE s.rules_version = p_rules_version FOR UPDATE;
  IF NOT FOUND THEN
    outcome := 'stale';
    RETURN;
  END IF;
  IF (SELECT count(*) FROM unnest(p_trees, p_from) AS x(tree, at)
        JOIN evident.alert_checkpoints c ON c.tree = x.tree AND c.next_position = x.at) <> cardinality(p_trees) THEN
    outcome := 'overtaken';
    RETURN;
  END IF;
  UPDATE evident.alert_checkpoints c SET next_position = x.upto, seen_us = greatest(c.seen_us, x.seen)
    FROM unnest(p_trees, p_to, p_seen) AS x(tree, upto, seen) WHERE c.tree = x.tree;
  UPDATE evident.alert_state s SET seen_us = greatest(s.seen_us, (SELECT max(seen) FROM unnest(p_seen) AS x(seen)));
  IF cardinality(p_rule) = 0 THEN
    RETURN;
  END IF;
  PERFORM evident.alert_count(p_rule, p_version, p_tenant, p_window, p_subject, p_count, p_places, p_groups_max, p_places_max);
  raised := evident.alert_windows_told(p_rule, p_version, p_tenant, p_window, p_subject, p_places_max);
  FOREACH one IN ARRAY raised LOOP
    PERFORM evident.alert_enqueue(one, NULL);
  END LOOP;
END $$;

-- Adds what a step found to the slices.
CREATE FUNCTION evident.alert_count(
  p_rule uuid[], p_version int[], p_tenant text[], p_slice bigint[], p_subject text[], p_count bigint[], p_places text[],
  p_groups_max int, p_places_max int
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH input AS (
    SELECT x.*, r.window_us, x.slice - x.slice % r.window_us AS period
      FROM unnest(p_rule, p_version, p_tenant, p_slice, p_subject, p_count, p_places)
             AS x(rule_id, version, tenant, slice, subject, count, places)
      JOIN evident.alert_rules r USING (rule_id, version)
  ), fresh AS (
    -- Subjects that the period does not know yet, each with its first slice of this step.
    SELECT i.rule_id, i.version, i.tenant, i.period, i.subject, min(i.slice) AS slice
      FROM input i
     WHERE NOT EXISTS (SELECT FROM evident.alert_windows w
                        WHERE w.rule_id = i.rule_id AND w.version = i.version AND w.tenant = i.tenant
                          AND w.period = i.period AND w.subject = i.subject AND w.opens)
     GROUP BY 1, 2, 3, 4, 5
  ), known AS (
    SELECT g.rule_id, g.version, g.tenant, g.period,
           (SELECT count(*) FROM evident.alert_windows w
             WHERE w.rule_id = g.rule_id AND w.version = g.version AND w.tenant = g.tenant AND w.period = g.period AND w.opens) AS subjects
      FROM (SELECT DISTINCT f.rule_id, f.version, f.tenant, f.period FROM fresh f) g
  ), numbered AS (
    SELECT f.*, k.subjects + row_number() OVER (PARTITION BY f.rule_id, f.version, f.tenant, f.period ORDER BY f.subject COLLATE "C") AS number
      FROM fresh f JOIN known k USING (rule_id, version, tenant, period)
  ), placed AS (
    SELECT i.rule_id, i.version, i.tenant, i.slice, i.period, i.window_us, i.count, i.places,
           coalesce(n.number > p_groups_max, false) AS others,
           CASE WHEN n.number > p_groups_max THEN '' ELSE i.subject END AS subject,
           coalesce(n.number <= p_groups_max AND n.slice = i.slice, false) AS opens
      FROM input i LEFT JOIN numbered n USING (rule_id, version, tenant, period, subject)
  )
  INSERT INTO evident.alert_windows AS w
         (rule_id, version, tenant, window_start, others, subject, window_end, count, places, period, opens)
    SELECT p.rule_id, p.version, p.tenant, p.slice, p.others, p.subject, p.period + 2 * p.window_us, sum(p.count)::bigint,
           evident.first_places('{}', string_to_array(string_agg(p.places, ','), ','), p_places_max), p.period, bool_or(p.opens)
      FROM placed p GROUP BY p.rule_id, p.version, p.tenant, p.slice, p.others, p.subject, p.period, p.window_us
     ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (rule_id, version, tenant, window_start, others, subject) DO UPDATE
      SET count = w.count + excluded.count, places = evident.first_places(w.places, excluded.places, p_places_max)
$$;

-- Raises, or brings up to date, the alerts of windows that a step has touched. Answers those that are new.
CREATE FUNCTION evident.alert_windows_told(
  p_rule uuid[], p_version int[], p_tenant text[], p_slice bigint[], p_subject text[], p_places_max int
) RETURNS uuid[] LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH touched AS (
    SELECT DISTINCT x.rule_id, x.version, x.tenant, x.slice, r.window_us / 10 AS slice_us, r.threshold,
           o.others, CASE WHEN o.others THEN '' ELSE x.subject END AS subject
      FROM unnest(p_rule, p_version, p_tenant, p_slice, p_subject) AS x(rule_id, version, tenant, slice, subject)
      JOIN evident.alert_rules r USING (rule_id, version)
      CROSS JOIN LATERAL (
        SELECT NOT EXISTS (SELECT FROM evident.alert_windows w
                            WHERE w.rule_id = x.rule_id AND w.version = x.version AND w.tenant = x.tenant
                              AND w.period = x.slice - x.slice % r.window_us AND w.subject = x.subject AND w.opens) AS others) o
  ), near AS (
    -- Slices that share a window with a touched one; those at it or before it may begin such a window.
    SELECT t.rule_id, t.version, t.tenant, t.others, t.subject, t.slice_us, t.threshold, w.window_start, w.count,
           w.period, w.window_start / t.slice_us AS number, bool_or(w.window_start <= t.slice) AS begins
      FROM touched t CROSS JOIN generate_series(-10, 10) AS d(steps)
      JOIN evident.alert_windows w
        ON w.rule_id = t.rule_id AND w.version = t.version AND w.tenant = t.tenant
       AND w.window_start = t.slice + d.steps * t.slice_us AND w.others = t.others AND w.subject = t.subject
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
  ), summed AS (
    SELECT n.*, sum(n.count) OVER (PARTITION BY n.rule_id, n.version, n.tenant, n.others, n.subject
                                   ORDER BY n.number RANGE BETWEEN CURRENT ROW AND 10 FOLLOWING)::bigint AS total
      FROM near n
  ), full_ones AS (
    SELECT DISTINCT ON (s.rule_id, s.version, s.tenant, s.others, s.subject, s.period) s.*
      FROM summed s WHERE s.begins AND s.total >= s.threshold
     ORDER BY s.rule_id, s.version, s.tenant, s.others, s.subject, s.period, s.window_start
  ), told AS (
    INSERT INTO evident.alerts AS a (alert_id, key, tenant, rule_id, rule_version, name, severity, group_by, subject, others,
                                     window_start, window_end, threshold, count, places, detail, opened_us)
      SELECT evident.derived_id(k.key), k.key, f.tenant, f.rule_id, f.version, r.name, r.severity, r.group_by,
             CASE WHEN f.others OR r.group_by = 'none' THEN NULL ELSE f.subject END, f.others,
             f.window_start, f.window_start + 11 * f.slice_us, r.threshold, f.total, p.places, '', evident.now_us()
        FROM full_ones f
        JOIN evident.alert_rules r USING (rule_id, version)
        CROSS JOIN LATERAL (SELECT format('alert:%s:%s:%s:%s:%s:%s', f.rule_id, f.version, f.tenant, f.period,
                                          CASE WHEN f.others THEN 'others' ELSE 'one' END, f.subject) AS key) k
        CROSS JOIN LATERAL (
          SELECT coalesce(array_agg(x.place ORDER BY x.place), '{}') AS places
            FROM (SELECT DISTINCT u.place COLLATE "C" AS place
                    FROM generate_series(0, 10) AS d(steps)
                    JOIN evident.alert_windows w
                      ON w.rule_id = f.rule_id AND w.version = f.version AND w.tenant = f.tenant
                     AND w.window_start = f.window_start + d.steps * f.slice_us AND w.others = f.others AND w.subject = f.subject
                   CROSS JOIN LATERAL unnest(w.places) AS u(place)
                   ORDER BY 1 LIMIT p_places_max) x) p
      -- Raised before: it is told how many it has become. The earliest window of the period is the alert's; a later one
      -- may have been full first, where partitions were behind.
      ON CONFLICT (alert_id) DO UPDATE
        SET count = excluded.count, places = excluded.places, window_start = excluded.window_start, window_end = excluded.window_end
        WHERE excluded.window_start <= a.window_start
      RETURNING a.alert_id, (a.xmax = 0) AS is_new
  )
  SELECT coalesce(array_agg(t.alert_id) FILTER (WHERE t.is_new), '{}') FROM told t
$$;

-- Whether an alert may go: opened before p_before_us and over a day ago, acknowledged, not open, on its way to nobody, and
-- of a period that gets no event any more (the same alert would be raised anew).
CREATE FUNCTION evident.alert_may_go(p_alert evident.alerts, p_before_us bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT p_alert.opened_us < least(p_before_us, evident.now_us() - 86400000000) AND p_alert.acknowledged_us IS NOT NULL
     AND (p_alert.rule_id IS NOT NULL OR p_alert.closed_us IS NOT NULL)
     AND NOT EXISTS (SELECT FROM evident.webhook_deliveries d WHERE d.alert_id = p_alert.alert_id AND d.state = 'pending')
     AND NOT EXISTS (
       SELECT FROM evident.alert_rules r JOIN evident.alert_windows w USING (rule_id, version)
        WHERE r.rule_id = p_alert.rule_id AND r.version = p_alert.rule_version AND w.tenant = p_alert.tenant
          AND w.period = p_alert.window_start - p_alert.window_start % r.window_us)
$$;

-- Alerts that may go, oldest first.
CREATE FUNCTION evident.alerts_removable(p_before_us bigint, p_most int) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.alert_id FROM evident.alerts a
   WHERE a.opened_us < p_before_us AND evident.alert_may_go(a, p_before_us)
   ORDER BY a.opened_us, a.alert_id LIMIT p_most
$$;

-- Removes those of p_alerts that may go by now, and what became of their deliveries. Answers how many went.
CREATE FUNCTION evident.alerts_remove(p_alerts uuid[], p_before_us bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone uuid[];
BEGIN
  IF cardinality(p_alerts) > 1000 THEN
    RAISE EXCEPTION 'at most 1000 alerts are removed at once' USING ERRCODE = 'program_limit_exceeded';
  END IF;
  -- The reader of alerts waits: none of them is brought up to date meanwhile.
  PERFORM FROM evident.alert_state s FOR UPDATE;
  SELECT coalesce(array_agg(x.alert_id), '{}') INTO gone
    FROM (SELECT a.alert_id FROM evident.alerts a
           WHERE a.alert_id = ANY (p_alerts) AND evident.alert_may_go(a, p_before_us) FOR UPDATE) x;
  DELETE FROM evident.webhook_deliveries d WHERE d.alert_id = ANY (gone);
  DELETE FROM evident.alerts a WHERE a.alert_id = ANY (gone);
  RETURN cardinality(gone);
END $$;
CREATE INDEX webhook_deliveries_alert ON evident.webhook_deliveries (alert_id);

-- The secret of a webhook is sealed by the server (src/stores/folder/secret-box.ts): what stands here is of no use without
-- the key in its data directory. Those that were stored as they are become sealed at the next start. Puts p_new in the
-- place of p_old, if that stands there.
CREATE FUNCTION evident.webhook_reseal(p_id uuid, p_old bytea, p_new bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.webhooks SET secret = p_new WHERE webhook_id = p_id AND secret = p_old AND removed_us IS NULL;
  RETURN FOUND;
END $$;

DO $$
DECLARE
  made text;
BEGIN
  FOR made IN
    SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'evident'::regnamespace
       AND p.proname IN ('alert_count', 'alert_windows_told', 'alert_may_go', 'alerts_removable', 'alerts_remove', 'webhook_reseal')
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    -- The others are called by functions alone.
    IF made ~ 'alerts_removable|alerts_remove|webhook_reseal' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO evident_server', made);
    END IF;
  END LOOP;
END $$;
