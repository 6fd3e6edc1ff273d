-- Alerts (src/alerts/README.md): rules as data, how often their events stood in each window, what was raised, and to
-- whom it is sent. Written through the functions of 0010_alerts_functions.sql alone; the server's role may read, under
-- a policy. Instants are microseconds since the Unix epoch, as the log's readers have them.

-- One row: what rule changes and the reader agree on. Locked by both, so that no record is judged by a rule that was
-- changed before its batch was committed.
CREATE TABLE evident.alert_state (
  one           boolean PRIMARY KEY DEFAULT true CHECK (one),
  rules_version bigint NOT NULL DEFAULT 1,
  -- Greatest appended_at that was read: a change takes effect after it.
  seen_us       bigint NOT NULL
);

-- Every version of every rule. The one without active_to is today's; of a rule that was removed all have ended.
-- tenant _system: a rule for all tenants, each counted by itself.
CREATE TABLE evident.alert_rules (
  rule_id       uuid NOT NULL,
  version       int NOT NULL,
  tenant        text COLLATE "C" NOT NULL,
  name          text COLLATE "C" NOT NULL,
  filter        jsonb NOT NULL,
  -- Only events that were appended so much later than they happened, or earlier; null: all.
  drift_over_us bigint,
  threshold     bigint NOT NULL CHECK (threshold > 0),
  window_us     bigint NOT NULL CHECK (window_us > 0),
  group_by      text NOT NULL CHECK (group_by IN ('actor', 'resource', 'ip', 'source', 'none')),
  severity      text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
  enabled       boolean NOT NULL,
  made_by       text NOT NULL,
  -- Records appended from here on, and before there.
  active_from   bigint NOT NULL,
  active_to     bigint,
  PRIMARY KEY (rule_id, version)
);
CREATE UNIQUE INDEX alert_rules_name ON evident.alert_rules (tenant, name) WHERE active_to IS NULL;

-- How far the reader of alerts has read, moved in the transaction of its output by compare-and-set.
CREATE TABLE evident.alert_checkpoints (
  tree          int PRIMARY KEY REFERENCES evident.partitions,
  next_position bigint NOT NULL,
  -- appended_at of the last record that was read.
  seen_us       bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Matching events of each group in each window. Removed when no record of that time can come any more.
-- others: the groups beyond the bound, together.
CREATE TABLE evident.alert_windows (
  rule_id      uuid NOT NULL,
  version      int NOT NULL,
  tenant       text COLLATE "C" NOT NULL,
  window_start bigint NOT NULL,
  others       boolean NOT NULL,
  subject      text COLLATE "C" NOT NULL,
  window_end   bigint NOT NULL,
  count        bigint NOT NULL,
  -- The first events in the order of (appended_at, log, partition, position).
  places       text[] COLLATE "C" NOT NULL,
  PRIMARY KEY (rule_id, version, tenant, window_start, others, subject)
) WITH (fillfactor = 70);
CREATE INDEX alert_windows_end ON evident.alert_windows (window_end);

-- What was raised. rule_id null: a condition of the server, of which one is open per key.
CREATE TABLE evident.alerts (
  alert_id        uuid PRIMARY KEY,
  key             text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  rule_id         uuid,
  rule_version    int,
  name            text COLLATE "C" NOT NULL,
  severity        text NOT NULL,
  group_by        text,
  subject         text,
  others          boolean NOT NULL DEFAULT false,
  window_start    bigint,
  window_end      bigint,
  threshold       bigint,
  count           bigint NOT NULL DEFAULT 1,
  places          text[] COLLATE "C" NOT NULL DEFAULT '{}',
  detail          text NOT NULL,
  opened_us       bigint NOT NULL,
  -- Of conditions: when it no longer held.
  closed_us       bigint,
  acknowledged_us bigint,
  acknowledged_by text,
  note            text
);
CREATE UNIQUE INDEX alerts_condition ON evident.alerts (key) WHERE rule_id IS NULL AND closed_us IS NULL;
CREATE INDEX alerts_newest ON evident.alerts (opened_us, alert_id);
CREATE INDEX alerts_tenant ON evident.alerts (tenant, opened_us, alert_id);
CREATE INDEX alerts_unacknowledged ON evident.alerts (tenant, opened_us, alert_id) WHERE acknowledged_us IS NULL;

-- Where alerts are sent. tenant _system: alerts of all tenants. The secret is kept as it is: HMAC needs it.
CREATE TABLE evident.webhooks (
  webhook_id uuid PRIMARY KEY,
  tenant     text COLLATE "C" NOT NULL,
  name       text COLLATE "C" NOT NULL,
  url        text NOT NULL,
  payload    text NOT NULL CHECK (payload IN ('alert', 'cloudevents', 'ocsf')),
  secret     bytea NOT NULL,
  made_by    text NOT NULL,
  made_us    bigint NOT NULL,
  removed_us bigint
);
CREATE UNIQUE INDEX webhooks_name ON evident.webhooks (tenant, name) WHERE removed_us IS NULL;

-- Alerts on their way. next_us: not before; while one is being sent, when somebody else may send it again.
CREATE TABLE evident.webhook_deliveries (
  delivery_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  webhook_id  uuid NOT NULL REFERENCES evident.webhooks,
  alert_id    uuid NOT NULL REFERENCES evident.alerts,
  tenant      text COLLATE "C" NOT NULL,
  -- As they were when the alert was raised, so that every attempt sends the same.
  count       bigint NOT NULL,
  places      text[] COLLATE "C" NOT NULL,
  state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
  attempts    int NOT NULL DEFAULT 0,
  next_us     bigint NOT NULL,
  error       text,
  made_us     bigint NOT NULL,
  done_us     bigint
);
CREATE INDEX webhook_deliveries_due ON evident.webhook_deliveries (next_us) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of ON evident.webhook_deliveries (webhook_id, made_us);

-- A tenant's rows, or all for the server itself ('*'); without the setting, none (design §8). The functions run as the
-- owner, whom FORCE binds too unless it is a superuser.
DO $$
DECLARE
  guarded name;
BEGIN
  FOREACH guarded IN ARRAY ARRAY['alert_rules', 'alert_windows', 'alerts', 'webhooks', 'webhook_deliveries'] LOOP
    EXECUTE format('ALTER TABLE evident.%I ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format('ALTER TABLE evident.%I FORCE ROW LEVEL SECURITY', guarded);
    EXECUTE format('CREATE POLICY tenant_rows ON evident.%I FOR SELECT TO evident_server USING '
      '(tenant = (SELECT current_setting(''evident.tenant'', true)) OR (SELECT current_setting(''evident.tenant'', true)) = ''*'')', guarded);
    EXECUTE format('CREATE POLICY owner_rows ON evident.%I TO %I USING (true) WITH CHECK (true)', guarded, current_user);
  END LOOP;
END $$;

GRANT SELECT ON evident.alert_state, evident.alert_rules, evident.alert_checkpoints, evident.alert_windows,
  evident.alerts, evident.webhooks, evident.webhook_deliveries TO evident_server;
