-- Views: what projections build from the log, beside their checkpoints (design §4 Project). All of it can be thrown
-- away and built again. Written through the functions of 0007_view_project.sql alone; the server's role may read, under a policy.

CREATE TABLE evident.views (
  view text COLLATE "C" PRIMARY KEY CHECK (view ~ '^[a-z][a-z0-9-]{0,31}$'),
  -- The generation that is shown.
  live int NOT NULL
);

-- A view built anew stands beside the one that is shown until it is promoted.
CREATE TABLE evident.generations (
  view       text COLLATE "C" NOT NULL REFERENCES evident.views,
  generation int NOT NULL CHECK (generation > 0),
  -- Versions of everything that rows are a function of beside the log.
  definition text NOT NULL,
  state      text NOT NULL CHECK (state IN ('building', 'live', 'retired')),
  made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (view, generation)
);

-- How far each generation has read. Owner: the projection, by compare-and-set in the transaction of its output.
-- attempts: how often a reader began here and has not got on, the one at work included; counted before it reads, by
-- the commit before, so that a record which kills the process is found. 0: nobody reads. Careful steps count as the
-- second and third attempt at once (src/project/README.md).
CREATE TABLE evident.checkpoints (
  view          text COLLATE "C" NOT NULL,
  generation    int NOT NULL,
  tree          int NOT NULL REFERENCES evident.partitions,
  next_position bigint NOT NULL DEFAULT 0,
  attempts      int NOT NULL DEFAULT 0,
  PRIMARY KEY (view, generation, tree),
  FOREIGN KEY (view, generation) REFERENCES evident.generations ON DELETE CASCADE
) WITH (fillfactor = 50);

-- Records that ended or stalled a worker.
CREATE TABLE evident.suspects (
  view       text COLLATE "C" NOT NULL,
  generation int NOT NULL,
  tree       int NOT NULL,
  position   bigint NOT NULL,
  attempts   int NOT NULL,
  first_at   timestamptz NOT NULL,
  last_at    timestamptz NOT NULL,
  error      text NOT NULL,
  PRIMARY KEY (view, generation, tree, position)
);

-- Records that a view could not take. resolution null: open. The record itself stands in the log.
CREATE TABLE evident.dead_letters (
  view        text COLLATE "C" NOT NULL,
  generation  int NOT NULL,
  tree        int NOT NULL,
  position    bigint NOT NULL,
  tenant      text COLLATE "C" NOT NULL,
  id          uuid NOT NULL,
  type        text COLLATE "C" NOT NULL,
  class       text NOT NULL CHECK (class IN ('validation', 'poison')),
  error       text NOT NULL,
  stack       text,
  attempts    int NOT NULL,
  first_at    timestamptz NOT NULL,
  last_at     timestamptz NOT NULL,
  resolution  text CHECK (resolution IN ('replayed', 'discarded', 'manual')),
  resolved_at timestamptz,
  resolved_by text,
  reason      text,
  PRIMARY KEY (view, generation, tree, position)
);
CREATE INDEX dead_letters_open ON evident.dead_letters (view, generation, tenant) WHERE resolution IS NULL;
CREATE INDEX dead_letters_identity ON evident.dead_letters (view, generation, tenant, id);

-- The hot view: one row a record. The body stays in the log.
-- Children: one per generation, below it one per day of appended_at (UTC), so that removal is a drop.
CREATE TABLE evident.events (
  generation     int NOT NULL,
  appended_at    timestamptz NOT NULL,
  tree           int NOT NULL,
  position       bigint NOT NULL,
  -- The event's own time, or appended_at where it tells none (timed: false).
  event_time     timestamptz NOT NULL,
  timed          boolean NOT NULL,
  id             uuid NOT NULL,
  tenant         text COLLATE "C" NOT NULL,
  type           text COLLATE "C" NOT NULL,
  mapper         text COLLATE "C" NOT NULL,
  actor_id       text COLLATE "C",
  actor_type     text COLLATE "C",
  action         text COLLATE "C",
  resource_type  text COLLATE "C",
  resource_id    text COLLATE "C",
  result         text COLLATE "C",
  correlation_id text COLLATE "C",
  ip             text COLLATE "C",
  corrects       uuid
) PARTITION BY LIST (generation);

-- Begun with; what each costs and which stay is measured (docs/performance.md).
CREATE INDEX events_time ON evident.events (tenant, event_time, tree, position);
CREATE INDEX events_actor ON evident.events (tenant, actor_id, event_time, tree, position);
CREATE INDEX events_resource ON evident.events (tenant, resource_id, event_time, tree, position);
CREATE INDEX events_action ON evident.events (tenant, action, event_time, tree, position);
CREATE INDEX events_result ON evident.events (tenant, result, event_time, tree, position) WHERE result <> 'success';
CREATE INDEX events_correlation ON evident.events (tenant, correlation_id, event_time, tree, position) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_corrects ON evident.events (tenant, corrects) WHERE corrects IS NOT NULL;

-- Where each identity is shown: repeats are dropped, the first position wins. event_time leads to the row through
-- the index events_time, so that the row needs no index of its own by id or by position.
CREATE TABLE evident.event_ids (
  generation  int NOT NULL,
  log_id      smallint NOT NULL,
  tenant      text COLLATE "C" NOT NULL,
  id          uuid NOT NULL,
  appended_at timestamptz NOT NULL,
  event_time  timestamptz NOT NULL,
  tree        int NOT NULL,
  position    bigint NOT NULL,
  PRIMARY KEY (generation, tenant, id, log_id)
) PARTITION BY LIST (generation);

-- A tenant's rows, or all for the server itself ('*'); without the setting, none (design §8).
ALTER TABLE evident.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.events FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.event_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.event_ids FORCE ROW LEVEL SECURITY;
ALTER TABLE evident.dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE evident.dead_letters FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rows ON evident.events TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY tenant_rows ON evident.event_ids TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');
CREATE POLICY tenant_rows ON evident.dead_letters TO evident_server
  USING (tenant = (SELECT current_setting('evident.tenant', true)) OR (SELECT current_setting('evident.tenant', true)) = '*');

GRANT SELECT ON evident.views, evident.generations, evident.checkpoints, evident.suspects, evident.dead_letters,
  evident.events, evident.event_ids TO evident_server;

-- The functions of 0007_view_project.sql belong to the owner of the schema, whom FORCE binds too.
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['events', 'event_ids', 'dead_letters'] LOOP
    EXECUTE format('CREATE POLICY owner_rows ON evident.%I TO %I USING (true) WITH CHECK (true)', t, current_user);
  END LOOP;
END $$;
