-- What writes the tables of 0010_alerts.sql.

CREATE FUNCTION evident.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
  $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- Begins: the rules that everybody has, at first; checkpoints of partitions that have none. At first the reader begins
-- at the end of the log, whose past no rule asks for; a log that is made later is read from its first record.
CREATE FUNCTION evident.alerts_open(p_rules jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  is_first boolean;
  start_us bigint;
BEGIN
  INSERT INTO evident.alert_state (seen_us) VALUES (evident.now_us()) ON CONFLICT DO NOTHING;
  is_first := FOUND;
  SELECT s.seen_us INTO start_us FROM evident.alert_state s FOR UPDATE;
  IF is_first THEN
    INSERT INTO evident.alert_rules
      SELECT (r->>'id')::uuid, 1, r->>'tenant', r->>'name', r->'filter', (r->>'drift_over_us')::bigint,
             (r->>'threshold')::bigint, (r->>'window_us')::bigint, r->>'group_by', r->>'severity', true, 'evident', start_us
        FROM jsonb_array_elements(p_rules) r;
  END IF;
  INSERT INTO evident.alert_checkpoints (tree, next_position)
    SELECT p.tree, CASE WHEN is_first THEN p.next_position ELSE 0 END
      FROM evident.partitions p JOIN evident.logs l USING (log_id)
     WHERE l.log NOT IN ('heads', 'windows')
    ON CONFLICT DO NOTHING;
END $$;

-- Puts an alert on its way to everybody who is to hear of it. A webhook that gets events gets none where there are none.
CREATE FUNCTION evident.alert_enqueue(p_alert uuid, p_except uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO evident.webhook_deliveries (webhook_id, alert_id, tenant, count, places, next_us, made_us)
    SELECT w.webhook_id, a.alert_id, w.tenant, a.count, a.places, evident.now_us(), evident.now_us()
      FROM evident.alerts a
      JOIN evident.webhooks w ON w.removed_us IS NULL AND (w.tenant = a.tenant OR w.tenant = '_system')
       AND (w.payload = 'alert' OR cardinality(a.places) > 0)
     WHERE a.alert_id = p_alert AND w.webhook_id IS DISTINCT FROM p_except;
$$;

-- The first p_most of two sets of places.
CREATE FUNCTION evident.first_places(p_one text[], p_other text[], p_most int) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(array_agg(x.place ORDER BY x.place), '{}')
    FROM (SELECT DISTINCT u.place COLLATE "C" AS place FROM unnest(p_one || p_other) AS u(place) ORDER BY 1 LIMIT p_most) x
$$;

-- One step of the reader: counts, alerts and checkpoints, in one transaction.
-- p_rules_version: the rules that the batch was judged by. p_trees, p_from, p_to, p_seen: how far it moves. The other
-- arrays run in parallel, one element for each (rule, tenant, window, subject) of the batch; p_places holds each one's
-- places with commas between them. p_groups_max: subjects of one rule, tenant and window that are told apart.
-- Answers the alerts that are new; or, as outcome, why nothing was done.
CREATE FUNCTION evident.alerts_advance(
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
  WITH input AS (
    SELECT x.*, r.window_us
      FROM unnest(p_rule, p_version, p_tenant, p_window, p_subject, p_count, p_places)
             WITH ORDINALITY AS x(rule_id, version, tenant, window_start, subject, count, places, ordinal)
      JOIN evident.alert_rules r USING (rule_id, version)
  ), fresh AS (
    -- Subjects that the window does not know yet, numbered after those that it knows.
    SELECT i.ordinal, row_number() OVER (PARTITION BY i.rule_id, i.version, i.tenant, i.window_start ORDER BY i.subject)
           + (SELECT count(*) FROM evident.alert_windows w
               WHERE w.rule_id = i.rule_id AND w.version = i.version AND w.tenant = i.tenant
                 AND w.window_start = i.window_start AND NOT w.others) AS number
      FROM input i
     WHERE NOT EXISTS (SELECT FROM evident.alert_windows w
                        WHERE w.rule_id = i.rule_id AND w.version = i.version AND w.tenant = i.tenant
                          AND w.window_start = i.window_start AND NOT w.others AND w.subject = i.subject)
  ), placed AS (
    SELECT i.rule_id, i.version, i.tenant, i.window_start, i.window_us, coalesce(f.number > p_groups_max, false) AS others,
           CASE WHEN f.number > p_groups_max THEN '' ELSE i.subject END AS subject, i.count, i.places
      FROM input i LEFT JOIN fresh f USING (ordinal)
  ), summed AS (
    SELECT p.rule_id, p.version, p.tenant, p.window_start, p.others, p.subject, p.window_start + p.window_us AS window_end,
           sum(p.count)::bigint AS count,
           evident.first_places('{}', string_to_array(string_agg(p.places, ','), ','), p_places_max) AS places
      FROM placed p GROUP BY 1, 2, 3, 4, 5, 6, 7
  ), counted AS (
    INSERT INTO evident.alert_windows AS w (rule_id, version, tenant, window_start, others, subject, window_end, count, places)
      SELECT s.* FROM summed s ORDER BY 1, 2, 3, 4, 5, 6
      ON CONFLICT (rule_id, version, tenant, window_start, others, subject) DO UPDATE
        SET count = w.count + excluded.count, places = evident.first_places(w.places, excluded.places, p_places_max)
      RETURNING w.*
  ), told AS (
    INSERT INTO evident.alerts AS a (alert_id, key, tenant, rule_id, rule_version, name, severity, group_by, subject, others,
                                     window_start, window_end, threshold, count, places, detail, opened_us)
      SELECT evident.derived_id(k.key), k.key, c.tenant, c.rule_id, c.version, r.name, r.severity, r.group_by,
             CASE WHEN c.others OR r.group_by = 'none' THEN NULL ELSE c.subject END, c.others,
             c.window_start, c.window_end, r.threshold, c.count, c.places, '', evident.now_us()
        FROM counted c
        JOIN evident.alert_rules r USING (rule_id, version)
        CROSS JOIN LATERAL (SELECT format('alert:%s:%s:%s:%s:%s:%s', c.rule_id, c.version, c.tenant, c.window_start,
                                          CASE WHEN c.others THEN 'others' ELSE 'one' END, c.subject) AS key) k
       WHERE c.count >= r.threshold
      -- Raised before: it is told how many it has become.
      ON CONFLICT (alert_id) DO UPDATE SET count = excluded.count, places = excluded.places
      RETURNING a.alert_id, (a.xmax = 0) AS is_new
  )
  SELECT coalesce(array_agg(t.alert_id) FILTER (WHERE t.is_new), '{}') INTO raised FROM told t;
  FOREACH one IN ARRAY raised LOOP
    PERFORM evident.alert_enqueue(one, NULL);
  END LOOP;
END $$;

-- Forgets windows to which no event can come any more. A partition that was read to its end gives nothing older than
-- now: an append reads the clock under the lock that is held here (0001_log.sql). One that is being written is skipped,
-- and counts by its last record that was read.
CREATE FUNCTION evident.alerts_prune() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trees  int[];
  ends   bigint[];
  held_us bigint;
  gone   bigint;
BEGIN
  SELECT array_agg(h.tree), array_agg(h.next_position) INTO trees, ends
    FROM (SELECT p.tree, p.next_position FROM evident.partitions p ORDER BY p.tree FOR SHARE SKIP LOCKED) h;
  held_us := evident.now_us();
  DELETE FROM evident.alert_windows w WHERE w.window_end <= (
    SELECT min(CASE WHEN h.upto = c.next_position THEN held_us ELSE c.seen_us END)
      FROM evident.alert_checkpoints c LEFT JOIN unnest(trees, ends) AS h(tree, upto) USING (tree));
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END $$;

-- A condition of the server holds: one alert a key while it does. p_except: a webhook that is not told. Null: known already.
CREATE FUNCTION evident.alert_raise(
  p_key text, p_tenant text, p_name text, p_severity text, p_subject text, p_detail text, p_except uuid
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made uuid := gen_random_uuid();
BEGIN
  INSERT INTO evident.alerts (alert_id, key, tenant, name, severity, subject, detail, opened_us)
    VALUES (made, p_key, p_tenant, p_name, p_severity, p_subject, p_detail, evident.now_us())
    ON CONFLICT (key) WHERE rule_id IS NULL AND closed_us IS NULL DO NOTHING;
  IF NOT FOUND THEN
    UPDATE evident.alerts SET detail = p_detail
     WHERE key = p_key AND rule_id IS NULL AND closed_us IS NULL AND detail <> p_detail;
    RETURN NULL;
  END IF;
  PERFORM evident.alert_enqueue(made, p_except);
  RETURN made;
END $$;

CREATE FUNCTION evident.alert_settle(p_key text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.alerts SET closed_us = evident.now_us() WHERE key = p_key AND rule_id IS NULL AND closed_us IS NULL;
  RETURN FOUND;
END $$;

-- The first acknowledgement stays. p_tenant null: whose ever it is.
CREATE FUNCTION evident.alert_acknowledge(p_alert uuid, p_tenant text, p_by text, p_note text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.alerts SET acknowledged_us = evident.now_us(), acknowledged_by = p_by, note = p_note
   WHERE alert_id = p_alert AND (p_tenant IS NULL OR tenant = p_tenant) AND acknowledged_us IS NULL;
  IF FOUND THEN
    RETURN 'acknowledged';
  END IF;
  PERFORM FROM evident.alerts WHERE alert_id = p_alert AND (p_tenant IS NULL OR tenant = p_tenant);
  RETURN CASE WHEN FOUND THEN 'before' ELSE 'unknown' END;
END $$;

-- Makes a rule (p_version 0), or another version of one (p_version: the one that is replaced), or ends it (p_rule null).
CREATE FUNCTION evident.alert_rule_put(p_id uuid, p_tenant text, p_version int, p_rule jsonb, p_by text, p_most int) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at_us bigint;
BEGIN
  SELECT greatest(evident.now_us(), s.seen_us + 1) INTO at_us FROM evident.alert_state s FOR UPDATE;
  IF p_version > 0 THEN
    UPDATE evident.alert_rules SET active_to = at_us
     WHERE rule_id = p_id AND tenant = p_tenant AND version = p_version AND active_to IS NULL;
    IF NOT FOUND THEN
      RETURN 'conflict';
    END IF;
  END IF;
  IF p_rule IS NOT NULL THEN
    IF EXISTS (SELECT FROM evident.alert_rules WHERE tenant = p_tenant AND name = p_rule->>'name' AND active_to IS NULL) THEN
      RAISE EXCEPTION 'a rule of this name exists' USING ERRCODE = 'unique_violation';
    END IF;
    IF (SELECT count(*) FROM evident.alert_rules WHERE tenant = p_tenant) >= p_most THEN
      RAISE EXCEPTION 'too many rules' USING ERRCODE = 'EV020';
    END IF;
    INSERT INTO evident.alert_rules VALUES (
      p_id, p_version + 1, p_tenant, p_rule->>'name', p_rule->'filter', (p_rule->>'drift_over_us')::bigint,
      (p_rule->>'threshold')::bigint, (p_rule->>'window_us')::bigint, p_rule->>'group_by', p_rule->>'severity',
      (p_rule->>'enabled')::boolean, p_by, at_us);
  END IF;
  UPDATE evident.alert_state SET rules_version = rules_version + 1;
  RETURN 'done';
END $$;

CREATE FUNCTION evident.webhook_add(
  p_id uuid, p_tenant text, p_name text, p_url text, p_payload text, p_secret bytea, p_by text, p_most int
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT count(*) FROM evident.webhooks WHERE tenant = p_tenant AND removed_us IS NULL) >= p_most THEN
    RETURN 'full';
  END IF;
  INSERT INTO evident.webhooks VALUES (p_id, p_tenant, p_name, p_url, p_payload, p_secret, p_by, evident.now_us());
  RETURN 'done';
END $$;

-- Ends a webhook; what waits for it is given up.
CREATE FUNCTION evident.webhook_remove(p_id uuid, p_tenant text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.webhooks SET removed_us = evident.now_us(), secret = '\x'
   WHERE webhook_id = p_id AND (p_tenant IS NULL OR tenant = p_tenant) AND removed_us IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE evident.webhook_deliveries SET state = 'failed', error = 'the webhook was removed', done_us = evident.now_us()
   WHERE webhook_id = p_id AND state = 'pending';
  RETURN true;
END $$;

-- Takes one delivery that is due, for p_lease_us; those of the webhooks in p_busy are left for later. An attempt is
-- counted before it is made: one that ends with the process is one, too.
CREATE FUNCTION evident.delivery_claim(p_busy uuid[], p_lease_us bigint) RETURNS SETOF evident.webhook_deliveries
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE evident.webhook_deliveries d SET attempts = d.attempts + 1, next_us = evident.now_us() + p_lease_us
   WHERE d.delivery_id = (
     SELECT q.delivery_id FROM evident.webhook_deliveries q
      WHERE q.state = 'pending' AND q.next_us <= evident.now_us() AND q.webhook_id <> ALL (p_busy)
      ORDER BY q.next_us LIMIT 1 FOR UPDATE SKIP LOCKED)
  RETURNING d.*;
$$;

-- What became of an attempt; p_state pending: again after p_delay_us. Says whether it changed anything: an attempt that
-- took longer than its lease may have been overtaken, and what was delivered stays so.
CREATE FUNCTION evident.delivery_mark(p_id uuid, p_attempts int, p_state text, p_delay_us bigint, p_error text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE evident.webhook_deliveries
     SET state = p_state, error = p_error, next_us = evident.now_us() + p_delay_us,
         done_us = CASE WHEN p_state = 'pending' THEN NULL ELSE evident.now_us() END
   WHERE delivery_id = p_id AND state = 'pending' AND (attempts = p_attempts OR p_state = 'delivered');
  RETURN FOUND;
END $$;

-- Sends again what was given up.
CREATE FUNCTION evident.delivery_retry(p_webhook uuid, p_tenant text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  again bigint;
BEGIN
  UPDATE evident.webhook_deliveries d SET state = 'pending', attempts = 0, next_us = evident.now_us(), done_us = NULL
    FROM evident.webhooks w
   WHERE d.webhook_id = p_webhook AND d.state = 'failed' AND w.webhook_id = d.webhook_id AND w.removed_us IS NULL
     AND (p_tenant IS NULL OR d.tenant = p_tenant);
  GET DIAGNOSTICS again = ROW_COUNT;
  RETURN again;
END $$;

DO $$
DECLARE
  made text;
BEGIN
  FOR made IN
    SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'evident'::regnamespace
       AND (p.proname IN ('alerts_open', 'alerts_advance', 'alerts_prune', 'alert_raise', 'alert_settle', 'alert_acknowledge',
                          'alert_rule_put', 'alert_enqueue', 'webhook_add', 'webhook_remove', 'delivery_claim', 'delivery_mark',
                          'delivery_retry'))
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    IF made NOT LIKE '%alert_enqueue%' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO evident_server', made);
    END IF;
  END LOOP;
END $$;

-- What only functions call is nobody else’s.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA evident FROM PUBLIC;
